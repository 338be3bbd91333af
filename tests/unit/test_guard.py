"""When the guard ends its instance, and that it really does: asked of the stand-ins over HTTP."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fluxlora.onhost import guard

LEASE = {
    "ends_at": 10_000,
    "grace_minutes": 10,
    "delivery_minutes": 1,
    "repo": "my-style",
    "hub_python": sys.executable,
}
FINISHED = {"phase": "finished", "updated_at": 1_000}


@pytest.mark.parametrize(
    ("now", "progress", "delivered"),
    [
        (9_999, {}, False),
        (9_999, {"phase": "training", "updated_at": 1_000}, False),
        (9_999, FINISHED, False),
        (1_599, FINISHED, True),
        (9_999, {"phase": "failed", "updated_at": 1_000}, False),
    ],
)
def test_an_instance_lives_while_its_lease_runs_and_something_may_be_lost(now, progress, delivered):
    assert guard.reason_to_end(now, LEASE, progress, delivered) is None


@pytest.mark.parametrize("progress", [{}, FINISHED, {"phase": "training", "updated_at": 9_999}])
def test_the_lease_ends_an_instance_whatever_it_does(progress):
    assert guard.reason_to_end(10_000, LEASE, progress, False) == "the lease has ended"


def test_a_delivered_adapter_that_nobody_comes_for_ends_the_instance():
    assert "nobody has come for 10 minutes" in str(guard.reason_to_end(1_600, LEASE, FINISHED, True))


@pytest.mark.parametrize(
    ("now", "progress", "wanted"),
    [
        (9_999, {"phase": "training", "updated_at": 1_000}, False),
        (1_599, FINISHED, False),
        (1_600, FINISHED, True),
        (10_000, {"phase": "training", "updated_at": 9_999}, True),
        (10_000, {}, True),
    ],
)
def test_what_the_hub_lacks_is_sent_when_nobody_else_will(now, progress, wanted):
    assert guard.wants_delivery(now, LEASE, progress) is wanted


def own(rented) -> dict[str, str]:
    return {
        "CONTAINER_ID": str(rented["new_contract"]),
        "CONTAINER_API_KEY": rented["instance_api_key"],
    }


def test_the_instances_own_key_destroys_it(vast):
    rented = vast.rent()

    guard.destroy(vast.url, own(rented))

    assert vast.instance(rented["new_contract"]) is None


def test_the_instances_own_key_destroys_no_other(vast):
    mine, other = vast.rent(), vast.rent_running()

    with pytest.raises((OSError, ValueError)):
        guard.destroy(vast.url, own(mine) | {"CONTAINER_ID": str(other["id"])})

    assert vast.instance(other["id"])["id"] == other["id"]


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    path = tmp_path / "pytorch_lora_weights.safetensors"
    path.write_bytes(b"adapter" * 1000)
    return path


@pytest.fixture
def hub(vast, adapter: Path) -> dict[str, str]:
    """The Hub's stand-in, holding the adapter in the repository of the lease."""
    tokens = {"HF_ENDPOINT": vast.hub_url, "HF_TOKEN": vast.hub_token}
    # The stand-in speaks LFS alone; the client reads this variable when it is imported.
    environment = {**os.environ, **tokens, "HF_HUB_DISABLE_XET": "1"}
    program = (
        "import sys, huggingface_hub as hub; name, path, target = sys.argv[1:];"
        "repo = hub.create_repo(name, exist_ok=True).repo_id;"
        "hub.upload_file(path_or_fileobj=path, path_in_repo=target, repo_id=repo)"
    )
    subprocess.run([sys.executable, "-c", program, LEASE["repo"], adapter, adapter.name], env=environment, check=True)
    return tokens


def test_an_adapter_that_the_hub_holds_is_delivered(hub, adapter):
    assert guard.delivered(LEASE, {"adapter": str(adapter)}, hub)


def test_another_adapter_than_the_hubs_is_not_delivered(hub, adapter):
    adapter.write_bytes(b"other" * 1000)

    assert not guard.delivered(LEASE, {"adapter": str(adapter)}, hub)


@pytest.mark.parametrize("tokens", [{}, {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": "hf_x"}])
def test_a_hub_that_cannot_be_asked_has_delivered_nothing(adapter, tokens):
    assert not guard.delivered(LEASE, {"adapter": str(adapter)}, tokens)


@pytest.fixture
def cut_short(tmp_path: Path) -> dict[str, object]:
    """A lease over the folder of a training that has two checkpoints."""
    for step in (4, 12):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "pytorch_lora_weights.safetensors").write_bytes(b"%d" % step * 1000)
    return LEASE | {"output_dir": str(tmp_path), "repo": f"cut-short-{tmp_path.name}"}


def hub_files(vast, name: str, environment: dict[str, str]) -> list[str]:
    program = (
        "import sys, huggingface_hub as hub; api = hub.HfApi();"
        "print(*api.list_repo_files(api.whoami()['name'] + '/' + sys.argv[1]))"
    )
    command = [sys.executable, "-c", program, name]
    told = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    return told.stdout.split()


def test_a_training_that_is_cut_short_leaves_its_newest_checkpoint_on_the_hub(vast, cut_short):
    tokens = {"HF_ENDPOINT": vast.hub_url, "HF_TOKEN": vast.hub_token, "HF_HUB_DISABLE_XET": "1"}

    said = guard.deliver(cut_short, {"phase": "training", "checkpoints": [4, 12]}, tokens)

    assert said == "checkpoint-12 was delivered to the Hub"
    files = hub_files(vast, str(cut_short["repo"]), tokens)
    assert [name for name in files if "/" in name] == ["checkpoint-12/pytorch_lora_weights.safetensors"]


def test_a_finished_adapter_whose_push_had_failed_is_delivered(vast, cut_short, adapter):
    tokens = {"HF_ENDPOINT": vast.hub_url, "HF_TOKEN": vast.hub_token, "HF_HUB_DISABLE_XET": "1"}
    finished = {"phase": "finished", "checkpoints": [4, 12], "adapter": str(adapter)}
    assert not guard.delivered(cut_short, finished, tokens)

    said = guard.deliver(cut_short, finished, tokens)

    assert said == "the adapter was delivered to the Hub"
    assert guard.delivered(cut_short, finished, tokens)


@pytest.mark.parametrize(
    ("changes", "progress", "sentence"),
    [
        ({}, {"phase": "caching"}, "there is nothing to deliver"),
        ({"repo": ""}, {"checkpoints": [4]}, "checkpoint-4 could not be delivered: the run does not push to the Hub"),
        ({}, {"checkpoints": [4]}, "checkpoint-4 could not be delivered: CalledProcessError"),
        ({"hub_python": "/no/python"}, {"checkpoints": [4]}, "checkpoint-4 could not be delivered: FileNotFoundError"),
    ],
)
def test_what_cannot_be_delivered_is_said_and_ends_nothing(cut_short, changes, progress, sentence):
    tokens = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": "hf_x"}

    assert guard.deliver(cut_short | changes, progress, tokens) == sentence


def test_the_first_processs_variables_are_read_as_they_are(tmp_path):
    (tmp_path / "environ").write_bytes(b"CONTAINER_ID=7\0CONTAINER_API_KEY=a=b\0\0junk")

    assert guard.identity(tmp_path / "environ") == {"CONTAINER_ID": "7", "CONTAINER_API_KEY": "a=b"}


def test_a_guard_without_a_lease_waits(tmp_path):
    process = subprocess.Popen([sys.executable, guard.__file__, "watch", "--state", tmp_path])
    time.sleep(1)
    running = process.poll() is None
    process.kill()
    process.wait()

    assert running
