#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find vast.ai offers for a run, cheapest first."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.account import ACCOUNT_OPTIONS
from ..module_utils.failures import fail_with, require_fluxlora

IMPORT_ERROR: ImportError | None = None
try:
    from fluxlora.errors import FluxloraError
    from fluxlora.estimates.work import Work
    from fluxlora.money.journal import Entry, Journal
    from fluxlora.offers import find
    from fluxlora.offers.avoid import avoided
    from fluxlora.offers.corrections import corrections
    from fluxlora.offers.requirements import Requirements
    from fluxlora.vast.client import Vast
except ImportError as error:
    IMPORT_ERROR = error

DOCUMENTATION = r"""
module: vastai_offer_info
short_description: Find vast.ai offers for a run, cheapest first
description:
  - Searches vast.ai for machines and ranks those that fit by the expected cost of the whole run.
  - That cost is GPU time, storage, bytes down and up, and what a retry costs times how likely it is. The time depends
    on how fast the GPU trains; C(docs/speeds.md) says what is known of that.
  - Every filter is checked again on the answer, and what does not fit is returned with the reason.
extends_documentation_fragment: fluxlora.vastai.account
options:
  gpu_ram_gb:
    description: Least memory of each GPU.
    type: float
  disk_gb:
    description: Disk that will be rented.
    type: float
  num_gpus:
    description: Number of GPUs.
    type: int
  cpu_ram_gb:
    description: Least memory of the host. An offer of some of its GPUs has that share of it.
    type: float
  cuda_version:
    description: Least CUDA version that the host's driver serves.
    type: float
  compute_cap:
    description: Least compute capability, times 100.
    type: int
  cpu_arch:
    description: Architecture of the processor.
    type: str
  inet_down_mbps:
    description: Least download rate in Mbit/s.
    type: float
  inet_up_mbps:
    description: Least upload rate in Mbit/s.
    type: float
  direct_ports:
    description: Least number of directly mapped ports. 0 admits machines that are reached through the proxy only.
    type: int
  reliability:
    description: Least reliability, 0 to 1.
    type: float
  verified:
    description: Whether only verified machines are wanted.
    type: bool
  gpu_names:
    description: Names of the GPUs that are wanted, as vast.ai writes them. Any when it is empty.
    type: list
    elements: str
  countries:
    description: Two-letter codes of the countries that are wanted. Any when it is empty.
    type: list
    elements: str
  excluded_machine_ids:
    description: Machines that are not wanted.
    type: list
    elements: int
  max_price_per_hour:
    description: Most that an hour may cost, in $, storage included.
    type: float
  work:
    description:
      - What the run will do, as the plan of M(training_plan) has it under C(requirements.work). What is not given has
        the value of the guide's run.
    type: dict
  done_steps:
    description: The steps of the work that are done already, on an instance that was lost.
    type: int
    default: 0
  duration_hours:
    description: Hours that the host must still guarantee, when that is more than the run takes if it goes badly.
    type: float
  budget_usd:
    description: Most that the run may be expected to cost from now on, in $. No limit when it is not given.
    type: float
  deadline_hours:
    description: Most hours that the run may be expected to take from now on. No limit when it is not given.
    type: float
  interruptible:
    description: Whether to look for machines to bid on, priced at the bid that suits the run, in place of fixed prices.
    type: bool
  journal:
    description:
      - File that remembers earlier runs. Machines that failed not long ago are passed over, and measured trainings
        correct the expected time.
    type: path
  show_refused:
    description: Whether RV(lines) tells of each offer that was passed over; otherwise they are counted by reason.
    type: bool
    default: false
notes:
  - Options that are not given have the values of the training guide; see src/fluxlora/offers/requirements.py.
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Find offers for 3000 steps, for at most ten dollars
  vastai_offer_info:
    gpu_ram_gb: 40
    disk_gb: 220
    budget_usd: 10
    work:
      steps: 3000
      batch_size: 2
  register: found

- name: Show the cheapest
  ansible.builtin.debug:
    msg: "{{ found.offers[0].gpu_name }} for ${{ found.offers[0].cost.total | round(2) }}"
"""

