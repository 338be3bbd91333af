#!/usr/bin/python
"""Documentation only: the work is done on the controller, by plugins/action/training_follow.py."""

DOCUMENTATION = r"""
module: training_follow
short_description: Follow a training until it ends
description:
  - Reads the progress every few seconds over the open connection, prints each change in one line, and downloads new
    checkpoints during the training.
  - Prints the cost of the run at the start, every ten minutes and at the end, by the guard's files in the same folder.
  - Fails with the trainer's own error lines if the training failed. ssh's ServerAlive detects a host that no longer
    answers.
  - An interruption of this module does not affect the training.
options:
  state:
    description: Folder on the instance with progress.json and training.log.
    type: path
    required: true
  session:
    description: The tmux session of the training.
    type: str
    required: true
  interval_seconds:
    description: Time between two requests for the progress.
    type: float
    required: true
  timeout_hours:
    description: Longest time to follow.
    type: float
    required: true
  ssh:
    description: How to reach the instance, with the fields of fluxlora.delivery.transfer.SshTarget.
    type: dict
    required: true
  remote:
    description: The trainer's output folder on the instance.
    type: path
    required: true
  local:
    description: The folder on the controller for checkpoints and images.
    type: path
    required: true
  excludes:
    description: Patterns of files that stay on the instance.
    type: list
    elements: str
    default: []
  max_files:
    description: Most files that are downloaded during the training. More are refused with a warning.
    type: int
    default: 50000
  max_gb:
    description: Most GB that are downloaded during the training, including repeated downloads of a file.
    type: float
    default: 220
  instance_id:
    description:
      - The host's vast.ai instance. If it no longer answers, and vast.ai reports within O(lost_timeout_seconds) that an
        interruptible instance was taken away, this is not a failure.
    type: int
  lost_timeout_seconds:
    description: How long vast.ai is asked for the state of an instance that no longer answers.
    type: float
    default: 120
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
lost:
  description: How the instance was taken away; outbid, preempted or lost. The training has not ended in this case.
  type: str
  returned: when it was
code:
  description: Why it failed; one of host_lost, training_failed, session_lost, controller_lost, timeout, malformed.
  type: str
  returned: failure
"""
