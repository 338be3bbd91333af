"""How much a run may cost and how long it may take, what of both is left, and when its instance has to end for that.

Everything here errs upwards: hours cost the full price from the rent on, earlier instances have moved all the bytes
that they were allowed, and what has to happen at the end takes as long as it may.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from fluxlora.journal import Entry, Event
from fluxlora.onhost.guard import GB, LOOK_SECONDS, TIMEOUT_SECONDS
from fluxlora.work import Work

# The guard may send what is expected twice over: a broken download is begun again, checkpoints go to several places.
TRAFFIC_FACTOR, TRAFFIC_MORE_GB = 2.0, 10.0
# vast.ai's images of pytorch. Their host fetches them, which the guard cannot count; they may be billed all the same.
IMAGE_GB = 10.0
# Between two looks, and while the guard is busy with the last one, bytes go on: at 1 Gbit/s, both ways.
LATE_SECONDS = LOOK_SECONDS + 3 * TIMEOUT_SECONDS
LATE_GB = LATE_SECONDS * 0.125
# vast.ai may have to be asked several times before an instance is gone.
DESTROY_MINUTES = 10.0


@dataclass(frozen=True)
class Rates:
    """What an instance costs, in $: an hour of everything (storage included), an hour of storage, a GB."""

    per_hour: float
    storage_per_hour: float = 0.0
    down_per_gb: float = 0.0
    up_per_gb: float = 0.0

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Rates:
        """From the facts of an instance, an offer or a RENTED entry, which name them alike."""
        names = ("price_per_hour", "storage_usd_per_hour", "inet_down_usd_per_gb", "inet_up_usd_per_gb")
        return cls(*(float(facts.get(name) or 0) for name in names))


@dataclass(frozen=True)
class Terms:
    """The hard limits of a run, and what it needs at its end and on its way."""

    budget_usd: float
    # From the run's first rent on.
    deadline_hours: float
    # As planned; how much more is allowed follows from it.
    download_gb: float = 40.0
    upload_gb: float = 26.0
    # How long the guard may take to send what the Hub lacks, and how much that is.
    delivery_minutes: float = 30.0
    delivery_gb: float = 4.0
    # Until an instance runs and its guard with it, this computer alone may end it: the longest waits for both.
    unguarded_hours: float = 0.85

    @classmethod
    def of(cls, work: Work, budget_usd: float | None, deadline_hours: float | None) -> Terms:
        """Of a run's work; no limit where None is given."""
        return cls(
            math.inf if budget_usd is None else budget_usd,
            math.inf if deadline_hours is None else deadline_hours,
            download_gb=work.download_gb,
            upload_gb=work.upload_gb,
            delivery_gb=work.checkpoint_gb,
        )

    @property
    def down_limit_gb(self) -> float:
        """What the instance may fetch by itself before its guard ends it."""
        return TRAFFIC_FACTOR * self.download_gb + TRAFFIC_MORE_GB

    @property
    def up_limit_gb(self) -> float:
        return TRAFFIC_FACTOR * self.upload_gb + TRAFFIC_MORE_GB

    @property
    def ending_hours(self) -> float:
        """From the moment when the guard must begin to the moment when the instance is gone."""
        return LATE_SECONDS / 3600 + (self.delivery_minutes + DESTROY_MINUTES) / 60

    def traffic_usd(self, rates: Rates) -> float:
        """All the bytes that can be moved before the guard has ended the instance."""
        down = self.down_limit_gb + IMAGE_GB + LATE_GB
        up = self.up_limit_gb + LATE_GB + self.delivery_gb
        return down * rates.down_per_gb + up * rates.up_per_gb

    def needed_usd(self, rates: Rates, hours: float) -> float:
        """What an instance must be allowed to cost, so that it may be used for so long and then ended in order."""
        return (self.needed_hours(hours) + self.ending_hours) * rates.per_hour + self.traffic_usd(rates)

    def needed_hours(self, hours: float) -> float:
        """No instance is rented for less than it may take until its guard runs."""
        return max(hours, self.unguarded_hours)

    def usable_hours(self, rates: Rates, usd: float) -> float:
        """The reverse: for how long it may be used, from its rent on; below 0 when the money does for nothing."""
        if rates.per_hour <= 0:
            return self.deadline_hours
        return (usd - self.traffic_usd(rates)) / rates.per_hour - self.ending_hours


