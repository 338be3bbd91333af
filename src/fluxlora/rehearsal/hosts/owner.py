"""The owner of hosts: everything that belongs to a dead process can be recognised and removed."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from fluxlora.errors import RehearsalError
from fluxlora.process import is_dead, mark
from fluxlora.rehearsal.hosts.command import Engine, last_words

LABEL = "fluxlora.rehearsal.hosts.owner"


class Owner:
    """A process that owns hosts, and a private folder for the files that they get.

    `pid` is this process's, or that of another that lives longer; a pid that never exists, such as 0, is never
    swept.
    """

    def __init__(self, pid: int | None = None) -> None:
        self.label = mark(pid)
        self.folder = _folders() / self.label
        self.folder.mkdir(mode=0o700)

    def name(self, what: str) -> str:
        """Return a container's name."""
        return f"fluxlora-{self.label.rpartition('.')[2]}-{what}"

    def label_option(self) -> str:
        """Return the argument that marks a container as this owner's."""
        return f"--label={LABEL}={self.label}"

    def __enter__(self) -> Owner:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def end(engine: Engine, label: str) -> None:
    """Remove an owner's containers, running or not, and its folder."""
    remove_containers(engine, _containers(engine, f"{LABEL}={label}"))
    shutil.rmtree(_folders() / label, ignore_errors=True)


def remove_containers(engine: Engine, names: list[str]) -> None:
    """Remove containers and their data, also frozen ones; missing ones are not an error."""
    present = [name for name in names if engine.attempt("inspect", "--type=container", name).returncode == 0]
    if present:
        done = engine.attempt("rm", "--force", "--volumes", *present, within_seconds=120)
        if done.returncode and "no such container" not in done.stderr.lower():
            raise RehearsalError(f"{engine} could not remove containers: {last_words(done.stderr)}")


def sweep(engine: Engine) -> list[str]:
    """Remove the containers and folders whose owner on this machine is dead; return the ids of the containers."""
    orphans = [container for container in _containers(engine, LABEL) if is_dead(_owner_of(engine, container))]
    remove_containers(engine, orphans)
    for folder in _folders().iterdir():
        if is_dead(folder.name):
            shutil.rmtree(folder, ignore_errors=True)
    return orphans


def _containers(engine: Engine, label: str) -> list[str]:
    return engine("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={label}").split()


def _owner_of(engine: Engine, container: str) -> str:
    """Return a container's owner; empty if the container is gone."""
    template = f'{{{{index .Config.Labels "{LABEL}"}}}}'
    return engine.attempt("inspect", "--type=container", "--format", template, container).stdout.strip()


def _folders() -> Path:
    folder = Path(tempfile.gettempdir()) / f"fluxlora-hosts-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise RehearsalError(
            f"{folder} belongs to somebody else.", hint=f"Remove it, or set TMPDIR: sudo rm -r {folder}"
        )
    return folder
