"""How much a run may cost and how long it may take, what of both is left, and when its instance has to end for that.

Everything here errs upwards: hours cost the full price from the rent on, earlier instances have moved all the bytes
that they were allowed, and what has to happen at the end takes as long as it may.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, field, replace
from typing import Any

from fluxlora.estimates.work import Work
from fluxlora.onhost.guard import GB, LOOK_SECONDS, TIMEOUT_SECONDS
from fluxlora.vast.records import number_of

# The guard may send what is expected twice over: a broken download is begun again, checkpoints go to several places.
TRAFFIC_FACTOR, TRAFFIC_MORE_GB = 2.0, 10.0
# vast.ai's images of pytorch. Their host fetches them, which the guard cannot count; they may be billed all the same.
IMAGE_GB = 10.0
# Between two looks, and while the guard is busy with the last one, bytes go on: at 1 Gbit/s, both ways.
LATE_SECONDS = LOOK_SECONDS + 3 * TIMEOUT_SECONDS
LATE_GB = LATE_SECONDS * 0.125
# vast.ai may have to be asked several times before an instance is gone.
DESTROY_MINUTES = 10.0


# What the prices of three meters are called, wherever they stand.
RATES = ("price_per_hour", "storage_usd_per_hour", "inet_down_usd_per_gb", "inet_up_usd_per_gb")


@dataclass(frozen=True)
class Rates:
    """What an instance costs, in $: an hour of everything (storage included), an hour of storage, a GB."""

    per_hour: float
    storage_per_hour: float = 0.0
    down_per_gb: float = 0.0
    up_per_gb: float = 0.0

    @classmethod
    def of(cls, *sources: Mapping[str, Any]) -> Rates:
        """From the facts of an instance, an offer or a RENTED entry, which name them alike; each of the first to know.

        vast.ai's documents promise the price of a byte for offers alone.
        """
        told = ([number_of(facts.get(name)) for facts in sources] for name in RATES)
        return cls(*(next((rate for rate in each if rate is not None), 0.0) for each in told))

    def as_facts(self) -> dict[str, float]:
        """Under the names that `of` reads."""
        return dict(zip(RATES, astuple(self), strict=True))


@dataclass(frozen=True)
class RunLimits:
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
    def of(cls, work: Work, budget_usd: float | None, deadline_hours: float | None) -> RunLimits:
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


@dataclass(frozen=True)
class Remaining:
    """What may still be used: $, and hours until the instance must be gone."""

    usd: float
    hours: float

    def after(self, limits: RunLimits, rates: Rates, hours: float) -> Remaining:
        """What may still be lost, on instances that fail, before one that is used for so long no longer fits."""
        return Remaining(
            self.usd - limits.needed_usd(rates, hours), self.hours - limits.needed_hours(hours) - limits.ending_hours
        )

    def missing_usd(self, limits: RunLimits, rates: Rates, hours: float) -> float:
        """By how much the budget is too small for an instance that is used for so long; 0 where it will do."""
        return max(limits.needed_usd(rates, hours) - self.usd, 0.0)

    def missing_hours(self, limits: RunLimits, hours: float) -> float:
        """The same of the deadline."""
        return max(limits.needed_hours(hours) + limits.ending_hours - self.hours, 0.0)


def remaining(limits: RunLimits, before: Spent, *, now: float) -> Remaining:
    """What a new instance may cost, and how long it may exist, beyond `limits.ending_hours` for its end."""
    begun = before.first_rented_at or now
    return Remaining(limits.budget_usd - before.usd, limits.deadline_hours - (now - begun) / 3600)


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


def lease(limits: RunLimits, rates: Rates, before: Spent, *, rented_at: float) -> Lease:
    """The lease of an instance rented at this time (s since the epoch): the same whenever it is asked for.

    When the guard begins at its end, what the run has cost once the instance is gone is within the budget, and the
    time is within the deadline.
    """
    first = min(before.first_rented_at or rented_at, rented_at)
    by_money = rented_at + 3600 * limits.usable_hours(rates, limits.budget_usd - before.usd)
    by_time = first + 3600 * (limits.deadline_hours - limits.ending_hours)
    facts = {
        "budget_usd": limits.budget_usd,
        "deadline_hours": limits.deadline_hours,
        "first_rented_at": first,
        "rented_at": rented_at,
        "spent_usd": before.usd,
        "earlier_instances": before.instances,
        "expected_usd": before.expected_usd,
        "rates": asdict(rates),
    }
    return Lease(min(by_money, by_time), limits.down_limit_gb * GB, limits.up_limit_gb * GB, facts)
