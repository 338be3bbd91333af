"""Every fault of the market through the real module: which instances are left, what they cost, and what is said."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import playing
import pytest
from lookup.stage import Stage

from conftest import VastServer

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPJUmxgsPBPU4vLlOCRfl6EvVYJzHEvCHeRzLfHTjbm7 anna@laptop"
# Short where the fault makes it wait for the end of it, long where a busy machine might.
WISH = {
    "image": "vastai/base-image", "disk_gb": 20, "poll_seconds": 0.05, "boot_timeout_seconds": 20,
    "appear_timeout_seconds": 0.5, "lost_timeout_seconds": 10, "ssh_timeout_seconds": 1, "network_timeout_seconds": 1,
    "destroy_timeout_seconds": 20, "request_timeout_seconds": 20,
}  # fmt: skip
FOR_EVER = 10_000


@dataclass(frozen=True)
class Case:
    """A fault, the wish that meets it, and what must have become of it."""

    fault: str
    # The module's code when it fails, none when it does not; what it tried, by the codes.
    code: str = ""
    tried: tuple[str, ...] = ()
    # In its message, hint or attempts.
    says: str = ""
    # Instances ever made, and left.
    made: int = 1
    left: int = 1
    times: int = 1
    # What is wished otherwise.
    wish: dict[str, Any] = field(default_factory=dict)
    # Whether the run has an instance before.
    before: bool = False
    # Whether those that were destroyed have cost GPU time.
    ran: bool = False
    module: str = "vastai_instance"
    name: str = ""

    @property
    def run(self) -> str:
        return self.name or self.fault


LOST = {"tried": ("rented",), "says": "was found by its label"}
NOTHING = {"made": 0, "left": 0}
NEXT = {"tried": ("offer_gone", "rented"), "says": "was gone"}
ELSEWHERE = {"made": 2, "says": "It was destroyed, and cost $"}
END: dict[str, Any] = {"before": True, "wish": {"state": "absent"}, "left": 0, "ran": True}
# Any file does where nobody is let in.
LOGIN = {"private_key_file": __file__, "max_attempts": 1}

CASES = (
    Case(
        "search_quota", code="search_quota_exceeded", says="midnight UTC", module="vastai_offer_info", **NOTHING,
        wish={},
    ),
    Case("rent_then_504", **LOST),
    Case("rent_then_dropped", **LOST),
    Case("rent_reply_cut", **LOST),
    Case("rent_reply_late", **LOST, wish={"request_timeout_seconds": 1}),
    Case("rent_seen_late", **LOST),
    Case("rent_without_id", **LOST),
    Case("rent_then_page", **LOST),
    Case(
        "rent_dropped", code="rent_unclear", says="https://cloud.vast.ai/instances/", **NOTHING,
        wish={"lost_timeout_seconds": 0.3},
    ),
    Case("rent_made_twice", tried=("rented", "surplus"), says="was a second one", made=2, ran=True),
    Case("offer_gone", **NEXT),
    Case("offer_gone_404", **NEXT),
    Case("offer_gone_410", **NEXT),
    Case("rent_rate_limited", tried=("rented",), times=2),
    Case("rent_rate_limited_a_second", tried=("rented",)),
    Case("rent_refused_but_made", tried=("rent_refused", "rented"), says="price too low", made=2),
    Case("no_credit", code="no_credit", says="https://cloud.vast.ai/billing/. No instance is left that", **NOTHING),
    Case("list_500", times=2),
    Case("list_500", code="unavailable", says="500", times=FOR_EVER, **NOTHING, name="list_500_for_ever"),
    Case("list_502", times=2),
    Case("list_520", times=2),
    Case("list_page_200", times=2),
    Case("list_dropped", times=2),
    Case("list_cut", times=2),
    Case("list_rate_limited", times=2),
    Case("list_rate_limited_a_second"),
    Case("list_rate_limited_a_day", code="rate_limited", says="asks to wait 86400 s", **NOTHING),
    Case("list_refused_200", code="unavailable", says="Something went wrong", **NOTHING),
    Case("list_repeats_its_cursor", code="unavailable", says="repeats a page", times=2, **NOTHING),
    Case("list_odd_rows", times=FOR_EVER),
    Case("thirty_foreign_instances", tried=("found",), times=FOR_EVER, before=True),
    Case("auth_401", code="bad_api_key", says="VAST_API_KEY", **NOTHING),
    Case("auth_404", code="bad_api_key", says="VAST_API_KEY", **NOTHING),
    Case("forbidden_403", code="forbidden", says="instance_read", **NOTHING),
    Case("destroy_502", tried=("destroyed",), times=2, **END),
    Case("destroy_refused", tried=("destroyed", "asked_again"), times=2, **END),
    Case("destroy_needs_two", tried=("destroyed", "asked_again"), says="2 times", **END),
    Case("destroy_comes_back", tried=("destroyed", "asked_again"), says="2 times", **END),
    Case("destroy_404", tried=("destroyed",), **END),
    Case(
        "destroy_needs_two", code="destroy_unverified", says="is still listed", times=FOR_EVER, before=True,
        wish={"state": "absent", "destroy_timeout_seconds": 0.3}, name="destroy_lies_for_ever",
    ),
    Case("stuck_loading", tried=("rented", "boot_timeout", "rented"), **ELSEWHERE, wish={"boot_timeout_seconds": 2}),
    Case(
        "stuck_loading", code="boot_timeout", says="cost $", times=FOR_EVER, made=2, left=0, name="stuck_for_ever",
        wish={"boot_timeout_seconds": 0.3, "max_attempts": 2},
    ),
    Case("slow_to_show", tried=("rented",)),
    Case("boot_fails", tried=("rented", "instance_failed", "rented"), **ELSEWHERE),
    Case("image_missing", tried=("rented", "image_missing", "rented"), **ELSEWHERE),
    Case("exits_at_once", tried=("rented", "instance_failed", "rented"), **ELSEWHERE),
    Case(
        "goes_offline", tried=("rented", "instance_offline", "rented"), says="will not run: offline (", made=2,
    ),
    Case("status_unknown", tried=("rented", "instance_offline", "rented"), **ELSEWHERE),
    Case("no_ports", tried=("rented", "no_ports", "rented"), **ELSEWHERE, ran=True),
    Case("small_disk", tried=("rented", "disk_too_small", "rented"), **ELSEWHERE),
    Case("price_raised", tried=("rented", "price_changed", "rented"), **ELSEWHERE),
    Case("never_ssh", code="no_sshd", says="refused", left=0, ran=True, wish=LOGIN),
    Case("network_dead", code="network_dead", says="has not answered", left=0, ran=True, wish=LOGIN),
    Case("credit_runs_out", code="no_credit", says="Its disk still costs money", before=True),
    Case("key_revoked", tried=("found",), before=True, wish={"public_key": KEY}),
)  # fmt: skip


@pytest.fixture(scope="module")
def played(vast_server: VastServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the module returned, and what the stand-in had seen then, for each case; all in one playbook."""
    folder = tmp_path_factory.mktemp("faults")
    scenes = {
        case.run: {"faults": {case.fault: case.times}, "label": f"fluxlora/{case.run}/" if case.before else None}
        for case in CASES
    }
    told = {"url": vast_server.url, "api_key": vast_server.api_key, "scenes": scenes}
    (folder / "scenes.json").write_text(json.dumps(told))
    results = playing.play(
        vast_server, folder, [(case.module, wish(case)) for case in CASES],
        STAGE=str(folder), ANSIBLE_LOOKUP_PLUGINS=str(Path(__file__).parent / "lookup"),
    )  # fmt: skip
    Stage(folder).leave()
    return {
        case.run: {**json.loads((folder / f"{case.run}.seen.json").read_text()), "result": result}
        for case, result in zip(CASES, results, strict=True)
    }


