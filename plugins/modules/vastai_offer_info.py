#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find vast.ai offers for a run, cheapest first."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vastai_offer_info
short_description: Find vast.ai offers for a run, cheapest first
description:
  - Searches vast.ai for machines and ranks those that fit by the expected cost of the whole run.
  - That cost has three parts, GPU time, storage, and bytes down and up.
  - Every filter is checked again on the answer, and what does not fit is returned with the reason.
options:
  api_key:
    description: The account's key. When not given, E(VAST_API_KEY), then the official client's own key files.
    type: str
  url:
    description: Address of the API. When not given, E(VAST_URL), then https://console.vast.ai.
    type: str
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
    description: Least memory of the host.
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
  hours:
    description: Hours that the run is expected to take, without the download.
    type: float
  duration_hours:
    description: Hours that the host must still guarantee, when that is more than O(hours).
    type: float
  download_gb:
    description: Gigabytes that will be downloaded.
    type: float
  upload_gb:
    description: Gigabytes that will be uploaded.
    type: float
notes:
  - Options that are not given have the values of the training guide; see src/fluxlora/offers.py.
author:
  - fluxlora
"""

EXAMPLES = r"""
- name: Find offers for six hours of training
  vastai_offer_info:
    gpu_ram_gb: 40
    disk_gb: 220
    hours: 6
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
      description: Expected cost of the run in $, as C(gpu), C(storage), C(bytes) and C(total), over C(hours).
      type: dict
  sample:
    - id: 18209627
      gpu_name: RTX A6000
      price_per_hour: 0.41
      cost: {gpu: 1.6, storage: 0.2, bytes: 0.1, total: 1.9, hours: 4.1}
refused:
  description: The other offers, each with its RV(refused[].reason).
  returned: success
  type: list
  elements: dict
  contains:
    reason:
      description: Why the offer was passed over.
      type: str
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

from dataclasses import fields  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402

from fluxlora.errors import VastError  # noqa: E402
from fluxlora.offers import Requirements, find  # noqa: E402
from fluxlora.vastai import Vast  # noqa: E402

ARGUMENT_SPEC = {
    "api_key": {"type": "str", "no_log": True},
    "url": {"type": "str"},
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
    "hours": {"type": "float"},
    "duration_hours": {"type": "float"},
    "download_gb": {"type": "float"},
    "upload_gb": {"type": "float"},
}


def requirements(params: dict[str, Any]) -> Requirements:
    given: dict[str, Any] = {}
    for option in fields(Requirements):
        value = params[option.name]
        if value is not None:
            given[option.name] = tuple(value) if isinstance(value, list) else value
    return Requirements(**given)


def main() -> None:
    module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True)
    try:
        ranking = find(Vast(module.params["api_key"], module.params["url"]), requirements(module.params))
    except VastError as error:
        module.fail_json(msg=str(error), hint=error.hint, code=error.code)
    module.exit_json(
        changed=False,
        offers=[each.as_dict() for each in ranking.fitting],
        refused=[each.as_dict() for each in ranking.refused],
    )


if __name__ == "__main__":
    main()
