"""The modules for vast.ai through ansible-playbook: bad input, check is changed, real is changed, again is not."""

from __future__ import annotations

import json
import os
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
from fluxlora.journal import Event, Journal

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


def test_an_instance_is_rented_once_and_only_in_earnest(vast: VastServer, play: Callable[..., Results]) -> None:
    wish = RUN | {"offers": offers(vast)}
    checked, real, again = results = play("vastai_instance", wish | {"check_mode": True}, wish, wish)
    assert changes(results) == [True, True, False]
    assert checked["instance"] is None
    assert vast.rented_ids() == [real["instance"]["id"]] == [again["instance"]["id"]]
    assert real["instance"]["label"] == "fluxlora/my-style/512+lokr"
    assert real["attempts"]


def test_the_instances_own_key_is_never_returned(vast: VastServer, play: Callable[..., Results]) -> None:
    (real,) = play("vastai_instance", RUN | {"offers": offers(vast), "env": {"HF_TOKEN": "geheim"}})
    assert "api_key" not in json.dumps(real["instance"])
    assert "geheim" not in json.dumps(real["instance"])


def test_a_wish_without_what_it_needs_is_refused(vast: VastServer, play: Callable[..., Results]) -> None:
    refused = play(
        "vastai_instance",
        {"run": "my-style"},
        {"image": "x"},
        {"state": "absent"},
        {"state": "stopped"},
        {"state": "gone", "run": "my-style"},
    )
    assert [result["failed"] for result in refused] == [True] * 5
    for result, missing in zip(refused, ("image", "run", "run, instance_id", "run", "state"), strict=True):
        assert missing in result["msg"]
    assert vast.rented_ids() == []


def test_a_name_that_is_none_is_refused_with_a_code(vast: VastServer, play: Callable[..., Results]) -> None:
    (refused,) = play("vastai_instance", RUN | {"run": "no/name", "offers": offers(vast)})
    assert (refused["failed"], refused["code"]) == (True, "bad_run_name")
    assert refused["hint"]
    assert vast.rented_ids() == []


def test_a_failure_after_the_rent_says_so_in_codes(vast: VastServer, play: Callable[..., Results]) -> None:
    vast.fault("boot_fails", times=2)
    (failed,) = play("vastai_instance", RUN | {"offers": offers(vast), "max_attempts": 2})
    rented = vast.rented_ids()
    assert (failed["failed"], failed["code"]) == (True, "instance_failed")
    failures = [attempt for attempt in failed["attempts"] if attempt["code"] == "instance_failed"]
    assert [attempt["instance_id"] for attempt in failures] == rented
    assert vast.ledger()["instances_left"] == 0


def test_no_offer_is_a_failure_that_rents_nothing(vast: VastServer, play: Callable[..., Results]) -> None:
    (failed,) = play("vastai_instance", RUN)
    assert (failed["failed"], failed["code"]) == (True, "no_offer")
    assert vast.rented_ids() == []


def test_a_run_is_destroyed_once_and_only_in_earnest(vast: VastServer, play: Callable[..., Results]) -> None:
    rented = vast.rent_running(label="fluxlora/my-style/512")["id"]
    wish = {"state": "absent", "run": "my-style", "poll_seconds": 0.05}
    checked, *_ = results = play("vastai_instance", wish | {"check_mode": True}, wish, wish)
    assert changes(results) == [True, True, False]
    assert checked["instance"]["id"] == rented
    assert [result["instance_absent"] for result in results] == [False, True, True]
    assert len([request for request in vast.requests() if request["method"] == "DELETE"]) == 1
    assert vast.instance(rented) is None


def test_a_run_is_stopped_once_and_started_again(vast: VastServer, play: Callable[..., Results]) -> None:
    vast.rent_running(label="fluxlora/my-style/512+lokr")
    stop = {"state": "stopped", "run": "my-style", "poll_seconds": 0.05}
    results = play("vastai_instance", stop | {"check_mode": True}, stop, stop, RUN, RUN)
    assert changes(results) == [True, True, False, True, False]
    assert results[-1]["instance"]["status"] == "running"
    assert len(vast.rented_ids()) == 1


def test_stopping_what_is_not_there_fails_with_a_code(play: Callable[..., Results]) -> None:
    (failed,) = play("vastai_instance", {"state": "stopped", "run": "my-style"})
    assert (failed["failed"], failed["code"]) == (True, "no_such_instance")


def test_a_public_key_is_registered_once_and_only_in_earnest(vast: VastServer, play: Callable[..., Results]) -> None:
    wish, gone = {"public_key": KEY}, {"public_key": KEY, "state": "absent"}
    results = play("vastai_ssh_key", wish | {"check_mode": True}, wish, wish, gone, gone)
    assert changes(results) == [True, True, False, True, False]


def test_what_is_no_public_key_is_refused_and_not_sent(vast: VastServer, play: Callable[..., Results]) -> None:
    private = "-----BEGIN OPENSSH " + "PRIVATE KEY-----\nAAAA\n"
    refused = play("vastai_ssh_key", {"public_key": "~/.ssh/id_ed25519.pub"}, {"public_key": private})
    assert [result["code"] for result in refused] == ["not_a_public_key", "private_key"]
    assert [request for request in vast.requests() if request["method"] == "POST"] == []


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
    results = play("vastai_audit", wish | {"check_mode": True}, wish, wish, {})
    assert changes(results[:3]) == [True, True, False]
    assert results[0]["settlements"] == results[1]["settlements"] != []
    assert [each.event for each in journal.entries()] == [Event.RENTED, Event.DESTROYED]
    assert results[3]["failed"]


@pytest.mark.parametrize(
    ("module", "wish"),
    [
        ("vastai_instance", {"state": "absent", "run": "my-style"}),
        ("vastai_ssh_key", {"public_key": KEY}),
        ("vastai_audit", {"journal": "/nowhere/journal.jsonl"}),
    ],
)
def test_a_wrong_key_is_a_failure_with_a_code(play: Callable[..., Results], module: str, wish: dict[str, Any]) -> None:
    (failed,) = play(module, wish | {"api_key": "wrong"})
    assert (failed["failed"], failed["code"]) == (True, "bad_api_key")


MODULES = ["vastai_instance", "vastai_ssh_key", "vastai_offer_info", "vastai_audit"]


@pytest.fixture(scope="module")
def documentation() -> dict[str, Any]:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-doc"), "--json", *MODULES],
        env={**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg")},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_documented_as_it_is(documentation: dict[str, Any], module: str) -> None:
    code = f"import json, {module}; print(json.dumps({module}.ARGUMENT_SPEC))"
    spec = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT / "plugins" / "modules",
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    told = documentation[module]
    assert interface(told["doc"]["options"]) == interface(json.loads(spec.stdout))
    assert told["examples"]
    assert {"code", "hint"} <= set(told["return"])


def interface(options: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        name: (option["type"], option.get("default"), option.get("choices"), option.get("required", False))
        for name, option in options.items()
    }
