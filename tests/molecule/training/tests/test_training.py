"""The roles `guard`, `dataset` and `training` on a host: everything is there, runs, and keeps its secrets."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from testinfra.host import Host

TOKEN = "hf_only_for_molecule"
STATE = "/root/.fluxlora"


def told(host: Host, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(host.file(f"{STATE}/{name}").content_string)
    return content


@pytest.mark.parametrize("session", ["guard", "training"])
def test_the_session_lives(host: Host, session: str) -> None:
    assert host.run(f"tmux has-session -t ={session}").rc == 0, host.run(f"tail {STATE}/training.log").stdout


def test_the_trainer_found_by_its_name_makes_steps(host: Host) -> None:
    end_of_waiting = time.monotonic() + 30
    while told(host, "progress.json")["step"] == 0 and time.monotonic() < end_of_waiting:
        time.sleep(0.5)
    assert told(host, "progress.json")["phase"] in ("training", "saving"), host.file(f"{STATE}/training.log").content


@pytest.mark.parametrize("path", [f"{STATE}/train.env", f"{STATE}/lease.json"])
def test_what_is_secret_is_roots_alone(host: Host, path: str) -> None:
    assert host.file(path).mode == 0o600


def test_the_hubs_client_finds_its_token_and_one_file_alone_holds_it(host: Host) -> None:
    assert host.file("/root/.cache/huggingface/token").content_string == TOKEN
    assert host.run(f"grep -rlF {TOKEN} /root /tmp /etc /var /dev/shm").stdout.split() == [f"{STATE}/train.env"]


def test_the_token_stands_in_no_command_line(host: Host) -> None:
    assert TOKEN not in host.check_output("ps -eo args")


def test_the_token_stands_in_no_log(host: Host) -> None:
    log = host.file(f"{STATE}/training.log").content_string
    assert "token is ***" in log
    assert TOKEN not in log


def test_the_shim_is_in_front_of_the_trainers_imports(host: Host) -> None:
    assert host.file(f"{STATE}/cpu_shim/sitecustomize.py").is_file
    assert f"PYTHONPATH={STATE}/cpu_shim" in host.file(f"{STATE}/train.env").content_string


def test_the_trainer_is_told_of_each_gpu(host: Host) -> None:
    assert "TRAINING_NUM_PROCESSES=2\n" in host.file(f"{STATE}/train.env").content_string


def test_the_trainer_logs_where_this_computers_environment_says_and_nowhere_without_a_key(host: Host) -> None:
    lines = host.file(f"{STATE}/train.env").content_string.splitlines()
    assert [line for line in lines if line.startswith("WANDB_")] == [
        "WANDB_MODE=offline", "WANDB_BASE_URL=http://127.0.0.1:9",
    ]  # fmt: skip


def test_the_guard_can_end_its_instance(host: Host) -> None:
    assert host.check_output(f"python3 {STATE}/guard.py check --state {STATE}") == "ready"


def test_the_lease_ends_within_the_deadline(host: Host) -> None:
    lease = told(host, "lease.json")
    left = lease["ends_at"] - time.time()
    assert 0 < left <= 24 * 3600
    assert lease["clock_ahead_seconds"] == 0


def test_the_pictures_and_captions_are_there(host: Host) -> None:
    names = set(host.file("/root/SimpleTuner/dataset").listdir())
    assert {"nature-01-water-crown.jpg", "nature-01-water-crown.txt"} <= names


def test_a_picture_that_was_taken_out_is_gone_and_the_trainers_own_list_is_not(host: Host) -> None:
    names = host.file("/root/SimpleTuner/dataset").listdir()
    assert "old.jpg" not in names
    assert "aspect_ratio_bucket_indices_square_1024.json" in names
