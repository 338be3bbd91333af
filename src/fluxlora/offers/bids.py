"""The bid for an interruptible instance with the lowest expected cost of the run, including interruptions.

Nobody publishes how often instances are outbid. The two rates here are assumptions, and the output says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

# At the minimum bid, anybody who bids a cent more gets the GPU: assumed to happen three times a day.
OUTBIDS_PER_HOUR = 1 / 8
# A bid that is higher by this share of the minimum halves that rate.
HALVING = 0.1
# Renting on demand has precedence over every bid: assumed to happen once in two days.
PREEMPTIONS_PER_HOUR = 1 / 48
# Bids are compared in steps of this share of the minimum, which may rise by two steps until the bid is placed.
_STEP, _FIRST = 0.01, 2


@dataclass(frozen=True)
class Bid:
    """$ per hour for the GPU, and the expected interruptions per hour."""

    per_hour: float
    interruptions_per_hour: float


@dataclass(frozen=True)
class Stake:
    """The hours of a run, and the cost of each interruption, in repeated hours and in $."""

    hours: float
    redone_hours: float
    redone_usd: float
    storage_per_hour: float = 0.0

    def usd(self, bid: Bid) -> float:
        """Return the expected cost of the run at this bid, without the bytes of its first start."""
        rate = bid.per_hour + self.storage_per_hour
        interruption_usd = self.redone_hours * rate + self.redone_usd
        return self.hours * (rate + bid.interruptions_per_hour * interruption_usd)


def interruptions_per_hour(bid: float, min_bid: float) -> float:
    """Return the expected interruptions per hour; `bid` is at least the minimum."""
    above = bid / min_bid - 1 if min_bid > 0 else math.inf
    return PREEMPTIONS_PER_HOUR + OUTBIDS_PER_HOUR * math.pow(0.5, above / HALVING)


def choose(min_bid: float, on_demand: float | None, stake: Stake, limit: float = math.inf) -> Bid | None:
    """Return the bid with the lowest expected cost of the run, never above the machine's price on demand.

    If that price is not known, it is the minimum; None if the price is below the minimum bid. The bid is not above
    the limit, which is at least the minimum. All in $/h for the GPU alone.
    """
    most = min_bid if on_demand is None else on_demand
    if most < min_bid or min_bid <= 0:
        return None
    most = max(min(most, limit), min_bid)
    steps = range(_FIRST, int((most / min_bid - 1) / _STEP) + 1)
    amounts = [*(min_bid * (1 + _STEP * step) for step in steps), most]
    return min((Bid(amount, interruptions_per_hour(amount, min_bid)) for amount in amounts), key=stake.usd)
