#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The checkpoint at home from which a run goes on after its instance was taken away, or ended by its guard."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from fluxlora.delivery.checkpoint import checkpoint_at_home
from fluxlora.delivery.transfer import TransferError, refuse_irregular
from fluxlora.money.journal import Journal, JournalError, newest_instance, replacements, training_began

from ..module_utils.failures import fail_with

DOCUMENTATION = r"""
module: home_checkpoint_info
short_description: The checkpoint at home from which a run goes on on a fresh instance
description:
  - Runs on the controller. Only checkpoints of the training that goes on count, as the journal tells, and none of an
    instance that its user has destroyed; without one a training begins at its first step.
  - Fails where the checkpoint is or holds a link, or anything but files and folders, since it is sent to another host.
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
    description: The file of what was rented, lost and destroyed; it need not exist.
    type: path
    required: true
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: See from where it goes on
  home_checkpoint_info:
    path: artifacts/my-style
    run: my-style
    journal: .fluxlora/journal.jsonl
"""

RETURN = r"""
step:
  description: The checkpoint's step; 0 when there is none.
  type: int
  returned: success
folder:
  description: The checkpoint's folder; empty when there is none.
  type: str
  returned: success
began_at:
  description: When its first instance was rented, in seconds since the epoch; 0 when the training is new.
  type: float
  returned: success
instance:
  description: The newest instance of this training, with C(id), C(gpu), C(price_per_hour) in $ and C(started_at).
  type: dict
  returned: success
replacements:
  description: How many instances of this training were taken away so far.
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
