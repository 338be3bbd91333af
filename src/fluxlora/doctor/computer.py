"""This computer: the programs a run calls, their versions, and room for what comes home."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from fluxlora.doctor.checks import Check, failed, ok, warning

# Each with the package of Debian that has it.
PROGRAMS: Mapping[str, str] = {"ssh": "openssh-client", "ssh-keygen": "openssh-client", "rsync": "rsync"}
# Whose behaviour the roles and the client rely on.
PACKAGES = ("ansible-core", "vastai", "huggingface-hub")
# What must stay free beside the artifacts.
SPARE_GB = 1.0


def programs() -> Check:
    """Whether the programs that a run calls are installed."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        packages = " ".join(sorted({PROGRAMS[name] for name in missing}))
        return failed("programs", f"{', '.join(missing)} not found", f"sudo apt install {packages}", "no_program")
    return ok("programs", ", ".join(PROGRAMS))


def versions(lock: Path) -> Check:
    """Whether what is installed is what was tested."""
    locked = dict(_locked(lock.read_text(encoding="utf-8")))
    others = [f"{name} {have} for {locked[name]}" for name, have in _installed() if have != locked.get(name, have)]
    if others:
        return warning(
            "packages", f"not those of requirements.lock: {', '.join(others)}", "make setup", "other_version"
        )
    return ok("packages", ", ".join(f"{name} {have}" for name, have in _installed()))


def _locked(lock: str) -> Iterator[tuple[str, str]]:
    """The names and versions of a lock for this python."""
    for line in re.findall(r"^[\w.-]+==[^\\\n]+", lock, re.MULTILINE):
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate():
            yield wanted.name, str(wanted.specifier).removeprefix("==")


def _installed() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        yield name, metadata.version(name)


def room(folder: Path, *, expected_gb: float, free_gb: float | None = None) -> Check:
    """Whether the artifacts may be written and fit, in decimal GB; `free_gb` is measured when not given."""
    folder = folder.resolve()
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        why = "is not yours to write to" if there.is_dir() else "is no folder"
        return failed("disk", f"{there} {why}", f"set artifacts_dir to another than {folder}", "not_writable")
    free = shutil.disk_usage(there).free / 1e9 if free_gb is None else free_gb
    told = f"{free:.0f} GB free in {folder}"
    if free < expected_gb + SPARE_GB:
        return failed(
            "disk",
            f"{told}, and {expected_gb:.1f} GB are expected to come home",
            f"free {expected_gb + SPARE_GB - free:.1f} GB, or set artifacts_dir to a larger disk",
            "no_room",
        )
    return ok("disk", told + (f", {expected_gb:.1f} GB are expected" if expected_gb else ""))
