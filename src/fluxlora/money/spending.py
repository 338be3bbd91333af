"""What a run has cost: its instances that are gone, by the journal, and the one that is there, by its three meters."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from fluxlora.money.budget import IMAGE_GB, Lease, Rates, Remaining, RunLimits, Spent, lease, remaining
from fluxlora.money.journal import Entry, Event, since_delivery
from fluxlora.onhost.guard import GB
from fluxlora.vast.records import number_of, whole_of


def still_costs(host: str, instance_id: Any, price_per_hour: Any = None, started_at: Any = None) -> str:
    """The sentence that names an instance that a failure leaves behind, its price ($) and the command that ends it.

    Empty where there is no instance. `started_at` is in seconds since the epoch.
    """
    number, price, started = whole_of(instance_id), number_of(price_per_hour), number_of(started_at)
    if not number:
        return ""
    rate = f"${price:.2f} an hour" if price else "money"
    so_far = f", about ${price * (time.time() - started) / 3600:.2f} so far" if price and started else ""
    return (
        f"Instance {number} of {host} may still cost {rate}{so_far}. "
        f"Run train.yml again to go on with it, or end it: ansible-playbook destroy.yml -e run_name={host}"
    )


def spent(entries: Sequence[Entry], limits: RunLimits, *, now: float, instance_id: int | None = None) -> Spent:
    """What the journal of a run tells of its training; `instance_id` is the instance that is there now.

    One whose end is not told was gone when the next was rented, or else is reckoned to exist until now. What vast.ai
    has charged is known better than anything else.
    """
    rents, entries = _rents(entries), since_delivery(entries)
    usd, expected = 0.0, None
    for rent, gone_at in zip(rents, [*(each.at for each in rents[1:]), now], strict=False):
        if rent.instance_id == instance_id:
            expected = number_of(rent.facts.get("expected_usd"))
            continue
        about = [each for each in entries if each.instance_id == rent.instance_id and each.at >= rent.at]
        ends = [each for each in about if each.event is Event.DESTROYED]
        charged = [_told_usd(each) for each in ends if each.facts.get("charged")]
        most = _earlier_usd(rent, about, (min([gone_at, *(each.at for each in ends)]) - rent.at) / 3600, limits)
        usd += charged[0] if charged else max([most, *map(_told_usd, ends)])
    # Upwards, and so that it reads the same after it has been written.
    usd = math.ceil(usd * 1e4) / 1e4
    return Spent(usd, sum(rent.instance_id != instance_id for rent in rents), rents[0].at if rents else None, expected)


def _rents(entries: Sequence[Entry]) -> list[Entry]:
    """Of this training. One that another computer has rented, or whose rent was not answered, is known by its end."""
    begun = {each.instance_id for each in entries if each.event in (Event.RENTED, Event.DELIVERED)}
    training = since_delivery(entries)
    elsewhere = {
        each.instance_id: replace(each, at=number_of(each.facts.get("rented_at")) or each.at)
        for each in training
        if each.event is Event.DESTROYED and each.instance_id not in begun
    }
    rents = [each for each in training if each.event is Event.RENTED]
    return sorted([*rents, *elsewhere.values()], key=lambda each: each.at)


def _told_usd(end: Entry) -> float:
    return number_of(end.facts.get("spent_usd")) or 0.0


def _earlier_usd(rent: Entry, about: Sequence[Entry], hours: float, limits: RunLimits) -> float:
    rates = Rates.of(*(each.facts for each in about if each.event is Event.DESTROYED), rent.facts)
    failures = [each for each in about if each.event is Event.FAILED]
    # One that never became usable had its image and no more; one that was lost later is said to have been used.
    unused = bool(failures) and not any(each.facts.get("used") for each in failures)
    traffic = IMAGE_GB * rates.down_per_gb if unused else limits.traffic_usd(rates)
    return max(hours, 0.0) * rates.per_hour + traffic


@dataclass(frozen=True)
class Meters:
    """What the instance that is there has cost so far, in $, over its hours."""

    gpu: float
    storage: float
    bytes: float
    hours: float
    # Without the guard's count the bytes are those of the plan.
    counted: bool

    @property
    def total(self) -> float:
        return self.gpu + self.storage + self.bytes


def meters(limits: RunLimits, rates: Rates, moved: Mapping[str, Any], *, rented_at: float, now: float) -> Meters:
    """The three meters, by the price, the time, and the bytes that the guard has counted (`bytes_down`, `bytes_up`)."""
    hours = max(now - rented_at, 0.0) / 3600
    counted = "bytes_down" in moved
    down = float(moved["bytes_down"]) / GB if counted else limits.download_gb
    up = float(moved["bytes_up"]) / GB if counted else limits.upload_gb
    return Meters(
        gpu=hours * (rates.per_hour - rates.storage_per_hour),
        storage=hours * rates.storage_per_hour,
        bytes=down * rates.down_per_gb + up * rates.up_per_gb,
        hours=hours,
        counted=counted,
    )


@dataclass(frozen=True)
class Account:
    """The money and the time of a run at one moment."""

    limits: RunLimits
    before: Spent
    left: Remaining
    meters: Meters | None = None
    lease: Lease | None = None

    @property
    def spent_usd(self) -> float:
        return self.before.usd + (self.meters.total if self.meters else 0.0)

    @property
    def expected_usd(self) -> float | None:
        """In all, with what is spent already on instances that are gone."""
        return None if self.before.expected_usd is None else self.before.usd + self.before.expected_usd

    def as_facts(self) -> dict[str, Any]:
        there = {} if self.meters is None else {"meters": asdict(self.meters) | {"total": self.meters.total}}
        if self.lease:
            there["lease"] = self.lease.as_dict()
        return {
            **there,
            "spent_usd": self.spent_usd,
            "earlier_usd": self.before.usd,
            "expected_usd": self.expected_usd,
            "budget_usd": self.limits.budget_usd,
            "left_usd": self.left.usd,
            "left_hours": self.left.hours,
            "line": self.line(),
        }

    def line(self) -> str:
        """For people: what it has cost, and what it may."""
        hours = max(self.limits.deadline_hours - self.left.hours, 0.0)
        parts = [
            f"${self.spent_usd:.2f} of ${self.limits.budget_usd:.2f} and {hours:.1f} of {self.limits.deadline_hours:g} "
            "hours so far"
        ]
        if self.before.instances:
            parts.append(f"${self.before.usd:.2f} of it at most for {self.before.instances} earlier")
        if self.meters:
            bytes_are = "counted" if self.meters.counted else "as planned"
            parts.append(
                f"GPU ${self.meters.gpu:.2f}, storage ${self.meters.storage:.2f}, "
                f"bytes {bytes_are} ${self.meters.bytes:.2f}"
            )
        if self.expected_usd is not None:
            parts.append(f"${self.expected_usd:.2f} expected in all")
        return "; ".join(parts)


def account(
    entries: Sequence[Entry],
    limits: RunLimits,
    instance: Mapping[str, Any] | None,
    known: Mapping[str, Any],
    moved: Mapping[str, Any],
    *,
    now: float,
) -> Account:
    """What the journal's entries of a run, the instance that is there, and what lies on it come to.

    `known` is what its lease remembers, for another computer has another journal; `moved` is what its guard counted.
    """
    instance_id = instance.get("id") if instance else None
    before = spent(entries, limits, now=now, instance_id=instance_id).at_least(known)
    if not instance:
        return Account(limits, before, remaining(limits, before, now=now))
    rents = [each for each in entries if each.event is Event.RENTED and each.instance_id == instance_id]
    # The earliest that anybody tells.
    begins = [*(each.at for each in rents), instance.get("started_at"), known.get("rented_at")]
    rented_at = min((float(at) for at in begins if at), default=now)
    remembered = Rates(**known.get("rates", {"per_hour": 0.0})).as_facts()
    rates = Rates.of(instance, *(each.facts for each in rents), remembered)
    return Account(
        limits,
        before,
        remaining(limits, before, now=now),
        meters(limits, rates, moved, rented_at=rented_at, now=now),
        lease(limits, rates, before, rented_at=rented_at),
    )


def of_lease(lease: Mapping[str, Any], moved: Mapping[str, Any], *, now: float) -> Account | None:
    """The account as the instance's lease.json and meter.json alone tell it; None where there is no lease."""
    known = lease.get("budget") or {}
    if not known:
        return None
    instance = {"started_at": known["rented_at"]}
    return account([], RunLimits(known["budget_usd"], known["deadline_hours"]), instance, known, moved, now=now)
