"""Faults of the market that only a real sshd can show: the role provision against hosts, one session for all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from planted import irregular, planted

from conftest import PROJECT, Bench, _bench
from fluxlora.rehearsal.hosts import engine

pytestmark = pytest.mark.timeout(300)

NOBODY = 65534
# Who is root outside reads as before what belongs to root, and is inside somebody without a right of root's.
ORDINARY = ("unshare", "--user")
# As the role base installs it.
RSYNC = "command -v rsync || (apt-get update -qq && apt-get install -qq --yes --no-install-recommends rsync)"
# A finished training's files.
LEFT_BEHIND = PROJECT / "tests" / "molecule" / "artifacts" / "leave_behind.py"
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


# As root a host's devices and owners could come home too.
@pytest.mark.parametrize("user", [os.geteuid()] if os.geteuid() else [0, NOBODY])
def test_what_a_host_plants_among_the_artifacts_stays_there_whoever_fetches(hosts: Bench, user: int) -> None:
    (instance,) = of_run(hosts, "my-style")
    with tempfile.TemporaryDirectory(prefix="fluxlora-user-") as own:
        private, home = Path(own, "private"), Path(own, "artifacts", "my-style")
        private.mkdir()
        (private / "file").write_text("of the user")
        hosts.ssh(instance, RSYNC)
        hosts.ssh(instance, "rm -rf /root/SimpleTuner && python3 -", given=LEFT_BEHIND.read_text())
        assert hosts.ssh(instance, planted(private)).strip() == "ok"
        for _ in range(2):
            said = fetch(hosts, "my-style", Path(own), user)
            assert said.startswith("rc=0"), said
        assert "'leak' was left on the host: it is a link or no regular file" in said
        assert "'manifest.json' was left on the host: fluxlora writes this file itself" in said
        assert irregular(home) == []
        assert [(path.name, path.read_text()) for path in private.iterdir()] == [("file", "of the user")]
        assert json.loads((home / "manifest.json").read_text())["vastai_id"] == instance["id"]
        assert (home / "config" / "config.json").is_file()
        arrived = [(home / name).lstat() for name in ("program", "checkpoint-4", "wandb/offline-run-1/run.wandb")]
        assert {each.st_uid for each in arrived} == {os.geteuid()}
        assert [oct(each.st_mode & 0o7777) for each in arrived] == ["0o640", "0o750", "0o640"]


def fetch(hosts: Bench, run: str, own: Path, user: int) -> str:
    """What fetch.yml says, in one line, to somebody whose home is this folder."""
    settings = {"run_name": run, "artifacts_dir": str(own / "artifacts"), "provision_ssh_key_file": str(own / "key")}
    shutil.copy(hosts.ssh_key, own / "key")
    done = subprocess.run(
        [
            *([*ORDINARY, f"--map-user={user}", f"--map-group={user}"] if user != os.geteuid() else []),
            *(str(Path(sys.executable).parent / "ansible-playbook"), "fetch.yml", "-e", json.dumps(settings)),
        ],
        cwd=PROJECT,
        env=hosts.environment | {"HOME": str(own), "TMPDIR": str(own), "FLUXLORA_STATE_DIR": str(own / "state"),
                                 "ANSIBLE_REMOTE_TEMP": str(own / "tmp")},
        capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL, check=False, umask=0o027,
    )  # fmt: skip
    return " ".join(f"rc={done.returncode} {done.stdout}{done.stderr}".split())


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
