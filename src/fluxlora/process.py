"""What belongs to which process, so that the leavings of one that was killed can be told apart and removed."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "fluxlora-"
_MARK = re.compile(r"(?P<machine>.+)\.(?P<pid>\d+)\.(?P<began>\w*)\.(?P<token>[0-9a-f]+)")


def mark(pid: int | None = None) -> str:
    """A name that says which process something belongs to: this one, or another that outlives it.

    What belongs to a pid that never was, such as 0, belongs to nobody and is never dead.
    """
    pid = os.getpid() if pid is None else pid
    return f"{_machine()}.{pid}.{_began(pid)}.{secrets.token_hex(4)}"


def is_dead(name: str) -> bool:
    """Whether a mark is that of a process of this machine which is no more; no other name is."""
    of = _MARK.fullmatch(name)
    return of is not None and of["machine"] == _machine() and _began(int(of["pid"])) != of["began"]


@contextmanager
def private_folder(parent: Path | None = None) -> Iterator[Path]:
    """A folder of this process alone, 0700, gone afterwards; those of killed processes go when the next is made."""
    parent = parent or Path(tempfile.gettempdir())
    for left in parent.glob(f"{_PREFIX}*"):
        with suppress(FileNotFoundError):  # by its owner, just now
            if is_dead(left.name.removeprefix(_PREFIX)) and left.lstat().st_uid == os.getuid():
                shutil.rmtree(left, ignore_errors=True)
    folder = parent / f"{_PREFIX}{mark()}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _machine() -> str:
    return re.sub(r"\W", "-", socket.gethostname())


def _began(pid: int) -> str:
    """When a process began, in whatever the system counts; empty when there is none. A pid alone is used again."""
    try:
        # After the command's name, which may hold anything: field 22 of the line, clock ticks since the boot (proc(5)).
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    # The latter where it ends between being opened and being read.
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self").exists():
            return ""
    told = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, timeout=10, check=False
    )
    return re.sub(r"\W", "", told.stdout)
