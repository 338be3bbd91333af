#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Compare the journal of this computer with vast.ai's instances and charges."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.account import ACCOUNT_OPTIONS
from ..module_utils.failures import fail_with, require_fluxlora

IMPORT_ERROR: ImportError | None = None
try:
    from fluxlora.errors import FluxloraError
    from fluxlora.money.audit import Audit, as_facts, audit, since
    from fluxlora.money.journal import Event, Journal
    from fluxlora.vast.client import Vast
    from fluxlora.vast.errors import Forbidden
except ImportError as error:
    IMPORT_ERROR = error

DOCUMENTATION = r"""
module: vastai_audit
short_description: Find the vast.ai instances that cost money and should not
description:
  - Compares the journal of this computer with the account's instances and charges.
  - Finds instances with the label prefix that this computer does not know or has seen destroyed, that are stopped and
    cost money for their disk, that are a run's second one, that exceed their lease, or whose adapter is downloaded.
  - Records in the journal the end and the cost of instances that ended without this computer; nothing else is changed,
    and instances with another label are only counted.
  - A list that cannot be read is a failure. Charges that the key may not read are only missing.
extends_documentation_fragment: fluxlora.vastai.account
options:
  journal:
    description: File that records what was rented, failed and destroyed. It need not exist.
    type: path
    required: true
  label_prefix:
    description: First part of the labels of the checked instances.
    type: str
    default: fluxlora
  days:
    description: Number of days for which charges are read.
    type: float
    default: 30
  lease_hours:
    description: Longest time that an instance may exist.
    type: float
    default: 24
attributes:
  check_mode:
    support: full
    description: Nothing is written in the journal.
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Find wasted money
  vastai_audit:
    journal: ~/.fluxlora/journal.jsonl
  register: audited

- name: Report by mail
  community.general.mail:
    subject: "{{ audited.findings | length }} instances cost money that they should not"
    body: "{{ audited.lines | join('\n') }}"
  when: audited.findings | length > 0
"""

RETURN = r"""
findings:
  description: The instances that need a decision, each with every reason.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: One of returned, unknown, unreadable, duplicate, stopped, delivered, overdue, charged.
      type: str
    instance_id:
      description: The instance.
      type: int
    run:
      description: The run in its label.
      type: str
    usd_per_hour:
      description: Its price per hour in $; null if vast.ai does not list it.
      type: float
    text:
      description: The problem and the command that destroys the instance, in a sentence.
      type: str
settlements:
  description: Instances that ended elsewhere, each with C(run), C(instance_id) and C(spent_usd).
  returned: success
  type: list
  elements: dict
trainings:
  description: Each training's C(expected_usd) and C(actual_usd), and its C(instance_ids).
  returned: success
  type: list
  elements: dict
foreign:
  description: Number of instances with other labels.
  returned: success
  type: int
lines:
  description: All of this as lines for people.
  returned: success
  type: list
  elements: str
code:
  description: The kind of failure, for programs.
  returned: failure
  type: str
  sample: unavailable
hint:
  description: What to do next, for people.
  returned: failure
  type: str
"""

ARGUMENT_SPEC = {
    **ACCOUNT_OPTIONS,
    "journal": {"type": "path", "required": True},
    "label_prefix": {"type": "str", "default": "fluxlora"},
    "days": {"type": "float", "default": 30},
    "lease_hours": {"type": "float", "default": 24},
}


def audit_account(vast: Vast, journal: Journal, params: dict[str, Any], now: float) -> Audit:
    """Return the audit of the account against the journal."""
    entries = journal.entries()
    begin = since(entries, now, params["days"])
    instances = vast.instances()
    try:
        charges = vast.charges(begin, now)
    except Forbidden:
        charges = None
    return audit(
        instances,
        entries,
        charges,
        now=now,
        lease_hours=params["lease_hours"],
        begin=begin,
        prefix=params["label_prefix"],
    )


def main() -> None:
    module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True)
    require_fluxlora(module, IMPORT_ERROR)
    journal = Journal(Path(module.params["journal"]))
    try:
        found = audit_account(Vast(module.params["api_key"], module.params["url"]), journal, module.params, time.time())
        if not module.check_mode:
            for settlement in found.settlements:
                journal.write(
                    Event.DESTROYED,
                    settlement.run,
                    settlement.instance_id,
                    spent_usd=settlement.spent_usd,
                    charged=True,
                )
    except FluxloraError as error:
        fail_with(module, error)
    module.exit_json(changed=bool(found.settlements), **as_facts(found))


if __name__ == "__main__":
    main()
