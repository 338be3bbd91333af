#!/usr/bin/python
"""Read how far a training on an instance is; plugins/action/training_info.py calls it and judges what it returns."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: training_info
short_description: Read how far a training on an instance is
description:
  - Reads what the supervisor of the training last wrote, and whether its tmux session lives. Changes nothing.
  - The instance belongs to somebody else, so what it returns is validated on the controller. A progress.json that is
    not a supervisor's is a failure that says what is wrong with it.
options:
  state_dir:
    description: Folder on the instance that holds progress.json.
    type: path
    required: true
  session:
    description: Name of the tmux session that trains.
    type: str
    required: true
requirements:
  - tmux on the host; without it no session lives
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: See how far the training is
  training_info:
    state_dir: /root/.fluxlora
    session: training
  register: __training
"""

RETURN = r"""
newest_checkpoint:
  description: The step of the newest checkpoint on the instance; 0 for none.
  type: int
  returned: always
status:
  description: >-
    absent when nothing was ever started, running, finished, failed; lost when the session is gone without a verdict.
  type: str
  returned: success
alive:
  description: Whether the tmux session lives.
  type: bool
  returned: always
lines:
  description: The same as a person reads it; the first line says how far it is, the others are the trainer's errors.
  type: list
  elements: str
  returned: success
code:
  description: Why it failed; malformed.
  type: str
  returned: failure
hint:
  description: What still costs money, for people.
  type: str
  returned: failure
progress:
  description: What the supervisor last wrote; empty when it has written nothing.
  type: dict
  returned: always
  contains:
    phase:
      description: One of starting, caching, training, validating, saving, finished, failed.
      type: str
    step:
      description: Steps done.
      type: int
    steps:
      description: Steps in all; 0 until the trainer has said so.
      type: int
    epoch:
      description: The epoch of the step.
      type: int
    loss:
      description: The step's loss.
      type: float
    first_loss:
      description: The first step's loss.
      type: float
    lr:
      description: The step's learning rate.
      type: float
    seconds_per_step:
      description: Median of the last steps, without validations and checkpoints.
      type: float
    started_at:
      description: Start of the supervisor, seconds since 1970 by the host's clock.
      type: float
    updated_at:
      description: When this was written, seconds since 1970 by the host's clock.
      type: float
    restarts:
      description: How often a killed trainer was started again.
      type: int
    checkpoints:
      description: Steps whose checkpoints are whole on the instance's disk.
      type: list
      elements: int
    errors:
      description: The trainer's own error lines.
      type: list
      elements: str
    adapter:
      description: Path of the final adapter, when there is one.
      type: str
    pid:
      description: The supervisor's process.
      type: int
"""


LARGEST_BYTES = 1_000_000


def main() -> None:
    """Read both as they are."""
    module = AnsibleModule(
        argument_spec={
            "state_dir": {"type": "path", "required": True},
            "session": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    text = read(Path(module.params["state_dir"]) / "progress.json")
    tmux = module.get_bin_path("tmux")
    alive = tmux is not None and module.run_command([tmux, "has-session", "-t", "=" + module.params["session"]])[0] == 0
    module.exit_json(changed=False, alive=alive, text=text)


def read(path: Path) -> str:
    """The file's text, empty when there is none; the supervisor replaces it whole, so half a file is never seen."""
    try:
        with path.open("rb") as opened:
            return opened.read(LARGEST_BYTES + 1).decode("utf-8", "replace")
    except OSError:
        return ""


if __name__ == "__main__":
    main()
