"""SimpleTuner as a checkout: at its tag, with its own lock, started by its own script."""

from __future__ import annotations

import json
import time

import pytest
from testinfra.host import Host

FOLDER = "/root/SimpleTuner"
STATE = "/root/.fluxlora"


def test_the_tag_is_checked_out_and_not_the_branch(host: Host) -> None:
    assert host.check_output(f"git -C {FOLDER} describe --tags") == "v2.1.3"
    assert host.file(f"{FOLDER}/train.sh").exists


def test_the_checkouts_own_lock_is_installed(host: Host) -> None:
    assert host.check_output(f"git -C {FOLDER} status --porcelain -- poetry.lock pyproject.toml") == ""
    assert host.check_output(f"{FOLDER}/.venv/bin/python -c 'import colorama; print(colorama.__version__)'") == "0.4.6"
    assert host.check_output(f"{FOLDER}/.venv/bin/python --version").startswith("Python 3.11.")


@pytest.mark.parametrize("name", ["config.json", "multidatabackend.json"])
def test_the_configuration_is_where_it_looks(host: Host, name: str) -> None:
    assert json.loads(host.file(f"{FOLDER}/config/{name}").content_string)


def test_it_is_told_of_no_webhook_whose_file_it_would_not_understand(host: Host) -> None:
    assert not json.loads(host.file(f"{FOLDER}/config/config.json").content_string)["--webhook_config"]


def test_its_script_runs_in_the_checkout_with_the_environment_and_without_updates(host: Host) -> None:
    called = dict(line.split("=", 1) for line in host.file(f"{FOLDER}/called").content_string.splitlines())
    assert called == {
        "folder": FOLDER,
        "updates_disabled": "true",
        "environment": f"{FOLDER}/.venv",
        "python": f"{FOLDER}/.venv/bin/python",
    }


def test_its_progress_is_read_off_its_bar(host: Host) -> None:
    end_of_waiting = time.monotonic() + 30
    progress = {"step": 0}
    while progress["step"] == 0 and time.monotonic() < end_of_waiting:
        progress = json.loads(host.file(f"{STATE}/progress.json").content_string)
        time.sleep(0.5)
    assert (progress["phase"], progress["steps"], progress["loss"]) == ("training", 1000, 1.5)
