"""The role `weights` on a host: the model lies where the trainer's own client looks for it, and the token nowhere."""

from __future__ import annotations

import os

import pytest
from testinfra.host import Host

CACHE = "/root/.cache/huggingface/hub/models--black-forest-labs--FLUX.1-dev"


@pytest.mark.parametrize("name", ["model_index.json", "vae/diffusion_pytorch_model.safetensors"])
def test_the_model_is_in_the_clients_cache(host: Host, name: str) -> None:
    snapshot = host.check_output(f"cat {CACHE}/refs/main")
    assert host.file(f"{CACHE}/snapshots/{snapshot}/{name}").exists


def test_what_the_trainer_never_reads_was_not_downloaded(host: Host) -> None:
    assert host.run(f"ls {CACHE}/snapshots/*/transformer").rc != 0


def test_the_trainers_python_finds_it_without_the_network(host: Host) -> None:
    look = "from huggingface_hub import snapshot_download as get; print(get('black-forest-labs/FLUX.1-dev'))"
    found = host.check_output(f'HF_HUB_OFFLINE=1 /root/SimpleTuner/.venv/bin/python -c "{look}"')
    assert found.startswith(CACHE)


def test_one_file_alone_holds_the_token(host: Host) -> None:
    holders = host.run(f"grep -rlF {os.environ['HF_TOKEN']} /root /tmp /etc").stdout.split()
    assert holders == ["/root/.fluxlora/train.env"]
    assert host.file(holders[0]).mode == 0o600
