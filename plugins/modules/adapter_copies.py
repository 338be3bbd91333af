#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write the copies of a run's adapters that programs load."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from fluxlora.delivery.adapter.deliver import deliver
from fluxlora.untrusted.schemas import MalformedError, ProgressRecord, read_file

DOCUMENTATION = r"""
module: adapter_copies
short_description: Write the copies of a run's adapters that programs load
description:
  - Runs on the controller. It writes C(RUN.safetensors) from the finished adapter, and C(RUN-step00000500.safetensors)
    from each complete checkpoint, into the run's folder. The trainer's own files are not changed.
  - A copy of a LoRA has one spelling of its keys and the trained strength, alpha / rank, in its weights; the copy of a
    LoKr has unchanged tensors. Both have a header with C(modelspec.*) and C(ss_*) keys.
  - From the finished LoKr, otherwise from the newest checkpoint, it also writes copies that diffusers loads,
    C(RUN-diffusers.safetensors) or one for each of its factors.
  - Files that cannot be copied are reported in RV(problems); this is not a failure.
options:
  path:
    description: The run's folder on the controller.
    type: path
    required: true
  run:
    description: Name of the run.
    type: str
    required: true
  finished:
    description: Whether the adapter at the top of the folder is the finished one of this training.
    type: bool
    default: false
  progress_file:
    description: The instance's downloaded progress.json, which has the step at which the training was finished.
    type: path
  lora_rank:
    description:
      - Rank of the LoRA that is extracted from a LoKr as C(RUN-lora-RANK.safetensors); 0 for none.
    type: int
    default: 0
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Write the copies that programs load
  adapter_copies:
    path: artifacts/my-style
    run: my-style
    finished: true
    progress_file: artifacts/my-style/progress.json
"""

RETURN = r"""
copies:
  description: The copies, first that of the finished adapter, then that of the newest checkpoint.
  type: list
  elements: dict
  returned: success
  sample:
    - path: my-style.safetensors
      step: null
      kind: lora
      rank: 16
      alpha: 32.0
      scale: 2.0
      layers: 494
      size_bytes: 89746432
      trigger_word: sksmacro
      loads_in: [diffusers, ComfyUI]
      made_of: ""
      difference: 0.0
problems:
  description: Sentences about files that could not be copied, and about differences to the configuration.
  type: list
  elements: str
  returned: success
"""

ARGUMENT_SPEC = {
    "path": {"type": "path", "required": True},
    "run": {"type": "str", "required": True},
    "finished": {"type": "bool", "default": False},
    "progress_file": {"type": "path"},
    "lora_rank": {"type": "int", "default": 0},
}


def main() -> None:
    module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True)
    wanted = module.params
    try:
        file = wanted["progress_file"]
        progress = read_file(ProgressRecord, Path(file)) if file else None
    except MalformedError:
        # The manifest reports it.
        progress = None
    found = deliver(
        Path(wanted["path"]),
        wanted["run"],
        finished=wanted["finished"],
        step=progress.step or None if progress else None,
        lora_rank=wanted["lora_rank"],
        dry_run=module.check_mode,
    )
    module.exit_json(**found.as_facts())


if __name__ == "__main__":
    main()
