"""The folder of the project in which the user works."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fluxlora.errors import InputError

# The project for a call from outside of every project, for example from cron.
PROJECT_VARIABLE = "FLUXLORA_PROJECT"


def project_dir() -> Path:
    """Return the current folder, or the nearest one above it, that contains the playbooks.

    Outside of every project it is the one that FLUXLORA_PROJECT names. It is never silently the one from which this
    package was installed, because runs, artifacts and the journal would then be written to a folder that nobody
    uses. Raises InputError.
    """
    here = Path.cwd()
    # In a folder that is writable for everybody, such as /tmp, another user may have put the playbooks.
    above = (folder for folder in here.parents if not folder.stat().st_mode & stat.S_IWOTH)
    for folder in (here, *above):
        if _is_project(folder):
            return folder
    if named := os.environ.get(PROJECT_VARIABLE):
        folder = Path(named).expanduser().resolve()
        if _is_project(folder):
            return folder
        raise InputError(
            f"{PROJECT_VARIABLE} names {folder}, which does not contain the fluxlora playbooks.",
            hint="Set it to the folder made by `git clone`.",
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
