"""The modules for vast.ai through ansible-playbook: bad input, check is changed, real is changed, again is not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import playing
import pytest
from playing import PROJECT, Results

from conftest import VastServer
from fluxlora.money.journal import Event, Journal

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPJUmxgsPBPU4vLlOCRfl6EvVYJzHEvCHeRzLfHTjbm7 anna@laptop"
RUN = {"run": "my-style", "presets": ["512", "lokr"], "image": "vastai/base-image", "poll_seconds": 0.05}


@pytest.fixture
def play(vast: VastServer, tmp_path: Path) -> Callable[..., Results]:
    """Runs a module with each of these arguments, one after the other."""

    def run(module: str, *wishes: dict[str, Any], **environment: str) -> Results:
        return playing.play(vast, tmp_path, [(module, wish) for wish in wishes], **environment)

    return run


def changes(results: Results) -> list[bool]:
    assert [result.get("msg") for result in results if result.get("failed")] == []
    return [result["changed"] for result in results]


def offers(vast: VastServer) -> list[dict[str, Any]]:
    wanted = {"num_gpus": {"eq": 1}, "direct_port_count": {"gte": 1}, "disk_space": {"gte": 220}}
    return vast.offers(**wanted)[:3]


def codes(results: Results) -> list[str | None]:
    """Those of failures; a wish that lacks an argument is refused by Ansible, without one."""
    assert [result.get("failed") for result in results] == [True] * len(results)
    assert all(result["hint"] for result in results if result.get("code"))
    return [result.get("code") for result in results]


def test_an_instance_is_rented_in_fours(vast: VastServer, play: Callable[..., Results]) -> None:
    # A template of somebody else's may hand numbers over as text.
    told = [{"id": str(offer["id"]), "price_per_hour": "5.0"} for offer in offers(vast)]
    wish = RUN | {"offers": told, "env": {"HF_TOKEN": "geheim"}}
    bad = [
        {"run": "my-style"},
        {"image": "x"},
        {"state": "gone", "run": "my-style"},
        wish | {"run": "no/name"},
        wish | {"label_prefix": "a/b"},
        wish | {"offers": [{"machine_id": 5}]},
        wish | {"offers": [{"id": 5, "price_per_hour": "cheap"}]},
        wish | {"offers": [{"id": 5, "cost": 2.5}]},
        wish | {"poll_seconds": -1},
        wish | {"price_tolerance": "nan"},
        wish | {"private_key_file": "/nowhere/key"},
        wish | {"max_attempts": 0},
        wish | {"offers": []},
        wish | {"api_key": "wrong"},
    ]
    results = play("vastai_instance", *bad, wish | {"check_mode": True}, wish, wish, wish | {"check_mode": True})
    refused, (checked, real, again, checked_again) = results[:-4], results[-4:]
    named = [
        *("bad_run_name", "bad_label_prefix", "bad_input", "bad_input", "bad_input", "bad_wait", "bad_limit"),
        *("no_login", "bad_limit", "no_offer", "bad_api_key"),
    ]
    assert codes(refused) == [None, None, None, *named]
    assert all(word in result["msg"] for result, word in zip(refused, ("image", "run", "state"), strict=False))

    assert changes([checked, real, again, checked_again]) == [True, True, False, False]
    assert checked["instance"] is None
    assert vast.rented_ids() == [real["instance"]["id"]] == [again["instance"]["id"]]
    assert real["instance"]["label"] == "fluxlora/my-style/512+lokr"
    assert [attempt["code"] for attempt in real["attempts"]] == ["rented"]
    assert not re.search("api_key|geheim", json.dumps(real["instance"]))


def test_a_runs_instances_are_looked_up_and_nothing_is_changed(vast: VastServer, play: Callable[..., Results]) -> None:
    labels = ("fluxlora/my-style/", "fluxlora/my-style/", "fluxlora/my-cat/")
    first, second, _ = (
        vast.rent(offer["id"], label=label)["new_contract"] for offer, label in zip(offers(vast), labels, strict=True)
    )
    of_run, by_id, none, nobody = play(
        "vastai_instance_info", {"run": "my-style"}, {"instance_id": second}, {"run": "my-dog"}, {"run": "no name"}
    )
    assert [each["id"] for each in of_run["instances"]] == [first, second]
    assert (of_run["instance"]["id"], by_id["instance"]["id"], none["instance"]) == (first, second, None)
    assert not any(name in of_run["instance"] for name in ("extra_env", "onstart", "jupyter_token"))
    assert nobody["code"] == "bad_run_name"
    assert changes([of_run, by_id, none]) == [False, False, False]
    assert len(vast.rented_ids()) == 3


def test_a_run_is_destroyed_in_fours(vast: VastServer, play: Callable[..., Results], tmp_path: Path) -> None:
    rented = vast.rent_running(label="fluxlora/my-style/512")["id"]
    journal = Journal(tmp_path / "journal.jsonl")
    wish = {"state": "absent", "run": "my-style", "poll_seconds": 0.05, "journal": str(journal.path)}
    by_id = {"state": "absent", "instance_id": rented}
    results = play(
        "vastai_instance",
        {"state": "absent"},
        wish | {"run": "my-style "},
        wish | {"run": "all"},
        wish | {"api_key": "wrong"},
        wish | {"check_mode": True},
        wish,
        wish,
        by_id,
    )
    assert codes(results[:4]) == [None, "bad_run_name", "bad_run_name", "bad_api_key"]
    assert "run, instance_id" in results[0]["msg"]
    checked, real, *_ = results[4:]
    assert changes(results[4:]) == [True, True, False, False]
    assert checked["instance"]["id"] == rented
    assert [result["instance_absent"] for result in results[4:]] == [False, True, True, True]
    assert vast.instance(rented) is None
    (entry,) = journal.entries("my-style")
    (attempt,) = real["attempts"]
    assert (entry.event, entry.instance_id, entry.facts["spent_usd"]) == (Event.DESTROYED, rented, attempt["usd"])
    assert 0 < attempt["usd"] < 0.1


def test_interruptible_instances_that_were_taken_away_bill_their_disks_until_given_back_and_are_remembered(
    vast: VastServer, play: Callable[..., Results], tmp_path: Path
) -> None:
    ways = {"outbid": "outbid", "preempt": "preempted", "lose": "lost"}
    bids = vast.call("POST", "/api/v0/bundles/", {"type": "bid", "num_gpus": {"eq": 1}}).json()["offers"]
    rented = [
        vast.rent_running(offer_id=bid["id"], label="fluxlora/my-style/512", price=bid["min_bid"] * 1.1)["id"]
        for bid in bids[:3]
    ]
    for number, event in zip(rented, ways, strict=True):
        vast.call("POST", f"/rehearsal/instances/{number}/{event}").raise_for_status()
        vast.until(number, lambda row: row["actual_status"] != "running")
    before = vast.ledger()["instances"]

    journal = Journal(tmp_path / "journal.jsonl")
    looks = [{"state": "absent", "instance_id": number, "check_mode": True} for number in rented]
    ends = [
        {"state": "absent", "instance_id": number, "lost": how, "journal": str(journal.path), "poll_seconds": 0.05}
        for number, how in zip(rented, ways.values(), strict=True)
    ]
    results = play("vastai_instance", *looks, *ends)

    assert [result["loss"] for result in results[:3]] == list(ways.values())
    assert [result["instance_absent"] for result in results[3:]] == [True] * 3
    after = vast.ledger()["instances"]
    assert [each["gpu_hours"] for each in after] == [each["gpu_hours"] for each in before]
    assert all(now["storage_hours"] > then["storage_hours"] for now, then in zip(after, before, strict=True))
    failed = [entry for entry in journal.entries("my-style") if entry.event is Event.FAILED]
    assert [(entry.instance_id, entry.facts["code"]) for entry in failed] == list(
        zip(rented, ways.values(), strict=True)
    )
    assert all(entry.facts["used"] for entry in failed)


def test_a_run_is_stopped_and_started_in_fours(vast: VastServer, play: Callable[..., Results]) -> None:
    vast.rent_running(label="fluxlora/my-style/512+lokr")
    stop = {"state": "stopped", "run": "my-style", "poll_seconds": 0.05}
    nothing, *results = play(
        "vastai_instance", stop | {"run": "nobody"}, stop | {"check_mode": True}, stop, stop,
        RUN | {"check_mode": True}, RUN, RUN,
    )  # fmt: skip
    assert codes([nothing]) == ["no_such_instance"]
    assert changes(results) == [True, True, False, True, True, False]
    assert results[-1]["instance"]["status"] == "running"
    assert len(vast.rented_ids()) == 1


def test_a_public_key_is_registered_and_removed_in_fours(vast: VastServer, play: Callable[..., Results]) -> None:
    private = "-----BEGIN OPENSSH " + "PRIVATE KEY-----\nAAAA\n"
    wish, gone = {"public_key": KEY}, {"public_key": KEY, "state": "absent"}
    refused = play(
        "vastai_ssh_key",
        {},
        {"public_key": "~/.ssh/id_ed25519.pub"},
        {"public_key": private},
        wish | {"api_key": "wrong"},
    )
    assert codes(refused) == [None, "not_a_public_key", "private_key", "bad_api_key"]
    # A key is the same one under another comment.
    again = {"public_key": KEY.replace("anna@laptop", "bert")}
    results = play("vastai_ssh_key", wish | {"check_mode": True}, wish, again, gone | {"check_mode": True}, gone, gone)
    assert changes(results) == [True, True, False, True, True, False]
    assert {result["key"] for result in results} == {KEY.removesuffix(" anna@laptop")}
    sent = [request["method"] for request in vast.requests() if request["method"] != "GET"]
    assert sent == ["POST", "DELETE"]


def test_offers_come_cheapest_first_and_the_others_with_reasons(play: Callable[..., Results]) -> None:
    wish = {"gpu_ram_gb": 40, "work": {"steps": 3000}}
    found, checked, none = play(
        "vastai_offer_info", wish, wish | {"check_mode": True}, {"gpu_ram_gb": 999, "show_refused": True}
    )
    totals = [offer["cost"]["total"] for offer in found["offers"]]
    assert totals == sorted(totals) != []
    assert {offer["gpu_ram_mb"] >= 40000 for offer in found["offers"]} == {True}
    assert all(offer["reason"] for offer in found["refused"])
    assert [offer["id"] for offer in checked["offers"]] == [offer["id"] for offer in found["offers"]]
    assert found["lines"][1].startswith("$")
    assert (found["changed"], none["offers"], none["lines"][0]) == (False, [], "No offer fits.")


def test_what_the_journal_remembers_moves_the_ranking(play: Callable[..., Results], tmp_path: Path) -> None:
    (before,) = play("vastai_offer_info", {})
    first, second = before["offers"][:2]
    journal = Journal(tmp_path / "journal.jsonl")
    journal.write(Event.FAILED, "my-style", code="instance_failed", machine_id=first["machine_id"])
    journal.write(
        Event.TRAINED, "other", gpu_name=second["gpu_name"], seconds_per_step=9.0, expected_seconds_per_step=18.0
    )
    (after,) = play("vastai_offer_info", {"journal": str(journal.path)})
    assert [offer["kind"] for offer in after["refused"] if offer["id"] == first["id"]] == ["failed before"]
    (faster,) = [offer for offer in after["offers"] if offer["id"] == second["id"]]
    assert faster["cost"]["own_runs"] == 1
    assert faster["cost"]["total"] < second["cost"]["total"]


def test_what_an_offer_was_expected_to_take_is_remembered_with_its_rent(
    play: Callable[..., Results], tmp_path: Path
) -> None:
    (found,) = play("vastai_offer_info", {"gpu_ram_gb": 40})
    journal = Journal(tmp_path / "journal.jsonl")
    (rented,) = play("vastai_instance", RUN | {"offers": found["offers"][:1], "journal": str(journal.path)})
    (entry,) = [each for each in journal.entries("my-style") if each.event is Event.RENTED]
    cost = found["offers"][0]["cost"]
    assert entry.instance_id == rented["instance"]["id"]
    assert entry.facts["expected_usd"] == pytest.approx(cost["total"])
    assert entry.facts["expected_hours"] == pytest.approx(cost["hours"]["total"])
    assert entry.facts["expected_seconds_per_step"] == pytest.approx(cost["table_seconds_per_step"])


def test_a_budget_that_no_offer_keeps_leaves_none_and_says_what_it_would_take(play: Callable[..., Results]) -> None:
    (found,) = play("vastai_offer_info", {"budget_usd": 0.5})
    assert found["offers"] == []
    assert any("for the run and its end, $0.50 are left" in offer["reason"] for offer in found["refused"])

    (again,) = play("vastai_offer_info", {"budget_usd": 0.5 + found["missing_usd"] + 0.01})
    assert len(again["offers"]) == 1
    assert "missing_usd" not in again


def test_a_wish_for_offers_that_cannot_be_read_is_refused(play: Callable[..., Results]) -> None:
    refused = play("vastai_offer_info", {"gpu_ram_gb": "plenty"}, {"work": {"stepz": 5}}, {"work": {"steps": "many"}})
    assert [result["failed"] for result in refused] == [True] * 3
    for result, word in zip(refused, ("gpu_ram_gb", "stepz", "steps"), strict=True):
        assert word in result["msg"]
    assert [result.get("code") for result in refused] == [None, "bad_input", "bad_input"]


def test_what_ended_elsewhere_is_settled_once_and_only_in_earnest(
    vast: VastServer, play: Callable[..., Results], tmp_path: Path
) -> None:
    ended = vast.rent_running(label="fluxlora/my-style/512")["id"]
    vast.call("DELETE", f"/api/v0/instances/{ended}/").raise_for_status()
    journal = Journal(tmp_path / "journal.jsonl")
    journal.write(Event.RENTED, "my-style", ended, at=time.time() - 600)
    wish = {"journal": str(journal.path)}
    others = ({}, wish | {"api_key": "wrong"}, {"journal": str(tmp_path)})
    # A key that may not read the bills is enough to see what exists.
    blind = wish | {"api_key": vast.scoped_key("instance_read"), "check_mode": True}
    unbilled, *results = play("vastai_audit", blind, wish | {"check_mode": True}, wish, wish, *others)
    assert (changes([unbilled]), unbilled["settlements"]) == ([False], [])
    assert "vast.ai does not say what was charged." in unbilled["lines"]
    assert changes(results[:3]) == [True, True, False]
    assert results[0]["settlements"] == results[1]["settlements"] != []
    assert [each.event for each in journal.entries()] == [Event.RENTED, Event.DESTROYED]
    assert codes(results[3:]) == [None, "bad_api_key", "no_journal"]
    unread = {"run": "my-style", "budget_usd": 20, "deadline_hours": 24, "journal": str(tmp_path)}
    assert (
        codes([*play("run_budget_info", unread), *play("vastai_offer_info", {"journal": str(tmp_path)})])
        == ["no_journal"] * 2
    )


def test_ansible_doc_shows_every_module() -> None:
    names = {path.stem for path in (PROJECT / "plugins" / "modules").glob("*.py")}
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-doc"), "--json", *names],
        env={**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg")},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert set(json.loads(done.stdout)) == names
