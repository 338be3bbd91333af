#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rent, stop or destroy the vast.ai instance of a run."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vastai_instance
short_description: Rent, stop or destroy the vast.ai instance of a run
description:
  - C(present) takes the instance whose label names the run, else rents the first of O(offers) that is not gone.
  - A reply that got lost is resolved by looking the label up, never by renting again.
  - Returns when the instance runs and has an address for ssh; a rented one that fails is destroyed.
  - C(absent) destroys, again where needed, until the account's list no longer has the instance.
  - C(stopped) keeps the disk, which is paid for.
options:
  api_key:
    description: The account's key. When not given, E(VAST_API_KEY), then the official client's own key files.
    type: str
  url:
    description: Address of the API. When not given, E(VAST_URL), then https://console.vast.ai.
    type: str
  state:
    description: What should be.
    type: str
    choices: [present, absent, stopped]
    default: present
  run:
    description: Name of the run; required unless O(state=absent) with O(instance_id).
    type: str
  presets:
    description: The run's presets, for the label.
    type: list
    elements: str
    default: []
  label_prefix:
    description: First part of the labels.
    type: str
    default: fluxlora
  instance_id:
    description: The instance to destroy, when not all of the run's.
    type: int
  offers:
    description: Offers to rent, best first, as M(vastai_offer_info) returns them; C(id) and C(machine_id) matter.
    type: list
    elements: dict
    default: []
  image:
    description: Docker image; required to rent.
    type: str
  disk_gb:
    description: Disk to rent. It cannot be changed later.
    type: float
    default: 220
  env:
    description: Environment of the container. vast.ai keeps it in clear text; nothing secret belongs here.
    type: dict
    default: {}
  onstart:
    description: Shell commands for each start of the container.
    type: str
    default: touch ~/.no_auto_tmux
  direct_ssh:
    description: Whether to use a directly mapped port rather than vast.ai's proxy, where there is one.
    type: bool
    default: true
  public_key:
    description: Public key to let into the instance, beside the account's.
    type: str
  max_instances:
    description: Most rents in one call. Where an instance fails and was destroyed, the next offer is tried.
    type: int
    default: 1
  boot_timeout_seconds:
    description: Longest wait for a running instance with an address.
    type: int
    default: 2400
  destroy_timeout_seconds:
    description: Longest wait for the end of an instance.
    type: int
    default: 180
  poll_seconds:
    description: Time between two looks.
    type: float
    default: 10
author:
  - fluxlora
"""

EXAMPLES = r"""
- name: Rent the cheapest that fits
  vastai_instance:
    run: my-style
    presets: ["512", lokr]
    offers: "{{ found.offers }}"
    image: vastai/pytorch:2.8.0-cuda-12.8.1-py311

- name: Give it back
  vastai_instance:
    run: my-style
    state: absent
"""

RETURN = r"""
instance:
  description: The instance, without anything secret. Null once there is none.
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
      description: Price in $/h, storage included.
      type: float
    direct_host:
      description: Address of the directly mapped ports.
      type: str
    direct_port:
      description: Port that leads to its sshd.
      type: int
instance_absent:
  description: Whether vast.ai's list was seen without the instance, so that it costs nothing any more.
  returned: success
  type: bool
attempts:
  description: What was tried, in sentences.
  returned: success
  type: list
  elements: str
  sample: ["Offer 1 was gone.", "Rented offer 2 as instance 3."]
instance_id:
  description: The instance that exists, and costs money, in spite of the failure.
  returned: failure
  type: int
code:
  description: The kind of failure, for programs.
  returned: failure
  type: str
  sample: rent_unclear
hint:
  description: What to do next, for people.
  returned: failure
  type: str
"""

from dataclasses import asdict  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402

from fluxlora.errors import FluxloraError  # noqa: E402
from fluxlora.labels import Label  # noqa: E402
from fluxlora.records import Offer  # noqa: E402
from fluxlora.renting import Ensured, Waits, ensure_absent, ensure_instance, ensure_stopped  # noqa: E402
from fluxlora.vastai import Rent, Vast  # noqa: E402

ARGUMENT_SPEC = {
    "api_key": {"type": "str", "no_log": True},
    "url": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent", "stopped"], "default": "present"},
    "run": {"type": "str"},
    "presets": {"type": "list", "elements": "str", "default": []},
    "label_prefix": {"type": "str", "default": "fluxlora"},
    "instance_id": {"type": "int"},
    "offers": {"type": "list", "elements": "dict", "default": []},
    "image": {"type": "str"},
    "disk_gb": {"type": "float", "default": 220},
    "env": {"type": "dict", "default": {}},
    "onstart": {"type": "str", "default": "touch ~/.no_auto_tmux"},
    "direct_ssh": {"type": "bool", "default": True},
    "public_key": {"type": "str", "no_log": False},
    "max_instances": {"type": "int", "default": 1},
    "boot_timeout_seconds": {"type": "int", "default": 2400},
    "destroy_timeout_seconds": {"type": "int", "default": 180},
    "poll_seconds": {"type": "float", "default": 10},
}


def ensure(params: dict[str, Any], *, dry_run: bool) -> Ensured:
    waits = Waits(
        boot=params["boot_timeout_seconds"], vanish=params["destroy_timeout_seconds"], poll=params["poll_seconds"]
    )
    prefix = params["label_prefix"]
    vast = Vast(params["api_key"], params["url"])
    if params["state"] == "absent":
        return ensure_absent(vast, params["instance_id"] or params["run"], prefix=prefix, waits=waits, dry_run=dry_run)
    label = Label(params["run"], tuple(params["presets"]), prefix)
    if params["state"] == "stopped":
        return ensure_stopped(vast, label.run, prefix=prefix, waits=waits, dry_run=dry_run)
    rent = Rent(label, params["image"], params["disk_gb"], params["onstart"], params["env"], params["direct_ssh"])
    return ensure_instance(
        vast,
        rent,
        [Offer(int(offer["id"]), offer.get("machine_id")) for offer in params["offers"]],
        max_instances=params["max_instances"],
        waits=waits,
        public_ssh_key=params["public_key"] or "",
        dry_run=dry_run,
    )


def main() -> None:
    module = AnsibleModule(
        ARGUMENT_SPEC,
        required_if=[
            ("state", "present", ("run", "image")),
            ("state", "stopped", ("run",)),
            ("state", "absent", ("run", "instance_id"), True),
        ],
        supports_check_mode=True,
    )
    try:
        ensured = ensure(module.params, dry_run=module.check_mode)
    except FluxloraError as error:
        instance_id = getattr(error, "instance_id", None)
        module.fail_json(msg=str(error), hint=error.hint, code=error.code, instance_id=instance_id)
    instance = ensured.instance and asdict(ensured.instance)
    absent = module.params["state"] == "absent" and instance is None
    module.exit_json(changed=ensured.changed, instance=instance, instance_absent=absent, attempts=ensured.attempts)


if __name__ == "__main__":
    main()
