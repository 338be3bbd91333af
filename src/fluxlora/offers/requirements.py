"""What a run needs of a machine, and why an offer is not what it needs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fluxlora.estimates.work import Work
from fluxlora.offers.avoid import Avoid
from fluxlora.vast.records import Offer

# The locked torch of both lines has code for sm_120 at most, which runs on all of 12.x and on nothing newer.
NEWEST_COMPUTE_CAP = 1299
# Nobody rents out a faster line; figures beyond that are mistakes or bait.
ABSURD_MBPS = 100_000


@dataclass(frozen=True)
class Requirements:
    """What a run needs of a machine, and what it will do there. Sizes are decimal GB, as vast.ai counts them."""

    # The guide's numbers: a GPU of 40 GB or more, more than 200 GB of disk.
    gpu_ram_gb: float = 40
    disk_gb: float = 220
    num_gpus: int = 1
    # The offer's share of the host's.
    cpu_ram_gb: float = 32
    # What the image's CUDA asks of the driver.
    cuda_version: float = 12.8
    # 800 = sm_80: bf16 in hardware.
    compute_cap: int = 800
    cpu_arch: str = "amd64"
    inet_down_mbps: float = 200
    inet_up_mbps: float = 50
    # 0 is a machine that is reached through vast.ai's proxy only.
    direct_ports: int = 1
    reliability: float = 0.95
    verified: bool = True
    gpu_names: tuple[str, ...] = ()
    # Two letters each.
    countries: tuple[str, ...] = ()
    excluded_machine_ids: tuple[int, ...] = ()
    max_price_per_hour: float | None = None
    # What the host must still guarantee; the run's length, if it goes badly, when that is more.
    duration_hours: float = 0
    # What is left of them; no limit when None.
    budget_usd: float | None = None
    deadline_hours: float | None = None
    # Bids instead of fixed prices.
    interruptible: bool = False
    work: Work = field(default_factory=Work)
    avoid: Avoid = field(default_factory=Avoid)

    def query(self, least_hours: float = 0) -> dict[str, Any]:
        """The search's own filters; compute_cap goes with cuda_max_good, which alone drops GPUs."""
        filters: dict[str, Any] = {
            **self.rough_query(),
            # Of the whole machine, so the least that can be asked for.
            "cpu_ram": {"gte": self.cpu_ram_gb * 1000},
            "disk_space": {"gte": self.disk_gb},
            "cuda_max_good": {"gte": self.cuda_version},
            "compute_cap": {"gte": self.compute_cap},
            "cpu_arch": {"eq": self.cpu_arch},
            "inet_down": {"gte": self.inet_down_mbps},
            "inet_up": {"gte": self.inet_up_mbps},
            "direct_port_count": {"gte": self.direct_ports},
            "reliability2": {"gte": self.reliability},
            # Seconds.
            "duration": {"gte": max(self.duration_hours, least_hours) * 3600},
        }
        if self.verified:
            filters["verified"] = {"eq": True}
        if self.gpu_names:
            filters["gpu_name"] = {"in": list(self.gpu_names)}
        if self.countries:
            filters["geolocation"] = {"in": list(self.countries)}
        if self.max_price_per_hour is not None:
            filters["dph_total"] = {"lte": self.max_price_per_hour}
        return filters

    def rough_query(self) -> dict[str, Any]:
        """Only what makes an offer comparable: the free machines with such a GPU."""
        return {
            "rentable": {"eq": True},
            "rented": {"eq": False},
            "external": {"eq": False},
            "num_gpus": {"eq": self.num_gpus},
            # Megabytes.
            "gpu_ram": {"gte": self.gpu_ram_gb * 1000},
        }


@dataclass(frozen=True)
class Refusal:
    """Why an offer was passed over: the kind, to count them by, and the sentence's end."""

    kind: str
    reason: str
    # By how much the budget ($) and the deadline (h) are too small for it, where nothing else is the matter.
    missing_usd: float = 0.0
    missing_hours: float = 0.0


