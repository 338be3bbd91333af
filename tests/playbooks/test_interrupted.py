"""An interruptible instance that is taken away in the middle of a training is replaced, and the training goes on."""

from __future__ import annotations

import json

import pytest

from conftest import wait_for
from fluxlora.journal import Event, Journal

pytestmark = pytest.mark.timeout(2000)

BUDGET_USD = 5


def test_a_training_that_is_outbid_goes_on_from_its_last_checkpoint_on_another_host_within_its_budget(bench, tmp_path):
    log = tmp_path / "log"
    wishes = {"provision_interruptible": "true", "provision_budget_usd": BUDGET_USD, "simpletuner_max_train_steps": 16}
    process = bench.start("train", "outbid", log, run_presets="512,lokr", **wishes)
    wait_for(lambda: "checkpoint 8 is home" in log.read_text() or process.poll() is not None, 900, log)
    (first,) = bench.instances()
    assert first["is_bid"]

    bench.post(f"/rehearsal/instances/{first['id']}/outbid")

    assert process.wait(900) == 0, log.read_text()[-4000:]
    text = log.read_text()
    assert f"Instance {first['id']} of outbid was outbid" in text
    assert "outbid goes on from checkpoint 8" in text
    manifest = json.loads((bench.artifacts("outbid") / "manifest.json").read_text())
    assert manifest["steps"] == {"done": 16, "asked": 16}
    assert "Resuming from checkpoint" in (bench.artifacts("outbid") / "training.log").read_text()
    rented = Journal(bench.folder / "state" / "journal.jsonl").entries("outbid")
    assert len({entry.facts["machine_id"] for entry in rented if entry.event is Event.RENTED}) == 2
    ledger = bench.get("/rehearsal/ledger")
    assert bench.rents() == 2
    assert ledger["instances_left"] == 0
    assert ledger["total_usd"] <= manifest["cost_usd"]["total"] <= BUDGET_USD
