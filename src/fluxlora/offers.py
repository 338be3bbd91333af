"""Which offer is the cheapest for a run, over everything that vast.ai bills: GPU time, storage and bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fluxlora.records import Offer
from fluxlora.vastai import Vast

# vast.ai divides $/GB/month by 30 days.
HOURS_PER_MONTH = 720


@dataclass(frozen=True)
class Requirements:
    """What a run needs of a machine, and what it will do there. Sizes are decimal GB, as vast.ai counts them."""

    # The guide's numbers: a GPU of 40 GB or more, more than 200 GB of disk.
    gpu_ram_gb: float = 40
    disk_gb: float = 220
    num_gpus: int = 1
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
    # The run, without the download.
    hours: float = 4
    # What the host must still guarantee; the run's length when that is more.
    duration_hours: float = 0
    download_gb: float = 40
    upload_gb: float = 2

    def query(self) -> dict[str, Any]:
        """The search's own filters; compute_cap goes with cuda_max_good, which alone drops GPUs."""
        filters: dict[str, Any] = {
            **self.rough_query(),
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
            "duration": {"gte": self.guaranteed_hours * 3600},
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

    @property
    def guaranteed_hours(self) -> float:
        return max(self.hours, self.duration_hours)


@dataclass(frozen=True)
class Cost:
    """What the run is expected to cost on one offer, in $, and the hours that are paid for."""

    gpu: float
    storage: float
    bytes: float
    hours: float

    @property
    def total(self) -> float:
        return self.gpu + self.storage + self.bytes


@dataclass(frozen=True)
class Ranked:
    offer: Offer
    cost: Cost

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self.offer), "cost": {**asdict(self.cost), "total": self.cost.total}}


@dataclass(frozen=True)
class Refused:
    offer: Offer
    reason: str

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self.offer), "reason": self.reason}


@dataclass(frozen=True)
class Ranking:
    """`fitting` is sorted, cheapest run first."""

    fitting: tuple[Ranked, ...]
    refused: tuple[Refused, ...]


def find(vast: Vast, need: Requirements) -> Ranking:
    """The market's ranking for the run. Raises VastError.

    Asks twice: an answer holds 64 offers at most, so that the fitting ones must be asked for as such, and the cheap
    ones that were passed over for something are only found by a rougher question.
    """
    fitting = vast.offers(need.query(), disk_gb=need.disk_gb)
    around = vast.offers(need.rough_query(), disk_gb=need.disk_gb)
    return rank(list({offer.id: offer for offer in (*fitting, *around)}.values()), need)


def rank(offers: Sequence[Offer], need: Requirements) -> Ranking:
    """Cheapest first among the offers that fit; the rest with the reason each was passed over."""
    fitting: list[Ranked] = []
    refused: list[Refused] = []
    for offer in offers:
        if reason := why_not(offer, need):
            refused.append(Refused(offer, reason))
        else:
            fitting.append(Ranked(offer, expected_cost(offer, need)))
    return Ranking(
        tuple(sorted(fitting, key=lambda each: (each.cost.total, -(each.offer.reliability or 0), each.offer.id))),
        tuple(refused),
    )


def why_not(offer: Offer, need: Requirements) -> str:
    """Why the offer does not fit; empty when it does. vast.ai's own filters are not always applied."""
    country = offer.geolocation.rpartition(",")[2].strip()
    for refusal in (
        "is rented" if offer.rented or not offer.rentable else "",
        _exactly("GPUs", offer.num_gpus, need.num_gpus),
        _least("GB of GPU memory", _gigabytes(offer.gpu_ram_mb), need.gpu_ram_gb),
        _least("GB of memory", _gigabytes(offer.cpu_ram_mb), need.cpu_ram_gb),
        _least("GB of disk", offer.disk_gb, need.disk_gb),
        _least("as the driver's CUDA", offer.cuda_max_good, need.cuda_version),
        _least("as compute capability", offer.compute_cap, need.compute_cap),
        _exactly("as architecture", offer.cpu_arch or None, need.cpu_arch),
        _least("Mbit/s down", offer.inet_down_mbps, need.inet_down_mbps),
        _least("Mbit/s up", offer.inet_up_mbps, need.inet_up_mbps),
        _least("direct ports", offer.direct_ports, need.direct_ports),
        _least("reliability", offer.reliability, need.reliability),
        _least("hours guaranteed", _hours(offer.duration_seconds), need.guaranteed_hours),
        "is not verified" if need.verified and offer.verification != "verified" else "",
        f"is a {offer.gpu_name}" if need.gpu_names and offer.gpu_name not in need.gpu_names else "",
        f"is in {country or 'an unknown country'}" if need.countries and country not in need.countries else "",
        "is on an excluded machine" if offer.machine_id in need.excluded_machine_ids else "",
        _most("$ an hour", offer.price_per_hour, need.max_price_per_hour),
        "has no price for storage" if offer.storage_usd_per_gb_month is None else "",
        "has no price for bytes" if None in (offer.inet_down_usd_per_gb, offer.inet_up_usd_per_gb) else "",
    ):
        if refusal:
            return refusal
    return ""


def expected_cost(offer: Offer, need: Requirements) -> Cost:
    """The three meters over the run; the download's hours are paid for as well. Only for offers that fit."""
    assert offer.price_per_hour is not None
    download_hours = need.download_gb * 8000 / offer.inet_down_mbps / 3600 if offer.inet_down_mbps else 0
    hours = need.hours + download_hours
    # The offer's price holds the storage that was asked about in the search; the disk is counted by itself.
    gpu_per_hour = offer.price_per_hour - (offer.storage_usd_per_hour or 0)
    return Cost(
        gpu=gpu_per_hour * hours,
        storage=(offer.storage_usd_per_gb_month or 0) * need.disk_gb / HOURS_PER_MONTH * hours,
        bytes=need.download_gb * (offer.inet_down_usd_per_gb or 0) + need.upload_gb * (offer.inet_up_usd_per_gb or 0),
        hours=hours,
    )


def _gigabytes(megabytes: int | None) -> float | None:
    return None if megabytes is None else megabytes / 1000


def _hours(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / 3600


def _least(what: str, has: float | None, needs: float) -> str:
    if has is None:
        return f"does not say its {what}" if needs > 0 else ""
    return f"has {has:g} {what}, {needs:g} needed" if has < needs else ""


def _most(what: str, has: float | None, limit: float | None) -> str:
    if has is None:
        return f"does not say its {what}"
    return f"costs {has:g} {what}, {limit:g} allowed" if limit is not None and has > limit else ""


def _exactly(what: str, has: object, needs: object) -> str:
    return f"has {has} {what}, {needs} needed" if has != needs else ""
