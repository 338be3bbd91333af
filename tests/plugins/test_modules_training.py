"""The modules that start, watch and feed a training, as Ansible starts them on a host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import VastServer

PROJECT = Path(__file__).resolve().parents[2]
MODEL = "black-forest-labs/FLUX.1-dev"
Call = Callable[..., dict[str, Any]]


def run_module(name: str, arguments: dict[str, Any], **environment: str) -> dict[str, Any]:
    """What the module answers."""
    done = subprocess.run(
        [sys.executable, "-m", f"plugins.modules.{name}"],
        cwd=PROJECT,
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Call]:
    """Calls tmux_session for a session of a tmux server of this test's own."""
    own = {"TMUX_TMPDIR": str(tmp_path), "TMUX": ""}

    def call(**arguments: Any) -> dict[str, Any]:
        return run_module("tmux_session", {"name": "training", **arguments}, **own)

    yield call
    subprocess.run(["tmux", "kill-server"], env=os.environ | own, capture_output=True, check=False)


def test_a_session_without_a_command_is_refused(session):
    assert session()["failed"]


def test_a_session_that_is_not_there_would_be_started(session):
    assert session(command=["sleep", "60"], _ansible_check_mode=True)["changed"]
    assert session(command=["sleep", "60"], _ansible_check_mode=True)["changed"]


def test_a_session_is_started_once(session):
    first, second = session(command=["sleep", "60"]), session(command=["sleep", "60"])

    assert (first["changed"], second["changed"]) == (True, False)


def test_a_sessions_program_gets_its_arguments_as_they_are_and_its_folder(session, tmp_path):
    program = "import os, sys; open('told', 'w').write(repr((os.getcwd(), sys.argv[1:]))); import time; time.sleep(60)"

    session(command=[sys.executable, "-c", program, "a b", "$HOME", "'"], chdir=str(tmp_path))

    assert (tmp_path / "told").read_text() == repr((str(tmp_path), ["a b", "$HOME", "'"]))


def test_a_program_that_cannot_start_is_told(session):
    assert session(command=["/nowhere/at/all"])["code"] == "ended_at_once"


def test_a_session_would_be_ended(session):
    session(command=["sleep", "60"])

    assert session(state="absent", _ansible_check_mode=True)["changed"]
    assert session(state="absent", _ansible_check_mode=True)["changed"]


def test_a_session_is_ended_once(session):
    session(command=["sleep", "60"])

    first, second = session(state="absent"), session(state="absent")

    assert (first["changed"], second["changed"]) == (True, False)


def test_a_session_of_a_longer_name_is_another(session):
    session(command=["sleep", "60"], name="training-2")

    assert session(state="absent")["changed"] is False


def test_a_host_without_tmux_is_told(tmp_path):
    answer = run_module("tmux_session", {"name": "training", "command": ["sleep", "60"]}, PATH=str(tmp_path))

    # Ansible looks into the folders of system programs as well.
    assert answer.get("code") == "no_tmux" or Path("/usr/sbin/tmux").exists()


@pytest.fixture
def info(tmp_path: Path) -> Call:
    """Calls training_info for a supervisor that has written this."""

    def call(text: str | None) -> dict[str, Any]:
        if text is not None:
            (tmp_path / "progress.json").write_text(text)
        arguments = {"state_dir": str(tmp_path), "session": "training"}
        return run_module("training_info", arguments, TMUX_TMPDIR=str(tmp_path), TMUX="")

    return call


@pytest.mark.parametrize("text", [None, '{"phase": "finished", "step": 12}', "{"])
def test_a_hosts_progress_is_returned_as_it_is_for_the_controller_to_judge(info, text):
    assert (info(text)["text"], info(text)["alive"]) == (text or "", False)


def test_a_session_that_lives_is_seen(info, session):
    session(command=["sleep", "60"])

    assert info('{"phase": "training", "step": 3}')["alive"]


@pytest.fixture
def snapshot(vast: VastServer, tmp_path: Path) -> Call:
    """Calls hub_snapshot against the Hub's stand-in, with a cache of this test's own."""

    def call(**arguments: Any) -> dict[str, Any]:
        wanted = {"repo": MODEL, "endpoint": vast.hub_url, "token": vast.hub_token, **arguments}
        return run_module("hub_snapshot", wanted, HF_HOME=str(tmp_path), HF_TOKEN="", HF_ENDPOINT="")

    return call


def test_a_snapshot_of_nothing_is_refused():
    assert run_module("hub_snapshot", {})["failed"]


def test_a_missing_snapshot_would_be_downloaded(snapshot):
    answer = snapshot(_ansible_check_mode=True)

    assert answer["changed"]
    assert "model_index.json" in answer["files"]
    assert snapshot(_ansible_check_mode=True)["changed"]


def test_a_snapshot_is_downloaded_once(snapshot):
    first, second = snapshot(), snapshot()

    assert (first["changed"], second["changed"], second["files"]) == (True, False, [])
    assert (Path(second["path"]) / "model_index.json").is_file()


def test_a_snapshot_takes_its_token_from_a_file_of_the_host(snapshot, tmp_path, vast):
    (tmp_path / "train.env").write_text(f"OTHER='a b'\nHF_TOKEN={vast.hub_token}\n")
    answer = snapshot(token="", token_file=str(tmp_path / "train.env"), _ansible_check_mode=True)
    assert answer["changed"]
    assert snapshot(token="", token_file=str(tmp_path / "none"))["code"] == "gated"


def test_what_is_excluded_from_a_snapshot_is_not_downloaded(snapshot):
    answer = snapshot(excludes=["text_encoder*", "*.model"])

    assert not any(name.startswith("text_encoder") for name in answer["files"])
    assert not (Path(answer["path"]) / "text_encoder").exists()


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"token": ""}, "gated"),
        ({"repo": "black-forest-labs/FLUX.1-Fill-dev"}, "gated"),
        ({"repo": "nobody/nothing"}, "no_such_repository"),
        ({"token": "hf_wrong"}, "bad_token"),
        ({"endpoint": "http://127.0.0.1:9"}, "download_failed"),
    ],
)
def test_a_hub_that_refuses_is_told_by_the_reason(snapshot, wanted, code):
    assert snapshot(**wanted)["code"] == code
