"""Checks this computer: the programs that a run calls, their versions, and space for the download."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

from fluxlora.doctor.checks import Check, failed, ok, warning

# Programs, each with its Debian package.
PROGRAMS: Mapping[str, str] = {"ssh": "openssh-client", "ssh-keygen": "openssh-client", "rsync": "rsync"}
# Packages on whose behaviour the roles and the client rely.
PACKAGES = ("ansible-core", "vastai", "huggingface-hub")
# GB that must stay free beside the artifacts.
SPARE_GB = 1.0


def programs() -> Check:
    """Return the check whether the programs that a run calls are installed."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        packages = " ".join(sorted({PROGRAMS[name] for name in missing}))
        return failed("programs", f"{', '.join(missing)} not found", f"sudo apt install {packages}", "no_program")
    return ok("programs", ", ".join(PROGRAMS))


def versions(lock: Path) -> Check:
    """Return the check whether the installed versions are the tested ones."""
    locked = dict(re.findall(r"^([\w.-]+)==([^\s\\]+)", lock.read_text(encoding="utf-8"), re.MULTILINE))
    others = [f"{name} {have} for {locked[name]}" for name, have in _installed() if have != locked.get(name, have)]
    if others:
        return warning(
            "packages", f"not those of requirements.lock: {', '.join(others)}", "make setup", "other_version"
        )
    return ok("packages", ", ".join(f"{name} {have}" for name, have in _installed()))


def _installed() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        yield name, metadata.version(name)


def room(folder: Path, *, expected_gb: float, free_gb: float | None = None) -> Check:
    """Return the check whether the artifacts can be written and fit, in decimal GB; `free_gb` is measured by
    default."""
    folder = folder.resolve()
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        why = "is not writable for you" if there.is_dir() else "is no folder"
        return failed("disk", f"{there} {why}", f"set artifacts_dir to another than {folder}", "not_writable")
    free = shutil.disk_usage(there).free / 1e9 if free_gb is None else free_gb
    space = f"{free:.0f} GB free in {folder}"
    if free < expected_gb + SPARE_GB:
        return failed(
            "disk",
            f"{space}, and {expected_gb:.1f} GB are expected to be downloaded",
            f"free {expected_gb + SPARE_GB - free:.1f} GB, or set artifacts_dir to a larger disk",
            "no_room",
        )
    return ok("disk", space + (f", {expected_gb:.1f} GB are expected" if expected_gb else ""))
