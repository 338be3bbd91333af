"""The role provision on a market without machines: what it refuses, and what it says about money."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fluxlora.money.journal import Event, Journal
from remote import keygen

if TYPE_CHECKING:
    from tests.conftest import VastServer

PROJECT = Path(__file__).parents[2]
Play = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def provision(vast: VastServer, tmp_path: Path) -> Play:
    """Plays the role alone for the runs of an inventory; output without its line breaks."""
    keygen(tmp_path / "key")
    (tmp_path / "play.yml").write_text("- hosts: training\n  gather_facts: false\n  roles: [provision]\n")

    def play(*flags: str, runs: tuple[str, ...] = ("my-style",), **settings: Any) -> subprocess.CompletedProcess[str]:
        hosts = {run: {"run_resolved_presets": ["1024"]} for run in runs}
        (tmp_path / "runs.yml").write_text(json.dumps({"training": {"hosts": hosts, "children": {"vastai": {}}}}))
        variables = {
            "provision_ssh_key_file": str(tmp_path / "key"), "provision_poll_seconds": 0.2,
            "provision_ssh_timeout_seconds": 2, "artifacts_dir": str(tmp_path / "artifacts"), **settings,
        }  # fmt: skip
        done = subprocess.run(
            [
                str(Path(sys.executable).parent / "ansible-playbook"), str(tmp_path / "play.yml"),
                "-i", str(tmp_path / "runs.yml"), "-i", "inventory/vastai.yml", "-e", json.dumps(variables), *flags,
            ],
            cwd=PROJECT,
            env={
                **os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "HOME": str(tmp_path),
                "VAST_URL": vast.url, "VAST_API_KEY": vast.api_key, "FLUXLORA_STATE_DIR": str(tmp_path / "state"),
            },
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        done.stdout = " ".join((done.stdout + done.stderr).split())
        assert vast.api_key not in done.stdout
        return done

    return play


def rent(vast: VastServer) -> int:
    return int(vast.rent_running(label="fluxlora/my-style/1024")["id"])


def save(folder: Path, instance_id: int) -> None:
    """What the role artifacts leaves behind when everything is at home."""
    manifest = folder / "artifacts" / "my-style" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"vastai_id": instance_id}))


def test_an_instance_that_never_answers_is_destroyed_and_another_machine_tried(
    vast: VastServer, provision: Play, tmp_path: Path
) -> None:
    done = provision(provision_max_attempts=2)
    rented = vast.rented_ids()
    assert done.returncode != 0
    assert len(rented) == 2
    for instance_id in rented:
        assert f"Instance {instance_id} on machine" in done.stdout
        assert vast.instance(instance_id) is None
    assert "has no sshd at 127.0.0.1" in done.stdout
    assert "Nothing is left that costs money." in done.stdout
    failed = [entry for entry in Journal(tmp_path / "state" / "journal.jsonl").entries() if entry.event is Event.FAILED]
    assert [(entry.instance_id, entry.facts["code"]) for entry in failed] == [(each, "no_sshd") for each in rented]
    assert len({entry.facts["machine_id"] for entry in failed}) == 2


def test_an_instance_that_was_there_before_is_kept_when_it_does_not_answer(vast: VastServer, provision: Play) -> None:
    rented = rent(vast)
    done = provision()
    assert done.returncode != 0
    assert f"It was kept, for it may hold checkpoints, and instance {rented} costs $" in done.stdout
    assert "fluxlora destroy my-style" in done.stdout
    assert vast.instance(rented) is not None


def test_an_interruptible_instance_that_was_taken_away_meanwhile_is_given_back_before_another_is_rented(
    vast: VastServer, provision: Play, tmp_path: Path
) -> None:
    (bid,) = vast.call("POST", "/api/v0/bundles/", {"type": "bid", "limit": 1}).json()["offers"]
    rented = vast.rent_running(offer_id=bid["id"], label="fluxlora/my-style/1024", price=bid["min_bid"] * 1.1)["id"]
    vast.call("POST", f"/rehearsal/instances/{rented}/outbid").raise_for_status()
    vast.until(rented, lambda row: row["actual_status"] == "exited")

    done = provision(provision_max_price_per_hour=0.01)

    assert f"Instance {rented} of my-style was outbid: it is destroyed" in done.stdout
    assert "No offer fits, nothing was rented." in done.stdout
    assert vast.ledger()["instances_left"] == 0
    entries = Journal(tmp_path / "state" / "journal.jsonl").entries("my-style")
    assert [entry.event for entry in entries] == [Event.FAILED, Event.DESTROYED]


def test_a_check_says_the_cost_and_rents_nothing(vast: VastServer, provision: Play) -> None:
    done = provision("--check")
    assert done.returncode == 0, done.stdout
    assert "cost range hours range" in done.stdout
    assert vast.rented_ids() == []


def test_the_market_is_looked_at_without_renting_or_telling_a_key(vast: VastServer, provision: Play) -> None:
    done = provision(provision_state="offered")
    assert done.returncode == 0, done.stdout
    assert "cost range hours range" in done.stdout
    assert {request["method"] for request in vast.requests()} == {"GET", "POST"}
    assert [request for request in vast.requests() if request["path"].startswith("/api/v0/ssh")] == []


def test_when_nothing_fits_the_nearest_offers_are_told_with_their_reasons(vast: VastServer, provision: Play) -> None:
    done = provision(provision_max_price_per_hour=0.01)
    assert done.returncode != 0
    assert "No offer fits, nothing was rented." in done.stdout
    assert "needed;" in done.stdout
    assert vast.rented_ids() == []


def test_what_cannot_fit_into_what_is_left_is_refused_with_the_budget_and_the_deadline_that_would_do(
    vast: VastServer, provision: Play, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "state" / "journal.jsonl")
    journal.write(Event.RENTED, "my-style", 1, at=time.time() - 36_000, price_per_hour=1.5)
    journal.write(Event.DESTROYED, "my-style", 1, at=time.time() - 18_000)

    limits = {"provision_budget_usd": 20, "provision_deadline_hours": 12}
    done = provision(**limits)
    assert done.returncode != 0
    assert "$7.50 of $20.00 and 10.0 of 12 hours so far; $7.50 of it at most for 1 earlier" in done.stdout
    assert "have cost in truth `fluxlora audit` asks vast.ai" in done.stdout
    raised = dict(re.findall(r"-e (provision_(?:budget_usd|deadline_hours))=(\d+\.\d+)", done.stdout))
    assert raised.keys() <= limits.keys()
    assert vast.rented_ids() == []

    would_do = limits | {name: float(value) for name, value in raised.items()}
    assert provision("--check", **would_do).returncode == 0


def test_more_runs_than_one_command_may_rent_for_are_refused(vast: VastServer, provision: Play) -> None:
    done = provision(runs=("my-style", "my-cat"))
    assert done.returncode != 0
    assert "provision_max_instances=2" in done.stdout
    assert vast.rented_ids() == []


def test_a_missing_public_key_is_said_with_the_command_that_makes_one(vast: VastServer, provision: Play) -> None:
    done = provision(provision_ssh_key_file="/nowhere/key")
    assert done.returncode != 0
    assert "There is no /nowhere/key.pub. `fluxlora init` makes a pair" in done.stdout
    assert vast.rented_ids() == []


def test_what_is_not_at_home_is_not_destroyed(vast: VastServer, provision: Play, tmp_path: Path) -> None:
    rented = rent(vast)
    save(tmp_path, rented - 1)
    done = provision(provision_state="absent")
    assert done.returncode != 0
    assert "fetch.yml -e run_name=my-style" in done.stdout
    assert f"instance {rented} costs $" in done.stdout
    assert vast.instance(rented) is not None


def test_what_is_at_home_is_destroyed_and_a_second_time_nothing_changes(
    vast: VastServer, provision: Play, tmp_path: Path
) -> None:
    rented = rent(vast)
    save(tmp_path, rented)
    first, second = provision(provision_state="absent"), provision(provision_state="absent")
    assert (first.returncode, second.returncode) == (0, 0), first.stdout
    assert vast.instance(rented) is None
    assert "changed=1" in first.stdout
    assert "changed=0" in second.stdout


def test_what_may_be_thrown_away_is_destroyed(vast: VastServer, provision: Play) -> None:
    rented = rent(vast)
    assert provision(provision_state="absent", provision_destroy_unsaved=True).returncode == 0
    assert vast.instance(rented) is None


def test_a_second_instance_of_a_run_is_not_forgotten(vast: VastServer, provision: Play) -> None:
    older, younger = sorted([rent(vast), rent(vast)])
    done = provision("--limit", "my-style", provision_state="absent", provision_destroy_unsaved=True)
    assert done.returncode != 0
    assert f"my-style has another instance, {younger}" in done.stdout
    assert vast.instance(older) is None


def test_an_instance_is_stopped_and_kept(vast: VastServer, provision: Play) -> None:
    rented = rent(vast)
    assert provision(provision_state="stopped").returncode == 0
    record = vast.instance(rented)
    assert record is not None
    assert record["intended_status"] == "stopped"


@pytest.mark.fault("credit_runs_out")
def test_that_the_credit_ran_out_is_said_by_status_and_by_the_next_try(vast: VastServer, provision: Play) -> None:
    rented = rent(vast)
    vast.fault("credit_runs_out")
    vast.call("GET", "/api/v1/instances/")
    vast.until(rented, lambda row: row["actual_status"] == "exited")
    shown, again = provision(provision_state="reported"), provision()
    assert "(no credit, or outbid): its disk is billed on" in shown.stdout, shown.stdout
    assert again.returncode != 0
    assert f"vast.ai has stopped instance {rented} of my-style: the account has no credit." in again.stdout
    assert "https://cloud.vast.ai/billing/" in again.stdout
    assert vast.rented_ids() == [rented]