def nonsense(offer: Offer) -> Refusal | None:
    """What cannot be true, or cannot be reckoned with: such an offer is a mistake or bait."""
    figures = {
        "price": offer.price_per_hour,
        "price for storage": offer.storage_usd_per_gb_month,
        "price for bytes down": offer.inet_down_usd_per_gb,
        "price for bytes up": offer.inet_up_usd_per_gb,
        "rate down": offer.inet_down_mbps,
        "rate up": offer.inet_up_mbps,
        "reliability": offer.reliability,
        "disk": offer.disk_gb,
        "guaranteed time": offer.duration_seconds,
    }
    for what, figure in figures.items():
        if figure is None:
            return Refusal("figures missing", f"has no {what}")
        if not math.isfinite(figure) or figure < 0:
            return Refusal("impossible figures", f"has {figure:g} as its {what}")
    held = offer.storage_usd_per_hour or 0
    if not math.isfinite(held) or held < 0 or (offer.price_per_hour or 0) <= held:
        return Refusal("impossible figures", f"asks ${offer.price_per_hour:g} an hour, nothing for its GPU")
    if (offer.reliability or 0) > 1:
        return Refusal("impossible figures", f"has {offer.reliability:g} as its reliability")
    fastest = max(offer.inet_down_mbps or 0, offer.inet_up_mbps or 0)
    return Refusal("impossible figures", f"claims a line of {fastest:g} Mbit/s") if fastest > ABSURD_MBPS else None


def unfit(offer: Offer, need: Requirements) -> Refusal | None:
    """The first requirement that the offer misses. vast.ai's own filters are not always applied."""
    return next(_misses(offer, need), None)


def _misses(offer: Offer, need: Requirements) -> Iterator[Refusal]:
    country = offer.geolocation.rpartition(",")[2].strip()
    if offer.rented or not offer.rentable:
        yield Refusal("rented", "is rented")
    if offer.external:
        yield Refusal("another marketplace", "belongs to another marketplace")
    yield from _exactly("number of GPUs", "GPUs", offer.num_gpus, need.num_gpus)
    yield from _least("GPU memory", "GB of GPU memory", _gigabytes(offer.gpu_ram_mb), need.gpu_ram_gb)
    yield from _least("memory", "GB of memory", _share(offer), need.cpu_ram_gb)
    yield from _least("disk", "GB of disk", offer.disk_gb, need.disk_gb)
    yield from _least("driver", "as the driver's CUDA", offer.cuda_max_good, need.cuda_version)
    yield from _least("compute capability", "as compute capability", offer.compute_cap, need.compute_cap)
    if (offer.compute_cap or 0) > NEWEST_COMPUTE_CAP:
        yield Refusal(
            "compute capability", f"has {offer.compute_cap} as compute capability, which torch does not know yet"
        )
    yield from _exactly("architecture", "as architecture", offer.cpu_arch or None, need.cpu_arch)
    yield from _least("line", "Mbit/s down", offer.inet_down_mbps, need.inet_down_mbps)
    yield from _least("line", "Mbit/s up", offer.inet_up_mbps, need.inet_up_mbps)
    yield from _least("direct ports", "direct ports", offer.direct_ports, need.direct_ports)
    yield from _least("reliability", "reliability", offer.reliability, need.reliability)
    if offer.verification != "verified" and (need.verified or offer.verification == "deverified"):
        yield Refusal("not verified", "is not verified" if need.verified else "was verified once and is no longer")
    if need.gpu_names and offer.gpu_name not in need.gpu_names:
        yield Refusal("another GPU", f"is a {offer.gpu_name}")
    if need.countries and country not in need.countries:
        yield Refusal("another country", f"is in {country or 'an unknown country'}")
    if offer.machine_id in need.excluded_machine_ids:
        yield Refusal("excluded", "is on an excluded machine")
    if (
        offer.machine_id in need.avoid.machine_ids
        or offer.host_id in need.avoid.host_ids
        or offer.address in need.avoid.addresses
    ):
        yield Refusal("failed before", "failed for you not long ago")
    price, limit = offer.price_per_hour or 0, need.max_price_per_hour
    if limit is not None and price > limit:
        yield Refusal("price per hour", f"costs ${price:.3f} an hour, ${limit:g} allowed")


def _share(offer: Offer) -> float | None:
    """The memory of an offer of k of n GPUs, for vast.ai shows the whole machine's."""
    if offer.cpu_ram_mb is None or offer.gpu_share is None:
        return None
    return offer.cpu_ram_mb * min(offer.gpu_share, 1.0) / 1000


def _gigabytes(megabytes: int | None) -> float | None:
    return None if megabytes is None else megabytes / 1000


def _least(kind: str, what: str, has: float | None, needs: float) -> Iterator[Refusal]:
    if has is None and needs > 0:
        yield Refusal(kind, f"does not say its {what}")
    elif has is not None and not has >= needs:
        yield Refusal(kind, f"has {round(has, 2):g} {what}, {needs:g} needed")


def _exactly(kind: str, what: str, has: object, needs: object) -> Iterator[Refusal]:
    if has != needs:
        yield Refusal(kind, f"has {has} {what}, {needs} needed")
