#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find a python interpreter that can make virtual environments."""

from __future__ import annotations

import glob
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: python_interpreter_info
short_description: Find a python interpreter that can make virtual environments
description:
  - Runs each candidate and returns the first with the version, C(venv) and C(ensurepip).
  - For a candidate in a virtual environment, the interpreter from which that was made is used.
options:
  version:
    description: Major and minor version.
    type: str
    required: true
  candidates:
    description: Commands in PATH, and patterns of absolute paths, in order of preference.
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Find python 3.11
  python_interpreter_info:
    version: "3.11"
    candidates: [python3.11, /opt/*/bin/python3.11]
  register: __python_found
"""

RETURN = r"""
interpreter:
  description: Path of the interpreter; null if there is none.
  returned: success
  type: str
  sample: /usr/bin/python3.11
rejected:
  description: The existing candidates that are not usable, as C(path) and C(reason).
  returned: success
  type: list
  elements: dict
  sample: [{path: /usr/bin/python3.11, reason: /usr/bin/python3.11 has no ensurepip.}]
"""

ARGUMENT_SPEC = {
    "version": {"type": "str", "required": True},
    "candidates": {"type": "list", "elements": "str", "required": True},
}

# The candidate, which may be any python, runs this: it prints one line of JSON about itself.
QUESTION = """
import json, os, sys
from importlib.util import find_spec
print(json.dumps({
    "version": "%d.%d" % sys.version_info[:2],
    "path": os.path.realpath(getattr(sys, "_base_executable", sys.executable)),
    "lacks": [name for name in ("venv", "ensurepip") if not find_spec(name)],
}))
"""
# Seconds. A version manager's shim is slow; one that hangs must not block the others.
TIMEOUT = 20


def main() -> None:
    module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True)
    rejected: list[dict[str, str]] = []
    for path in existing(module.params["candidates"]):
        found, reason = examine(path, module.params["version"])
        if found:
            module.exit_json(changed=False, interpreter=found, rejected=rejected)
        rejected.append({"path": path, "reason": reason})
    module.exit_json(changed=False, interpreter=None, rejected=rejected)


def existing(candidates: Sequence[str]) -> Iterator[str]:
    """Return the executables for commands and patterns."""
    for candidate in map(os.path.expanduser, candidates):
        found = sorted(glob.glob(candidate)) if os.path.isabs(candidate) else [shutil.which(candidate)]  # noqa: PTH117, PTH207
        yield from (path for path in found if path and os.access(path, os.X_OK))


def examine(path: str, version: str) -> tuple[str | None, str]:
    """Return the interpreter behind `path` if it is usable, otherwise the reason why not."""
    try:
        answer = subprocess.run([path, "-I", "-c", QUESTION], capture_output=True, timeout=TIMEOUT, check=True).stdout
        about = json.loads(answer)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return None, f"{path} does not run: {error}."
    if about["version"] != version:
        return None, f"{path} is python {about['version']}."
    if about["lacks"]:
        return None, f"{path} has no {' and no '.join(about['lacks'])}."
    return about["path"], ""


if __name__ == "__main__":
    main()
