"""Playbooks as a user calls them, against the stand-ins, with real hosts behind them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

import installed
from fluxlora.rehearsal.hosts import engine
from fluxlora.rehearsal.session import Standin, standin
from remote import keygen

PROJECT = Path(__file__).resolve().parents[2]
DATASET = PROJECT / "examples" / "dataset"


@dataclass
class Bench:
    """One stand-in world and the means to call playbooks in it."""

    there: Standin
    folder: Path
    ssh_key: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)
    # Variables of the environment, over the stand-in's.
    more: dict[str, str] = field(default_factory=dict)
    # What each instance starts from: an image with SimpleTuner installed, or the role's own choice.
    image: str = ""

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            **self.there.environment(),
            **self.more,
            "FLUXLORA_STATE_DIR": str(self.folder / "state"),
            "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }

    def artifacts(self, run: str) -> Path:
        return self.folder / "artifacts" / run

    def command(self, verb: str, run: str | None, settings: dict[str, Any], flags: tuple[str, ...]) -> list[str]:
        variables = {
            "run_rehearsal": "true",
            "dataset_path": str(DATASET),
            "provision_ssh_key_file": str(self.ssh_key),
            "artifacts_dir": str(self.folder / "artifacts"),
            **({"run_name": run} if run else {}),
            **({"provision_image": self.image} if self.image else {}),
            **settings,
        }
        return [
            "ansible-playbook",
            f"{verb}.yml",
            *flags,
            *(word for item in variables.items() for word in _setting(*item)),
        ]

    def play(
        self, verb: str, run: str | None = None, *flags: str, timeout: float = 900, **settings: Any
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(verb, run, settings, flags),
            cwd=PROJECT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )

    def start(self, verb: str, run: str, log: Path, *flags: str, **settings: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.command(verb, run, settings, flags),
            cwd=PROJECT,
            env=self.environment,
            stdout=log.open("w"),
            stderr=subprocess.STDOUT,
            text=True,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def get(self, path: str) -> Any:
        reply = requests.get(
            self.there.url + path, headers={"Authorization": f"Bearer {self.there.api_key}"}, timeout=10
        )
        reply.raise_for_status()
        return reply.json()

    def post(self, path: str, **body: Any) -> Any:
        return self.ask("POST", path, **body)

    def ask(self, method: str, path: str, **body: Any) -> Any:
        reply = requests.request(
            method,
            self.there.url + path,
            json=body,
            headers={"Authorization": f"Bearer {self.there.api_key}"},
            timeout=30,
        )
        reply.raise_for_status()
        return reply.json()

    def instances(self) -> list[dict[str, Any]]:
        return list(self.get("/api/v1/instances/")["instances"])

    def rents(self) -> int:
        """How often an instance was rented so far."""
        return sum(r["method"] == "PUT" and "/asks/" in r["path"] for r in self.get("/rehearsal/requests"))

    def hostvars(self) -> str:
        """The inventory with every variable of every host."""
        done = subprocess.run(
            ["ansible-inventory", "--list"],
            cwd=PROJECT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return done.stdout

    def ssh(self, instance: dict[str, Any], command: str, *, given: str | None = None) -> str:
        """What a command on the instance prints, with this on its standard input."""
        port = instance["ports"]["22/tcp"][0]["HostPort"]
        quiet = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        done = subprocess.run(
            ["ssh", "-i", str(self.ssh_key), *quiet, "-p", port, "root@127.0.0.1", command],
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout


def _setting(name: str, value: Any) -> tuple[str, str]:
    return ("-e", json.dumps({name: value}) if isinstance(value, dict | list) else f"{name}={value}")


def kill(process: subprocess.Popen[str]) -> None:
    """As a computer that loses power: the whole group, at once."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)


def wait_for(what: Callable[[], object], seconds: float, log: Path | None = None) -> None:
    """Look until it is true, for so long and no longer."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            pytest.fail(f"nothing after {seconds} s\n{log.read_text()[-4000:] if log else ''}")
        time.sleep(0.2)


@pytest.fixture(scope="session")
def ssh_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return keygen(tmp_path_factory.mktemp("key") / "id_ed25519")


def _bench(hosts: str, folder: Path, ssh_key: Path, image: str = "") -> Iterator[Bench]:
    with standin(hosts) as there:
        bench = Bench(there=there, folder=folder, ssh_key=ssh_key, image=image)
        try:
            yield bench
        finally:
            for process in bench.started:
                if process.poll() is None:
                    kill(process)


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory, ssh_key: Path) -> Iterator[Bench]:
    """A market without machines: enough for all that must not spend."""
    yield from _bench("none", tmp_path_factory.mktemp("paper"), ssh_key)


@pytest.fixture(scope="module")
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, ssh_key: Path) -> Iterator[Bench]:
    """A market with real hosts, which have the SimpleTuner of the module's VERSION installed."""
    engine.ensure_image(print)
    version = getattr(request.module, "VERSION", "3.1.6")
    yield from _bench("containers", tmp_path_factory.mktemp("bench"), ssh_key, image=installed.image(version))