@dataclass(frozen=True)
class Spent:
    """What instances of this training that are gone have cost at most, and when the first of all was rented."""

    usd: float = 0.0
    instances: int = 0
    # Seconds since the epoch; None before the first rent.
    first_rented_at: float | None = None
    # Of the instance that is there, as it was expected when it was rented.
    expected_usd: float | None = None

    def at_least(self, known: Mapping[str, Any]) -> Spent:
        """With what the instance's own lease remembers: another computer may have written it."""
        begins = [at for at in (self.first_rented_at, known.get("first_rented_at")) if at]
        return replace(
            self,
            usd=max(self.usd, float(known.get("spent_usd") or 0)),
            instances=max(self.instances, int(known.get("earlier_instances") or 0)),
            first_rented_at=min(begins, default=None),
            expected_usd=known.get("expected_usd") if self.expected_usd is None else self.expected_usd,
        )


def spent(entries: Sequence[Entry], terms: Terms, *, now: float, instance_id: int | None = None) -> Spent:
    """What the journal of a run tells of its training; `instance_id` is the instance that is there now.

    One whose end is not told was gone when the next was rented, or else is reckoned to exist until now. What vast.ai
    has charged is known better than anything else.
    """
    delivered = [number for number, entry in enumerate(entries) if entry.event is Event.DELIVERED]
    entries = entries[delivered[-1] + 1 :] if delivered else entries
    rents = [entry for entry in entries if entry.event is Event.RENTED]
    usd, expected = 0.0, None
    for rent, gone_at in zip(rents, [*(each.at for each in rents[1:]), now], strict=False):
        if rent.instance_id == instance_id:
            expected = rent.facts.get("expected_usd")
            continue
        about = [each for each in entries if each.instance_id == rent.instance_id and each.at >= rent.at]
        ends = [each.at for each in about if each.event is Event.DESTROYED]
        told = [each.facts for each in about if each.event is Event.DESTROYED]
        charged = [float(facts.get("spent_usd") or 0) for facts in told if facts.get("charged")]
        least = max((float(facts.get("spent_usd") or 0) for facts in told), default=0.0)
        most = _earlier_usd(rent, about, (min([*ends, gone_at]) - rent.at) / 3600, terms)
        usd += charged[0] if charged else max(least, most)
    # Upwards, and so that it reads the same after it has been written.
    usd = math.ceil(usd * 1e4) / 1e4
    return Spent(usd, sum(rent.instance_id != instance_id for rent in rents), rents[0].at if rents else None, expected)


def _earlier_usd(rent: Entry, about: Sequence[Entry], hours: float, terms: Terms) -> float:
    rates = Rates.of(rent.facts)
    failures = [each for each in about if each.event is Event.FAILED]
    # One that never became usable had its image and no more; one that was lost later is said to have been used.
    unused = bool(failures) and not any(each.facts.get("used") for each in failures)
    traffic = IMAGE_GB * rates.down_per_gb if unused else terms.traffic_usd(rates)
    return max(hours, 0.0) * rates.per_hour + traffic


@dataclass(frozen=True)
class Left:
    """What may still be used: $, and hours until the instance must be gone."""

    usd: float
    hours: float

    def missing_usd(self, terms: Terms, rates: Rates, hours: float) -> float:
        """By how much the budget is too small for an instance that is used for so long; 0 where it will do."""
        return max(terms.needed_usd(rates, hours) - self.usd, 0.0)

    def missing_hours(self, terms: Terms, hours: float) -> float:
        """The same of the deadline."""
        return max(terms.needed_hours(hours) + terms.ending_hours - self.hours, 0.0)


def left(terms: Terms, before: Spent, *, now: float) -> Left:
    """What a new instance may cost, and how long it may exist, beyond `terms.ending_hours` for its end."""
    begun = before.first_rented_at or now
    return Left(terms.budget_usd - before.usd, terms.deadline_hours - (now - begun) / 3600)


