#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Calculate the cost of a run, its remaining budget and time, and the lease of its instance."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from fluxlora.errors import FluxloraError
from fluxlora.estimates.work import Work
from fluxlora.money.budget import RunLimits
from fluxlora.money.journal import Journal
from fluxlora.money.spending import account, still_costs
from fluxlora.untrusted.schemas import LeaseRecord, MeterRecord, read_slurped

from ..module_utils.failures import fail, fail_with

DOCUMENTATION = r"""
module: run_budget_info
short_description: Calculate the cost of a run, and its remaining budget and time
description:
  - Counts GPU time, storage and bytes of the present instance and of earlier instances of the same training in the
    journal. If something is not known, the highest possible value is used.
  - For an instance it also returns the lease, after which its guard must start to save and deliver.
options:
  run:
    description: Name of the run.
    type: str
    required: true
  journal:
    description: The file that records what was rented and destroyed; it need not exist.
    type: path
    required: true
  budget_usd:
    description: Highest total cost of the run, in $. By default the value of the O(lease).
    type: float
  deadline_hours:
    description:
      - Hours from the run's first rent until its last instance must be gone. By default the value of the O(lease).
    type: float
  work:
    description: The run's work by its plan; C(download_gb), C(upload_gb) and C(checkpoint_gb) are used.
    type: dict
    default: {}
  delivery_minutes:
    description: Longest time for the guard to send what is missing on the Hub.
    type: float
    default: 30
  instance:
    description:
      - The present instance, if there is one. C(id), C(started_at) in seconds since the epoch,
        C(price_per_hour) in $, C(storage_usd_per_hour), C(inet_down_usd_per_gb) and C(inet_up_usd_per_gb).
    type: dict
  lease:
    description:
      - The lease.json on the instance, which has what another computer knew, as M(ansible.builtin.slurp) returns its
        content. It is validated here, because the instance belongs to somebody else.
    type: raw
  prefer_lease:
    description: Whether budget and deadline of the O(lease), if it has them, take precedence over the options.
    type: bool
    default: false
  meter:
    description:
      - The guard's meter.json, the bytes that the instance has moved, as M(ansible.builtin.slurp) returns its content.
    type: raw
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Calculate the remaining budget
  run_budget_info:
    run: my-style
    journal: .fluxlora/journal.jsonl
    budget_usd: 20
    deadline_hours: 24
"""

RETURN = r"""
spent_usd:
  description: Highest possible cost of the run so far, in $.
  type: float
  returned: success
meters:
  description: The cost of the present instance, as C(gpu), C(storage), C(bytes), C(total), and its C(hours).
  type: dict
  returned: when there is an instance
earlier_usd:
  description: Highest possible cost of earlier instances of the training, in $.
  type: float
  returned: success
budget_usd:
  description: Highest total cost of the run, in $.
  type: float
  returned: success
expected_usd:
  description: Expected total cost when the instance was rented, in $; null if it is not known.
  type: float
  returned: success
left_usd:
  description: What a new instance may cost, in $; negative if more was spent than allowed.
  type: float
  returned: success
left_hours:
  description: How long a new instance may exist, in hours.
  type: float
  returned: success
lease:
  description: C(ends_at) in seconds since the epoch, C(bytes_down), C(bytes_up), and the values behind them.
  type: dict
  returned: when there is an instance
line:
  description: All of this as a line for people.
  type: str
  returned: success
code:
  description: The kind of failure, for programs; malformed if the O(lease) or the O(meter) is not a guard's.
  returned: failure
  type: str
  sample: bad_input
hint:
  description: What to do next, for people.
  returned: failure
  type: str
"""

ARGUMENT_SPEC = {
    "run": {"type": "str", "required": True},
    "journal": {"type": "path", "required": True},
    "budget_usd": {"type": "float"},
    "deadline_hours": {"type": "float"},
    "work": {"type": "dict", "default": {}},
    "delivery_minutes": {"type": "float", "default": 30},
    "instance": {"type": "dict"},
    "lease": {"type": "raw"},
    "prefer_lease": {"type": "bool", "default": False},
    "meter": {"type": "raw"},
}


def main() -> None:
    module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True)
    given = module.params
    there = given["instance"] or {}
    try:
        lease = read_slurped(LeaseRecord, given["lease"], f"lease.json on the instance of {given['run']}")
        meter = read_slurped(MeterRecord, given["meter"], f"meter.json on the instance of {given['run']}")
    except FluxloraError as error:
        hint = still_costs(given["run"], there.get("id"), there.get("price_per_hour"), there.get("started_at"))
        fail(module, str(error), hint=hint, code=error.code)
    known = (lease.as_facts() if lease else {}).get("budget") or {}
    given_limits = [
        known.get(name) if given[name] is None or (given["prefer_lease"] and name in known) else given[name]
        for name in ("budget_usd", "deadline_hours")
    ]
    if None in given_limits:
        fail(
            module,
            "Neither the lease nor the options have the run's budget and deadline.",
            hint="Give budget_usd and deadline_hours.",
            code="no_limits",
        )
    try:
        limits = RunLimits.of(Work.of(given["work"]), *given_limits)
        entries = Journal(Path(given["journal"])).entries(given["run"])
    except FluxloraError as error:
        fail_with(module, error)
    limits = replace(limits, delivery_minutes=given["delivery_minutes"])
    moved = meter.as_facts() if meter else {}
    found = account(entries, limits, given["instance"], known, moved, now=time.time())
    module.exit_json(changed=False, **found.as_facts())


if __name__ == "__main__":
    main()
