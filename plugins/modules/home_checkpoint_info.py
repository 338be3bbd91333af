#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find the local checkpoint from which a run resumes after its instance was taken away or destroyed by its guard."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from fluxlora.delivery.checkpoint import checkpoint_at_home
from fluxlora.delivery.transfer import TransferError, refuse_irregular
from fluxlora.money.journal import Journal, JournalError, newest_instance, replacements, training_began

from ..module_utils.failures import fail_with

DOCUMENTATION = r"""
module: home_checkpoint_info
short_description: Find the local checkpoint from which a run resumes on a new instance
description:
  - Runs on the controller. Only checkpoints of the unfinished training in the journal count, and none of an instance
    that its user has destroyed; without one a training starts at its first step.
  - Fails if the checkpoint is or contains anything but files and folders, because it is sent to another host.
options:
  path:
    description: The folder of the run's artifacts; it need not exist.
    type: path
    required: true
  run:
    description: Name of the run.
    type: str
    required: true
  journal:
    description: The file that records what was rented, interrupted and destroyed; it need not exist.
    type: path
    required: true
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Find the checkpoint to resume from
  home_checkpoint_info:
    path: artifacts/my-style
    run: my-style
    journal: .fluxlora/journal.jsonl
"""

RETURN = r"""
step:
  description: The checkpoint's step; 0 if there is none.
  type: int
  returned: success
folder:
  description: The checkpoint's folder; empty if there is none.
  type: str
  returned: success
began_at:
  description: When its first instance was rented, in seconds since the epoch; 0 if the training is new.
  type: float
  returned: success
instance:
  description: The newest instance of this training, with C(id), C(gpu), C(price_per_hour) in $ and C(started_at).
  type: dict
  returned: success
replacements:
  description: Number of instances of this training that were taken away.
  type: int
  returned: success
code:
  description: The kind of failure, for programs.
  type: str
  returned: failure
  sample: no_journal
hint:
  description: What to do next, for people.
  type: str
  returned: failure
"""

ARGUMENT_SPEC = {
    "path": {"type": "path", "required": True},
    "run": {"type": "str", "required": True},
    "journal": {"type": "path", "required": True},
}


def main() -> None:
    module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True)
    folder = Path(module.params["path"])
    try:
        entries = Journal(Path(module.params["journal"])).entries(module.params["run"])
    except JournalError as error:
        fail_with(module, error)
    step = checkpoint_at_home(folder, entries)
    try:
        if step:
            refuse_irregular(folder / f"checkpoint-{step}")
    except TransferError as error:
        fail_with(module, error)
    module.exit_json(
        changed=False,
        step=step or 0,
        folder=str(folder / f"checkpoint-{step}") if step else "",
        began_at=training_began(entries) or 0.0,
        instance=newest_instance(entries),
        replacements=replacements(entries),
    )


if __name__ == "__main__":
    main()
