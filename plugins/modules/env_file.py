#!/usr/bin/python
"""Keep variables, including secret ones, in a file that only its owner can read."""

from __future__ import annotations

import os
import shlex
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.failures import fail

DOCUMENTATION = r"""
module: env_file
short_description: Keep variables, including secret ones, in a file that only its owner can read
description:
  - The file has a line C(NAME=VALUE) for each variable, quoted for the shell, and the mode 0600.
  - With a pipelined connection the values are in no other file, neither on this computer nor on the host; copy and
    template write them to temporary files on both.
options:
  path:
    description: The file. Its folder is made if it is missing.
    type: path
    required: true
  variables:
    description: Variables that are not secret.
    type: dict
    default: {}
  secrets:
    description: Variables that are secret.
    type: dict
    default: {}
  exclusive:
    description: Whether other variables are removed from the file.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Store the token for later downloads
  env_file:
    path: /root/.fluxlora/train.env
    secrets:
      HF_TOKEN: "{{ lookup('ansible.builtin.env', 'HF_TOKEN') }}"
"""

RETURN = r"""
path:
  description: The file.
  type: str
  returned: success
code:
  description: Why it failed; cannot_write.
  type: str
  returned: failure
hint:
  description: What to do next, for people.
  type: str
  returned: failure
"""

MODE = 0o600


def main() -> None:
    """Merge the variables, and write the file only if it differs."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "variables": {"type": "dict", "default": {}},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "exclusive": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    path, given = Path(module.params["path"]), {**module.params["variables"], **module.params["secrets"]}
    try:
        changed = ensure(path, given, exclusive=module.params["exclusive"], dry_run=module.check_mode)
    except OSError as error:
        hint = "Check its folder's owner and free space."
        fail(module, f"{path} cannot be written: {error}.", hint=hint, code="cannot_write")
    module.exit_json(changed=changed, path=str(path))


def ensure(path: Path, given: dict[str, Any], *, exclusive: bool, dry_run: bool) -> bool:
    """Write the file in one step, if its content or its mode differs; return whether it was written."""
    known = read(path)
    wanted = {**({} if exclusive else known or {}), **{name: str(value) for name, value in given.items()}}
    if known == wanted and path.stat().st_mode & 0o777 == MODE:
        return False
    if dry_run:
        return True
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # mkstemp creates files with mode 0600.
    handle, fresh = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.writelines(f"{name}={shlex.quote(value)}\n" for name, value in wanted.items())
        Path(fresh).replace(path)
    except BaseException:
        # On a full disk it may contain half a token.
        Path(fresh).unlink(missing_ok=True)
        raise
    return True


def read(path: Path) -> dict[str, str] | None:
    """Return the variables of the file; None if it is missing or cannot be read."""
    try:
        words = shlex.split(path.read_text(encoding="utf-8"), comments=True)
    except (FileNotFoundError, ValueError):
        return None
    return dict(word.split("=", 1) for word in words if "=" in word)


if __name__ == "__main__":
    main()
