"""The command for people who don't know Ansible: each verb is a playbook, and Ctrl-C never costs more than it must."""

from __future__ import annotations

import os
import pty
import re
import shlex
import signal
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest
import yaml
from leaks import running

from conftest import DATASET, PROJECT, Bench, wait_for
from fluxlora.cli import cli
from fluxlora.money.journal import Event, Journal
from fluxlora.process import mark
from fluxlora.runner import run_settings

pytestmark = pytest.mark.timeout(1500)


def settings(bench: Bench) -> list[str]:
    given = {
        "run_rehearsal": "true",
        "provision_ssh_key_file": str(bench.ssh_key),
        "artifacts_dir": str(bench.folder / "artifacts"),
    }
    return [word for item in given.items() for word in ("--set", "=".join(item))]


def command(bench: Bench, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["fluxlora", *words], cwd=PROJECT, env=bench.environment, capture_output=True, text=True, timeout=300
    )


def start(environment: dict[str, str], log: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["fluxlora", *words],
        cwd=PROJECT,
        env=environment | {"PYTHONUNBUFFERED": "1"},
        stdout=log.open("w"),
        stderr=subprocess.STDOUT,
        text=True,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def test_every_verb_is_a_playbook_and_every_playbook_a_verb():
    verbs = set(cli.commands) - {"rehearse", "rehearsal"}
    files = PROJECT.glob("[!.]*.yml")
    assert verbs == {file.stem for file in files if isinstance(yaml.safe_load(file.read_text()), list)}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["status"], "nothing of it costs money"),
        (["destroy", "--all"], "nothing of it costs money"),
    ],
)
def test_where_nothing_is_rented_it_is_said(paper, words, sentence):
    done = command(paper, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sentence in done.stdout


@pytest.mark.parametrize("verb", ["destroy", "fetch", "status", "stop"])
def test_a_run_that_does_not_exist_is_a_mistake(paper, verb):
    done = command(paper, verb, "nobody")
    assert done.returncode != 0
    assert "nobody has no instance" in done.stdout


@pytest.mark.parametrize(
    ("verb", "sentence"),
    [
        ("status", "nobody and someone have no instance"),
        ("fetch", "nobody and someone have no instance"),
        ("stop", "nobody and someone have no instance"),
    ],
)
def test_of_several_runs_each_is_looked_for(paper, verb, sentence):
    done = paper.play(verb, "nobody,someone")
    assert sentence in " ".join((done.stdout + done.stderr).split())


def test_without_a_key_one_sentence_says_what_to_do(paper, tmp_path):
    environment = {k: v for k, v in paper.environment.items() if k != "VAST_API_KEY"} | {"HOME": str(tmp_path)}
    done = subprocess.run(
        ["fluxlora", "status"], cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0
    (sentence,) = (done.stdout + done.stderr).splitlines()
    assert "export VAST_API_KEY=" in sentence


# A folder of that name is what people have; as a pattern of Ansible's it stood for no host, and all ended well.
@pytest.mark.parametrize(
    "name", ["My Style", "my-*", "!my-style", "a:b", "", "my--style", "vastai", "localhost", "a,,b"]
)
@pytest.mark.parametrize(
    "words", [("plan", str(DATASET), "--name"), ("destroy", "--yes"), ("doctor", "-e", "doctor_subjects=ssh")]
)
def test_a_name_that_no_run_can_have_is_refused_and_not_taken_for_a_pattern(paper, words, name):
    done = command(paper, *words, f"{name or ' '}")
    assert done.returncode != 0
    assert done.stdout.count("!! ") == 1
    assert "not a name for a run" in done.stdout or "cannot be called" in done.stdout


@pytest.mark.parametrize("words", [["destroy", "{{ 1 / 0 }}"], ["status", "a\x1b[2J"], ["presets", "{% raw %}"]])
def test_words_that_ansible_or_a_terminal_would_read_are_refused(paper, words):
    done = command(paper, *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot be the name of a run" in done.stderr


def test_a_key_with_space_around_it_is_the_key(paper):
    paper.more["VAST_API_KEY"] = f" {paper.there.api_key}\n"
    done = command(paper, "status")
    del paper.more["VAST_API_KEY"]
    assert done.returncode == 0, done.stdout


def test_no_token_lies_on_disk_or_in_a_command_line_while_a_playbook_runs_and_nothing_is_left(paper, tmp_path):
    folders = {Path("/dev/shm"), tmp_path}
    before = {found for folder in folders for found in folder.glob("fluxlora-*")}
    tokens = (paper.there.api_key, paper.there.hub_token)
    leaks: set[str] = set()
    over = threading.Event()

    def sample() -> None:
        while not over.is_set():
            files = [f for folder in folders for new in set(folder.glob("fluxlora-*")) - before for f in new.rglob("*")]
            for file in [*files, *Path("/proc").glob("[0-9]*/cmdline")]:
                try:
                    text = file.read_text(errors="replace") if file.is_file() else ""
                except OSError:
                    continue
                leaks.update(str(file) for token in tokens if token in text)

    watcher = threading.Thread(target=sample)
    watcher.start()
    done = subprocess.run(
        ["fluxlora", "plan", str(DATASET), "--name", "secretive", *settings(paper)],
        cwd=PROJECT,
        env=paper.environment | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    over.set()
    watcher.join()

    assert done.returncode == 0, done.stdout + done.stderr
    assert not leaks
    assert {found for folder in folders for found in folder.glob("fluxlora-*")} <= before


def test_ctrl_c_leaves_the_training_stop_keeps_the_instance_and_one_that_vanishes_is_noticed_and_costed(
    bench, tmp_path
):
    log = tmp_path / "log"
    words, token = ["train", str(DATASET), "--name", "left", *settings(bench)], bench.there.hub_token
    process = start(
        bench.environment, log, *words, "-e", "simpletuner_max_train_steps=400", "-e", f"weights_token={token}"
    )
    bench.started.append(process)
    wait_for(lambda: "training, step" in log.read_text() or process.poll() is not None, 900, log)

    # Its folder is named after the command that plays it: others may be playing beside it.
    own = ("ansible-playbook", f"/fluxlora-{mark(process.pid).rpartition('.')[0]}.")
    assert running(*own)

    os.kill(process.pid, signal.SIGINT)

    assert process.wait(60) == 130, log.read_text()
    said = log.read_text()
    (back,) = re.findall(r"Come back:  (.*)", said)
    given = [word for setting in settings(bench) for word in (["-e"] if setting == "--set" else [setting])]
    called = [*words[:4], *given, "-e", "simpletuner_max_train_steps=400"]
    assert shlex.split(back) == ["fluxlora", *called]
    assert "fluxlora status left" in said
    assert "fluxlora destroy left" in said
    file = run_settings.file_of(bench.folder / "state" / "runs", "left")
    assert (stat.S_IMODE(file.stat().st_mode), token in said + file.read_text()) == (0o600, False)
    assert not running(*own)
    (instance,) = bench.instances()
    look = "cat /root/.fluxlora/progress.json"
    then = bench.ssh(instance, look)
    wait_for(lambda: bench.ssh(instance, look) != then, 30)

    shown = command(bench, "status", "left")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "an hour" in shown.stdout
    assert "of 400" in shown.stdout

    # The instance is only what holds it up from here on; nothing complete has come home.
    stopped = command(bench, "stop", "left")
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert [i["id"] for i in bench.instances()] == [instance["id"]]
    assert "fluxlora" not in bench.ssh(instance, "pgrep -af train.py")

    refused = command(bench, "destroy", "left")
    assert refused.returncode != 0
    assert "were not downloaded" in refused.stdout

    again = tmp_path / "again"
    # Only the run's name: the rest is kept.
    process = start(bench.environment, again, *words[:4], "-e", "run_rehearsal=true")
    bench.started.append(process)
    wait_for(lambda: "left: caching" in again.read_text() or process.poll() is not None, 240, again)
    bench.post(f"/rehearsal/instances/{instance['id']}/vanish")
    assert "simpletuner_max_train_steps=400" in again.read_text()
    assert re.search(r"steps +400,", again.read_text())
    began = time.monotonic()
    assert process.wait(90) != 0, again.read_text()
    assert time.monotonic() - began < 45, "a host that vanishes is noticed within seconds"
    assert "left no longer answers" in again.read_text()
    assert f"Instance {instance['id']} of left may still cost $" in again.read_text()

    silent = command(bench, "status", "left")
    assert "an hour" in silent.stdout, "an instance that does not answer costs money all the same"
    assert command(bench, "destroy", "left", "--unsaved", "--yes").returncode == 0
    assert bench.instances() == []
    assert bench.rents() == 1


@pytest.fixture
def begun(paper):
    """A training that has been begun with 1500 steps, as this computer remembers it."""
    state = paper.folder / "state"
    given = dict(setting.split("=", 1) for setting in settings(paper) if "=" in setting)
    run_settings.write(state / "runs", "begun", run_settings.of_run(given)[0] | {"simpletuner_max_train_steps": "1500"})
    Journal(state / "journal.jsonl").write(Event.RENTED, "begun", 4711, price_per_hour=0.5)
    return paper


def test_a_run_goes_on_with_what_it_was_given_and_a_change_is_shown_and_refused_where_nobody_is_asked(begun):
    words = [str(DATASET), "--name", "begun", "-e", "run_rehearsal=true"]
    planned = command(begun, "plan", *words)
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert "begun goes on with what it was given before: " in planned.stdout
    assert "steps      1500," in planned.stdout

    refused = command(begun, "train", *words, "-e", "simpletuner_max_train_steps=300")
    assert refused.returncode not in (0, 130)
    assert "simpletuner_max_train_steps: 1500 is kept, 300 was given now" in refused.stdout
    assert "-e run_settings=changed" in refused.stdout
    assert "Plan before anything is spent" not in refused.stdout
    assert begun.rents() == 0


@pytest.mark.parametrize(("answer", "ends"), [("n", "Aborted!"), ("y", "simpletuner_max_train_steps")])
def test_on_a_terminal_a_change_is_asked_about_and_yes_goes_on_with_it(begun, answer, ends):
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        ["fluxlora", "train", str(DATASET), "--name", "begun", "-e", "run_rehearsal=true",
         "-e", "simpletuner_max_train_steps=0"],
        cwd=PROJECT, env=begun.environment, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    begun.started.append(process)
    os.write(master, f"{answer}\n".encode())
    said = process.communicate(timeout=300)[0].decode()
    os.close(terminal)
    os.close(master)
    assert process.returncode != 0
    after = said.partition("Go on with these changes?")[2]
    assert ends in after, said
    assert ("== Enter the runs" in after) is (answer == "y"), said
    assert begun.rents() == 0


@pytest.mark.parametrize(
    ("words", "number"),
    [
        (("audit",), signal.SIGTERM),
        (("destroy", "--all", "--yes"), signal.SIGINT),
        (("doctor",), signal.SIGINT),
        (("plan", str(DATASET)), signal.SIGTERM),
    ],
)
def test_what_is_interrupted_says_so_as_shells_do(paper, tmp_path, words, number):
    log = tmp_path / "log"
    process = start(paper.environment, log, *words)
    paper.started.append(process)
    wait_for(lambda: "== " in log.read_text(), 30, log)
    os.kill(process.pid, number)
    assert process.wait(60) == 128 + number, log.read_text()


@pytest.mark.parametrize(
    "moment", ["== Make the hosts' image", "== Prepare the instances"], ids=["start", "configuring"]
)
def test_ctrl_c_in_a_rehearsal_leaves_no_host_no_server_and_no_folder(moment, tmp_path):
    environment = {
        **os.environ,
        "TMPDIR": str(tmp_path),
        "PATH": f"{PROJECT}/.venv/bin{os.pathsep}{os.environ['PATH']}",
    }
    log = tmp_path / "log"
    process = start(environment, log, "rehearse")
    wait_for(lambda: moment in log.read_text() or process.poll() is not None, 120, log)
    time.sleep(1)

    os.kill(process.pid, signal.SIGINT)

    assert process.wait(60) == 130, log.read_text()
    assert not running(str(tmp_path))
    left = [
        f.name for f in tmp_path.iterdir() if f.name.startswith("fluxlora") and not f.name.startswith("fluxlora-hosts")
    ]
    assert not left
    assert not list(tmp_path.glob("fluxlora-hosts-*/*"))