@dataclass(frozen=True)
class Lease:
    """When the guard must begin to save and deliver, and how many bytes may be moved until then."""

    # Seconds since the epoch.
    ends_at: float
    bytes_down: float
    bytes_up: float
    # What it was made of: the guard's own bookkeeping, and what another computer learns from it.
    facts: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "ends_at": round(self.ends_at),
            "bytes_down": round(self.bytes_down),
            "bytes_up": round(self.bytes_up),
            "budget": dict(self.facts),
        }


def lease(terms: Terms, rates: Rates, before: Spent, *, rented_at: float) -> Lease:
    """The lease of an instance rented at this time (s since the epoch): the same whenever it is asked for.

    When the guard begins at its end, what the run has cost once the instance is gone is within the budget, and the
    time is within the deadline.
    """
    first = min(before.first_rented_at or rented_at, rented_at)
    by_money = rented_at + 3600 * terms.usable_hours(rates, terms.budget_usd - before.usd)
    by_time = first + 3600 * (terms.deadline_hours - terms.ending_hours)
    facts = {
        "budget_usd": terms.budget_usd,
        "deadline_hours": terms.deadline_hours,
        "first_rented_at": first,
        "rented_at": rented_at,
        "spent_usd": before.usd,
        "earlier_instances": before.instances,
        "expected_usd": before.expected_usd,
        "rates": asdict(rates),
    }
    return Lease(min(by_money, by_time), terms.down_limit_gb * GB, terms.up_limit_gb * GB, facts)


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


def meters(terms: Terms, rates: Rates, moved: Mapping[str, Any], *, rented_at: float, now: float) -> Meters:
    """The three meters, by the price, the time, and the bytes that the guard has counted (`bytes_down`, `bytes_up`)."""
    hours = max(now - rented_at, 0.0) / 3600
    counted = "bytes_down" in moved
    down = float(moved["bytes_down"]) / GB if counted else terms.download_gb
    up = float(moved["bytes_up"]) / GB if counted else terms.upload_gb
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

    terms: Terms
    before: Spent
    left: Left
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
            "budget_usd": self.terms.budget_usd,
            "left_usd": self.left.usd,
            "left_hours": self.left.hours,
            "line": self.line(),
        }

    def line(self) -> str:
        """For people: what it has cost, and what it may."""
        hours = max(self.terms.deadline_hours - self.left.hours, 0.0)
        parts = [
            f"${self.spent_usd:.2f} of ${self.terms.budget_usd:.2f} and {hours:.1f} of {self.terms.deadline_hours:g} "
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
    terms: Terms,
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
    before = spent(entries, terms, now=now, instance_id=instance_id).at_least(known)
    if not instance:
        return Account(terms, before, left(terms, before, now=now))
    rents = [each.at for each in entries if each.event is Event.RENTED and each.instance_id == instance_id]
    # The earliest that anybody tells.
    begins = [*rents, instance.get("started_at"), known.get("rented_at")]
    rented_at = min((float(at) for at in begins if at), default=now)
    rates = Rates.of(instance)
    return Account(
        terms,
        before,
        left(terms, before, now=now),
        meters(terms, rates, moved, rented_at=rented_at, now=now),
        lease(terms, rates, before, rented_at=rented_at),
    )


def of_lease(lease: Mapping[str, Any], moved: Mapping[str, Any], *, now: float) -> Account | None:
    """The account as the instance's lease.json and meter.json alone tell it; None where there is no lease."""
    known = lease.get("budget") or {}
    if not known:
        return None
    rates = Rates(**known["rates"])
    instance = {
        "started_at": known["rented_at"],
        "price_per_hour": rates.per_hour,
        "storage_usd_per_hour": rates.storage_per_hour,
        "inet_down_usd_per_gb": rates.down_per_gb,
        "inet_up_usd_per_gb": rates.up_per_gb,
    }
    return account([], Terms(known["budget_usd"], known["deadline_hours"]), instance, known, moved, now=now)
