"""What a run is expected to take and to cost on one offer, over everything that vast.ai bills."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from fluxlora.offers.speeds import CARDS, REFERENCE, Basis, Correction, Speed, speed_of
from fluxlora.records import Offer
from fluxlora.work import Work

# vast.ai divides $/GB/month by 30 days.
HOURS_PER_MONTH = 720
# Until sshd answers, where the image is at hand or arrives quickly; packages and environment; reading the weights.
BOOT_HOURS, INSTALL_HOURS, LOADING_HOURS = 0.1, 0.15, 0.1
# Caching, once a picture and once a caption, mostly reading and decoding.
SECONDS_PER_LATENT, SECONDS_PER_EMBED = 0.5, 0.15
# What the Hub gives and what a line at home takes, whatever the machine's own line is capable of.
DOWN_MBPS, UP_MBPS = 4000.0, 1000.0
# How much slower everything but the GPU may be: a host that pulls the image first, a line that others share.
SLOW_START, SLOW_LINE = 3.0, 2.0
# vast.ai's reliability r is the share of time that a machine was there. Away for 1 - r of it, in outages of so many
# hours each, it fails (1 - r) / OUTAGE_HOURS times an hour; and each failure buys the start again, and half of what is
# done between two checkpoints. People mend hosts, so an outage lasts hours; were it shorter, there would be more.
OUTAGE_HOURS = 6.0


@dataclass(frozen=True)
class Hours:
    """The phases of a run that are paid for."""

    boot: float
    download: float
    install: float
    caching: float
    training: float
    validation: float
    fetch: float

    @property
    def total(self) -> float:
        return self.start + self.training + self.validation + self.fetch

    @property
    def start(self) -> float:
        """Until the first step, which a retry pays again."""
        return self.boot + self.download + self.install + self.caching

    def stretched(self, *, start: float, line: float, compute: float) -> Hours:
        """The same phases where these parts take so many times as long."""
        return Hours(
            boot=self.boot * start,
            download=self.download * line,
            install=self.install * start,
            caching=self.caching * compute,
            training=self.training * compute,
            validation=self.validation * compute,
            fetch=self.fetch * line,
        )


@dataclass(frozen=True)
class Cost:
    """What the run is expected to cost on one offer, in $, and how far that may be off."""

    gpu: float
    storage: float
    bytes: float
    # Expected: what failures cost, times how likely they are.
    retry: float
    hours: Hours
    low: float
    high: float
    hours_low: float
    hours_high: float
    seconds_per_step: float
    # The same by the table, without what your own runs say.
    table_seconds_per_step: float
    basis: Basis
    own_runs: int

    @property
    def total(self) -> float:
        return self.gpu + self.storage + self.bytes + self.retry

    def as_dict(self) -> dict[str, Any]:
        hours = {**asdict(self.hours), "total": self.hours.total, "low": self.hours_low, "high": self.hours_high}
        return {**asdict(self), "hours": hours, "total": self.total, "basis": str(self.basis)}


def expected_cost(
    offer: Offer, work: Work, speed: Speed, *, disk_gb: float, interruptions_per_hour: float = 0.0
) -> Cost:
    """The three meters over the run, and a retry's. Only for offers that have prices.

    `interruptions_per_hour` come on top of the failures that the machine's reliability tells of.
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


def hours_of(offer: Offer, work: Work, speed: Speed) -> Hours:
    """The phases on this machine."""
    down = min(offer.inet_down_mbps or DOWN_MBPS, DOWN_MBPS)
    up = min(offer.inet_up_mbps or UP_MBPS, UP_MBPS)
    training = work.steps * speed.step_seconds(work, offer.num_gpus or 1) / 3600
    # Checkpoints leave while it trains; what is left at its end is waited for, the last one in any case.
    sending = transfer_hours(work.upload_gb, up)
    return Hours(
        boot=BOOT_HOURS,
        download=transfer_hours(work.download_gb, down),
        install=INSTALL_HOURS,
        caching=LOADING_HOURS + (work.latents * SECONDS_PER_LATENT + work.captions * SECONDS_PER_EMBED) / 3600,
        training=training,
        validation=work.validations * speed.draw_seconds(work) / 3600,
        fetch=max(sending - training, min(transfer_hours(work.checkpoint_gb, up), sending)),
    )


def least_hours(work: Work, own: Mapping[str, Correction] | None = None) -> float:
    """No offer is done sooner: the fastest card that exists, by the table and your own runs."""
    known = (speed_of(card.name, own=own) for card in CARDS)
    speed = max((speed for speed in known if speed), key=lambda speed: speed.tflops)
    anywhere = Offer(0, num_gpus=1, inet_down_mbps=DOWN_MBPS, inet_up_mbps=UP_MBPS)
    return hours_of(anywhere, work, speed).total


def reference_hours(work: Work, gpus: int) -> Hours:
    """Before there is an offer: on the table's reference card behind a line of a gigabit, which most hosts have."""
    speed = Speed(REFERENCE.tflops, REFERENCE.tflops, Basis.COMPUTED, 1.0)
    return hours_of(Offer(0, num_gpus=gpus, inet_down_mbps=1000.0, inet_up_mbps=1000.0), work, speed)


def gpu_per_hour(offer: Offer, disk_gb: float) -> float:
    """The price without the storage that it holds, which was asked about in the search; less is never believed."""
    storage = storage_per_hour(offer, disk_gb)
    held = storage if offer.storage_usd_per_hour is None else min(offer.storage_usd_per_hour, storage)
    return (offer.price_per_hour or 0) - held


def storage_per_hour(offer: Offer, disk_gb: float) -> float:
    return (offer.storage_usd_per_gb_month or 0) * disk_gb / HOURS_PER_MONTH


def transfer_hours(gigabytes: float, mbps: float) -> float:
    return gigabytes * 8000 / mbps / 3600


def redone_hours(work: Work, hours: Hours) -> float:
    """What a failure has to be done again: the start, and half of what lies between two checkpoints."""
    return hours.start + (hours.training * min(work.checkpoint_steps / work.steps, 1) / 2 if work.steps else 0)


def _retry(offer: Offer, work: Work, hours: Hours, rate: float, down: float, interruptions_per_hour: float) -> float:
    failures_per_hour = (1 - (offer.reliability or 0)) / OUTAGE_HOURS + interruptions_per_hour
    return failures_per_hour * hours.total * (redone_hours(work, hours) * rate + down)
