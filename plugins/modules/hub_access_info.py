#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask the Hugging Face Hub what a token may do."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hub_access_info
short_description: Ask the Hugging Face Hub what a token may do
description:
  - Proves that the token in E(HF_TOKEN) is valid, may read the model, and may create and write a repository.
  - Creates nothing. E(HF_ENDPOINT) names another Hub.
options:
  model:
    description: Repository of the model that is trained, gated or not.
    type: str
    required: true
  push_to:
    description: Repository that the adapter is pushed to; without a namespace one of the token's user. Empty for none.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
author: the fluxlora developers
"""

EXAMPLES = r"""
- name: Prove access to the model and to the target
  hub_access_info:
    model: black-forest-labs/FLUX.1-dev
    push_to: my-style
"""

RETURN = r"""
user:
  description: Whose token it is.
  type: str
  returned: success
push_to:
  description: The target with its namespace, empty when there is none.
  type: str
  returned: success
  sample: jane/my-style
code:
  description:
    - The kind of failure, for programs.
    - One of no_token, bad_token, gated, no_such_model, no_write, unreachable, hub_error.
  type: str
  returned: failure
hint:
  description: What to do next, for people.
  type: str
  returned: failure
"""

import os  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402

from fluxlora import hub  # noqa: E402
from fluxlora.errors import HubError  # noqa: E402

ARGUMENT_SPEC = {"model": {"type": "str", "required": True}, "push_to": {"type": "str", "default": ""}}


def main() -> None:
    module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True)
    try:
        access = hub.check(
            module.params["model"],
            push_to=module.params["push_to"],
            token=os.environ.get("HF_TOKEN", ""),
            endpoint=os.environ.get("HF_ENDPOINT"),
        )
    except HubError as error:
        module.fail_json(msg=f"{error} {error.hint}".strip(), hint=error.hint, code=error.code)
    module.exit_json(changed=False, **access.as_facts())


if __name__ == "__main__":
    main()
