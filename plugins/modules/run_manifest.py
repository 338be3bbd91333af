#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write the manifest and the report of a run's downloaded artifacts."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from fluxlora.delivery import report
from fluxlora.errors import FluxloraError
from fluxlora.money.journal import Journal
from fluxlora.untrusted.schemas import MalformedError, ProgressRecord, read_file, texts

from ..module_utils.failures import fail_with

DOCUMENTATION = r"""
module: run_manifest
short_description: Write the manifest and the report of a run's downloaded artifacts
description:
  - Writes C(manifest.json), for programs, and C(report.txt), for people, into the run's folder on the controller.
  - The files contain no secrets.
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
    description: The run's presets.
    type: list
    elements: str
    default: []
  instance:
    description: The instance's C(id), C(gpu), C(price_per_hour) in $ and C(started_at) in seconds since the epoch.
    type: dict
    default: {}
  cost:
    description: The cost of the run, as M(run_budget_info) returns it.
    type: dict
    default: {}
  journal:
    description:
      - The file that records what was rented and destroyed. The download of the adapter, and how fast it was trained,
        are recorded once for each adapter. Without the option nothing is recorded.
    type: path
  progress_file:
    description:
      - The instance's downloaded progress.json; it need not exist. If it is not a supervisor's, the report says so, and
        nothing in it is used.
    type: path
  versions:
    description: Names and versions of the trainer's packages, as JSON. Validated like O(progress_file).
    type: raw
  adapter:
    description: The final adapter as M(adapter_info) returns it, if there is one.
    type: dict
  copies:
    description: The result of M(adapter_copies), its C(copies) and C(problems).
    type: dict
    default: {}
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
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
  description: The manifest; RV(manifest.delivered) is true if the final adapter is downloaded and was checked.
  type: dict
  returned: success
lines:
  description: The report as lines for people.
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
    "progress_file": {"type": "path"},
    "versions": {"type": "raw"},
    "adapter": {"type": "dict"},
    "copies": {"type": "dict", "default": {}},
}


def main() -> None:
    module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True)
    wanted = module.params
    folder = Path(wanted["path"])
    problems: list[str] = []
    progress, versions = None, {}
    try:
        progress = read_file(ProgressRecord, Path(wanted["progress_file"])) if wanted["progress_file"] else None
    except MalformedError as error:
        problems.append(str(error))
    try:
        versions = texts(wanted["versions"], f"The list of versions of {wanted['run']}") if wanted["versions"] else {}
    except MalformedError as error:
        problems.append(str(error))
    try:
        manifest = report.build(
            folder,
            run=wanted["run"],
            presets=wanted["presets"],
            instance=wanted["instance"],
            progress=progress.model_dump() if progress else {},
            cost=wanted["cost"],
            adapter_facts=wanted["adapter"],
            versions=versions,
            problems=[*problems, *wanted["copies"].get("problems", [])],
            copies=wanted["copies"].get("copies", []),
        )
        changed = report.write(folder, manifest, dry_run=module.check_mode)
        if wanted["journal"] and not module.check_mode:
            report.remember(Journal(Path(wanted["journal"])), manifest)
    except FluxloraError as error:
        fail_with(module, error)
    module.exit_json(changed=changed, manifest=manifest, lines=report.lines(manifest))


if __name__ == "__main__":
    main()
