"""Machines, owners and addresses that are avoided for some time, because of failures in this computer's journal."""

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
    """The failure of a rented instance, as in the journal and in the module's `code`."""

    # The rent was refused, but an instance was created.
    RENT_REFUSED = "rent_refused"
    BOOT_TIMEOUT = "boot_timeout"
    # The container cannot be created, or ended at once.
    INSTANCE_FAILED = "instance_failed"
    IMAGE_MISSING = "image_missing"
    OFFLINE = "instance_offline"
    # The list no longer has it, although nobody destroyed it.
    GONE = "instance_gone"
    # An interruptible instance was taken away: somebody bids more, somebody rents on demand, its host is gone.
    OUTBID = "outbid"
    PREEMPTED = "preempted"
    LOST = "lost"
    DISK_TOO_SMALL = "disk_too_small"
    PRICE_CHANGED = "price_changed"
    # It runs, but has neither a port nor the proxy for ssh.
    NO_PORTS = "no_ports"
    # Its ssh port does not answer.
    NETWORK_DEAD = "network_dead"
    # Its ssh port refuses connections.
    NO_SSHD = "no_sshd"
    KEY_REFUSED = "key_refused"
    HOST_KEY_CHANGED = "host_key_changed"


@dataclass(frozen=True)
class AvoidFor:
    """How long (s) a failure makes us avoid the machine, all machines of its owner, and all at its address."""

    machine: float = DAY
    host: float = 0.0
    address: float = 0.0


# A broken container runtime or a wrong disk size stays, a network or a download recovers. The default is a day.
AVOID_FOR: Mapping[str, AvoidFor] = {
    Failure.INSTANCE_FAILED: AvoidFor(machine=7 * DAY),
    # Caused by the image, or by the bid.
    Failure.RENT_REFUSED: AvoidFor(machine=0.0),
    Failure.IMAGE_MISSING: AvoidFor(machine=0.0),
    Failure.OUTBID: AvoidFor(machine=0.0),
    Failure.OFFLINE: AvoidFor(machine=DAY, address=6 * HOUR),
    Failure.DISK_TOO_SMALL: AvoidFor(machine=7 * DAY),
    # An owner who raises the price does so on all machines.
    Failure.PRICE_CHANGED: AvoidFor(machine=7 * DAY, host=DAY),
    Failure.NO_PORTS: AvoidFor(machine=7 * DAY, address=DAY),
    Failure.NETWORK_DEAD: AvoidFor(machine=7 * DAY, address=DAY),
    # Usually caused by the key and over after minutes, rarely by the machine.
    Failure.KEY_REFUSED: AvoidFor(machine=6 * HOUR),
}
# It was taken away while it was used: the other user needs it for some time, and the same bid may work elsewhere.
TAKEN: Mapping[str, AvoidFor] = {
    Failure.OUTBID: AvoidFor(machine=HOUR),
    Failure.PREEMPTED: AvoidFor(machine=6 * HOUR),
    Failure.LOST: AvoidFor(machine=DAY, address=6 * HOUR),
}


@dataclass(frozen=True)
class Avoid:
    """Machines, owners and addresses that are avoided now."""

    machine_ids: frozenset[int] = frozenset()
    host_ids: frozenset[int] = frozenset()
    addresses: frozenset[str] = frozenset()

    def covers(self, offer: Offer) -> bool:
        """Return whether an offer is avoided."""

        by_owner = offer.machine_id in self.machine_ids or offer.host_id in self.host_ids
        return by_owner or offer.address in self.addresses


def avoided(entries: Iterable[Entry], now: float) -> Avoid:
    """Return what failed recently before `now` (s since the epoch), in any run; two failed machines stand for an
    owner's."""
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
