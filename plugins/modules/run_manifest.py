#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write down what came home of a run."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from fluxlora import report
from fluxlora.errors import FluxloraError
from fluxlora.journal import Journal

DOCUMENTATION = r"""
module: run_manifest
short_description: Write down what came home of a run
description:
  - Writes C(manifest.json), for programs, and C(report.txt), for people, into the run's folder on the controller.
  - Has no secrets in it.
options:
  path:
    description: The run's folder on the controller.
    type: path
    required: true
  run:
    description: Name of the run.
    type: str
    required: true
  presets:
    description: Its presets.
    type: list
    elements: str
    default: []
  instance:
    description: The instance's C(id), C(gpu), C(price_per_hour) in $ and C(started_at) in seconds since the epoch.
    type: dict
    default: {}
  cost:
    description: What the run has cost, as M(run_budget_info) returns it.
    type: dict
    default: {}
  journal:
    description:
      - The file of what was rented and destroyed. That the adapter is home, and how fast it was trained, is written
        there once for each adapter. Left out, nothing is.
    type: path
  progress:
    description: The instance's progress.json.
    type: dict
    default: {}
  versions:
    description: Names and versions of the packages that trained.
    type: dict
    default: {}
  adapter:
    description: The final adapter as M(adapter_info) returns it; left out while there is none.
    type: dict
attributes:
  check_mode:
    support: full
author: the fluxlora developers
"""

EXAMPLES = r"""
- name: Write the manifest
  run_manifest:
    path: artifacts/my-style
    run: my-style
    presets: ["512"]
    adapter: "{{ checked.adapter }}"
"""

RETURN = r"""
manifest:
  description: What was written; RV(manifest.delivered) is true when the final adapter is home and was checked.
  type: dict
  returned: success
lines:
  description: The report as a person reads it.
  type: list
  elements: str
  returned: success
code:
  description: The kind of failure, for programs; no_artifacts.
  type: str
  returned: failure
hint:
  description: What to do next, for people.
  type: str
  returned: failure
"""

ARGUMENT_SPEC = {
    "path": {"type": "path", "required": True},
    "run": {"type": "str", "required": True},
    "presets": {"type": "list", "elements": "str", "default": []},
    "instance": {"type": "dict", "default": {}},
    "cost": {"type": "dict", "default": {}},
    "journal": {"type": "path"},
    "progress": {"type": "dict", "default": {}},
    "versions": {"type": "dict", "default": {}},
    "adapter": {"type": "dict"},
}


def main() -> None:
    module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True)
    wanted = module.params
    folder = Path(wanted["path"])
    try:
        manifest = report.build(
            folder,
            run=wanted["run"],
            presets=wanted["presets"],
            instance=wanted["instance"],
            progress=wanted["progress"],
            cost=wanted["cost"],
            adapter_facts=wanted["adapter"],
            versions=wanted["versions"],
        )
        changed = report.write(folder, manifest, dry_run=module.check_mode)
        if wanted["journal"] and not module.check_mode:
            report.remember(Journal(Path(wanted["journal"])), manifest)
    except FluxloraError as error:
        module.fail_json(msg=str(error), hint=error.hint, code=error.code)
    module.exit_json(changed=changed, manifest=manifest, lines=report.lines(manifest))


if __name__ == "__main__":
    main()
