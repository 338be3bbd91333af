"""Prices that are too low to be true, compared with other offers."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fluxlora.estimates.speeds import Speed
from fluxlora.offers.costs import gpu_per_hour
from fluxlora.offers.requirements import Refusal, nonsense
from fluxlora.vast.records import Offer

# An offer below this share of the usual price for the same GPU is bait, or a machine that does not work.
BAIT_SHARE = 0.3
# The share of the usual price for the same computing power, in the whole market. It is lower because these prices
# differ more, and it also finds bait of which there are many of one kind.
MASS_BAIT_SHARE = 0.15
# With this many offers of one GPU their median is the usual price, which bait hardly changes. With fewer, the price for
# the computing power in the whole market is used.
ENOUGH = 4


@dataclass(frozen=True)
class GoingRates:
    """Usual prices in $ per hour: for a GPU by its name, and for each TFLOPS that a training reaches on one."""

    usual: Mapping[str, float]
    usual_per_tflops: float | None
    disk_gb: float

    @classmethod
    def of(cls, offers: Sequence[Offer], speeds: Mapping[int, Speed | None], disk_gb: float) -> GoingRates:
        """Return the usual prices in a list of offers."""
        by_name: dict[str, list[float]] = {}
        per_tflops: list[float] = []
        for offer in offers:
            price = _price(offer, disk_gb)
            if nonsense(offer) or price <= 0:
                continue
            by_name.setdefault(offer.gpu_name, []).append(price)
            if speed := speeds[offer.id]:
                per_tflops.append(price / speed.table_tflops)
        return cls(
            {name: statistics.median(prices) for name, prices in by_name.items() if len(prices) >= ENOUGH},
            statistics.median(per_tflops) if len(per_tflops) >= ENOUGH else None,
            disk_gb,
        )

    def too_cheap(self, offer: Offer, speed: Speed | None) -> Refusal | None:
        """Return a refusal if the price is too low to be true. Only for offers with possible figures."""
        price, usual = _price(offer, self.disk_gb), self.usual.get(offer.gpu_name)
        if price <= 0:
            return Refusal("impossible figures", "asks more for its storage than in total")
        if usual is not None and price < BAIT_SHARE * usual:
            return _lure(price, usual)
        if self.usual_per_tflops is not None and speed is not None:
            elsewhere = self.usual_per_tflops * speed.table_tflops
            if price < (BAIT_SHARE if usual is None else MASS_BAIT_SHARE) * elsewhere:
                return _lure(price, elsewhere)
        return None


def _price(offer: Offer, disk_gb: float) -> float:
    return gpu_per_hour(offer, disk_gb) / (offer.num_gpus or 1)


def _lure(price: float, usual: float) -> Refusal:
    return Refusal("too cheap to be true", f"asks ${price:.3f} an hour for a GPU that costs ${usual:.2f} elsewhere")
