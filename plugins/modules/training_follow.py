#!/usr/bin/python
"""Documentation only: the work is done on the controller, by plugins/action/training_follow.py."""

DOCUMENTATION = r"""
module: training_follow
short_description: Follow a training until it ends
description:
  - Looks at the training every few seconds over the connection that is open anyway, shows each change in one line,
    and brings new checkpoints home while it trains.
  - Says at the start, every ten minutes and at the end what the run has cost, by the guard's files in the same folder.
  - Fails with the trainer's own error lines when the training failed; a host that no longer answers is noticed by
    ssh's ServerAlive.
  - Interrupting it leaves the training alone.
options:
  state:
    description: Folder on the instance that holds progress.json and training.log.
    type: path
    required: true
  session:
    description: The tmux session that trains.
    type: str
    required: true
  interval_seconds:
    description: Time between two looks.
    type: float
    required: true
  timeout_hours:
    description: How long to follow at most.
    type: float
    required: true
  ssh:
    description: How to reach the instance, as fluxlora.delivery.transfer.SshTarget takes it.
    type: dict
    required: true
  remote:
    description: The trainer's output folder on the instance.
    type: path
    required: true
  local:
    description: The folder on the controller that takes checkpoints and images.
    type: path
    required: true
  excludes:
    description: Patterns that stay on the instance.
    type: list
    elements: str
    default: []
  max_files:
    description: How many files may come home while it trains. What is beyond is refused with a warning.
    type: int
    default: 50000
  max_gb:
    description: How many GB may come home while it trains, of files that come again too.
    type: float
    default: 220
attributes:
  check_mode:
    support: none
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Follow the training
  training_follow:
    state: /root/.fluxlora
    session: training
    interval_seconds: 5
    timeout_hours: 24
    ssh: "{{ training_ssh }}"
    remote: /root/SimpleTuner/output/models
    local: artifacts/my-style
"""

RETURN = r"""
progress:
  description: The last progress.json.
  type: dict
  returned: when the training has finished
first_loss:
  description: The first loss that was seen while following.
  type: float
  returned: when the training has finished
code:
  description: Why it failed; one of host_lost, training_failed, session_lost, controller_lost, timeout, malformed.
  type: str
  returned: failure
"""
