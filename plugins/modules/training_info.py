#!/usr/bin/python
"""Read the progress of a training on an instance; plugins/action/training_info.py calls it and validates the result."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: training_info
short_description: Read the progress of a training on an instance
description:
  - Reads the last progress of the training's supervisor, and whether its tmux session exists. Changes nothing.
  - The instance belongs to somebody else, so its answer is validated on the controller. If progress.json is not a
    supervisor's, the module fails and says what is wrong with it.
options:
  state_dir:
    description: Folder on the instance with progress.json.
    type: path
    required: true
  session:
    description: Name of the training's tmux session.
    type: str
    required: true
requirements:
  - tmux on the host; without it no session exists
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Read the progress of the training
  training_info:
    state_dir: /root/.fluxlora
    session: training
  register: __training
"""

RETURN = r"""
status:
  description: >-
    absent if nothing was ever started; running, finished, failed; lost if the session is gone without a result.
  type: str
  returned: success
alive:
  description: Whether the tmux session exists.
  type: bool
  returned: always
lines:
  description: The same as a person reads it; the first line is the progress, the others are the trainer's errors.
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
  description: The supervisor's last progress; empty if it has written nothing.
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
      description: Total steps; 0 until the trainer has reported them.
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
      description: Time of this progress, seconds since 1970 by the host's clock.
      type: float
    restarts:
      description: How often a killed trainer was started again.
      type: int
    checkpoints:
      description: Steps whose checkpoints are complete on the instance's disk.
      type: list
      elements: int
    errors:
      description: The trainer's own error lines.
      type: list
      elements: str
    adapter:
      description: Path of the final adapter, if there is one.
      type: str
    pid:
      description: The supervisor's process.
      type: int
"""


LARGEST_BYTES = 1_000_000


def main() -> None:
    """Read both and return them without validation."""
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
    """Return the file's text, empty if it is missing; the supervisor replaces it in one step, so it is always
    complete."""
    try:
        with path.open("rb") as opened:
            return opened.read(LARGEST_BYTES + 1).decode("utf-8", "replace")
    except OSError:
        return ""


if __name__ == "__main__":
    main()
