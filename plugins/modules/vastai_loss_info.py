#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find out whether an interruptible instance that no longer answers was taken away."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.account import ACCOUNT_OPTIONS
from ..module_utils.failures import fail_with, require_fluxlora

IMPORT_ERROR: ImportError | None = None
try:
    from fluxlora.errors import FluxloraError
    from fluxlora.renting.losses import wait_for_loss
    from fluxlora.vast.client import Vast
except ImportError as error:
    IMPORT_ERROR = error

DOCUMENTATION = r"""
module: vastai_loss_info
short_description: Find out whether an interruptible instance that no longer answers was taken away
description:
  - vast.ai may take a minute to notice that a host is gone, so the module waits for an interruptible instance.
  - An instance at a fixed price is never reported as lost, and the module does not wait for it.
extends_documentation_fragment: fluxlora.vastai.account
options:
  instance_id:
    description: The instance.
    type: int
    required: true
  timeout_seconds:
    description: Longest wait for vast.ai's report.
    type: float
    default: 120
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Find out whether it was taken away
  vastai_loss_info:
    instance_id: 12345
  register: seen
"""

RETURN = r"""
loss:
  description: How it was taken away; outbid, preempted or lost. Empty if vast.ai does not report this.
  returned: success
  type: str
code:
  description: The kind of failure, for programs.
  returned: failure
  type: str
  sample: no_api_key
hint:
  description: What to do next, for people.
  returned: failure
  type: str
"""

ARGUMENT_SPEC = {
    **ACCOUNT_OPTIONS,
    "instance_id": {"type": "int", "required": True},
    "timeout_seconds": {"type": "float", "default": 120},
}


def main() -> None:
    module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True)
    require_fluxlora(module, IMPORT_ERROR)
    try:
        vast = Vast(module.params["api_key"], module.params["url"])
        how = wait_for_loss(vast, module.params["instance_id"], seconds=module.params["timeout_seconds"])
    except FluxloraError as error:
        fail_with(module, error)
    module.exit_json(changed=False, loss=str(how))


if __name__ == "__main__":
    main()
