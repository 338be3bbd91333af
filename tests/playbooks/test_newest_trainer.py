"""SimpleTuner 4.10.1 trains a LoRA and a LoKr by one command, and each that is killed goes on from its last checkpoint.

Those of 3.1.6 are trained and killed on the way in test_reentry.py and test_failures.py.
"""

from __future__ import annotations

import json
import re

import pytest

from conftest import PROJECT, wait_for

pytestmark = pytest.mark.timeout(2400)

VERSION = "4.10.1"
RUNS = {"newest-lora": "lora", "newest-lokr": "lokr"}
# So many that each is still training when its controller, on a busy machine, says what is home.
STEPS = 30
# Of the trainer's bar.
STEP = re.compile(rf"\| (\d+)/{STEPS} \[")


def test_two_trainings_of_one_command_are_killed_and_go_on_from_their_last_checkpoints(bench, tmp_path):
    log, presets = tmp_path / "log", tmp_path / "presets.yml"
    presets.write_text("all: {hosts: {newest-lora: {run_presets: '512'}, newest-lokr: {run_presets: '512,lokr'}}}")
    inventories = (PROJECT / "inventory" / "runs.yml", PROJECT / "inventory" / "vastai.yml", presets)
    process = bench.start(
        "train",
        ",".join(RUNS),
        log,
        *(word for file in inventories for word in ("-i", str(file))),
        provision_max_instances=len(RUNS),
        simpletuner_version=VERSION,
        simpletuner_max_train_steps=STEPS,
        simpletuner_validation_on_startup="false",
    )
    for run in RUNS:
        home = f"{run}: checkpoint 4 is home"
        wait_for(lambda home=home: home in log.read_text() or process.poll() is not None, 900, log)
        (instance,) = [each for each in bench.instances() if each["label"].startswith(f"fluxlora/{run}/")]
        bench.ssh(instance, "pkill -9 -f simpletuner/train.py")

    assert process.wait(900) == 0, log.read_text()[-4000:]
    assert bench.instances() == []
    assert len(bench.get("/rehearsal/ledger")["instances"]) == len(RUNS)
    for run, kind in RUNS.items():
        manifest = json.loads((bench.artifacts(run) / "manifest.json").read_text())
        assert manifest["versions"]["simpletuner"] == VERSION
        assert manifest["steps"] == {"done": STEPS, "asked": STEPS}
        assert manifest["restarts"] == 1
        assert (manifest["adapter"]["kind"], manifest["adapter"]["learned"]) == (kind, True)
        before, _, after = (
            (bench.artifacts(run) / "training.log").read_text().partition("The trainer was killed by SIGKILL")
        )
        checkpoint = int(re.match(r"; its last checkpoint is \[(\d+)\]", after)[1])
        assert int(STEP.findall(before)[0]) <= 1
        assert int(STEP.findall(after)[0]) in (checkpoint, checkpoint + 1)
        drawn = {each.name for each in (bench.artifacts(run) / "validation_images").glob("*.png")}
        assert any(name.startswith(f"step_{STEPS}_") for name in drawn), drawn
