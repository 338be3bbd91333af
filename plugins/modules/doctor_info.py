#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Prove every credential, and what else a run needs, before anything is spent."""

from __future__ import annotations

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from fluxlora import doctor
from fluxlora.doctor.account import SCOPES

DOCUMENTATION = r"""
module: doctor_info
short_description: Prove every credential, and what else a run needs, before anything is spent
description:
  - Asks vast.ai, the Hugging Face Hub and Weights & Biases what the keys may do, and looks at the ssh key and this
    computer. Creates, rents and changes nothing, and fails on nothing that it finds out.
  - The keys come from the environment, E(VAST_API_KEY), E(HF_TOKEN) and E(WANDB_API_KEY); vast.ai's, when it is not
    there, from the official client's own files. E(VAST_URL), E(HF_ENDPOINT) and E(WANDB_BASE_URL) name other servers.
options:
  subjects:
    description: What is looked at; V(vastai) includes the credit.
    type: list
    elements: str
    choices: [vastai, ssh, hub, wandb, computer]
    default: [vastai, ssh, hub, wandb, computer]
  model:
    description: Repository of the model that is trained, gated or not.
    type: str
    default: black-forest-labs/FLUX.1-dev
  push_to:
    description: Repository that the adapter is pushed to; without a namespace one of the token's user. Empty for none.
    type: str
    default: ""
  private:
    description: Whether that repository should be private.
    type: bool
    default: true
  report_to:
    description: Where the trainer logs to, as SimpleTuner's report_to.
    type: str
    default: wandb
  wandb_mode:
    description: E(WANDB_MODE) of the training; a key is not needed offline.
    type: str
    default: ""
  ssh_key_file:
    description: Private key that logs in to instances; its public half lies beside it.
    type: path
    default: ~/.ssh/id_ed25519
  ssh_proxy_command:
    description: Command through which ssh reaches instances, as its option ProxyCommand; none when it is empty.
    type: str
    default: ""
  scopes:
    description: Permissions of the vast.ai key that are asked about. A call that has just used others leaves them out.
    type: list
    elements: str
    choices: [misc, instance_read, instance_write, user_read, user_write, billing_read]
    default: [misc, instance_read, instance_write, user_read, user_write, billing_read]
  artifacts_dir:
    description: Folder that artifacts are brought to.
    type: path
    default: artifacts
  artifacts_gb:
    description: What is expected to come home, in decimal GB.
    type: float
    default: 0
  expected_usd:
    description: What the run is expected to cost, in $. The credit has to suffice for it.
    type: float
  budget_usd:
    description: What the run may cost at most, in $. Less credit than that is worth a warning.
    type: float
  lock:
    description: The requirements file with the versions that were tested.
    type: path
    required: true
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Look at the accounts and the ssh key
  doctor_info:
    lock: requirements.lock
  register: doctor

- name: Refuse what would fail later
  ansible.builtin.assert:
    that: doctor.failures | length == 0
    fail_msg: "{{ doctor.lines | join('\n') }}"
"""

RETURN = r"""
checks:
  description: Each with name, state (ok, not needed, warning, failed), sentence, remedy, and code where it is not ok.
  returned: success
  type: list
  elements: dict
  sample:
    - {name: hub token, state: failed, sentence: HF_TOKEN is not valid, remedy: "export HF_TOKEN=…", code: bad_token}
failures:
  description: The names of those that failed.
  returned: success
  type: list
  elements: str
lines:
  description: The checks as a table for people.
  returned: success
  type: list
  elements: str
key_registered:
  description: Whether the account knows the ssh key; null where that cannot be seen.
  returned: success
  type: bool
credit_usd:
  description: The account's credit in $, none where the key may not see it.
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
    "scopes": {"type": "list", "elements": "str", "choices": list(SCOPES), "default": list(SCOPES)},
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
        key_registered=found.key_registered,
    )


if __name__ == "__main__":
    main()
