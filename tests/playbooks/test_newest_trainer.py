"""SimpleTuner 4.10.1 trains a LoRA and a LoKr, and one that is killed goes on from its last checkpoint.

Those of 3.1.6 are trained and killed on the way in test_reentry.py and test_failures.py.
"""

from __future__ import annotations

import json
import re

import pytest

from conftest import wait_for

pytestmark = pytest.mark.timeout(2400)

VERSION = "4.10.1"
# Of the trainer's bar.
STEP = re.compile(r"\| (\d+)/12 \[")


@pytest.mark.parametrize("kind", ["lora", "lokr"])
def test_a_trainer_that_is_killed_goes_on_from_its_last_checkpoint(bench, tmp_path, kind):
    log, run = tmp_path / "log", f"newest-{kind}"
    process = bench.start(
        "train",
        run,
        log,
        simpletuner_version=VERSION,
        run_presets="512,lokr" if kind == "lokr" else "512",
        simpletuner_validation_on_startup="false",
    )
    wait_for(lambda: "checkpoint 4 is home" in log.read_text() or process.poll() is not None, 900, log)
    (instance,) = bench.instances()
    bench.ssh(instance, "pkill -9 -f simpletuner/train.py")

    assert process.wait(900) == 0, log.read_text()[-4000:]
    manifest = json.loads((bench.artifacts(run) / "manifest.json").read_text())
    assert manifest["versions"]["simpletuner"] == VERSION
    assert manifest["steps"] == {"done": 12, "asked": 12}
    assert manifest["restarts"] == 1
    assert (manifest["adapter"]["kind"], manifest["adapter"]["learned"]) == (kind, True)
    before, _, after = (
        (bench.artifacts(run) / "training.log").read_text().partition("The trainer was killed by SIGKILL")
    )
    checkpoint = int(re.match(r"; its last checkpoint is \[(\d+)\]", after)[1])
    assert int(STEP.findall(before)[0]) <= 1
    assert int(STEP.findall(after)[0]) in (checkpoint, checkpoint + 1)
    drawn = {each.name for each in (bench.artifacts(run) / "validation_images").glob("*.png")}
    assert any(name.startswith("step_12_") for name in drawn), drawn
    assert bench.instances() == []
