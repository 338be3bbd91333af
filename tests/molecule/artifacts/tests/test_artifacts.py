"""The role `artifacts`: what a training left on a host lies at home, checked and written down."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

HOME = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "artifacts" / "artifacts"


@pytest.fixture
def manifest() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((HOME / "manifest.json").read_text())
    return loaded


@pytest.mark.parametrize(
    "name",
    [
        "pytorch_lora_weights.safetensors",
        "checkpoint-4/pytorch_lora_weights.safetensors",
        "checkpoint-8/pytorch_lora_weights.safetensors",
        "validation_images/step_8.png",
        "config/config.json",
        "wandb/offline-run-1/run.wandb",
        "training.log",
        "report.txt",
    ],
)
def test_it_is_at_home(name: str) -> None:
    assert (HOME / name).is_file()


def test_the_file_with_the_tokens_and_what_is_excluded_stay_on_the_host() -> None:
    names = {each.name for each in HOME.rglob("*")}
    assert names.isdisjoint({"train.env", "logs", "events", "checkpoint-12-tmp"})
    assert not any("hf_secret" in file.read_text(errors="replace") for file in HOME.rglob("*") if file.is_file())


def test_the_adapter_is_the_one_on_the_host(host: Host, manifest: dict[str, Any]) -> None:
    remote = host.file("/root/SimpleTuner/output/models/pytorch_lora_weights.safetensors")
    assert manifest["adapter"]["sha256"] == remote.sha256sum
    assert (manifest["adapter"]["kind"], manifest["adapter"]["rank"]) == ("lora", 4)


def test_the_manifest_says_what_was_done_and_that_the_instance_may_go(manifest: dict[str, Any]) -> None:
    assert manifest["steps"] == {"done": 8, "asked": 8}
    assert manifest["loss"] == {"first": 1.5, "last": 0.5}
    assert manifest["checkpoints"] == [4, 8]
    assert (manifest["delivered"], manifest["vastai_id"]) == (True, 1)
