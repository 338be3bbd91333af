"""Names that belong to a process, so that what a killed process leaves behind can be recognised and removed."""

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
    """Return a name that says to which process something belongs: to this one, or to another that lives longer.

    The name for a pid that never exists, such as 0, belongs to no process and is never dead.
    """
    pid = os.getpid() if pid is None else pid
    return f"{_machine()}.{pid}.{_began(pid)}.{secrets.token_hex(4)}"


def is_dead(name: str) -> bool:
    """Return whether a name is the mark of a process of this machine that has ended; False for any other name."""
    of = _MARK.fullmatch(name)
    return of is not None and of["machine"] == _machine() and _began(int(of["pid"])) != of["began"]


@contextmanager
def private_folder(parent: Path | None = None) -> Iterator[Path]:
    """Yield a folder of this process with mode 0700, and remove it afterwards, also the folders of killed processes."""
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
    """Return when a process began, in the system's unit; empty if there is none. A pid alone may be reused."""
    try:
        # After the command's name, which may contain anything: field 22 of the line, clock ticks since the boot
        # (proc(5)).
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    # The latter if it ends after the file was opened and before it is read.
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self").exists():
            return ""
    done = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, timeout=10, check=False
    )
    return re.sub(r"\W", "", done.stdout)
