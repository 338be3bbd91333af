"""The costs of the instances: GPU time, storage from creation to destruction, and bytes in and out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

GB = 1e9
DAY = 86_400  # s


class Clock:
    """The clock for costs: real time, or `rate` times faster."""

    def __init__(self, rate: float = 1.0, wall: Callable[[], float] = time.time) -> None:
        self._rate, self._wall = rate, wall
        self._started = wall()

    def now(self) -> float:
        """Seconds of the epoch."""
        return self._started + (self._wall() - self._started) * self._rate


@dataclass(frozen=True)
class Prices:
    """Prices in $ per hour and $ per GB."""

    gpu_hour: float
    storage_hour: float
    up_gb: float
    down_gb: float


@dataclass
class Interval:
    """GPU time at one price; without an end while it runs."""

    hourly: float  # $
    start: float
    end: float | None = None

    def hours(self, now: float) -> float:
        """Return the hours until now or the end."""
        return ((self.end or now) - self.start) / 3600


@dataclass(frozen=True)
class Charge:
    """One kind of cost of an instance."""

    kind: str  # in vast.ai's words: gpu, disk, bwu, bwd
    amount: float  # $
    quantity: float
    unit: str
    price: float  # $ per unit


@dataclass
class Meter:
    """One instance's three costs. Times are by the clock."""

    instance_id: int
    label: str | None
    prices: Prices
    created: float
    closed: float | None = None
    gpu: list[Interval] = field(default_factory=list)
    bytes_up: int = 0
    bytes_down: int = 0

    def gpu_hours(self, now: float) -> float:
        """Return the hours of GPU time."""
        return sum(interval.hours(now) for interval in self.gpu)

    def storage_hours(self, now: float) -> float:
        """Return the hours of storage."""
        return ((self.closed or now) - self.created) / 3600

    def charges(self, now: float) -> list[Charge]:
        """Return the costs by kind."""
        gpu = sum(interval.hours(now) * interval.hourly for interval in self.gpu)
        hours, up, down = self.storage_hours(now), self.bytes_up / GB, self.bytes_down / GB
        prices = self.prices
        return [
            Charge("gpu", gpu, self.gpu_hours(now), "hours", prices.gpu_hour),
            Charge("disk", hours * prices.storage_hour, hours, "hours", prices.storage_hour),
            Charge("bwu", up * prices.up_gb, up, "GB", prices.up_gb),
            Charge("bwd", down * prices.down_gb, down, "GB", prices.down_gb),
        ]


class Ledger:
    """The costs of all instances."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.meters: dict[int, Meter] = {}

    def open(self, instance_id: int, label: str | None, prices: Prices) -> None:
        """Start the storage costs."""
        self.meters[instance_id] = Meter(instance_id, label, prices, self.clock.now())

    def started(self, instance_id: int) -> None:
        """Start the GPU costs."""
        self.stopped(instance_id)
        meter = self.meters[instance_id]
        meter.gpu.append(Interval(meter.prices.gpu_hour, self.clock.now()))

    def repriced(self, instance_id: int, *, gpu_hour: float) -> None:
        """Change the GPU's price ($/h) from now on."""
        meter = self.meters[instance_id]
        meter.prices = replace(meter.prices, gpu_hour=gpu_hour)
        if meter.gpu and meter.gpu[-1].end is None:
            self.started(instance_id)

    def stopped(self, instance_id: int) -> None:
        """End the GPU costs; storage still costs money."""
        for interval in self.meters[instance_id].gpu:
            interval.end = interval.end or self.clock.now()

    def closed(self, instance_id: int) -> None:
        """End all costs."""
        self.stopped(instance_id)
        self.meters[instance_id].closed = self.clock.now()

    def moved(self, instance_id: int, up: int, down: int) -> None:
        """Add bytes out of the instance (up) and into it (down)."""
        self.meters[instance_id].bytes_up += up
        self.meters[instance_id].bytes_down += down

    def traffic(self, up: int, down: int) -> None:
        """Add bytes of no particular instance, as those of the Hub: the running instances share them."""
        running = [meter for meter in self.meters.values() if meter.gpu and meter.gpu[-1].end is None]
        for meter in running:
            self.moved(meter.instance_id, up // len(running), down // len(running))

    def total(self) -> float:
        """$ spent so far."""
        now = self.clock.now()
        return sum(charge.amount for meter in self.meters.values() for charge in meter.charges(now))

    def report(self) -> dict[str, Any]:
        """Return the whole ledger, for the end of a rehearsal and for tests."""
        now = self.clock.now()
        return {
            "total_usd": self.total(),
            "instances_left": sum(meter.closed is None for meter in self.meters.values()),
            "instances": [
                {
                    "id": meter.instance_id,
                    "label": meter.label,
                    "closed": meter.closed is not None,
                    "gpu_hours": meter.gpu_hours(now),
                    "storage_hours": meter.storage_hours(now),
                    "bytes_up": meter.bytes_up,
                    "bytes_down": meter.bytes_down,
                    "usd": {charge.kind: charge.amount for charge in meter.charges(now)},
                }
                for meter in self.meters.values()
            ],
        }

    def charges(self, since: float, until: float) -> list[dict[str, Any]]:
        """Return one row for each instance that existed on the days of these times, as in the charges route."""
        now = self.clock.now()
        return [
            _row(meter, now)
            for meter in self.meters.values()
            if meter.created // DAY <= until // DAY and (meter.closed or now) // DAY >= since // DAY
        ]


def _row(meter: Meter, now: float) -> dict[str, Any]:
    charges = meter.charges(now)
    span = {"start": int(meter.created), "end": int(meter.closed or now)}
    return {
        **span,
        "type": "instance",
        "source": f"instance-{meter.instance_id}",
        "description": f"Instance {meter.instance_id} Charges",
        "amount": round(sum(charge.amount for charge in charges), 3),
        "metadata": {"label": meter.label} if meter.label else {},
        "items": [
            {
                **span,
                "type": charge.kind,
                "source": None,
                "description": f"{charge.quantity:.3f} {charge.unit} at ${charge.price:.4f}",
                "amount": round(charge.amount, 3),
                "metadata": {},
                "items": [],
            }
            for charge in charges
        ],
    }
