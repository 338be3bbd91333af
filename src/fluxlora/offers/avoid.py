"""Which machines, owners and addresses are not rented for a while, by what this computer's journal tells of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fluxlora.money.journal import Entry, Event
from fluxlora.vast.records import Offer

HOUR = 3600.0
DAY = 24 * HOUR


class Failure(StrEnum):
    """What made a rented instance useless, as the journal and the module's `code` say it."""

    # The rent was, and made an instance all the same.
    RENT_REFUSED = "rent_refused"
    BOOT_TIMEOUT = "boot_timeout"
    # The container cannot be made, or ended at once.
    INSTANCE_FAILED = "instance_failed"
    IMAGE_MISSING = "image_missing"
    OFFLINE = "instance_offline"
    # Nobody asked for its end, and the list does not have it.
    GONE = "instance_gone"
    # An interruptible one was taken away: somebody bids more, somebody rents on demand, its host is gone.
    OUTBID = "outbid"
    PREEMPTED = "preempted"
    LOST = "lost"
    DISK_TOO_SMALL = "disk_too_small"
    PRICE_CHANGED = "price_changed"
    # It runs, and neither a port nor the proxy leads to it.
    NO_PORTS = "no_ports"
    # Its ssh port swallows what is sent.
    NETWORK_DEAD = "network_dead"
    # Its ssh port refuses.
    NO_SSHD = "no_sshd"
    KEY_REFUSED = "key_refused"
    HOST_KEY_CHANGED = "host_key_changed"


@dataclass(frozen=True)
class AvoidFor:
    """For how long (s) a failure speaks against the machine, all machines of its owner, and all at its address."""

    machine: float = DAY
    host: float = 0.0
    address: float = 0.0


# A broken container runtime or a lying disk stays, a network or a download recovers. Others speak for a day.
AVOID_FOR: Mapping[str, AvoidFor] = {
    Failure.INSTANCE_FAILED: AvoidFor(machine=7 * DAY),
    # The image's fault, and the bid's.
    Failure.RENT_REFUSED: AvoidFor(machine=0.0),
    Failure.IMAGE_MISSING: AvoidFor(machine=0.0),
    Failure.OUTBID: AvoidFor(machine=0.0),
    Failure.OFFLINE: AvoidFor(machine=DAY, address=6 * HOUR),
    Failure.DISK_TOO_SMALL: AvoidFor(machine=7 * DAY),
    # Who asks for more than was offered does so on all machines.
    Failure.PRICE_CHANGED: AvoidFor(machine=7 * DAY, host=DAY),
    Failure.NO_PORTS: AvoidFor(machine=7 * DAY, address=DAY),
    Failure.NETWORK_DEAD: AvoidFor(machine=7 * DAY, address=DAY),
    # Mostly a matter of the key and minutes, rarely of the machine.
    Failure.KEY_REFUSED: AvoidFor(machine=6 * HOUR),
}
# It was taken away after it had been used: who took it wants it for a while, and elsewhere the same bid may do.
TAKEN: Mapping[str, AvoidFor] = {
    Failure.OUTBID: AvoidFor(machine=HOUR),
    Failure.PREEMPTED: AvoidFor(machine=6 * HOUR),
    Failure.LOST: AvoidFor(machine=DAY, address=6 * HOUR),
}


@dataclass(frozen=True)
class Avoid:
    """What is not worth another try now."""

    machine_ids: frozenset[int] = frozenset()
    host_ids: frozenset[int] = frozenset()
    addresses: frozenset[str] = frozenset()

    def covers(self, offer: Offer) -> bool:
        by_owner = offer.machine_id in self.machine_ids or offer.host_id in self.host_ids
        return by_owner or offer.address in self.addresses


def avoided(entries: Iterable[Entry], now: float) -> Avoid:
    """What failed not long before `now` (s since the epoch), of any run; an owner of two failed machines as a whole."""
    machines: set[int] = set()
    hosts: set[int] = set()
    addresses: set[str] = set()
    failed_of: dict[int, set[int]] = {}
    for entry in entries:
        if entry.event is not Event.FAILED:
            continue
        known, age = TAKEN if entry.facts.get("used") else AVOID_FOR, max(0.0, now - entry.at)
        terms = known.get(str(entry.facts.get("code")), AvoidFor())
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
