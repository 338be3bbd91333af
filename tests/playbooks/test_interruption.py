"""How train.yml ends when the instance behind a run does not answer: taken away, or still there and paid for."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import Bench, wait_for

INTERRUPTED = 75


def rent(paper: Bench, run: str, *, bid: bool) -> int:
    """An instance of the stand-in without a host behind it."""
    (offer,) = paper.post("/api/v0/bundles/", type="bid" if bid else "on-demand", limit=1)["offers"]
    price = {"price": offer["min_bid"] * 1.1} if bid else {}
    wish = {"image": "x", "disk": 40, "label": f"fluxlora/{run}/1024", "runtype": "ssh_direct", **price}
    number = int(paper.ask("PUT", f"/api/v0/asks/{offer['id']}/", **wish)["new_contract"])
    wait_for(lambda: row(paper, number)["ports"], 20)
    return number


def row(paper: Bench, number: int) -> dict[str, Any]:
    return next(each for each in paper.instances() if each["id"] == number)


@pytest.fixture(scope="module")
def outbid(paper: Bench) -> int:
    number = rent(paper, "taken", bid=True)
    paper.post(f"/rehearsal/instances/{number}/outbid")
    wait_for(lambda: row(paper, number)["actual_status"] == "exited", 20)
    return number


def sync(paper: Bench, run: str) -> tuple[int, str]:
    """One step alone, which begins with an instance that is there."""
    done = paper.play("train", run, "--tags", "dataset")
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_an_interruption_has_a_status_of_its_own_and_a_lost_host_is_never_a_success(paper: Bench, outbid: int) -> None:
    code, said = sync(paper, "taken")
    assert code == INTERRUPTED, said[-3000:]
    assert f"Instance {outbid} of taken was outbid. The same call again" in said

    kept = rent(paper, "kept", bid=False)
    for runs in ("kept", "kept,taken"):
        code, said = sync(paper, runs)
        assert code in (2, 4), said[-3000:]
        assert f"Instance {kept} of kept may still cost $" in said
    assert f"Instance {outbid} of taken was outbid" in said, "the other one is reported all the same"
    assert paper.rents() == 2


def test_what_another_pass_would_not_get_past_is_no_interruption(paper: Bench, outbid: int) -> None:
    done = paper.play("train", "taken", dataset_path="/nowhere")
    assert done.returncode == 2, done.stdout[-3000:]
    assert f"Instance {outbid} of taken may still cost $" in " ".join(done.stdout.split())


def test_a_step_alone_needs_an_instance(paper: Bench) -> None:
    code, said = sync(paper, "nowhere")
    assert code == 2
    assert "nowhere has no instance to work on" in said


def test_a_later_pass_of_several_runs_leaves_alone_what_is_not_begun(paper: Bench) -> None:
    done = paper.play("train", "nowhere", "--tags", "dataset", run_unfinished="true")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "TASK [dataset" not in done.stdout
