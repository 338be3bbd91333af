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
  - The cost is GPU time, storage, bytes down and up, and the cost of a retry times its probability. The time depends on
    the speed of the GPU; its source is C(docs/speeds.md).
  - Every filter is checked again on the answer, and offers that do not fit are returned with the reason.
extends_documentation_fragment: fluxlora.vastai.account
options:
  gpu_ram_gb:
    description: Minimum memory of each GPU.
    type: float
  disk_gb:
    description: Disk to rent.
    type: float
  num_gpus:
    description: Number of GPUs.
    type: int
  cpu_ram_gb:
    description: Minimum memory. An offer of some of a host's GPUs has the same share of its memory.
    type: float
  cuda_version:
    description: Lowest CUDA version that the host's driver must support.
    type: float
  compute_cap:
    description: Lowest compute capability, times 100.
    type: int
  cpu_arch:
    description: Architecture of the processor.
    type: str
  inet_down_mbps:
    description: Minimum download rate in Mbit/s.
    type: float
  inet_up_mbps:
    description: Minimum upload rate in Mbit/s.
    type: float
  direct_ports:
    description: Minimum number of directly mapped ports. 0 also accepts machines that only the proxy reaches.
    type: int
  reliability:
    description: Lowest reliability, 0 to 1.
    type: float
  verified:
    description: Whether only verified machines are accepted.
    type: bool
  gpu_names:
    description: Names of accepted GPUs, in vast.ai's spelling. Empty for any.
    type: list
    elements: str
  countries:
    description: Two-letter codes of accepted countries. Empty for any.
    type: list
    elements: str
  excluded_machine_ids:
    description: Machines that are not accepted.
    type: list
    elements: int
  max_price_per_hour:
    description: Highest price per hour in $, including storage.
    type: float
  work:
    description:
      - The work of the run, as C(requirements.work) in the plan of M(training_plan). Missing values are those of the
        guide's run.
    type: dict
  done_steps:
    description: Steps of the work that an interrupted instance has already done.
    type: int
    default: 0
  duration_hours:
    description: Hours that the host must still guarantee, if a slow run does not need more.
    type: float
  budget_usd:
    description: Highest expected cost of the run from now on, in $. By default no limit.
    type: float
  deadline_hours:
    description: Longest expected time of the run from now on, in hours. By default no limit.
    type: float
  interruptible:
    description: Whether to search for machines to bid on, priced at the best bid for the run, instead of fixed prices.
    type: bool
  journal:
    description:
      - File that records earlier runs. Machines that failed recently are passed over, and measured trainings correct
        the expected time.
    type: path
  show_refused:
    description: Whether RV(lines) has each offer that was passed over; otherwise they are counted by reason.
    type: bool
    default: false
notes:
  - The defaults are the values of the training guide; see src/fluxlora/offers/requirements.py.
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

- name: Show the cheapest offer
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
      description: The id to rent it.
      type: int
    gpu_name:
      description: The GPU's name.
      type: str
    price_per_hour:
      description: Price in $/h, including storage.
      type: float
    cost:
      description:
        - Expected cost of the run in $, as C(gpu), C(storage), C(bytes), C(retry) and C(total), between C(low) and
          C(high). C(hours) has the time of each phase, their C(total), C(low) and C(high).
        - C(seconds_per_step) was used for it, C(table_seconds_per_step) is the same without your own runs, whose number
          is C(own_runs). C(basis) is published, computed or estimated.
      type: dict
    bid_per_hour:
      description: The bid for an interruptible instance, in $/h without storage; only with O(interruptible).
      type: float
    spare_usd:
      description: The $ that other instances may lose before this offer no longer fits into O(budget_usd), or null.
      type: float
    spare_hours:
      description: The same in hours, for O(deadline_hours).
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
      description: The kind of reason, for counting.
      type: str
missing_usd:
  description: The $ by which O(budget_usd) is too small for the nearest offer that meets everything else.
  returned: when no offer fits, and one would with a larger budget or a later deadline
  type: float
missing_hours:
  description: The hours by which O(deadline_hours) is too small for the same offer.
  returned: when no offer fits, and one would with a larger budget or a later deadline
  type: float
lines:
  description: The ranking as lines for people, with the ten best offers.
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


# Options that are fields of Requirements.
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
    """Return the requirements; options that are not given have the guide's value."""
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
        offers=[offer.as_dict() for offer in ranking.fitting],
        refused=[offer.as_dict() for offer in ranking.refused],
        lines=ranking.lines(refused=params["show_refused"]),
        **({"missing_usd": near.missing_usd, "missing_hours": near.missing_hours} if near else {}),
    )


if __name__ == "__main__":
    main()
