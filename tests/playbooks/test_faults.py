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

# What the module can enter, Ansible can.
PLAY = """
- hosts: training
  gather_facts: false
  roles: [provision]
  post_tasks:
    - name: Enter it
      ansible.builtin.raw: echo entered $CONTAINER_ID
"""


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


def arm(hosts: Bench, *faults: str) -> None:
    for name in faults:
        hosts.post("/rehearsal/faults", name=name, times=1)


def destroyed(hosts: Bench, run: str) -> list[dict[str, Any]]:
    """The meters of the run's instances that are gone."""
    meters = hosts.get("/rehearsal/ledger")["instances"]
    return [each for each in meters if each["closed"] and each["label"] == f"fluxlora/{run}/512"]


@pytest.mark.fault("never_ssh")
@pytest.mark.fault("key_refused_a_while")
def test_a_machine_whose_sshd_never_comes_is_replaced_and_a_late_key_of_the_next_is_waited_for(hosts: Bench) -> None:
    arm(hosts, "never_ssh", "key_refused_a_while")
    said = provision(hosts, "my-style")
    assert said.startswith("rc=0"), said
    assert "has no sshd at 127.0.0.1" in said
    (gone,) = destroyed(hosts, "my-style")
    assert gone["gpu_hours"] * 3600 < 60
    (instance,) = of_run(hosts, "my-style")
    assert hosts.ssh(instance, "echo in") == "in\n"
    pinned = hosts.folder / "state" / "known_hosts" / str(instance["id"])
    look = ["ssh-keygen", "-F", f"vastai-{instance['id']}", "-f", str(pinned)]
    assert subprocess.run(look, capture_output=True, check=False).returncode == 0


@pytest.mark.fault("key_never_let_in")
@pytest.mark.fault("sshd_late")
def test_a_machine_that_refuses_the_key_is_replaced_and_a_late_sshd_of_the_next_is_waited_for(hosts: Bench) -> None:
    arm(hosts, "key_never_let_in", "sshd_late")
    said = provision(hosts, "my-cat")
    assert said.startswith("rc=0"), said
    assert "refuses the key at 127.0.0.1" in said
    assert "Permission denied (publickey" in said
    (gone,) = destroyed(hosts, "my-cat")
    assert gone["gpu_hours"] * 3600 < 60
    assert len(of_run(hosts, "my-cat")) == 1


@pytest.mark.fault("key_revoked")
def test_a_key_that_an_instance_forgets_is_let_in_again(hosts: Bench) -> None:
    (before,) = of_run(hosts, "my-style")
    arm(hosts, "key_revoked")
    said = provision(hosts, "my-style")
    assert said.startswith("rc=0"), said
    (instance,) = of_run(hosts, "my-style")
    assert instance["id"] == before["id"]
    assert hosts.ssh(instance, "echo in") == "in\n"


@pytest.mark.fault("host_key_changed")
def test_an_instance_with_another_host_key_is_not_entered_and_kept(hosts: Bench) -> None:
    arm(hosts, "host_key_changed")
    said = provision(hosts, "my-style")
    (instance,) = of_run(hosts, "my-style")
    assert said.startswith("rc=2"), said
    assert f"Instance {instance['id']} on machine {instance['machine_id']} shows another host key" in said
    assert f"remove {hosts.folder}/state/known_hosts/{instance['id']} and run it again" in said
    assert "It was kept, for it may hold checkpoints" in said
    assert len(destroyed(hosts, "my-style")) == 1
