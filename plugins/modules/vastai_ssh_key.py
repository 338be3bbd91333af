#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Register an SSH public key with the vast.ai account."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.account import ACCOUNT_OPTIONS
from ..module_utils.failures import fail_with, require_fluxlora

IMPORT_ERROR: ImportError | None = None
try:
    from fluxlora.errors import FluxloraError
    from fluxlora.vast.client import Vast
    from fluxlora.vast.public_key import public_key
except ImportError as error:
    IMPORT_ERROR = error

DOCUMENTATION = r"""
module: vastai_ssh_key
short_description: Register an SSH public key with the vast.ai account
description:
  - An instance accepts the keys that were registered with the account before it was rented.
extends_documentation_fragment: fluxlora.vastai.account
options:
  public_key:
    description: The line of a C(.pub) file. A private key or a path is refused before anything is sent.
    type: str
    required: true
  state:
    description: Whether the account has the key.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Register the key for the login
  vastai_ssh_key:
    public_key: "{{ lookup('ansible.builtin.file', '~/.ssh/id_ed25519.pub') }}"
"""

RETURN = r"""
key:
  description: Type and key, without the comment.
  returned: success
  type: str
  sample: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB
code:
  description: The kind of failure, for programs.
  returned: failure
  type: str
  sample: not_a_public_key
hint:
  description: What to do next, for people.
  returned: failure
  type: str
  sample: Give the content of the .pub file.
"""

ARGUMENT_SPEC = {
    **ACCOUNT_OPTIONS,
    "public_key": {"type": "str", "required": True, "no_log": False},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def main() -> None:
    module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True)
    require_fluxlora(module, IMPORT_ERROR)
    wanted = module.params["state"] == "present"
    try:
        key = public_key(module.params["public_key"])
        vast = Vast(module.params["api_key"], module.params["url"])
        registered = vast.ssh_keys().get(key)
        changed = (registered is not None) != wanted
        if changed and not module.check_mode:
            if registered is None:
                vast.add_ssh_key(module.params["public_key"])
            else:
                vast.remove_ssh_key(registered)
    except FluxloraError as error:
        fail_with(module, error)
    module.exit_json(changed=changed, key=key)


if __name__ == "__main__":
    main()
