"""When the guard ends its instance, and that it really does: asked of the stand-ins over HTTP."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fluxlora.onhost import guard

LEASE = {"ends_at": 10_000, "grace_minutes": 10, "repo": "my-style"}
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


def own(vast, rented) -> dict[str, str]:
    return {
        "VAST_URL": vast.url,
        "CONTAINER_ID": str(rented["new_contract"]),
        "CONTAINER_API_KEY": rented["instance_api_key"],
    }


def test_the_instances_own_key_destroys_it(vast):
    rented = vast.rent()

    guard.destroy(own(vast, rented))

    assert vast.instance(rented["new_contract"]) is None


def test_the_instances_own_key_destroys_no_other(vast):
    mine, other = vast.rent(), vast.rent_running()

    with pytest.raises((OSError, ValueError)):
        guard.destroy(own(vast, mine) | {"CONTAINER_ID": str(other["id"])})

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
