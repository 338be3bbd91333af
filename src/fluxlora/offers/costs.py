"""The expected time and cost of a run on one offer, with everything that vast.ai bills."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from fluxlora.estimates.hours import Hours, hours_of, redone_hours
from fluxlora.estimates.speeds import Basis, Speed
from fluxlora.estimates.work import Work
from fluxlora.vast.records import Offer

# vast.ai divides $/GB/month by 30 days.
HOURS_PER_MONTH = 720
# How much slower everything except the GPU may be: a host may have to pull the image first, or share its connection.
SLOW_START, SLOW_LINE = 3.0, 2.0
# vast.ai's reliability r is the share of time in which a machine was available. With outages of this many hours each,
# it fails (1 - r) / OUTAGE_HOURS times per hour. Each failure costs the start again, and half of the steps between two
# checkpoints. People repair hosts, so an outage lasts hours; with shorter ones there would be more.
OUTAGE_HOURS = 6.0


@dataclass(frozen=True)
class Cost:
    """The expected cost of a run on one offer, in $, and its range."""

    gpu: float
    storage: float
    bytes: float
    # The cost of failures times their probability.
    retry: float
    hours: Hours
    low: float
    high: float
    hours_low: float
    hours_high: float
    seconds_per_step: float
    # By the table, without the correction by your own runs.
    table_seconds_per_step: float
    basis: Basis
    own_runs: int

    @property
    def total(self) -> float:
        """Expected total cost, in $."""
        return self.gpu + self.storage + self.bytes + self.retry

    def as_dict(self) -> dict[str, Any]:
        """Return the cost as a mapping for Ansible."""
        hours = {**asdict(self.hours), "total": self.hours.total, "low": self.hours_low, "high": self.hours_high}
        return {**asdict(self), "hours": hours, "total": self.total, "basis": str(self.basis)}


def expected_cost(
    offer: Offer, work: Work, speed: Speed, *, disk_gb: float, interruptions_per_hour: float = 0.0
) -> Cost:
    """Return the cost of GPU time, storage and bytes for the run and for retries. Only for offers that have prices.

    `interruptions_per_hour` are added to the failures that follow from the machine's reliability.
    """
    hours = hours_of(offer, work, speed)
    least = hours.stretched(start=0.5, line=1.0, compute=1 / speed.factor)
    most = hours.stretched(start=SLOW_START, line=SLOW_LINE, compute=speed.factor)
    storage_rate = storage_per_hour(offer, disk_gb)
    rate = gpu_per_hour(offer, disk_gb) + storage_rate
    down = work.download_gb * (offer.inet_down_usd_per_gb or 0)
    moved = down + work.upload_gb * (offer.inet_up_usd_per_gb or 0)
    retry = _retry(offer, work, hours, rate, down, interruptions_per_hour)
    return Cost(
        gpu=hours.total * (rate - storage_rate),
        storage=hours.total * storage_rate,
        bytes=moved,
        retry=retry,
        hours=hours,
        low=least.total * rate + moved,
        high=most.total * rate + moved + _retry(offer, work, most, rate, down, interruptions_per_hour),
        hours_low=least.total,
        hours_high=most.total,
        seconds_per_step=speed.step_seconds(work, offer.num_gpus or 1),
        table_seconds_per_step=replace(speed, tflops=speed.table_tflops).step_seconds(work, offer.num_gpus or 1),
        basis=speed.basis,
        own_runs=speed.runs,
    )


def gpu_per_hour(offer: Offer, disk_gb: float) -> float:
    """Return the price without its storage. A listed storage price above the calculated one is not trusted."""
    storage = storage_per_hour(offer, disk_gb)
    held = storage if offer.storage_usd_per_hour is None else min(offer.storage_usd_per_hour, storage)
    return (offer.price_per_hour or 0) - held


def storage_per_hour(offer: Offer, disk_gb: float) -> float:
    """Return the price of a disk of this size, in $/h."""

    return (offer.storage_usd_per_gb_month or 0) * disk_gb / HOURS_PER_MONTH


def _retry(offer: Offer, work: Work, hours: Hours, rate: float, down: float, interruptions_per_hour: float) -> float:
    failures_per_hour = (1 - (offer.reliability or 0)) / OUTAGE_HOURS + interruptions_per_hour
    return failures_per_hour * hours.total * (redone_hours(work, hours) * rate + down)
