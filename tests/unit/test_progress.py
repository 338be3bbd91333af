"""The supervisor on the instance, with a real child that behaves as SimpleTuner does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fluxlora.onhost import supervisor as onhost

TRAINER = Path(__file__).parents[1] / "data/trainer.py"


class Run:
    """One supervised training in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.state, self.output = folder / "state", folder / "output"
        self.process: subprocess.Popen[str] | None = None

    def start(self, behaviour: str, *options: str, steps: int = 6) -> subprocess.Popen[str]:
        trainer = [sys.executable, str(TRAINER), behaviour, str(self.output), str(steps)]
        where = ["--state", str(self.state), "--output", str(self.output)]
        self.process = subprocess.Popen(
            [sys.executable, onhost.__file__, "run", *where, *options, "--", *trainer],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return self.process

    def finish(self, behaviour: str, *options: str) -> int:
        self.start(behaviour, *options).communicate(timeout=60)
        return self.process.returncode

    def facts(self) -> dict[str, Any]:
        return json.loads((self.state / "progress.json").read_text())

    def log(self) -> str:
        return (self.state / "training.log").read_text()

    def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if (self.state / "progress.json").exists() and holds(facts := self.facts()):
                return facts
            time.sleep(0.05)
        raise AssertionError(f"never so: {self.facts()}")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path)
    yield run
    if run.process and run.process.poll() is None:
        run.process.kill()
        run.process.communicate()
    onhost.end_all(run.state)


def test_a_training_that_ends_with_a_whole_adapter_is_finished(run):
    code = run.finish("works")

    facts = run.facts()
    assert (code, facts["phase"], facts["step"], facts["steps"]) == (0, "finished", 6, 6)
    assert facts["adapter"] == str(run.output / "pytorch_lora_weights.safetensors")


def test_loss_rate_and_checkpoints_come_from_the_webhooks_and_the_disk(run):
    run.finish("works")

    facts = run.facts()
    assert (facts["first_loss"], facts["loss"], facts["lr"], facts["epoch"]) == (1.25, 6.25, 1e-4, 1)
    assert facts["checkpoints"] == [2, 4, 6]


def test_the_bar_is_read_when_no_webhooks_come(run):
    code = run.finish("no-webhooks")

    facts = run.facts()
    assert (code, facts["step"], facts["steps"], facts["loss"]) == (0, 6, 6, 6.5)


def test_a_trainer_that_exits_0_without_an_adapter_has_failed_and_its_own_lines_are_kept(run):
    code = run.finish("fails")

    facts = run.facts()
    assert (code, facts["phase"]) == (1, "failed")
    assert facts["errors"][0].endswith("[ERROR] The dataset is empty")
    assert "ValueError: no pictures" in facts["errors"]


def test_a_trainer_that_fails_by_itself_is_not_started_again(run):
    run.finish("fails")

    assert run.facts()["restarts"] == 0


def test_an_adapter_that_is_cut_off_is_no_success(run):
    assert run.finish("cut-off") == 1
    assert run.facts()["errors"][-1].endswith("is cut off")


def test_an_adapter_of_an_earlier_training_is_no_success(run):
    run.finish("works")
    old = time.time() - 3600
    os.utime(run.output / "pytorch_lora_weights.safetensors", (old, old))

    assert run.finish("fails") == 1
    assert run.facts()["errors"][-1].endswith("is older than this training")


def test_an_adapter_before_the_last_step_is_no_success(run):
    assert run.finish("stops-early") == 1
    assert run.facts()["errors"][-1] == "The trainer ended at step 4 of 6."


def test_a_killed_trainer_is_started_again_and_goes_on_from_its_checkpoint(run):
    code = run.finish("killed-once")

    facts = run.facts()
    assert (code, facts["phase"], facts["restarts"]) == (0, "finished", 1)
    assert run.log().count("| 2/6 ") == 1


def test_a_trainer_that_is_killed_each_time_is_given_up_and_the_signal_named(run):
    code = run.finish("killed", "--restarts", "1")

    facts = run.facts()
    assert (code, facts["phase"], facts["restarts"]) == (1, "failed", 1)
    assert any("SIGKILL" in line for line in facts["errors"])


def test_a_trainer_left_over_by_its_killed_launcher_is_ended_before_the_next_start(run):
    run.start("session", steps=12)
    run.until(lambda facts: facts["checkpoints"] != [])
    launcher, trainer = map(int, (run.output / "pids").read_text().split())

    os.kill(launcher, signal.SIGKILL)

    assert run.until(lambda facts: facts["restarts"] == 1)
    assert trainer not in onhost.supervised(run.state)
    assert run.process.wait(60) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_supervisor_that_is_told_to_stop_leaves_no_process_and_says_so(run, number):
    run.start("session", steps=200)
    run.until(lambda facts: facts["step"] > 0)

    run.process.send_signal(number)

    assert run.process.wait(30) == 1
    assert onhost.supervised(run.state) == []
    assert f"The training was stopped by {number.name}." in run.facts()["errors"]


