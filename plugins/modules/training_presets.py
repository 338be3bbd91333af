#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Resolve the presets of a run."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from fluxlora.errors import FluxloraError
from fluxlora.project import project_dir
from fluxlora.settings import presets

from ..module_utils.failures import fail_with

DOCUMENTATION = r"""
module: training_presets
short_description: Resolve the presets of a run
description:
  - Reads the names of presets, adds the default one if none of them is a resolution preset, and refuses unknown presets
    and two that set one variable.
  - A preset is a file C(group_vars/preset_NAME.yml).
options:
  presets:
    description: Names as a list, or in one string with C(,) or C(+) between them.
    type: raw
    required: true
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
- name: Resolve the presets
  training_presets:
    presets: 512,lokr
  register: resolved
"""

RETURN = r"""
presets:
  description: The presets, in their order and without repetitions.
  type: list
  elements: str
  returned: success
  sample: ["1024", lokr]
available:
  description: All existing presets.
  type: list
  elements: str
  returned: success
code:
  description: The kind of failure, for programs; one of unknown_preset, preset_conflict, bad_yaml, bad_input.
  type: str
  returned: failure
hint:
  description: What to do next, for people.
  type: str
  returned: failure
"""

ARGUMENT_SPEC = {"presets": {"type": "raw", "required": True}, "project_dir": {"type": "path"}}


def main() -> None:
    module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True)
    try:
        project = Path(module.params["project_dir"] or project_dir())
        resolved = presets.resolve(module.params["presets"], project)
    except FluxloraError as error:
        fail_with(module, error)
    module.exit_json(changed=False, presets=list(resolved), available=list(presets.available(project)))


if __name__ == "__main__":
    main()
