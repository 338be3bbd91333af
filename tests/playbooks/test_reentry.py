"""Whatever dies, the next call goes on from there, and nothing is rented twice."""

from __future__ import annotations

import json
import time

import pytest

from conftest import kill, wait_for

pytestmark = pytest.mark.timeout(1500)


def test_after_a_controller_killed_in_each_phase_the_next_call_finishes_the_same_run(bench, tmp_path):
    log = tmp_path / "log"
    reached = {
        "renting": lambda: bench.instances(),
        "configuring": lambda: "TASK [simpletuner : " in log.read_text(),
        "training": lambda: "checkpoint 4 is home" in log.read_text(),
        "fetching": lambda: "TASK [artifacts : Bring the folders home]" in log.read_text(),
    }
    trainers = []
    for phase, is_reached in reached.items():
        process = bench.start("train", "killed", log)
        wait_for(lambda is_reached=is_reached, process=process: is_reached() or process.poll() is not None, 300, log)
        assert process.poll() is None, f"ended before {phase}:\n{log.read_text()[-4000:]}"
        kill(process)
        if phase == "training":
            bench.ssh(bench.instances()[0], "pkill -9 -f simpletuner/train.py")
        if phase in ("training", "fetching"):
            trainers.append(json.loads(bench.ssh(bench.instances()[0], "cat /root/.fluxlora/progress.json"))["pid"])

    done = bench.play("train", "killed")

    assert done.returncode == 0, done.stdout[-4000:]
    configuring = done.stdout.partition("PLAY [Prepare the instances for training]")[2].partition("\nPLAY [")[0]
    assert "TASK [weights : " in configuring
    assert "changed: [" not in configuring, "what is configured is left as it is"
    assert bench.rents() == 1
    assert bench.instances() == []
    manifest = json.loads((bench.artifacts("killed") / "manifest.json").read_text())
    assert manifest["steps"] == {"done": 12, "asked": 12}
    assert trainers[0] == trainers[1], "the second call attached to the training that went on"
    assert manifest["restarts"] == 1
    training_log = (bench.artifacts("killed") / "training.log").read_text()
    assert "Loading LoRA weights from Path: " in training_log, "the killed trainer went on from its last checkpoint"


def test_a_host_that_vanishes_while_it_is_configured_is_noticed_within_seconds_and_its_cost_is_said(bench, tmp_path):
    log = tmp_path / "log"
    process = bench.start("train", "vanishing", log)
    wait_for(lambda: "TASK [python : " in log.read_text() or process.poll() is not None, 240, log)
    (instance,) = bench.instances()

    bench.post(f"/rehearsal/instances/{instance['id']}/vanish")
    began = time.monotonic()
    code = process.wait(90)

    text = log.read_text()
    assert code != 0, text[-3000:]
    assert time.monotonic() - began < 45, text[-3000:]
    assert "UNREACHABLE" in text
    assert f"Instance {instance['id']} of vanishing may still cost $" in text
    assert "destroy.yml -e run_name=vanishing" in text

    given_back = bench.play(
        "destroy", "vanishing", provision_destroy_unsaved="true", provision_destroy_confirmed="true"
    )
    assert given_back.returncode == 0, given_back.stdout[-3000:]
    assert bench.instances() == []


def test_with_its_controller_gone_an_instance_ends_itself_when_the_last_deadline_it_was_told_is_over(bench, tmp_path):
    for deadline_hours in (24, 0.01):
        log = tmp_path / f"{deadline_hours}.log"
        process = bench.start("train", "leased", log, provision_deadline_hours=deadline_hours)
        wait_for(lambda log=log, process=process: "TASK [python : " in log.read_text() or process.poll(), 240, log)
        kill(process)
    (instance,) = bench.instances()

    wait_for(lambda: not bench.instances(), 60)

    asked = [r["path"] for r in bench.get("/rehearsal/requests") if r["method"] == "DELETE"]
    assert asked[-1].rstrip("/").endswith(f"instances/{instance['id']}")
