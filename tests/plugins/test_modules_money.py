"""The modules that reckon with money and losses, through ansible-playbook: in one play, for each takes seconds."""

from __future__ import annotations

import time
from pathlib import Path

import playing
import pytest

from conftest import VastServer
from fluxlora.money.journal import Event, Journal

HOUR = 3600


def test_what_is_left_what_the_lease_follows_and_from_where_a_lost_run_goes_on(
    vast: VastServer, tmp_path: Path
) -> None:
    begin = time.time() - 6 * HOUR
    journal = Journal(tmp_path / "journal.jsonl")
    journal.write(Event.RENTED, "my-style", 1, at=begin, price_per_hour=1.0)
    journal.write(Event.FAILED, "my-style", 1, at=begin + 2 * HOUR, code="outbid", used=True)
    journal.write(Event.DESTROYED, "my-style", 1, at=begin + 2 * HOUR)
    state = tmp_path / "home" / "checkpoint-40" / "training_state.json"
    state.parent.mkdir(parents=True)
    state.write_text("{}")
    rented = vast.rent_running(label="fluxlora/my-style/512")["id"]

    about = {"run": "my-style", "journal": str(journal.path)}
    limits = {"budget_usd": 20, "deadline_hours": 24}
    there = {"id": 2, "started_at": begin + 3 * HOUR, "price_per_hour": 1.0, "inet_down_usd_per_gb": 0.1}
    nowhere = {"run": "my-style", "journal": str(tmp_path / "nowhere.jsonl")}
    unlimited, misspelt, left, leased, run, new, unread = playing.play(
        vast,
        tmp_path,
        [
            ("run_budget_info", about),
            ("run_budget_info", about | limits | {"work": {"stepz": 5}}),
            ("run_budget_info", about | limits),
            ("run_budget_info", about | limits | {"instance": there, "meter": {"bytes_down": 10e9, "bytes_up": 0}}),
            ("run_info", about | limits | {"path": str(tmp_path / "home")}),
            ("run_info", nowhere | limits | {"path": str(tmp_path / "home"), "instance": {}}),
            ("run_info", about | limits | {"path": str(tmp_path / "home"), "journal": str(tmp_path)}),
        ],
    )

    assert (unlimited["code"], misspelt["code"]) == ("no_limits", "bad_input")
    assert (left["spent_usd"], left["left_usd"]) == (pytest.approx(2), pytest.approx(18))
    assert left["left_hours"] == pytest.approx(18, abs=0.1)
    assert "lease" not in left
    assert leased["meters"]["bytes"] == pytest.approx(1)
    assert leased["spent_usd"] == pytest.approx(2 + 3 + 1, abs=0.1)
    # 90 GB are allowed to be fetched, 10 more are the image's, and 13 come while the guard is late.
    assert leased["lease"]["ends_at"] == pytest.approx(begin + 3 * HOUR + (18 - 11.3 - 0.7) * HOUR, abs=0.2 * HOUR)
    assert (run["instance"]["id"], run["usable"], run["loss"]) == (rented, True, ""), "vast.ai was asked"
    assert (run["local"]["step"], run["local"]["replacements"], new["local"]["step"]) == (40, 1, 0)
    assert run["checkpoint"] == {"step": 40, "folder": str(state.parent)}
    assert (run["may_destroy"], run["unfinished"]) == (False, True)
    assert f"my-style: instance {rented}, " in run["description"]
    assert "its artifacts were NOT downloaded" in run["description"]
    assert (new["instance"], new["usable"], new["unfinished"], new["may_destroy"]) == (None, False, False, True)
    assert new["cost"]["left_usd"] == 20
    assert unread["code"] == "no_journal"


def test_only_an_interruptible_instance_is_called_lost_and_waited_for(vast: VastServer, tmp_path: Path) -> None:
    (*_, bid) = vast.call("POST", "/api/v0/bundles/", {"type": "bid", "num_gpus": {"eq": 1}}).json()["offers"]
    fixed = vast.rent_running(label="fluxlora/fixed/512")["id"]
    taken = vast.rent_running(offer_id=bid["id"], label="fluxlora/taken/512", price=bid["min_bid"] * 1.1)["id"]
    for number in (fixed, taken):
        vast.call("POST", f"/rehearsal/instances/{number}/lose").raise_for_status()
        vast.until(number, lambda row: row["actual_status"] != "running")

    refused, *seen, nowhere = playing.play(
        vast,
        tmp_path,
        [
            ("vastai_loss_info", {}),
            *(("vastai_loss_info", {"instance_id": number}) for number in (fixed, taken)),
            ("vastai_loss_info", {"instance_id": taken, "api_key": "wrong", "timeout_seconds": 0.5}),
        ],
    )

    assert "instance_id" in refused["msg"]
    assert [(result["changed"], result["loss"]) for result in seen] == [(False, ""), (False, "lost")]
    assert nowhere["loss"] == "", "what is not known is no loss"
