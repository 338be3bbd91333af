"""The computer was off when the guard ended the instance: what it sent to the Hub is used, and not paid for again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from fluxlora.money.journal import Event, Journal
from fluxlora.onhost import guard

if TYPE_CHECKING:
    from tests.conftest import VastServer

PROJECT = Path(__file__).parents[2]
Play = Callable[..., "subprocess.CompletedProcess[str]"]
Send = Callable[[str, Path, dict[str, Any]], str]
INSTANCE = 4711


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "state" / "journal.jsonl")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "artifacts" / "my-style"


@pytest.fixture
def play(vast: VastServer, ssh_key: Path, tmp_path: Path) -> Play:
    """Plays one for the run my-style, which pushes to this repository; output without its line breaks."""

    def call(verb: str, repo: str, **settings: Any) -> subprocess.CompletedProcess[str]:
        variables = {
            "run_name": "my-style", "run_rehearsal": True, "dataset_path": str(PROJECT / "examples" / "dataset"),
            "provision_ssh_key_file": str(ssh_key), "artifacts_dir": str(tmp_path / "artifacts"),
            "simpletuner_hub_model_id": repo, **settings,
        }  # fmt: skip
        done = subprocess.run(
            [str(Path(sys.executable).parent / "ansible-playbook"), f"{verb}.yml", "-e", json.dumps(variables)],
            cwd=PROJECT,
            env={
                **os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "HOME": str(tmp_path),
                "VAST_URL": vast.url, "VAST_API_KEY": vast.api_key, "WANDB_MODE": "offline",
                "HF_ENDPOINT": vast.hub_url, "HF_TOKEN": vast.hub_token,
                "FLUXLORA_STATE_DIR": str(tmp_path / "state"),
            },
            capture_output=True, text=True, timeout=300, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        done.stdout = " ".join((done.stdout + done.stderr).split())
        return done

    return call


def test_a_finished_adapter_comes_home_and_nothing_is_rented_to_train_it_again(
    vast: VastServer, play: Play, send: Send, journal: Journal, home: Path, tmp_path: Path
) -> None:
    output = tmp_path / "on the instance"
    output.mkdir()
    layer = "transformer.transformer_blocks.0.attn.to_q"
    halves = {f"{layer}.lora_A.weight": np.ones((4, 32)), f"{layer}.lora_B.weight": np.ones((32, 4))}
    save_file({name: half.astype(np.float32) for name, half in halves.items()}, output / guard.ADAPTER)
    progress = {"phase": "finished", "step": 12, "steps": 12, "loss": 0.5, "first_loss": 1.5, "checkpoints": []}
    assert "delivered" in send("overnight", output, progress)
    journal.write(Event.RENTED, "my-style", INSTANCE, at=time.time() - 3600, price_per_hour=1.0, gpu_name="L40S")

    planned = play("plan", "overnight", provision_budget_usd=1)
    assert planned.returncode == 0, planned.stdout[-3000:]
    assert "my-style has been trained: its adapter is on the Hub" in planned.stdout
    assert not home.exists()

    done = play("train", "overnight", provision_budget_usd=1)
    assert done.returncode == 0, done.stdout[-3000:]
    manifest = json.loads((home / "manifest.json").read_text())
    assert (manifest["delivered"], manifest["steps"]) == (True, {"done": 12, "asked": 12})
    assert (manifest["instance"]["id"], manifest["instance"]["gpu"]) == (INSTANCE, "L40S")
    assert (home / guard.ADAPTER).read_bytes() == (output / guard.ADAPTER).read_bytes()
    assert vast.rented_ids() == []
    assert journal.entries("my-style")[-1].event is Event.DELIVERED, "the next training is another"


def test_a_checkpoint_comes_home_to_go_on_from_and_is_told_by_the_plan(
    play: Play, journal: Journal, home: Path, sent_checkpoint: tuple[str, Path]
) -> None:
    repo, _sent = sent_checkpoint
    nothing = play("fetch", repo)
    assert nothing.returncode != 0, "what others trained under this name before is no business of this run"
    assert "my-style has no instance" in nothing.stdout

    journal.write(Event.RENTED, "my-style", INSTANCE, at=time.time() - 3600)
    planned = play("plan", repo, simpletuner_max_train_steps=24)
    assert "my-style has got to checkpoint 12, which `train` downloads from the Hub" in planned.stdout
    assert not home.exists()

    fetched = play("fetch", repo)
    assert fetched.returncode == 0, fetched.stdout[-3000:]
    assert "Checkpoint 12 of my-style came from the Hub" in fetched.stdout
    assert [path.name for path in home.iterdir()] == ["checkpoint-12"]
