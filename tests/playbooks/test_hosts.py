"""The rehearsal's hosts: real containers, reached by real ssh."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fluxlora.errors import RehearsalError
from fluxlora.rehearsal.hosts.command import Engine
from fluxlora.rehearsal.hosts.containers import Containers
from fluxlora.rehearsal.hosts.engine import ensure_image, find_engine
from fluxlora.rehearsal.hosts.inherited import inherited
from fluxlora.rehearsal.hosts.owner import LABEL, sweep
from remote import keygen

SSH = [
    *("ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
    *("-o", "LogLevel=ERROR", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=5"),
]
SECRET = "the-key-of-one-instance"
ids = itertools.count(1)


class Key:
    """An ssh key pair."""

    def __init__(self, folder: Path, name: str) -> None:
        self.file = keygen(folder / name)
        self.public = self.file.with_suffix(".pub").read_text()

    def command(self, port: int, *remote: str, options: tuple[str, ...] = ()) -> list[str]:
        return [*SSH, *options, "-i", str(self.file), "-p", str(port), "root@127.0.0.1", *remote]

    def run(self, port: int, *remote: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(port, *remote), capture_output=True, text=True, timeout=120, check=False)

    def told(self, port: int, *remote: str, within_seconds: float = 20) -> str:
        """What a command on the host printed, as soon as there is an sshd that lets this key in."""
        deadline = time.monotonic() + within_seconds
        while (done := self.run(port, *remote)).returncode == 255 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return Key(tmp_path_factory.mktemp("key"), "id")


@pytest.fixture(scope="module")
def engine() -> Engine:
    ensure_image()
    return find_engine()


@pytest.fixture(scope="module")
def hosts(engine: Engine) -> Iterator[Containers]:
    with Containers() as containers:
        yield containers


@pytest.fixture
def boot(hosts: Containers, key: Key) -> Iterator[Callable[..., tuple[int, int]]]:
    """Boots a host and tells its id and port; it is removed after the test."""
    booted = []

    def start(onstart: str = "touch ~/.no_auto_tmux", **environment: str) -> tuple[int, int]:
        instance = next(ids)
        booted.append(instance)
        port = hosts.start(instance, environment=environment, authorized_keys=[key.public], onstart=onstart)
        return instance, port

    yield start
    for instance in booted:
        hosts.remove(instance)


def ids_of(engine: Engine, owner: str) -> list[str]:
    return engine("ps", "-aq", "--filter", f"label={LABEL}={owner}").split()


def test_a_host_is_reached_by_key_within_seconds_and_has_run_its_onstart(boot, key):
    _, port = boot()
    assert key.told(port, "id -un && ls -A", within_seconds=5).split()[0] == "root"
    assert ".no_auto_tmux" in key.told(port, "ls -A /root")


def test_a_key_nobody_registered_is_refused(boot, key, tmp_path):
    _, port = boot()
    key.told(port, "true")
    refused = Key(tmp_path, "stranger").run(port, "true")
    assert (refused.returncode, "Permission denied" in refused.stderr) == (255, True)


def test_sshd_listens_on_loopback_alone(boot, key):
    _, port = boot()
    listening = key.told(port, f"ss -Hltn 'sport = :{port}'").split()
    assert f"127.0.0.1:{port}" in listening
    assert f"0.0.0.0:{port}" not in listening


def test_the_instances_own_key_is_known_to_pid_1_alone(boot, hosts, engine, key):
    instance, port = boot(CONTAINER_API_KEY=SECRET, NOTE="it's a note")
    first = key.told(port, "cat /proc/1/environ").split("\0")
    assert {f"CONTAINER_API_KEY={SECRET}", f"CONTAINER_ID={instance}", "NOTE=it's a note"} <= set(first)
    assert SECRET not in key.told(port, "env")
    assert SECRET not in engine("inspect", *ids_of(engine, hosts.owner.label))


def test_every_ssh_session_has_this_machines_pip_settings(boot, key):
    _, port = boot()
    session = key.told(port, "env").splitlines()
    assert [
        f"{name}={value}" for name, value in inherited().environment().items() if f"{name}={value}" not in session
    ] == []


def test_pip_downloads_on_a_host_as_it_does_here(boot, key):
    _, port = boot()
    key.told(
        port, "apt-get update -qq && apt-get install -qq --yes --no-install-recommends python3-pip >/dev/null 2>&1"
    )
    assert "iniconfig" in key.told(port, "pip download -q --no-deps --dest /tmp iniconfig && ls /tmp")


def test_authorized_keys_are_replaced_while_it_runs(boot, hosts, key, tmp_path):
    instance, port = boot()
    key.told(port, "true")
    other = Key(tmp_path, "other")
    hosts.authorize(instance, [other.public])
    other.told(port, "true")
    assert key.run(port, "true").returncode == 255


def test_a_stopped_host_is_gone_and_comes_back_with_its_disk_and_its_host_key(boot, hosts, key):
    instance, port = boot(onstart="date +%N >> /root/boots")
    before = key.told(port, "echo kept > /root/file; cat /etc/ssh/ssh_host_ed25519_key.pub")
    hosts.stop(instance)
    assert key.run(port, "true").returncode == 255
    port = hosts.restart(instance)
    assert key.told(port, "cat /root/file").strip() == "kept"
    assert key.told(port, "cat /etc/ssh/ssh_host_ed25519_key.pub") == before
    assert len(key.told(port, "cat /root/boots").split()) == 2


def test_a_reboot_ends_what_ran(boot, hosts, key):
    instance, port = boot()
    key.told(port, "sleep 600 >/dev/null 2>&1 & echo begun")
    port = hosts.restart(instance)
    assert "sleep 600" not in key.told(port, "ps ax")


def test_a_connection_to_a_host_that_vanished_ends_by_serveralive_within_ten_seconds(boot, hosts, key):
    instance, port = boot()
    key.told(port, "true")
    alive = ("-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=3")
    with subprocess.Popen(key.command(port, "sleep 60", options=alive)) as connected:
        time.sleep(1)
        hosts.vanish(instance)
        with pytest.raises(subprocess.TimeoutExpired):  # no FIN, no RST
            connected.wait(1)
        assert connected.wait(9) == 255


def test_a_host_that_vanished_can_be_rebooted(boot, hosts, key):
    instance, port = boot()
    key.told(port, "true")
    hosts.vanish(instance)
    assert key.told(hosts.restart(instance), "echo back").strip() == "back"


def test_a_removed_host_leaves_neither_container_nor_folder_nor_volume(hosts, engine, key):
    volumes = engine("volume", "ls", "-q")
    instance = next(ids)
    port = hosts.start(instance, environment={}, authorized_keys=[key.public], onstart="")
    key.told(port, "true")
    hosts.vanish(instance)
    hosts.remove(instance)
    assert f"-{instance}" not in engine(
        "ps", "-a", "--filter", f"label={LABEL}={hosts.owner.label}", "--format", "{{.Names}}"
    )
    assert not (hosts.owner.folder / str(instance)).exists()
    assert engine("volume", "ls", "-q") == volumes


def test_hosts_started_at_once_get_ports_of_their_own(boot, key):
    with ThreadPoolExecutor(3) as pool:
        booted = list(pool.map(lambda _: boot(), range(3)))
    assert len({port for _, port in booted}) == 3
    for instance, port in booted:
        assert key.told(port, "hostname").strip() == f"c{instance}"


def test_a_host_from_the_image_of_another_has_its_disk_but_not_its_identity(boot, hosts, engine, key):
    instance, port = boot(CONTAINER_API_KEY=SECRET)
    before = key.told(port, "echo warm > /opt/installed; cat /etc/ssh/ssh_host_ed25519_key.pub")
    image = f"localhost/fluxlora-test:{hosts.owner.label.rpartition('.')[2]}"
    hosts.commit(instance, image)
    try:
        assert SECRET not in engine("image", "inspect", image)
        with Containers() as copies:
            port = copies.start(next(ids), environment={}, authorized_keys=[key.public], onstart="", image=image)
            assert key.told(port, "cat /opt/installed").strip() == "warm"
            assert key.told(port, "cat /etc/ssh/ssh_host_ed25519_key.pub") != before
    finally:
        engine("rmi", image)


def test_close_removes_every_host_even_a_frozen_one_and_starts_no_other(engine, key):
    containers = Containers()
    for instance in (1, 2):
        containers.start(instance, environment={}, authorized_keys=[key.public], onstart="")
    containers.vanish(1)
    containers.close()
    assert ids_of(engine, containers.owner.label) == []
    assert not containers.owner.folder.exists()
    with pytest.raises(RehearsalError):
        containers.start(3, environment={}, authorized_keys=[key.public], onstart="")


def test_a_host_that_cannot_be_started_leaves_nothing(hosts, engine):
    instance, before = next(ids), ids_of(engine, hosts.owner.label)
    with pytest.raises(RehearsalError) as refused:
        hosts.start(instance, environment={"not a name": "1"}, authorized_keys=[], onstart="")
    assert refused.value.code == "bad_environment"
    assert ids_of(engine, hosts.owner.label) == before
    assert not (hosts.owner.folder / str(instance)).exists()


ORPHAN = """
import time
from fluxlora.rehearsal.hosts.containers import Containers
hosts = Containers()
hosts.start(1, environment={}, authorized_keys=[], onstart="")
print(hosts.owner.label, flush=True)
time.sleep(600)
"""


def test_sweep_removes_the_hosts_of_a_killed_owner_and_no_others(boot, hosts, engine):
    boot()
    with subprocess.Popen([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, text=True) as owner:
        label = owner.stdout.readline().strip()
        assert len(ids_of(engine, label)) == 1
        owner.send_signal(signal.SIGKILL)
    sweep(engine)
    assert ids_of(engine, label) == []
    assert not (hosts.owner.folder.parent / label).exists()
    assert len(ids_of(engine, hosts.owner.label)) == 1


def test_a_docker_command_without_an_engine_is_refused_at_once_with_what_to_type(tmp_path, monkeypatch):
    client = tmp_path / "docker"
    client.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    client.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RehearsalError) as refused:
        find_engine()
    assert refused.value.code == "no_container_engine"
    assert "docker" in refused.value.hint
