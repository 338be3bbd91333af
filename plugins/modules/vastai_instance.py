#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rent, stop or destroy the vast.ai instance of a run."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.account import ACCOUNT_OPTIONS
from ..module_utils.failures import fail_with, require_fluxlora

IMPORT_ERROR: ImportError | None = None
try:
    from fluxlora.errors import FluxloraError, InputError
    from fluxlora.money.journal import Journal
    from fluxlora.renting import Limits, ensure_instance
    from fluxlora.renting.attempts import Attempts, Choice
    from fluxlora.renting.destroy import Ensured, ensure_absent, ensure_stopped
    from fluxlora.renting.losses import loss
    from fluxlora.renting.readiness import Waits
    from fluxlora.renting.ssh_probe import Login
    from fluxlora.vast.client import Rent, Vast
    from fluxlora.vast.labels import Label
    from fluxlora.vast.records import Offer, number_of, whole_of
except ImportError as error:
    IMPORT_ERROR = error

DOCUMENTATION = r"""
module: vastai_instance
short_description: Rent, stop or destroy the vast.ai instance of a run
description:
  - C(present) uses the instance whose label names the run, otherwise rents the first of O(offers) that still exists.
  - If a reply is lost, the instance is looked up by its label, and never rented again.
  - Returns when the instance runs, has an address for ssh, and, with O(private_key_file), accepts that key.
  - A rented instance that fails is destroyed, and the next offer on another machine is tried, at most O(max_attempts)
    times. An instance that existed before is never destroyed.
  - C(absent) destroys, repeatedly if needed, until the account's list no longer has the instance.
  - C(stopped) keeps the disk, which still costs money.
extends_documentation_fragment: fluxlora.vastai.account
options:
  state:
    description: Wanted state of the instance.
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
    description: The instance to destroy, if not all of the run's.
    type: int
  offers:
    description:
      - Offers to rent, best first, as M(vastai_offer_info) returns them; only C(id) is needed.
      - With C(price_per_hour), an instance with a higher price is not kept. C(bid_per_hour) is the bid in $/h without
        storage for an interruptible instance.
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
    description: Environment of the container. vast.ai stores it in clear text, so it must not contain secrets.
    type: dict
    default: {}
  onstart:
    description: Shell commands for each start of the container.
    type: str
    default: touch ~/.no_auto_tmux
  direct_ssh:
    description: Whether to use a directly mapped port, if there is one, instead of vast.ai's proxy.
    type: bool
    default: true
  public_key:
    description: Public key to add to the instance, beside the account's.
    type: str
  private_key_file:
    description: Private key for a test login as root. Without it, an address of the instance is enough.
    type: path
  known_hosts_dir:
    description: Folder in which each instance's host key is stored at the first login; with O(private_key_file).
    type: path
    default: ~/.ssh/fluxlora_known_hosts
  proxy_command:
    description: Command through which ssh reaches the instance, as in its option ProxyCommand; empty for none.
    type: str
    default: ""
  journal:
    description: File to which rents, failures and costs are appended. Without it nothing is recorded.
    type: path
  lost:
    description: How the destroyed instance had been taken away before, as in RV(loss); for the journal.
    type: str
    default: ""
  max_attempts:
    description: Most instances that one call rents, one after the other.
    type: int
    default: 3
  max_price_per_hour:
    description: Highest price of the instance in $/h, including storage. A more expensive one is destroyed.
    type: float
  price_tolerance:
    description: Share by which an instance may cost more than its offer.
    type: float
    default: 0.05
  boot_timeout_seconds:
    description: Longest wait for a running instance.
    type: float
    default: 2400
  appear_timeout_seconds:
    description: Longest wait for an instance's row in the list, and for the direct port of a running one.
    type: float
    default: 60
  lost_timeout_seconds:
    description: Longest search for an instance whose rent was not answered.
    type: float
    default: 120
  ssh_timeout_seconds:
    description: Longest wait for the login. sshd and the key arrive some minutes late.
    type: float
    default: 300
  network_timeout_seconds:
    description: Longest time without an answer of the ssh port; a port that refuses connections gets more time.
    type: float
    default: 60
  destroy_timeout_seconds:
    description: Longest wait until an instance is gone.
    type: float
    default: 180
  request_timeout_seconds:
    description: Longest wait for one answer of vast.ai.
    type: float
    default: 60
  poll_seconds:
    description: Time between two requests; a failed one is repeated after at most a second.
    type: float
    default: 10
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Rent the cheapest offer that fits
  vastai_instance:
    run: my-style
    presets: ["512", lokr]
    offers: "{{ found.offers }}"
    image: vastai/pytorch:2.8.0-cuda-12.8.1-py311

- name: Destroy it
  vastai_instance:
    run: my-style
    state: absent
"""

