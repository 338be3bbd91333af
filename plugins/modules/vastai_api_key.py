#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make a vast.ai key with few permissions, in the official client's own file."""

from __future__ import annotations

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.account import ACCOUNT_OPTIONS
from ..module_utils.failures import fail, fail_with, require_fluxlora

IMPORT_ERROR: ImportError | None = None
try:
    from fluxlora.doctor import minting
    from fluxlora.errors import VastError
    from fluxlora.vast.client import Vast
    from fluxlora.vast.credentials import key_files
except ImportError as error:
    IMPORT_ERROR = error

DOCUMENTATION = r"""
module: vastai_api_key
short_description: Make a vast.ai key with few permissions, in the official client's own file
description:
  - Makes an API key with only the requested permissions, tests it, and writes it into the official client's own file,
    readable only by the owner. The previous file is kept beside it.
  - The calling key must have permission to write to the account.
  - No result, log or output contains the new key.
  - Nothing is made if the key in the file already has exactly these permissions.
extends_documentation_fragment: fluxlora.vastai.account
options:
  name:
    description: Name of the key in the account.
    type: str
    default: fluxlora
  permissions:
    description: The categories of requests that the key may send.
    type: list
    elements: str
    default: [misc, instance_read, instance_write, user_read, billing_read]
  path:
    description: The file. By default the official client's, C(~/.config/vastai/vast_api_key).
    type: path
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Rent with a key that may not change the account
  vastai_api_key:
"""

RETURN = r"""
file:
  description: The file.
  returned: success
  type: str
key_id:
  description: The account's id of the key; null in check mode if it is not made yet.
  returned: success
  type: int
backup:
  description: Backup of the previous file; empty if there was none.
  returned: success
  type: str
shadowed:
  description: Whether E(VAST_API_KEY) is set, which takes precedence over the file.
  returned: success
  type: bool
code:
  description: The kind of failure, for programs.
  returned: failure
  type: str
  sample: forbidden
hint:
  description: What to do next, for people.
  returned: failure
  type: str
"""

# The value of fluxlora.doctor.account.LEAST, without an import of the package.
PERMISSIONS = ["misc", "instance_read", "instance_write", "user_read", "billing_read"]
ARGUMENT_SPEC = {
    **ACCOUNT_OPTIONS,
    "name": {"type": "str", "default": "fluxlora"},
    "permissions": {"type": "list", "elements": "str", "default": PERMISSIONS},
    "path": {"type": "path"},
}


def main() -> None:
    module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True)
    require_fluxlora(module, IMPORT_ERROR)
    path = Path(module.params["path"] or key_files()[0])
    try:
        vast = Vast(module.params["api_key"], module.params["url"])
        minted = minting.ensure(
            vast,
            path,
            name=module.params["name"],
            permissions=module.params["permissions"],
            dry_run=module.check_mode,
        )
    except VastError as error:
        fail_with(module, error)
    except OSError as error:
        fail(module, f"{path} cannot be written: {error.strerror}.", hint="Name another path.", code="no_file")
    module.exit_json(
        changed=minted.changed,
        file=str(path),  # Ansible adds the file's own facts to a result named path
        key_id=minted.key_id,
        backup=str(minted.backup or ""),
        shadowed=bool(os.environ.get("VAST_API_KEY")),
    )


if __name__ == "__main__":
    main()
