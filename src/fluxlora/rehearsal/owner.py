"""Who owns which hosts: everything of a process that died, however it died, can be told apart and removed."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

from fluxlora.errors import RehearsalError
from fluxlora.rehearsal.command import Engine

LABEL = "fluxlora.rehearsal.owner"
_OWNER = re.compile(r"(?P<machine>.+)\.(?P<pid>\d+)\.(?P<began>\w*)\.(?P<token>[0-9a-f]+)")


class Owner:
    """This process, or one that outlives it, as the owner of hosts, and a private folder for what they are handed."""

    def __init__(self, pid: int | None = None) -> None:
        self._token = secrets.token_hex(4)
        owner_pid = pid or os.getpid()
        self.label = f"{_machine()}.{owner_pid}.{_began(owner_pid)}.{self._token}"
        self.folder = _folders() / self.label
        self.folder.mkdir(mode=0o700)

    def name(self, what: str) -> str:
        """A container's name."""
        return f"fluxlora-{self._token}-{what}"

    def label_option(self) -> str:
        """The argument that marks a container as this owner's."""
        return f"--label={LABEL}={self.label}"

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Owner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


def owned(engine: Engine, label: str) -> list[str]:
    """The ids of an owner's containers, running or not."""
    return engine("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={LABEL}={label}").split()


def remove_containers(engine: Engine, ids: list[str]) -> None:
    """Remove containers and what they wrote, frozen ones too."""
    if ids:
        engine("rm", "--force", "--volumes", *ids, within_seconds=120)


def sweep(engine: Engine) -> list[str]:
    """Remove the containers and folders whose owner on this machine is dead; the ids of those containers."""
    listed = engine(
        "ps", "--all", "--no-trunc", "--filter", f"label={LABEL}", "--format", f'{{{{.ID}}}} {{{{.Label "{LABEL}"}}}}'
    )
    containers = [line.split(maxsplit=1) for line in listed.splitlines()]
    orphans = [container for container, label in containers if _is_dead(label)]
    remove_containers(engine, orphans)
    for folder in _folders().iterdir():
        if _is_dead(folder.name):
            shutil.rmtree(folder, ignore_errors=True)
    return orphans


def _is_dead(label: str) -> bool:
    owner = _OWNER.fullmatch(label)
    return owner is not None and owner["machine"] == _machine() and _began(int(owner["pid"])) != owner["began"]


def _machine() -> str:
    return re.sub(r"\W", "-", socket.gethostname())


def _began(pid: int) -> str:
    """When a process began, in whatever the system counts; empty when there is none. A pid alone is used again."""
    try:
        # After the command's name, which may hold anything: field 22 of the line, clock ticks since the boot (proc(5)).
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return ""
    told = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, timeout=10, check=False
    )
    return re.sub(r"\W", "", told.stdout)


def _folders() -> Path:
    folder = Path(tempfile.gettempdir()) / f"fluxlora-hosts-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise RehearsalError(
            f"{folder} belongs to somebody else.", hint=f"Remove it, or set TMPDIR: sudo rm -r {folder}"
        )
    return folder
