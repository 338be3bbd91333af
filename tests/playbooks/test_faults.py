"""Faults of the market that only a real sshd can show: the role provision against hosts, one session for all."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import PROJECT, Bench, _bench
from fluxlora.rehearsal import engine

pytestmark = pytest.mark.timeout(300)

PLAY = "- hosts: training\n  gather_facts: false\n  roles: [provision]\n"


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory, ssh_key: Path) -> Iterator[Bench]:
    engine.ensure_image(print)
    yield from _bench("containers", tmp_path_factory.mktemp("faults"), ssh_key)


def provision(hosts: Bench, run: str, **settings: Any) -> str:
    """What the role says of having an instance for the run, in one line."""
    play, runs = hosts.folder / "play.yml", hosts.folder / "runs.yml"
    play.write_text(PLAY)
    groups = {"training": {"hosts": {run: {"run_resolved_presets": ["512"]}}, "children": {"vastai": {}}}}
    runs.write_text(json.dumps(groups))
    variables = {
        "provision_ssh_key_file": str(hosts.ssh_key), "provision_poll_seconds": 0.2, "provision_ssh_timeout_seconds": 8,
        "artifacts_dir": str(hosts.folder / "artifacts"), "provision_disk_gb": 120, **settings,
    }  # fmt: skip
    command = [str(Path(sys.executable).parent / "ansible-playbook"), str(play), "-i", str(runs)]
    done = subprocess.run(
        [*command, "-i", "inventory/vastai.yml", "-e", json.dumps(variables)],
        cwd=PROJECT, env=hosts.environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return " ".join(f"rc={done.returncode} {done.stdout}{done.stderr}".split())


def of_run(hosts: Bench, run: str) -> list[dict[str, Any]]:
    return [each for each in hosts.instances() if each["label"].startswith(f"fluxlora/{run}/")]


@pytest.mark.fault("never_ssh")
def test_a_machine_whose_sshd_never_comes_is_replaced_by_another_that_lets_us_in(hosts: Bench) -> None:
    hosts.post("/rehearsal/faults", name="never_ssh", times=1)
    said = provision(hosts, "no-sshd")
    assert said.startswith("rc=0"), said
    assert "has no sshd at 127.0.0.1" in said
    (instance,) = of_run(hosts, "no-sshd")
    assert hosts.ssh(instance, "echo in") == "in\n"
    pinned = hosts.folder / "state" / "known_hosts" / str(instance["id"])
    found = subprocess.run(
        ["ssh-keygen", "-F", f"vastai-{instance['id']}", "-f", str(pinned)], capture_output=True, check=False
    )
    assert found.returncode == 0
