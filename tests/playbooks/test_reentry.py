"""Whatever dies, the next call goes on from there, nothing is rented twice, and no token is left lying about."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from leaks import command_lines, on_instance, on_this_computer, running
from planted import irregular, planted

from conftest import Bench, kill, wait_for

pytestmark = pytest.mark.timeout(1500)
WANDB_KEY = "0123456789abcdef0123" * 2
# Holds the trainer still in the midst of saving its second checkpoint, or soon after on a busy machine.
HOLD = """
import glob, subprocess, time
until = time.monotonic() + 240
while not glob.glob("/root/SimpleTuner/output/models/checkpoint-8*") and time.monotonic() < until:
    time.sleep(0.002)
subprocess.run(["pkill", "-STOP", "-f", "simpletuner/train.py"])
"""


@dataclass
class Killed:
    """A run whose controller was killed in each phase, told with -vvv, and what was seen of it meanwhile."""

    code: int
    said: str
    # The supervisor's process before and after the controller died.
    trainers: list[int]
    # Processes that followed the training for the killed controller, and still do when the next one fetches.
    following: set[int]
    rents: int
    # What held a token: command lines, files of this computer, files of the instance at three moments.
    command_lines: set[str]
    here: list[str]
    downloading: set[tuple[str, str, str]]
    training: set[tuple[str, str, str]]
    given_back: set[tuple[str, str, str]]
    # A folder with a file beside the artifacts, which links of the host led to.
    private: Path


@pytest.fixture(scope="module")
def killed(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killed]:
    """The one run that both promises below are kept in."""
    folder = tmp_path_factory.mktemp("killed")
    private = bench.folder / "private"
    private.mkdir()
    (private / "file").write_text("of the user")
    log = folder / "log"
    tokens = {"vast": bench.there.api_key, "hub": bench.there.hub_token, "wandb": WANDB_KEY}
    bench.more = {
        "WANDB_API_KEY": WANDB_KEY,
        "TMPDIR": str(folder),
        "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
        "ANSIBLE_LOG_PATH": str(folder / "ansible.log"),
        "ANSIBLE_CACHE_PLUGIN": "jsonfile",
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(folder / "facts"),
    }
    reached = {
        "renting": lambda: bench.instances(),
        "configuring": lambda: "TASK [simpletuner : " in log.read_text(),
        "training": lambda: "is downloaded, in" in log.read_text() and held(bench),
        "fetching": lambda: "TASK [artifacts : Bring the folders home]" in log.read_text(),
    }
    trainers = []
    following: set[int] = set()
    with command_lines(list(tokens.values())) as shown:
        for phase, is_reached in reached.items():
            process = bench.start("train", "killed", log, "-vvv")

            def until(holds, process=process, phase=phase):
                wait_for(lambda: holds() or process.poll() is not None, 300, log)
                assert process.poll() is None, f"ended before {phase}:\n{log.read_text()[-4000:]}"

            if phase == "training":
                until(lambda: "TASK [weights : Download the model]" in log.read_text())
                downloading = on_instance(bench, bench.instances()[0], tokens)
                bench.ssh(bench.instances()[0], "cat >/tmp/hold.py; nohup python3 /tmp/hold.py >&- 2>&- &", given=HOLD)
            until(is_reached)
            kill(process)
            following &= set(running("ansible-playbook", "run_name=killed", str(bench.folder)))
            if phase == "training":
                following = set(running("ansible-playbook", "run_name=killed", str(bench.folder)))
                assert bench.ssh(bench.instances()[0], planted(private)).strip() == "ok"
                bench.ssh(bench.instances()[0], "pkill -9 -f simpletuner/train.py")
                training = on_instance(bench, bench.instances()[0], tokens)
                (folder / "hostvars.json").write_text(bench.hostvars())
            if phase in ("training", "fetching"):
                facts = bench.ssh(bench.instances()[0], "cat /root/.fluxlora/progress.json")
                trainers.append(json.loads(facts)["pid"])
            (folder / f"{phase}.log").write_text(log.read_text())

        # An instance that is not gone until it has been looked at.
        bench.post("/rehearsal/faults", name="destroy_needs_two", times=99)
        process = bench.start("train", "killed", log, "-vvv")
        until(lambda: asked_to_end(bench), process)
        given_back = on_instance(bench, bench.instances()[0], tokens)
        bench.post("/rehearsal/faults", name="destroy_needs_two", times=0)
        code = process.wait(120)
    yield Killed(
        code=code, said=log.read_text(), trainers=trainers, following=following, rents=bench.rents(),
        command_lines=shown,
        here=[*on_this_computer(folder, tokens), *on_this_computer(bench.folder, tokens)],
        downloading=downloading, training=training, given_back=given_back, private=private,
    )  # fmt: skip
    bench.more = {}
    for left in running("ansible-playbook", "run_name=killed", str(bench.folder)):
        with suppress(ProcessLookupError):
            os.kill(left, signal.SIGKILL)


def held(bench: Bench) -> bool:
    """Whether the trainer stands still."""
    return "T" in bench.ssh(bench.instances()[0], "ps -o stat= -p $(pgrep -d, -f simpletuner/train.py)")


def asked_to_end(bench: Bench) -> bool:
    """Whether vast.ai was asked to destroy an instance; the doctor's own questions are of another kind."""
    asked = bench.get("/rehearsal/requests")
    return any(request["method"] == "DELETE" and "/instances/" in request["path"] for request in asked)


