"""Hosts in containers: with a real sshd on its own loopback port, root, no systemd, and a disk that survives a stop."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shlex
import shutil
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fluxlora.errors import RehearsalError
from fluxlora.rehearsal.hosts.command import Engine, Say, to_stderr
from fluxlora.rehearsal.hosts.engine import find_engine, host_image
from fluxlora.rehearsal.hosts.inherited import Inherited, inherited
from fluxlora.rehearsal.hosts.owner import Owner, end, remove_containers, sweep

# Downloads remain after the hosts; everything else is removed with them.
CACHES = {
    "fluxlora-pip": "/root/.cache/pip",
    "fluxlora-poetry": "/root/.cache/pypoetry",
    "fluxlora-uv": "/root/.cache/uv",
    "fluxlora-bytecode": "/root/.cache/bytecode",
}
# uv's unpacked packages, 6 GB, are linked and not copied to the host's disk.
SHARED = {"UV_LINK_MODE": "symlink"}

# Below the ports for outgoing connections, so that none of these uses a port between its choice and its use.
PORTS = range(20_000, 32_000)


class Containers:
    """Hosts in containers of podman or docker, on this machine's network. Usable from several threads.

    With host networking a host reaches the stand-ins on 127.0.0.1 without the controller, with either engine, as
    root or not; and everything listens only on loopback.
    """

    def __init__(self, *, image: str | None = None, say: Say = to_stderr, owner_pid: int | None = None) -> None:
        self.owner = Owner(owner_pid)
        self._image = image
        self._say = say
        self._engine: Engine | None = None
        self._inherited: Inherited | None = None
        self._ports: dict[int, int] = {}
        self._ports_lock = threading.Lock()
        self._prepare_lock = threading.Lock()
        self._closed = False

    def prepare(self) -> None:
        """Prepare everything for the first start; fast if the image exists. Raises RehearsalError."""
        with self._prepare_lock:
            if self._engine is None:
                engine = find_engine(self._say)
                sweep(engine)
                self._image = self._image or host_image(engine, self.owner, self._say)
                self._inherited = inherited()
                self._engine = engine

    def start(
        self, instance_id: int, *, environment: Mapping[str, str], authorized_keys: Sequence[str], onstart: str
    ) -> int:
        """Boot a host; return the port on 127.0.0.1 that its sshd opens some tenths of a second later. Raises
        RehearsalError."""
        engine = self._ready()
        folder = self._folder(instance_id)
        folder.mkdir(mode=0o700)
        try:
            self._hand_in(folder, instance_id, environment, authorized_keys, onstart)
            port = self._choose_port(instance_id)
            engine(*self._run_line(instance_id, folder))
            if self._closed:
                raise RehearsalError("The rehearsal ended while a host was starting.", code="rehearsal_over")
        except BaseException:
            self._discard(engine, instance_id)
            raise
        return port

    def _hand_in(
        self,
        folder: Path,
        instance_id: int,
        environment: Mapping[str, str],
        authorized_keys: Sequence[str],
        onstart: str,
    ) -> None:
        identity = {"CONTAINER_ID": str(instance_id), "VAST_CONTAINERLABEL": f"C.{instance_id}"}
        _write(folder / "pid1.env", _shell_assignments({**identity, **environment}))
        _write(folder / "environment", _pam_assignments({**self._settings.environment(), **SHARED}))
        _write(folder / "authorized_keys", _lines(authorized_keys))
        _write(folder / "onstart.sh", onstart)
        if self._settings.ca_bundle:
            shutil.copyfile(self._settings.ca_bundle, folder / "ca-certificates.crt")

    def authorize(self, instance_id: int, keys: Sequence[str]) -> None:
        """Make these the only keys from the rehearsal; keys that the host itself put into ~/.ssh are kept."""
        _write(self._folder(instance_id) / "authorized_keys", _lines(keys))

    def stop(self, instance_id: int) -> None:
        """Stop a host and keep its disk."""
        self._thaw_dead(instance_id)
        self._ready()("stop", "-t", "2", self._name(instance_id))

    def restart(self, instance_id: int) -> int:
        """Boot a host again from its disk, stopped or not; return the port of its sshd."""
        self._thaw_dead(instance_id)
        engine = self._ready()
        engine("stop", "-t", "2", self._name(instance_id))
        port = self._choose_port(instance_id)
        engine("start", self._name(instance_id))
        return port

    def remove(self, instance_id: int) -> None:
        """Remove a host and its disk."""
        self._thaw_dead(instance_id)
        self._discard(self._ready(), instance_id)

    def _discard(self, engine: Engine, instance_id: int) -> None:
        remove_containers(engine, [self._name(instance_id)])
        shutil.rmtree(self._folder(instance_id), ignore_errors=True)
        with self._ports_lock:
            self._ports.pop(instance_id, None)

    def vanish(self, instance_id: int) -> None:
        """Freeze a host: its clients get neither FIN nor RST."""
        self._ready()("pause", self._name(instance_id))

    def commit(self, instance_id: int, image: str) -> None:
        """Keep a host's disk as an image for `Containers(image=…)`, without the files that it got at its start."""
        self._ready()("commit", "--pause=false", self._name(instance_id), image, within_seconds=600)

    def close(self) -> None:
        """Remove every host of this object, and its folder."""
        self._closed = True
        with self.owner:
            if self._engine:
                end(self._engine, self.owner.label)

    def __enter__(self) -> Containers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run_line(self, instance_id: int, folder: Path) -> Iterator[str]:
        yield from ("run", "--detach", "--pull=never", "--name", self._name(instance_id), self.owner.label_option())
        yield from ("--network=host", f"--hostname=c{instance_id}", "--shm-size=1g", "--pids-limit=-1")
        yield "--security-opt=label=disable"  # folders of this machine are mounted and must not be relabelled
        yield f"--mount=type=bind,source={folder},target=/run/rehearsal,readonly"
        for shared in self._settings.folders:
            yield f"--mount=type=bind,source={shared},target={shared},readonly"
        for volume, target in CACHES.items():
            yield f"--mount=type=volume,source={volume},target={target}"
        assert self._image is not None
        yield self._image

    def _ready(self) -> Engine:
        if self._closed:
            raise RehearsalError("The rehearsal is over: no host is started any more.", code="rehearsal_over")
        self.prepare()
        assert self._engine is not None
        return self._engine

    @property
    def _settings(self) -> Inherited:
        assert self._inherited is not None
        return self._inherited

    def _name(self, instance_id: int) -> str:
        return self.owner.name(str(instance_id))

    def _folder(self, instance_id: int) -> Path:
        return self.owner.folder / str(instance_id)

    def _thaw_dead(self, instance_id: int) -> None:
        """Kill a frozen host, then thaw it: it cannot be stopped while frozen, and must not answer again."""
        engine = self._ready()
        state = engine.attempt("inspect", "--format", "{{.State.Status}}", self._name(instance_id)).stdout
        if state.strip() == "paused":
            engine.attempt("kill", self._name(instance_id))
            engine.attempt("unpause", self._name(instance_id))

    def _choose_port(self, instance_id: int) -> int:
        """Return its previous port if still free, otherwise a free one that no other host has been given."""
        with self._ports_lock:
            had = self._ports.pop(instance_id, None)
            drawn = random.sample(PORTS, len(PORTS))
            candidates = [had, *drawn] if had else drawn
            taken = self._ports_of_others(instance_id)
            port = next(port for port in candidates if port not in taken and _is_free(port))
            self._ports[instance_id] = port
        _write(self._folder(instance_id) / "port", f"{port}\n")
        return port

    def _ports_of_others(self, instance_id: int) -> set[int]:
        """Return the ports of other hosts, also of other processes: their sshd may not listen yet."""
        taken = set(self._ports.values())
        for file in self.owner.folder.parent.glob("*/*/port"):
            with contextlib.suppress(OSError, ValueError):
                if file.parent != self._folder(instance_id):
                    taken.add(int(file.read_text()))
        return taken


def _is_free(port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        # As sshd does; otherwise a port whose last connections are still in TIME_WAIT is not free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return True
    return False


def _write(path: Path, text: str) -> None:
    """Write a file in one step, readable only by its owner, because sshd may be reading it."""
    new = path.with_name(f".{path.name}.{threading.get_ident()}")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:  # noqa: PTH123
        file.write(text)
    new.replace(path)


def _lines(items: Sequence[str]) -> str:
    return "".join(f"{item.strip()}\n" for item in items)


def _shell_assignments(environment: Mapping[str, str]) -> str:
    wrong = [name for name in environment if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII)]
    if wrong:
        raise RehearsalError(f"Not the name of an environment variable: {wrong[0]!r}", code="bad_environment")
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in environment.items())


def _pam_assignments(environment: Mapping[str, str]) -> str:
    """Return lines for pam_env, which reads a line unchanged up to a `#`."""
    return "".join(f"{name}={value}\n" for name, value in environment.items() if not re.search(r"[#\n]", value))
