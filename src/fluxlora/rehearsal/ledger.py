"""What the instances cost: GPU time, storage from creation to the end, and bytes in and out."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

GB = 1e9


@dataclass
class Clock:
    """The time money is counted in: wall time, or `rate` times faster."""

    rate: float = 1.0
    started: float = field(default_factory=time.time)

    def now(self) -> float:
        """Seconds of the epoch."""
        return self.started + (time.time() - self.started) * self.rate


@dataclass(frozen=True)
class Prices:
    gpu_hour: float
    storage_hour: float
    up_gb: float
    down_gb: float


@dataclass(frozen=True)
class Charge:
    kind: str  # in vast.ai's words: gpu, disk, bwu, bwd
    amount: float  # $
    quantity: float
    unit: str
    price: float  # $ per unit


@dataclass
class Meter:
    """One instance's three meters. Times are the clock's; an open interval has no end yet."""

    instance_id: int
    label: str | None
    prices: Prices
    created: float
    closed: float | None = None
    gpu: list[tuple[float, float | None]] = field(default_factory=list)
    bytes_up: int = 0
    bytes_down: int = 0

    def gpu_hours(self, now: float) -> float:
        return sum((end or now) - start for start, end in self.gpu) / 3600

    def storage_hours(self, now: float) -> float:
        return ((self.closed or now) - self.created) / 3600

    def charges(self, now: float) -> list[Charge]:
        quantities = (
            ("gpu", self.gpu_hours(now), "hours", self.prices.gpu_hour),
            ("disk", self.storage_hours(now), "hours", self.prices.storage_hour),
            ("bwu", self.bytes_up / GB, "GB", self.prices.up_gb),
            ("bwd", self.bytes_down / GB, "GB", self.prices.down_gb),
        )
        return [Charge(kind, quantity * price, quantity, unit, price) for kind, quantity, unit, price in quantities]


class Ledger:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.meters: dict[int, Meter] = {}

    def open(self, instance_id: int, label: str | None, prices: Prices) -> None:
        """Storage costs from here on."""
        self.meters[instance_id] = Meter(instance_id, label, prices, self.clock.now())

    def started(self, instance_id: int) -> None:
        """The GPU costs from here on."""
        self.stopped(instance_id)
        self.meters[instance_id].gpu.append((self.clock.now(), None))

    def stopped(self, instance_id: int) -> None:
        """The GPU costs no more, storage does."""
        now = self.clock.now()
        meter = self.meters[instance_id]
        meter.gpu = [(start, end or now) for start, end in meter.gpu]

    def closed(self, instance_id: int) -> None:
        """Nothing costs any more."""
        self.stopped(instance_id)
        self.meters[instance_id].closed = self.clock.now()

    def moved(self, instance_id: int, *, up: int = 0, down: int = 0) -> None:
        """Bytes that went out of the instance (up) or into it (down)."""
        self.meters[instance_id].bytes_up += up
        self.meters[instance_id].bytes_down += down

    def total(self) -> float:
        """$ spent so far."""
        now = self.clock.now()
        return sum(charge.amount for meter in self.meters.values() for charge in meter.charges(now))

    def report(self) -> dict[str, Any]:
        """The whole ledger, for the end of a rehearsal and for tests."""
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
        """One row for each instance that existed between two times, as the charges route shows it."""
        now = self.clock.now()
        return [
            _row(meter, now)
            for meter in self.meters.values()
            if meter.created <= until and (meter.closed or now) >= since
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
