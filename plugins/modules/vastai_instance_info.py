#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Look up the vast.ai instances of a run."""

from __future__ import annotations

from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.account import ACCOUNT_OPTIONS
from ..module_utils.failures import fail_with, require_fluxlora

IMPORT_ERROR: ImportError | None = None
try:
    from fluxlora.errors import FluxloraError
    from fluxlora.renting.destroy import listed
    from fluxlora.renting.losses import loss
    from fluxlora.vast.client import Vast
    from fluxlora.vast.labels import Label
except ImportError as error:
    IMPORT_ERROR = error

DOCUMENTATION = r"""
module: vastai_instance_info
short_description: Look up the vast.ai instances of a run
description:
  - Reads the account's list of instances once, and changes nothing.
  - A list that cannot be read is a failure, and never looks like a run without an instance.
extends_documentation_fragment: fluxlora.vastai.account
options:
  run:
    description: Name of the run; required unless O(instance_id) is given.
    type: str
  instance_id:
    description: One instance by its id, whatever its label is; O(run) is then ignored.
    type: int
  label_prefix:
    description: First part of the labels.
    type: str
    default: fluxlora
  request_timeout_seconds:
    description: Longest wait for one answer of vast.ai.
    type: float
    default: 60
attributes:
  check_mode:
    support: full
seealso:
  - module: vastai_instance
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Find the run's instance
  vastai_instance_info:
    run: my-style
  register: found

- name: Show its price
  ansible.builtin.debug:
    msg: "{{ found.instance.price_per_hour }} $/h"
  when: found.instance is not none
"""

RETURN = r"""
instances:
  description: All instances of the run without secrets, the oldest first; with the keys of RV(instance).
  returned: success
  type: list
  elements: dict
instance:
  description: The oldest of them. Null if there is none.
  returned: success
  type: dict
  contains:
    id:
      description: Its id.
      type: int
    status:
      description: Its actual status.
      type: str
    price_per_hour:
      description: Price in $/h, including storage.
      type: float
    started_at:
      description: When it was rented, in seconds since the epoch.
      type: float
loss:
  description: How an interruptible instance was taken away; outbid, preempted or lost. Empty if it was not.
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
    "run": {"type": "str"},
    "instance_id": {"type": "int"},
    "label_prefix": {"type": "str", "default": "fluxlora"},
    "request_timeout_seconds": {"type": "float", "default": 60},
}


def main() -> None:
    module = AnsibleModule(ARGUMENT_SPEC, required_one_of=[("run", "instance_id")], supports_check_mode=True)
    require_fluxlora(module, IMPORT_ERROR)
    given = module.params
    try:
        # An impossible name of a run has no instance; this must not look like an answer of vast.ai.
        target = given["instance_id"] or Label(given["run"], prefix=given["label_prefix"]).run
        vast = Vast(given["api_key"], given["url"], timeout_seconds=given["request_timeout_seconds"])
        found = listed(vast, target, given["label_prefix"])
    except FluxloraError as error:
        fail_with(module, error)
    module.exit_json(
        changed=False,
        instances=[asdict(instance) for instance in found],
        instance=asdict(found[0]) if found else None,
        loss=str(loss(found[0])) if found else "",
    )


if __name__ == "__main__":
    main()
