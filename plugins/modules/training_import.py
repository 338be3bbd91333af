#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Turn SimpleTuner's own files into a run."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from fluxlora import importer
from fluxlora.errors import FluxloraError
from fluxlora.project import project_dir

from ..module_utils.failures import fail_with

DOCUMENTATION = r"""
module: training_import
short_description: Turn SimpleTuner's own files into a run
description:
  - Reads a C(config.json), and optionally a C(multidatabackend.json) and C(lycoris_config.json), which were edited by
    hand as in the training guide, and writes the host variables of a run that trains the same.
  - Every key that is renamed, dropped, corrected or added is reported with the reason. Values that a preset or the
    project's defaults already have are left out.
  - Secrets at any depth and paths of another machine are not imported, and text that looks like a template is marked
    so that it is not evaluated.
  - The file is readable only by its owner and listed in a C(.gitignore) beside it.
  - A file with other content is never overwritten.
options:
  files:
    description: The files, in any order; they are recognised by their content.
    type: list
    elements: path
    required: true
  name:
    description: Name of the run. By default the adapter's name in the files.
    type: str
  version:
    description: The release of SimpleTuner, a value of C(simpletuner_version). By default the project's default.
    type: str
  folder:
    description: Folder for the host variables. By default the project's C(inventory/host_vars).
    type: path
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
- name: Import what was trained by hand
  training_import:
    files: [config/config.json, config/multidatabackend.json]
    name: my-style
"""

RETURN = r"""
run:
  description: Name of the run.
  type: str
  returned: success
path:
  description: The file of host variables.
  type: path
  returned: success
presets:
  description: The presets that correspond to the files.
  type: list
  elements: str
  returned: success
  sample: ["512", lokr]
variables:
  description: The values that differ from the presets.
  type: dict
  returned: success
notes:
  description: Each key that is not imported unchanged; C(kind) is one of renamed, dropped, corrected, added.
  type: list
  elements: dict
  returned: success
lines:
  description: The same as lines for people.
  type: list
  elements: str
  returned: success
code:
  description: The kind of failure, for programs; one of bad_json, bad_input, bad_run_name, already_there.
  type: str
  returned: failure
hint:
  description: What to do next, for people.
  type: str
  returned: failure
"""

ARGUMENT_SPEC = {
    "files": {"type": "list", "elements": "path", "required": True},
    "name": {"type": "str"},
    "version": {"type": "str"},
    "folder": {"type": "path"},
    "project_dir": {"type": "path"},
}


def main() -> None:
    module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True)
    wanted = module.params
    try:
        project = Path(wanted["project_dir"] or project_dir())
        folder = Path(wanted["folder"] or project / "inventory" / "host_vars")
        given = importer.read([Path(file) for file in wanted["files"]])
        run = importer.convert(given, project, name=wanted["name"], version=wanted["version"])
        changed = importer.write(run, folder, dry_run=module.check_mode)
    except FluxloraError as error:
        fail_with(module, error)
    module.exit_json(changed=changed, **run.as_facts(folder))


if __name__ == "__main__":
    main()