def wish(case: Case) -> dict[str, Any]:
    offers = "{{ lookup('stage', '" + case.run + "') }}"
    if case.module == "vastai_offer_info":
        # An option that does not matter, for the stage's sake.
        return {"gpu_names": offers, **case.wish}
    return {**WISH, "run": case.run, "offers": offers, **case.wish}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.run)
def test_a_fault_leaves_costs_and_says_what_it_should(case: Case, played: dict[str, dict[str, Any]]) -> None:
    seen = played[case.run]
    result, meters = seen["result"], seen["ledger"]["instances"]
    said = " ".join([result.get("msg", ""), result.get("hint", ""), *(each["sentence"] for each in attempts(result))])
    assert (result.get("code", "") if result.get("failed") else "") == case.code, said
    assert case.says in said
    assert not case.tried or tuple(each["code"] for each in attempts(result)) == case.tried

    kept = [each for each in meters if not each["closed"]]
    assert (len(meters), len(kept)) == (case.made, case.left), said
    if case.code and kept:
        assert result["instance_id"] == kept[0]["id"]

    # The GPU of what never ran is not paid, but for the moment in which a busy machine's instance had begun to run:
    # $0.0001 is a third of a second at $1 an hour. What is told is never less than what was paid but for what a busy
    # machine is late, and no more than some seconds cost.
    closed = [each for each in meters if each["closed"]]
    assert case.ran or all(each["usd"]["gpu"] < 0.0001 for each in closed)
    spent = sum(sum(each["usd"].values()) for each in closed)
    assert 0.8 * spent - 0.0001 <= sum(each["usd"] for each in attempts(result)) <= spent + 0.001


def attempts(result: dict[str, Any]) -> list[dict[str, Any]]:
    return list(result.get("attempts", []))


def times_of_rents(seen: dict[str, Any]) -> list[float]:
    return [each["at"] for each in seen["requests"] if each["method"] == "PUT" and "/asks/" in each["path"]]


def test_a_rent_is_sent_again_only_after_a_refusal_that_did_nothing(played: dict[str, dict[str, Any]]) -> None:
    sent = {case.run: len(times_of_rents(played[case.run])) for case in CASES if not case.before}
    once = {name for name, count in sent.items() if count == 1}
    assert {case.run for case in CASES if case.says == LOST["says"]} | {"rent_dropped", "no_credit"} <= once
    assert (sent["rent_rate_limited"], sent["rent_rate_limited_a_second"]) == (3, 2)


def test_the_second_that_vast_ai_asks_for_is_waited(played: dict[str, dict[str, Any]]) -> None:
    first, second = times_of_rents(played["rent_rate_limited_a_second"])
    assert second - first >= 1


def test_the_instances_of_others_are_left_alone(played: dict[str, dict[str, Any]]) -> None:
    asked = [
        each
        for each in played["thirty_foreign_instances"]["requests"]
        if each["user_agent"].startswith("vastai")  # not those of the stage
    ]
    assert {each["method"] for each in asked} == {"GET"}
    assert any("after_token" in each["query"] for each in asked)
