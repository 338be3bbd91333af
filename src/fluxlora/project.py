"""Where the project is that somebody works in."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fluxlora.errors import InputError

# The project of a call from outside of every project, from cron for example.
PROJECT_VARIABLE = "FLUXLORA_PROJECT"


def project_dir() -> Path:
    """The project worked in: the current folder, else the nearest one above it, that holds the playbooks.

    Outside of every project it is the one that FLUXLORA_PROJECT names. It is never silently the one that this package
    was installed from: runs, artifacts and what is remembered would be written where nobody works. Raises InputError.
    """
    here = Path.cwd()
    # Others may put playbooks into a folder that everybody may write to, such as /tmp.
    above = (folder for folder in here.parents if not folder.stat().st_mode & stat.S_IWOTH)
    for folder in (here, *above):
        if _is_project(folder):
            return folder
    if named := os.environ.get(PROJECT_VARIABLE):
        folder = Path(named).expanduser().resolve()
        if _is_project(folder):
            return folder
        raise InputError(
            f"{PROJECT_VARIABLE} names {folder}, which does not hold the fluxlora playbooks.",
            hint="Let it name the folder made by `git clone`.",
            code="no_project",
        )
    installed = Path(__file__).resolve().parents[2]
    example = installed if _is_project(installed) else "/path/to/fluxlora"
    raise InputError(
        f"{here} is not in a fluxlora project.",
        hint=f"Change into the folder made by `git clone`, or name it: export {PROJECT_VARIABLE}={example}",
        code="no_project",
    )


def _is_project(folder: Path) -> bool:
    return (folder / "ansible.cfg").is_file() and (folder / "train.yml").is_file()
