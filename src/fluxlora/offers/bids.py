"""What to bid for an interruptible instance: enough that being outbid costs less than the next cent would.

Nobody publishes how often instances are outbid. The two rates here are assumptions, said wherever they decide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

# At the very minimum whoever bids a cent more takes the GPU: believed to happen three times a day.
OUTBIDS_PER_HOUR = 1 / 8
# So much more, as a share of the minimum, halves that.
HALVING = 0.1
# Who rents on demand comes before every bid: believed to happen every other day.
PREEMPTIONS_PER_HOUR = 1 / 48
# Bids are tried in steps of so much of the minimum; it may have risen by two of them until the bid is placed.
_STEP, _FIRST = 0.01, 2


@dataclass(frozen=True)
class Bid:
    """$ an hour for the GPU, and how often it is expected to be taken away all the same."""

    per_hour: float
    interruptions_per_hour: float


@dataclass(frozen=True)
class Stake:
    """What a run has to lose: its hours, and what each interruption costs, in hours done again and in $ beside them."""

    hours: float
    redone_hours: float
    redone_usd: float
    storage_per_hour: float = 0.0

    def usd(self, bid: Bid) -> float:
        """What the run is expected to cost at this bid, but for the bytes of its first start."""
        rate = bid.per_hour + self.storage_per_hour
        each = self.redone_hours * rate + self.redone_usd
        return self.hours * (rate + bid.interruptions_per_hour * each)


def interruptions_per_hour(bid: float, min_bid: float) -> float:
    """Expected; `bid` is at least the minimum."""
    above = bid / min_bid - 1 if min_bid > 0 else math.inf
    return PREEMPTIONS_PER_HOUR + OUTBIDS_PER_HOUR * math.pow(0.5, above / HALVING)


def choose(min_bid: float, on_demand: float | None, stake: Stake, limit: float = math.inf) -> Bid | None:
    """The bid at which the run is expected to cost the least, never above what the same machine costs on demand.

    Where that is not known, the minimum; None where the machine costs less on demand than its least bid. Nor is it
    above the limit, which the minimum keeps. All in $/h for the GPU alone.
    """
    most = min_bid if on_demand is None else on_demand
    if most < min_bid or min_bid <= 0:
        return None
    most = max(min(most, limit), min_bid)
    steps = range(_FIRST, int((most / min_bid - 1) / _STEP) + 1)
    amounts = [*(min_bid * (1 + _STEP * step) for step in steps), most]
    return min((Bid(each, interruptions_per_hour(each, min_bid)) for each in amounts), key=stake.usd)
