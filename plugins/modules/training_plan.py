#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Plan a run before anything is spent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from fluxlora.dataset import Wanted, scan
from fluxlora.delivery.adapter import header
from fluxlora.errors import FluxloraError
from fluxlora.plan import plan
from fluxlora.project import project_dir
from fluxlora.settings import variables

from ..module_utils.failures import fail, fail_with

DOCUMENTATION = r"""
module: training_plan
short_description: Plan a run before anything is spent
description:
  - Reads the dataset, and calculates from it and the merged variables how many steps an epoch has, what is left out,
    how long the run takes and which machine it needs.
  - Fails with all mistakes that would end the run, each as one sentence.
options:
  run:
    description: Name of the run.
    type: str
    required: true
  presets:
    description: The presets whose variables were merged.
    type: list
    elements: str
    default: []
  variables:
    description:
      - The merged variables of the trainer's options, C(simpletuner_*), and of the requested machine,
        C(plan_card_gb) and some of C(provision_*), such as C(provision_disk_gb).
    type: dict
    required: true
  names:
    description: The names of all variables that are set, to find misspelt ones.
    type: list
    elements: str
    default: []
  config:
    description: The trainer's C(config.json) as O(variables) render it; without it no name of an option is checked.
    type: dict
  backends:
    description: The trainer's C(multidatabackend.json), rendered likewise.
    type: list
    elements: dict
    default: []
  dataset_path:
    description: Folder with the images and a C(.txt) caption beside each.
    type: path
    required: true
  trigger_word:
    description: The word that every caption of the subject should have.
    type: str
    default: ""
  regularisation_pattern:
    description: File names of images that show other things, as a shell pattern.
    type: str
    default: ""
  cache_dir:
    description: Folder for the cache of the dataset's files.
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
- name: Plan the run
  training_plan:
    run: my-style
    presets: ["512"]
    variables:
      simpletuner_max_train_steps: 5000
      simpletuner_train_batch_size: 4
      simpletuner_datasets: "{{ simpletuner_datasets }}"
    dataset_path: ./dataset
  register: planned
"""

RETURN = r"""
plan:
  description: The plan.
  type: dict
  returned: success
  contains:
    steps:
      description: Total optimizer steps.
      type: int
    steps_per_epoch:
      description: Steps that see every sample once.
      type: int
    epochs:
      description: Number of started epochs.
      type: int
    hours:
      description: Estimate for an A100; the offers of M(vastai_offer_info) have their own.
      type: float
    disk_gb:
      description: Disk space that will be used.
      type: float
    dataset:
      description: Path, images, captions, size and findings.
      type: dict
    backends:
      description: The images that each data backend trains and leaves out.
      type: list
      elements: dict
    requirements:
      description:
        - The requirements for an offer, as options of M(vastai_offer_info), with the run's C(work). C(hours) is the
          estimate above.
      type: dict
    hints:
      description: Possible improvements.
      type: list
      elements: str
    warnings:
      description: Problems that do not end the run, but may spoil its result.
      type: list
      elements: str
    lines:
      description: The plan as lines for people.
      type: list
      elements: str
ansible_facts:
  description: The part of the plan that later plays need.
  type: dict
  returned: success
  contains:
    training_plan:
      description:
        - The plan's C(requirements), and as C(adapter) the facts for the delivered adapter's header.
      type: dict
errors:
  description: The mistakes, one sentence each.
  type: list
  elements: str
  returned: when the plan is refused
code:
  description: The kind of failure, for programs; plan_refused when the plan has errors.
  type: str
  returned: failure
hint:
  description: What to do next, for people.
  type: str
  returned: failure
"""

ARGUMENT_SPEC = {
    "run": {"type": "str", "required": True},
    "presets": {"type": "list", "elements": "str", "default": []},
    "variables": {"type": "dict", "required": True},
    "names": {"type": "list", "elements": "str", "default": []},
    "config": {"type": "dict"},
    "backends": {"type": "list", "elements": "dict", "default": []},
    "dataset_path": {"type": "path", "required": True},
    "trigger_word": {"type": "str", "default": ""},
    "regularisation_pattern": {"type": "str", "default": ""},
    "cache_dir": {"type": "path"},
    "project_dir": {"type": "path"},
}


def main() -> None:
    module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True)
    wanted = module.params
    try:
        project = Path(wanted["project_dir"] or project_dir())
        cache = Path(wanted["cache_dir"]) if wanted["cache_dir"] else None
        unknown = [str(found) for found in variables.of_roles(wanted["names"], variables.known(project))]
        dataset = scan(Path(wanted["dataset_path"]), meant(wanted), cache_dir=cache)
        made = plan.make(
            wanted["variables"],
            run=wanted["run"],
            presets=wanted["presets"],
            dataset=dataset,
            config=wanted["config"],
            backends=wanted["backends"],
        )
    except FluxloraError as error:
        fail_with(module, error)
    if unknown:
        made = replace(made, errors=(*unknown, *made.errors))
    if made.errors:
        fail(
            module,
            "\n".join([f"The plan of {made.run} is refused, nothing has been spent:", *made.verdict()]),
            hint="Fix the errors and plan again.",
            code="plan_refused",
            errors=list(made.errors),
        )
    facts = made.as_facts()
    described = header.facts(
        wanted["config"] or {},
        run=wanted["run"],
        presets=wanted["presets"],
        trigger_word=wanted["trigger_word"],
        dataset=dataset,
        lycoris=lycoris(wanted["variables"]),
        version=str(wanted["variables"].get("simpletuner_version", "")),
    )
    module.exit_json(
        changed=False, plan=facts, ansible_facts={"training_plan": facts["requirements"] | {"adapter": described}}
    )


def lycoris(variables: dict[str, Any]) -> dict[str, Any] | None:
    """Return LyCORIS' settings if it is used."""
    used = variables.get("simpletuner_lora_type") == "lycoris"
    return dict(variables.get("simpletuner_lycoris") or {}) if used else None


def meant(wanted: Mapping[str, Any]) -> Wanted:
    version = wanted["variables"].get("simpletuner_version", Wanted.simpletuner_version)
    return Wanted(wanted["trigger_word"], wanted["regularisation_pattern"], str(version))


if __name__ == "__main__":
    main()
