"""Prices that are too good to be true, by what others ask."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fluxlora.costs import gpu_per_hour
from fluxlora.records import Offer
from fluxlora.requirements import Refusal, nonsense
from fluxlora.speeds import Speed

# A price that is this small a share of what others ask for as much GPU is bait, or a machine that does not work.
BAIT_SHARE = 0.3
# Somebody may list many of a kind: what the whole market asks for as much computing catches that, and differs more.
MASS_BAIT_SHARE = 0.15
# So many others of the same GPU say what it costs; with fewer, the whole market does, by what its GPUs compute.
ENOUGH_OTHERS = 3


@dataclass(frozen=True)
class GoingRates:
    """What others ask, $ an hour: for a GPU, by its name, and for each TFLOPS that a training gets of it."""

    prices: Mapping[str, Mapping[int, float]]
    per_tflops: Mapping[int, float]

    @classmethod
    def of(cls, offers: Sequence[Offer], speeds: Mapping[int, Speed | None], disk_gb: float) -> GoingRates:
        prices: dict[str, dict[int, float]] = {}
        per_tflops: dict[int, float] = {}
        for offer in offers:
            price = gpu_per_hour(offer, disk_gb) / (offer.num_gpus or 1)
            if nonsense(offer) or price <= 0:
                continue
            prices.setdefault(offer.gpu_name, {})[offer.id] = price
            if speed := speeds[offer.id]:
                per_tflops[offer.id] = price / speed.table_tflops
        return cls(prices, per_tflops)

    def too_cheap(self, offer: Offer) -> Refusal | None:
        """Whether the price is too good to be true. Only for offers whose figures make sense."""
        prices, computing = self.prices.get(offer.gpu_name, {}), self.per_tflops
        if offer.id not in prices:
            return Refusal("impossible figures", "asks more for its storage than for everything")
        price, others, elsewhere = prices[offer.id], _others(prices, offer), _others(computing, offer)
        if others and price < BAIT_SHARE * statistics.median(others):
            return _lure(price, statistics.median(others))
        if elsewhere and offer.id in computing:
            share = computing[offer.id] / statistics.median(elsewhere)
            if share < (MASS_BAIT_SHARE if others else BAIT_SHARE):
                return _lure(price, price / share)
        return None


def _others(prices: Mapping[int, float], offer: Offer) -> list[float]:
    """What the others ask, where they are enough to say what is usual."""
    others = [price for key, price in prices.items() if key != offer.id]
    return others if len(others) >= ENOUGH_OTHERS else []


def _lure(price: float, usual: float) -> Refusal:
    return Refusal("too cheap to be true", f"asks ${price:.3f} an hour for a GPU that is worth ${usual:.2f} elsewhere")
