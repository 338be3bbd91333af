"""Which machines, owners and addresses are not rented for a while, by what this computer's journal tells of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fluxlora.journal import Entry, Event

HOUR = 3600.0
DAY = 24 * HOUR


@dataclass(frozen=True)
class Terms:
    """For how long (s) a failure speaks against the machine, all machines of its owner, and all at its address."""

    machine: float = DAY
    host: float = 0.0
    address: float = 0.0


# By the code of the failure. A broken container runtime or a lying disk stays, a network or a download recovers.
TERMS: Mapping[str, Terms] = {
    "boot_timeout": Terms(),
    "instance_failed": Terms(machine=7 * DAY),
    "instance_offline": Terms(machine=DAY, address=6 * HOUR),
    "instance_gone": Terms(),
    "no_ports": Terms(machine=7 * DAY, address=DAY),
    "network_dead": Terms(machine=7 * DAY, address=DAY),
    "no_sshd": Terms(),
    # Mostly a matter of the key and minutes, rarely of the machine.
    "key_refused": Terms(machine=6 * HOUR),
    "disk_too_small": Terms(machine=7 * DAY),
    # Who asks for more than was offered does so on all machines.
    "price_changed": Terms(machine=7 * DAY, host=DAY),
    # The image's fault, and the bid's.
    "image_missing": Terms(machine=0.0),
    "outbid": Terms(machine=0.0),
}


@dataclass(frozen=True)
class Avoid:
    """What is not worth another try now."""

    machine_ids: frozenset[int] = frozenset()
    host_ids: frozenset[int] = frozenset()
    addresses: frozenset[str] = frozenset()


def avoided(entries: Iterable[Entry], now: float) -> Avoid:
    """What failed not long before `now` (s since the epoch), of any run; an owner of two failed machines as a whole."""
    machines: set[int] = set()
    hosts: set[int] = set()
    addresses: set[str] = set()
    failed_of: dict[int, set[int]] = {}
    for entry in entries:
        if entry.event is not Event.FAILED:
            continue
        terms, age = TERMS.get(str(entry.facts.get("code")), Terms()), max(0.0, now - entry.at)
        machine, host = _number(entry.facts.get("machine_id")), _number(entry.facts.get("host_id"))
        address = entry.facts.get("address")
        if machine is not None and age < terms.machine:
            machines.add(machine)
            if host is not None:
                failed_of.setdefault(host, set()).add(machine)
        if host is not None and age < terms.host:
            hosts.add(host)
        if isinstance(address, str) and address and age < terms.address:
            addresses.add(address)
    hosts.update(host for host, failed in failed_of.items() if len(failed) > 1)
    return Avoid(frozenset(machines), frozenset(hosts), frozenset(addresses))


def _number(fact: Any) -> int | None:
    return fact if isinstance(fact, int) else None
