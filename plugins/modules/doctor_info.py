#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Check every credential, and everything else that a run needs, before anything is spent."""

from __future__ import annotations

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from fluxlora import doctor

DOCUMENTATION = r"""
module: doctor_info
short_description: Check every credential, and everything else that a run needs, before anything is spent
description:
  - Asks vast.ai, the Hugging Face Hub and Weights & Biases what the keys may do, and checks the ssh key and this
    computer. Creates, rents and changes nothing. A failed check is a result and not a failure of the module.
  - The keys come from the environment, E(VAST_API_KEY), E(HF_TOKEN) and E(WANDB_API_KEY); if the
    first is not set, from the official client's files. E(VAST_URL), E(HF_ENDPOINT) and E(WANDB_BASE_URL) set other
    servers.
options:
  subjects:
    description: What is checked; V(vastai) includes the credit.
    type: list
    elements: str
    choices: [vastai, ssh, hub, wandb, computer]
    default: [vastai, ssh, hub, wandb, computer]
  model:
    description: Repository of the model that is trained, gated or not.
    type: str
    default: black-forest-labs/FLUX.1-dev
  push_to:
    description: Repository for the adapter; without a namespace it is the token's user's. Empty for none.
    type: str
    default: ""
  private:
    description: Whether that repository should be private.
    type: bool
    default: true
  report_to:
    description: Trackers of the trainer, as in SimpleTuner's report_to.
    type: str
    default: wandb
  wandb_mode:
    description: E(WANDB_MODE) of the training; a key is not needed offline.
    type: str
    default: ""
  ssh_key_file:
    description: Private key for the login to instances; its public half is beside it.
    type: path
    default: ~/.ssh/id_ed25519
  ssh_proxy_command:
    description: Command through which ssh reaches instances, as in its option ProxyCommand; empty for none.
    type: str
    default: ""
  artifacts_dir:
    description: Folder for downloaded artifacts.
    type: path
    default: artifacts
  artifacts_gb:
    description: Expected size of the download, in decimal GB.
    type: float
    default: 0
  expected_usd:
    description: Expected cost of the run, in $. The credit must be enough for it.
    type: float
  budget_usd:
    description: Highest cost of the run, in $. Less credit than that is a warning.
    type: float
  lock:
    description: The requirements file with the tested versions.
    type: path
    required: true
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Check the accounts and the ssh key
  doctor_info:
    lock: requirements.lock
  register: doctor

- name: Stop if a check failed
  ansible.builtin.assert:
    that: doctor.failures | length == 0
    fail_msg: "{{ doctor.lines | join('\n') }}"
"""

RETURN = r"""
checks:
  description: The checks, with name, state (ok, not needed, warning, failed), sentence, remedy, and code if not ok.
  returned: success
  type: list
  elements: dict
  sample:
    - {name: hub token, state: failed, sentence: HF_TOKEN is not valid, remedy: "export HF_TOKEN=…", code: bad_token}
failures:
  description: The names of the failed checks.
  returned: success
  type: list
  elements: str
lines:
  description: The checks as a table for people.
  returned: success
  type: list
  elements: str
credit_usd:
  description: The account's credit in $; null if the key may not see it.
  returned: success
  type: float
"""

ARGUMENT_SPEC = {
    "subjects": {
        "type": "list",
        "elements": "str",
        "choices": list(doctor.SUBJECTS),
        "default": list(doctor.SUBJECTS),
    },
    "model": {"type": "str", "default": "black-forest-labs/FLUX.1-dev"},
    "push_to": {"type": "str", "default": ""},
    "private": {"type": "bool", "default": True},
    "report_to": {"type": "str", "default": "wandb"},
    "wandb_mode": {"type": "str", "default": ""},
    "ssh_key_file": {"type": "path", "default": "~/.ssh/id_ed25519", "no_log": False},
    "ssh_proxy_command": {"type": "str", "default": ""},
    "artifacts_dir": {"type": "path", "default": "artifacts"},
    "artifacts_gb": {"type": "float", "default": 0},
    "expected_usd": {"type": "float"},
    "budget_usd": {"type": "float"},
    "lock": {"type": "path", "required": True},
}
PATHS = ("ssh_key_file", "artifacts_dir", "lock")


def main() -> None:
    module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True)
    asked = dict(module.params)
    subjects = asked.pop("subjects")
    wish = doctor.Wish(**asked | {name: Path(asked[name]) for name in PATHS})
    found = doctor.examine(wish, doctor.Tokens.of(os.environ), subjects)
    module.exit_json(
        changed=False,
        checks=[check.as_facts() for check in found.checks],
        failures=[check.name for check in doctor.failures(found.checks)],
        lines=doctor.lines(found.checks),
        credit_usd=found.credit_usd,
    )


if __name__ == "__main__":
    main()