RETURN = r"""
offers:
  description: The offers that fit, the cheapest run first.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: What to rent.
      type: int
    gpu_name:
      description: The GPU's name.
      type: str
    price_per_hour:
      description: Price in $/h, storage included.
      type: float
    cost:
      description:
        - Expected cost of the run in $, as C(gpu), C(storage), C(bytes), C(retry) and C(total), between C(low) and
          C(high). C(hours) has the time of each phase, their C(total), C(low) and C(high).
        - C(seconds_per_step) is what it was reckoned with, C(table_seconds_per_step) the same without your own runs,
          of which there are C(own_runs). C(basis) is published, computed or estimated.
      type: dict
    bid_per_hour:
      description: What to bid for an interruptible instance, in $/h without storage; with O(interruptible) alone.
      type: float
    spare_usd:
      description: What may be lost on other instances before this offer no longer fits into O(budget_usd), or null.
      type: float
    spare_hours:
      description: The same of O(deadline_hours).
      type: float
  sample:
    - id: 18209627
      gpu_name: RTX A6000
      price_per_hour: 0.41
      cost: {gpu: 1.6, storage: 0.2, bytes: 0.1, retry: 0.1, total: 2.0, low: 1.4, high: 3.9}
refused:
  description: The other offers, each with its RV(refused[].reason).
  returned: success
  type: list
  elements: dict
  contains:
    reason:
      description: Why the offer was passed over.
      type: str
    kind:
      description: The kind of reason, to count them by.
      type: str
missing_usd:
  description: By how much O(budget_usd) is too small for the nearest offer that keeps everything else.
  returned: when no offer fits, and one would with a larger budget or a later deadline
  type: float
missing_hours:
  description: By how much O(deadline_hours) is too small for the same offer.
  returned: when no offer fits, and one would with a larger budget or a later deadline
  type: float
lines:
  description: The ranking as a person reads it, the ten best.
  returned: success
  type: list
  elements: str
code:
  description: The kind of failure, for programs.
  returned: failure
  type: str
  sample: bad_api_key
hint:
  description: What to do next, for people.
  returned: failure
  type: str
  sample: Check VAST_API_KEY.
"""


# Those that are fields of Requirements as they are.
REQUIREMENTS = {
    "gpu_ram_gb": {"type": "float"},
    "disk_gb": {"type": "float"},
    "num_gpus": {"type": "int"},
    "cpu_ram_gb": {"type": "float"},
    "cuda_version": {"type": "float"},
    "compute_cap": {"type": "int"},
    "cpu_arch": {"type": "str"},
    "inet_down_mbps": {"type": "float"},
    "inet_up_mbps": {"type": "float"},
    "direct_ports": {"type": "int"},
    "reliability": {"type": "float"},
    "verified": {"type": "bool"},
    "gpu_names": {"type": "list", "elements": "str"},
    "countries": {"type": "list", "elements": "str"},
    "excluded_machine_ids": {"type": "list", "elements": "int"},
    "max_price_per_hour": {"type": "float"},
    "duration_hours": {"type": "float"},
    "budget_usd": {"type": "float"},
    "deadline_hours": {"type": "float"},
    "interruptible": {"type": "bool"},
}
ARGUMENT_SPEC = {
    **ACCOUNT_OPTIONS,
    **REQUIREMENTS,
    "work": {"type": "dict"},
    "done_steps": {"type": "int", "default": 0},
    "journal": {"type": "path"},
    "show_refused": {"type": "bool", "default": False},
}


def requirements(params: Mapping[str, Any], remembered: list[Entry]) -> Requirements:
    """What is not given has the guide's value."""
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name in REQUIREMENTS
        if (value := params[name]) is not None
    }
    return Requirements(
        work=Work.of(params["work"] or {}).after(params["done_steps"]), avoid=avoided(remembered, time.time()), **given
    )


def main() -> None:
    module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True)
    require_fluxlora(module, IMPORT_ERROR)
    params = module.params
    try:
        remembered = Journal(Path(params["journal"])).entries() if params["journal"] else []
        need = requirements(params, remembered)
        ranking = find(Vast(params["api_key"], params["url"]), need, corrections(remembered))
    except FluxloraError as error:
        fail_with(module, error)
    near = ranking.nearest
    module.exit_json(
        changed=False,
        offers=[each.as_dict() for each in ranking.fitting],
        refused=[each.as_dict() for each in ranking.refused],
        lines=ranking.lines(refused=params["show_refused"]),
        **({"missing_usd": near.missing_usd, "missing_hours": near.missing_hours} if near else {}),
    )


if __name__ == "__main__":
    main()