def test_after_a_controller_killed_in_each_phase_the_next_call_finishes_the_same_run(bench, killed):
    assert killed.code == 0, killed.said[-4000:]
    configuring = killed.said.partition("PLAY [Prepare the instances for training]")[2].partition("\nPLAY [")[0]
    assert "TASK [weights : " in configuring
    assert "changed: [" not in configuring, "what is configured is left as it is"
    assert killed.rents == 1
    assert bench.instances() == []
    manifest = json.loads((bench.artifacts("killed") / "manifest.json").read_text())
    assert manifest["steps"] == {"done": 12, "asked": 12}
    assert killed.trainers[0] == killed.trainers[1], "the second call attached to the training that went on"
    assert manifest["restarts"] == 1
    assert manifest["checkpoints"] == [4, 8, 12]
    assert not list(bench.artifacts("killed").glob("checkpoint-*-tmp")), "what was half written has stayed there"
    training_log = (bench.artifacts("killed") / "training.log").read_text()
    assert "Loading LoRA weights from Path: " in training_log, "the killed trainer went on from its last checkpoint"
    # Other workers may stay until they are killed: ansible-core lets one that has much to say wait for ever.
    assert killed.following == set(), "the next controller's training was followed by the killed one's worker too"


def test_a_host_brings_files_and_folders_home_and_writes_nowhere_else(bench, killed):
    assert (killed.private / "file").read_text() == "of the user"
    assert [each.name for each in killed.private.iterdir()] == ["file"]
    folder = bench.artifacts("killed")
    assert irregular(folder) == []
    assert (folder / "wandb").is_dir()
    assert (folder / "config" / "config.json").is_file()
    assert json.loads((folder / "manifest.json").read_text())["run"] == "killed"
    assert "'leak' was left on the host" in " ".join(killed.said.split()), "it is named"


def test_tokens_lie_in_one_file_of_the_instance_and_nowhere_else_and_go_before_it_does(killed):
    one = "/root/.fluxlora/train.env"
    assert killed.downloading == {(one, "hub", "0o600")}
    assert killed.training == {(one, "hub", "0o600"), (one, "wandb", "0o600")}
    assert killed.given_back == set()
    assert killed.command_lines == set()
    assert killed.here == [], "logs of -vvv, host variables, facts, temporary files, state, artifacts"


def test_a_host_that_vanishes_while_it_is_configured_is_noticed_within_seconds_and_its_cost_is_said(bench, tmp_path):
    log = tmp_path / "log"
    process = bench.start("train", "vanishing", log)
    wait_for(lambda: "TASK [base : " in log.read_text() or process.poll() is not None, 240, log)
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
    log = tmp_path / "log"
    process = bench.start("train", "leased", log, provision_deadline_hours=24)
    wait_for(lambda: "TASK [python : " in log.read_text() or process.poll() is not None, 240, log)
    kill(process)
    (instance,) = bench.instances()

    # On a busy machine the instance has ended itself before the second call has got that far.
    process = bench.start("train", "leased", log, provision_deadline_hours=0.01, run_settings="changed")
    wait_for(lambda: "TASK [python : " in log.read_text() or process.poll() is not None, 240, log)
    if process.poll() is None:
        kill(process)
    wait_for(lambda: not bench.instances(), 60, log)

    asked = [r["path"] for r in bench.get("/rehearsal/requests") if r["method"] == "DELETE"]
    assert asked[-1].rstrip("/").endswith(f"instances/{instance['id']}")
