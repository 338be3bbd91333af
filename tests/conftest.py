"""A stand-in vast.ai for every test that wants one: a process of its own, reached over HTTP alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import requests

from fluxlora.onhost import guard

# A busy machine is slow now and then; what takes how long is measured in bench/, not here.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# Of these Ansible only warns: a callback of ours that fails, and a type of ours that its variables cannot keep.
os.environ["_ANSIBLE_CALLBACK_DISPATCH_ERROR_BEHAVIOR"] = "error"
os.environ["_ANSIBLE_TEMPLAR_UNKNOWN_TYPE_CONVERSION"] = "error"


@dataclass
class VastServer:
    """A running stand-in, and what a test wants to know of it."""

    url: str
    api_key: str
    hub_url: str
    hub_token: str
    wandb_url: str
    wandb_key: str

    def call(self, method: str, path: str, body: Any = None, key: str | None = None, **query: Any) -> requests.Response:
        """One plain HTTP request with the account's key, or another."""
        headers = {"Authorization": f"Bearer {self.api_key if key is None else key}"}
        return requests.request(method, self.url + path, json=body, params=query, headers=headers, timeout=60)

    def fault(self, name: str, times: int = 1) -> None:
        """Arm a named fault."""
        self.call("POST", "/rehearsal/faults", {"name": name, "times": times}).raise_for_status()

    @property
    def hub_environment(self) -> dict[str, str]:
        """For the Hub's real client in another process. The stand-in speaks LFS alone, and no Xet."""
        return {"HF_ENDPOINT": self.hub_url, "HF_TOKEN": self.hub_token, "HF_HUB_DISABLE_XET": "1"}

    def hub_fault(self, name: str, times: int = 1) -> None:
        """Arm a named fault of the Hub; no times disarm it."""
        headers = {"Authorization": f"Bearer {self.hub_token}"}
        body = {"name": name, "times": times}
        requests.post(f"{self.hub_url}/rehearsal/faults", json=body, headers=headers, timeout=10).raise_for_status()

    def lesser_hub_token(self, role: str, **given: Any) -> str:
        """One more token of the Hub's user: of role read, write or fineGrained, with what whoami tells of the last."""
        body = {"role": role} | ({"fineGrained": given} if given else {})
        headers = {"Authorization": f"Bearer {self.hub_token}"}
        reply = requests.post(f"{self.hub_url}/rehearsal/tokens", json=body, headers=headers, timeout=10)
        token: str = reply.json()["token"]
        return token

    def scoped_key(self, *permissions: str) -> str:
        """A vast.ai key that may do only this."""
        body = {"name": "scoped", "permissions": {"api": {name: {} for name in permissions}}}
        key: str = self.call("POST", "/api/v0/auth/apikeys/", body).json()["key"]
        return key

    def ledger(self) -> dict[str, Any]:
        return self.call("GET", "/rehearsal/ledger").json()

    def requests(self) -> list[dict[str, Any]]:
        """What vast.ai was asked since the test began, with the time each request came in."""
        return self.call("GET", "/rehearsal/requests").json()

    def rented_ids(self) -> list[int]:
        """Every instance that was ever rented in this test, destroyed or not."""
        return [instance["id"] for instance in self.ledger()["instances"]]

    def offers(self, **query: Any) -> list[dict[str, Any]]:
        return self.call("POST", "/api/v0/bundles/", query).json()["offers"]

    def rent(self, offer_id: int | None = None, **wanted: Any) -> dict[str, Any]:
        """Rent an offer, any one by default; the reply of the API."""
        offer_id = offer_id or self.offers(num_gpus={"eq": 1}, direct_port_count={"gt": 0})[0]["id"]
        defaults = {"image": "vastai/base-image", "disk": 20, "runtype": "ssh_direc ssh_proxy", "cancel_unavail": True}
        return self.call("PUT", f"/api/v0/asks/{offer_id}/", defaults | wanted).json()

    def instance(self, instance_id: int) -> dict[str, Any] | None:
        return self.call("GET", f"/api/v0/instances/{instance_id}/").json()["instances"]

    def until(self, instance_id: int, holds: Callable[[dict[str, Any]], Any], seconds: float = 10) -> dict[str, Any]:
        """The instance's record as soon as the condition holds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if (row := self.instance(instance_id)) and holds(row):
                return row
            time.sleep(0.02)
        raise AssertionError(f"not within {seconds} s: {self.instance(instance_id)}")

    def rent_running(self, **wanted: Any) -> dict[str, Any]:
        """The record of a fresh instance with ports."""
        return self.until(self.rent(**wanted)["new_contract"], lambda row: row["ports"])


@contextmanager
def serving(*options: str) -> Iterator[VastServer]:
    """The stand-ins in a process that ends with the block."""
    command = [sys.executable, "-m", "fluxlora", "rehearsal", "serve", "--until-eof", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin
        assert server.stdout
        try:
            yield VastServer(**json.loads(server.stdout.readline()))
            server.stdin.close()
            assert server.wait(20) == 0
        finally:
            server.kill()


@pytest.fixture(scope="session")
def vast_server() -> Iterator[VastServer]:
    """One stand-in without hosts for the whole session, its instances ready within a tenth of a second."""
    with serving("--hosts", "none", "--speed", "50") as server:
        yield server


@pytest.fixture
def vast(vast_server: VastServer) -> VastServer:
    """The session's stand-in with nothing rented, nothing armed, and no keys, requests or costs of earlier tests."""
    vast_server.call("POST", "/rehearsal/reset").raise_for_status()
    return vast_server


@pytest.fixture
def send(vast: VastServer) -> Callable[[str, Path, dict[str, Any]], str]:
    """Plays the guard that ends an instance: repository, the trainer's folder, its progress; what it says."""

    def deliver(repo: str, output: Path, progress: dict[str, Any]) -> str:
        lease = {"repo": repo, "output_dir": str(output), "hub_python": sys.executable}
        sent, said = guard.deliver(lease, progress, vast.hub_environment, 60)
        assert sent, said
        return said

    return deliver


@pytest.fixture
def sent_checkpoint(send: Callable[[str, Path, dict[str, Any]], str], tmp_path: Path) -> tuple[str, Path]:
    """A repository to which a guard has sent checkpoint 12 of a training that it cut short, and what it sent."""
    output = tmp_path / "on the instance"
    files = {"pytorch_lora_weights.safetensors": "weights" * 1000, "training_state.json": "{}", "more/state": "more"}
    for name, content in files.items():
        file = output / "checkpoint-12" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    repo = tmp_path.name.replace("_", "-")
    said = send(repo, output, {"phase": "training", "checkpoints": [4, 12]})
    assert said == "checkpoint-12 was delivered to the Hub"
    return repo, output / "checkpoint-12"