def test_a_supervisor_that_was_killed_leaves_nothing_that_trains_beside_the_next(run):
    run.start("session", steps=200)
    run.until(lambda facts: facts["step"] > 0)
    _, orphan = map(int, (run.output / "pids").read_text().split())
    run.process.kill()
    run.process.communicate()
    assert orphan in onhost.supervised(run.state)

    assert run.finish("works") == 0
    assert onhost.supervised(run.state) == []


def test_a_second_supervisor_of_the_same_folder_is_refused(run):
    run.start("session", steps=200)
    run.until(lambda facts: facts["step"] > 0)

    second = subprocess.run(
        [sys.executable, onhost.__file__, "run", "--state", run.state, "--output", run.output, "--", "true"], timeout=30
    )

    assert second.returncode == 3


def test_a_token_reaches_the_trainer_and_neither_log_nor_errors(run, tmp_path):
    (tmp_path / "train.env").write_text("# comment\nHF_TOKEN='hf_\"secret value'\n")

    run.finish("works", "--env-file", str(tmp_path / "train.env"))

    assert "token is ***" in run.log()
    assert "secret" not in run.log() + json.dumps(run.facts())


def test_the_hubs_client_finds_the_token_while_it_trains_and_no_file_holds_it(run, tmp_path):
    home = tmp_path / "home" / "token"
    home.parent.mkdir()
    home.write_text("an older one")
    (tmp_path / "train.env").write_text("HF_TOKEN=hf_geheim\n")

    run.start("session", "--env-file", str(tmp_path / "train.env"), "--hub-token", str(home), steps=200)
    run.until(lambda facts: facts["step"] > 0)
    assert home.read_text() == "hf_geheim"
    files = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path.name for path in files if "hf_geheim" in path.read_text(errors="replace")] == ["train.env"]

    run.process.kill()
    run.process.communicate()
    assert not home.exists(), "even a supervisor that was killed leaves nothing"


def test_the_token_is_shown_no_longer_than_it_trains(run, tmp_path):
    (tmp_path / "train.env").write_text("HF_TOKEN=hf_geheim\n")
    assert run.finish("works", "--env-file", str(tmp_path / "train.env"), "--hub-token", str(tmp_path / "token")) == 0
    assert not (tmp_path / "token").is_symlink()


def test_each_step_stands_once_in_the_log_with_its_loss(run):
    run.finish("works")

    assert [run.log().count(f"| {step}/6 ") for step in range(1, 7)] == [1] * 6


@pytest.mark.parametrize(("code", "name"), [(-9, "SIGKILL"), (247, "SIGKILL"), (137, "SIGKILL"), (143, "SIGTERM")])
def test_a_signal_is_seen_through_every_way_of_handing_it_on(code, name):
    assert onhost.killer(code) == name


def test_steps_that_follow_each_other_quickly_are_told_in_their_order(tmp_path):
    for _ in range(10):
        seen = onhost.Progress(tmp_path / "progress.json", tmp_path)
        server = onhost.listen(seen)
        for step in (1, 2, 3):
            progress = {"current": step, "total": 3, "metrics": {"loss": step + 0.25}}
            event = {"type": "training.status", "data": {"status": "running"}, "progress": progress}
            url = f"http://127.0.0.1:{server.server_address[1]}/"
            urllib.request.urlopen(url, json.dumps(event).encode(), timeout=5).close()
        server.shutdown()
        server.server_close()
        assert (seen.facts["first_loss"], seen.facts["loss"]) == (1.25, 3.25)


# As the launcher for several GPUs ends: what it has ended itself, then the cause.
SEVERAL = """
Traceback (most recent call last):
  File "torch/distributed/launcher/api.py", line 277, in launch_agent
    raise ChildFailedError(
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
train.py FAILED
------------------------------------------------------------
Failures:
[1]:
  exitcode  : -15 (pid: 78) (SIGTERM)
  traceback : Signal 15 (SIGTERM) received by PID 78
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  exitcode  : {code}
  traceback : {words}
============================================================
"""


@pytest.mark.parametrize(
    ("code", "words", "signal"),
    [
        ("-9 (pid: 77) (SIGKILL)", "Signal 9 (SIGKILL) received by PID 77", "SIGKILL"),
        ("1 (pid: 77)", "To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html", None),
    ],
)
def test_of_several_processes_that_one_counts_which_ended_first(tmp_path, code, words, signal):
    seen = onhost.Progress(tmp_path / "progress.json", tmp_path)
    for line in SEVERAL.format(code=code, words=words).splitlines():
        seen.line(line)
    assert seen.killed_by == signal
    assert seen.traceback == [], "the launcher's own exception says no more than that it has ended"


@pytest.mark.parametrize("code", [0, 1, 2, 127])
def test_an_ordinary_exit_status_is_no_signal(code):
    assert onhost.killer(code) is None
