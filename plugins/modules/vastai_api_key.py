#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Have a vast.ai key of small scope in the official client's own file."""

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
short_description: Have a vast.ai key of small scope in the official client's own file
description:
  - Makes an API key that may do only what it is meant for, proves that it works, and writes it where the official
    client keeps its own, readable by the owner alone. The file that was there is kept beside it.
  - The key that calls must be one that may write to the account.
  - The new key is in no result, log or output.
  - Nothing is made when the file holds a key that may do just this already.
extends_documentation_fragment: fluxlora.vastai.account
options:
  name:
    description: What the account shows the key as.
    type: str
    default: fluxlora
  permissions:
    description: The categories of requests that the key may make.
    type: list
    elements: str
    default: [misc, instance_read, instance_write, user_read, billing_read]
  path:
    description: The file. When not given, the official client's, C(~/.config/vastai/vast_api_key).
    type: path
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Rent with a key that may not touch the account
  vastai_api_key:
"""

RETURN = r"""
file:
  description: The file.
  returned: success
  type: str
key_id:
  description: The account's number of the key; none in check mode, where there is none yet.
  returned: success
  type: int
backup:
  description: Where the file that was there before is kept; empty when there was none.
  returned: success
  type: str
shadowed:
  description: Whether E(VAST_API_KEY) is set, which counts before the file.
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

# What fluxlora.doctor.account.LEAST says, without the package.
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
        file=str(path),  # a result named path makes Ansible add the file's own facts
        key_id=minted.key_id,
        backup=str(minted.backup or ""),
        shadowed=bool(os.environ.get("VAST_API_KEY")),
    )


if __name__ == "__main__":
    main()