RETURN = r"""
instance:
  description: The instance, without secrets. Null if there is none.
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
    direct_host:
      description: Address of the directly mapped ports.
      type: str
    direct_port:
      description: Port of its sshd.
      type: int
    proxy_host:
      description: Address of vast.ai's proxy, which is used if there is no mapped port.
      type: str
    proxy_port:
      description: Port of the proxy for its sshd.
      type: int
loss:
  description: How an interruptible instance was taken away; outbid, preempted or lost. Empty if it was not.
  returned: success
  type: str
instance_absent:
  description: Whether vast.ai's list no longer has the instance, so that it costs nothing any more.
  returned: success
  type: bool
attempts:
  description: The attempts, in order.
  returned: always
  type: list
  elements: dict
  contains:
    code:
      description: The result, for programs.
      type: str
      sample: boot_timeout
    sentence:
      description: The same for people.
      type: str
      sample: Offer 1 was gone.
    offer_id:
      description: The offer that was tried.
      type: int
    instance_id:
      description: The instance that was rented or destroyed.
      type: int
    usd:
      description: Its cost in $ without bytes, as far as it is known.
      type: float
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

ARGUMENT_SPEC = {
    **ACCOUNT_OPTIONS,
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
    "private_key_file": {"type": "path", "no_log": False},
    "known_hosts_dir": {"type": "path", "default": "~/.ssh/fluxlora_known_hosts"},
    "proxy_command": {"type": "str", "default": ""},
    "journal": {"type": "path"},
    "lost": {"type": "str", "default": ""},
    "max_attempts": {"type": "int", "default": 3},
    "max_price_per_hour": {"type": "float"},
    "price_tolerance": {"type": "float", "default": 0.05},
    "boot_timeout_seconds": {"type": "float", "default": 2400},
    "appear_timeout_seconds": {"type": "float", "default": 60},
    "lost_timeout_seconds": {"type": "float", "default": 120},
    "ssh_timeout_seconds": {"type": "float", "default": 300},
    "network_timeout_seconds": {"type": "float", "default": 60},
    "destroy_timeout_seconds": {"type": "float", "default": 180},
    "request_timeout_seconds": {"type": "float", "default": 60},
    "poll_seconds": {"type": "float", "default": 10},
}
AS_RETURNED = "Give offers as vastai_offer_info returns them."
WAITS = {
    "boot": "boot",
    "appear": "appear",
    "lost": "lost",
    "ssh": "ssh",
    "network": "network",
    "vanish": "destroy",
}


def number(offer: dict[str, Any], name: str) -> float | None:
    """Return a number, also from text, which templates may pass. Raises InputError for anything else."""
    found = number_of(offer.get(name))
    if found is None and offer.get(name) is not None:
        raise InputError(f"The {name} of an offer is not a number: {offer[name]!r}.", hint=AS_RETURNED)
    return found


def choice(offer: dict[str, Any]) -> Choice:
    """Return an offer as vastai_offer_info returns it, or with only its id."""
    known = {field.name: offer[field.name] for field in fields(Offer) if field.name in offer}
    known |= {name: number(offer, name) for name in ("price_per_hour", "storage_usd_per_hour")}
    known |= {name: whole_of(number(offer, name)) for name in ("id", "machine_id", "host_id")}
    if known["id"] is None:
        raise InputError("An offer has no id.", hint=AS_RETURNED)
    cost = offer.get("cost") or {}
    if not isinstance(cost, dict):
        raise InputError(f"The cost of an offer is not a mapping: {cost!r}.", hint=AS_RETURNED)
    hours = cost.get("hours")
    return Choice(
        Offer(**known),
        bid_per_hour=number(offer, "bid_per_hour"),
        expected_usd=cost.get("total"),
        expected_hours=hours.get("total") if isinstance(hours, dict) else hours,
        expected_seconds_per_step=cost.get("table_seconds_per_step"),
        spare_usd=number(offer, "spare_usd"),
        spare_hours=number(offer, "spare_hours"),
    )


def ensure(params: dict[str, Any], attempts: Attempts, *, dry_run: bool) -> Ensured:
    """Bring the instance into the wanted state."""
    waits = Waits(
        poll=params["poll_seconds"], **{wait: params[f"{name}_timeout_seconds"] for wait, name in WAITS.items()}
    )
    vast = Vast(
        params["api_key"],
        params["url"],
        timeout_seconds=params["request_timeout_seconds"],
        first_wait_seconds=min(1.0, waits.poll),
    )
    prefix = params["label_prefix"]
    if params["state"] == "absent":
        # An impossible name of a run has no instance; this must not look as if an instance had been destroyed.
        target = params["instance_id"] or Label(params["run"], prefix=prefix).run
        return ensure_absent(
            vast,
            target,
            prefix=prefix,
            waits=waits,
            dry_run=dry_run,
            journal=attempts.journal,
            lost=params["lost"],
        )
    label = Label(params["run"], tuple(params["presets"]), prefix)
    if params["state"] == "stopped":
        return ensure_stopped(vast, label.run, prefix=prefix, waits=waits, dry_run=dry_run)
    key = params["private_key_file"]
    return ensure_instance(
        vast,
        Rent(label, params["image"], params["disk_gb"], params["onstart"], params["env"], params["direct_ssh"]),
        [choice(offer) for offer in params["offers"]],
        limits=Limits(params["max_attempts"], params["price_tolerance"], params["max_price_per_hour"]),
        waits=waits,
        login=Login(
            Path(key),
            Path(params["known_hosts_dir"]),
            connect_seconds=min(10, waits.network),
            proxy_command=params["proxy_command"],
        )
        if key
        else None,
        public_ssh_key=params["public_key"] or "",
        attempts=attempts,
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
    require_fluxlora(module, IMPORT_ERROR)
    journal = module.params["journal"]
    attempts = Attempts(module.params["run"] or "", Journal(Path(journal)) if journal else None)
    try:
        ensured = ensure(module.params, attempts, dry_run=module.check_mode)
    except FluxloraError as error:
        made = [asdict(attempt) for attempt in attempts.made]
        fail_with(module, error, instance_id=getattr(error, "instance_id", None), attempts=made)
    instance = ensured.instance and asdict(ensured.instance)
    absent = module.params["state"] == "absent" and instance is None
    module.exit_json(
        changed=ensured.changed,
        instance=instance,
        loss=str(loss(ensured.instance)) if ensured.instance else "",
        instance_absent=absent,
        attempts=[asdict(attempt) for attempt in ensured.attempts],
    )


if __name__ == "__main__":
    main()
