#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read the presets, their settings and the reasons."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from fluxlora.errors import FluxloraError
from fluxlora.project import project_dir
from fluxlora.settings import presets

from ..module_utils.failures import fail_with

DOCUMENTATION = r"""
module: training_preset_info
short_description: Read the presets, their settings and the reasons
description:
  - Reads C(group_vars/preset_NAME.yml); the reasons are the files' comments.
options:
  presets:
    description:
      - Names as a list, or in one string with C(,) or C(+) between them.
      - Empty for every preset; named ones are also checked in combination.
    type: raw
    default: []
  project_dir:
    description: Folder with C(group_vars) and C(roles). By default the project of the current folder.
    type: path
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Read two presets
  training_preset_info:
    presets: 512,lokr
  register: read
"""

RETURN = r"""
presets:
  description: Name, kind and purpose of each preset, and its settings, each with variable, value and reason.
  type: list
  elements: dict
  returned: success
lines:
  description: The same for people.
  type: list
  elements: str
  returned: success
together:
  description: The presets of a run with these; empty if they cannot be combined, or none was named.
  type: list
  elements: str
  returned: success
  sample: ["1024", lokr]
code:
  description: The kind of failure, for programs; one of unknown_preset, bad_yaml, bad_input.
  type: str
  returned: failure
hint:
  description: What to do next, for people.
  type: str
  returned: failure
"""

ARGUMENT_SPEC = {"presets": {"type": "raw", "default": []}, "project_dir": {"type": "path"}}


def main() -> None:
    module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True)
    try:
        shown = presets.show(module.params["presets"], Path(module.params["project_dir"] or project_dir()))
    except FluxloraError as error:
        fail_with(module, error)
    module.exit_json(
        changed=False,
        presets=[asdict(preset) for preset in shown.presets],
        lines=shown.lines(),
        together=list(shown.together),
    )


if __name__ == "__main__":
    main()
