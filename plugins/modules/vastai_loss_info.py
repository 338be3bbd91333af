#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether an interruptible instance that no longer answers was taken away."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule

from fluxlora.errors import FluxloraError
from fluxlora.losses import wait_for_loss
from fluxlora.vastai import Vast

DOCUMENTATION = r"""
module: vastai_loss_info
short_description: Whether an interruptible instance that no longer answers was taken away
description:
  - vast.ai may take a minute to notice that a host is gone, so an interruptible instance is waited for.
  - One that is rented at a fixed price is never called lost, and not waited for.
options:
  api_key:
    description: The account's key. When not given, E(VAST_API_KEY), then the official client's own key files.
    type: str
  url:
    description: Address of the API. When not given, E(VAST_URL), then https://console.vast.ai.
    type: str
  instance_id:
    description: The instance.
    type: int
    required: true
  timeout_seconds:
    description: How long vast.ai is asked.
    type: float
    default: 120
attributes:
  check_mode:
    support: full
author:
  - fluxlora
"""

EXAMPLES = r"""
- name: See what became of it
  vastai_loss_info:
    instance_id: 12345
  register: seen
"""

RETURN = r"""
loss:
  description: How it was taken away; outbid, preempted or lost, and empty where vast.ai does not say that it was.
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
    "api_key": {"type": "str", "no_log": True},
    "url": {"type": "str"},
    "instance_id": {"type": "int", "required": True},
    "timeout_seconds": {"type": "float", "default": 120},
}


def main() -> None:
    module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True)
    try:
        vast = Vast(module.params["api_key"], module.params["url"])
        how = wait_for_loss(vast, module.params["instance_id"], seconds=module.params["timeout_seconds"])
    except FluxloraError as error:
        module.fail_json(msg=str(error), hint=error.hint, code=error.code)
    module.exit_json(changed=False, loss=str(how))


if __name__ == "__main__":
    main()
