"""Which offer is the cheapest for a run, over everything that vast.ai bills: GPU time, storage and bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fluxlora.estimates.hours import hours_of, least_hours, redone_hours
from fluxlora.estimates.speeds import Correction, Speed, speed_of
from fluxlora.money.budget import Rates, Remaining, RunLimits
from fluxlora.offers.bait import GoingRates
from fluxlora.offers.bids import Bid, Stake, choose
from fluxlora.offers.costs import Cost, expected_cost, gpu_per_hour, storage_per_hour
from fluxlora.offers.ranking import Ranked, Ranking, Refused
from fluxlora.offers.requirements import Refusal, Requirements, nonsense, unfit
from fluxlora.vast.client import OFFERS_PER_ANSWER, Vast
from fluxlora.vast.records import Offer

__all__ = ["Cost", "Ranked", "Ranking", "Refused", "Requirements", "find", "rank"]

# vast.ai limits searches to ten a minute.
MOST_ANSWERS = 8


def find(vast: Vast, need: Requirements, own: Mapping[str, Correction] | None = None) -> Ranking:
    """The market's ranking for the run. Raises VastError.

    An answer holds 64 offers at most, so a rough question, for all machines with such a GPU, is often answered whole.
    Where it is not, what the run needs is asked for, and on for what costs more by the hour, until no dearer offer
    could make a cheaper run.
    """
    kind = "bid" if need.interruptible else "on-demand"
    hours = least_hours(need.work, own)
    on_demand = vast.offers(need.query(hours), disk_gb=need.disk_gb) if need.interruptible else []
    usual = {(each.machine_id, each.num_gpus): gpu_per_hour(each, need.disk_gb) for each in on_demand}

    def ask(query: Mapping[str, Any]) -> list[Offer]:
        return [_known(offer, usual) for offer in vast.offers(query, disk_gb=need.disk_gb, kind=kind)]

    around = ask(need.rough_query())
    found, cut_at = {offer.id: offer for offer in around}, None
    if len(around) >= OFFERS_PER_ANSWER:
        exact, cut_at = _exact(ask, need, hours, own)
        found |= exact
    ranking = rank(list(found.values()), need, own)
    fixed = next(iter(rank(on_demand, replace(need, interruptible=False), own).fitting), None)
    return Ranking(ranking.fitting, ranking.refused, cut_at, fixed)


def _exact(
    ask: Callable[[Mapping[str, Any]], list[Offer]],
    need: Requirements,
    hours: float,
    own: Mapping[str, Correction] | None,
) -> tuple[dict[int, Offer], float | None]:
    """The offers that match, and the price in $/h above which none was looked at; None where all were that matter."""
    found: dict[int, Offer] = {}
    query, cut_at = need.query(hours), None
    for _ in range(MOST_ANSWERS):
        answer = ask(query)
        new = [offer for offer in answer if offer.id not in found]
        found |= {offer.id: offer for offer in answer}
        cut_at = max((offer.price_per_hour or 0 for offer in answer), default=0.0)
        best = next(iter(rank(list(found.values()), need, own).fitting), None)
        if len(answer) < OFFERS_PER_ANSWER or (best and cut_at * hours >= best.cost.total):
            return found, None
        if not new:
            break
        query["dph_total"] = {**need.query().get("dph_total", {}), "gte": cut_at}
    return found, cut_at


def _known(offer: Offer, usual: Mapping[tuple[int | None, int | None], float]) -> Offer:
    """With what the same GPUs cost on demand."""
    return replace(offer, on_demand_per_hour=usual.get((offer.machine_id, offer.num_gpus)))


def rank(offers: Sequence[Offer], need: Requirements, own: Mapping[str, Correction] | None = None) -> Ranking:
    """Cheapest first among the offers that fit; the rest with the reason each was passed over."""
    speeds = {offer.id: _speed(offer, own) for offer in offers}
    rates = GoingRates.of(offers, speeds, need.disk_gb)
    fitting: list[Ranked] = []
    refused: list[Refused] = []
    for offer in offers:
        found = _judge(offer, speeds[offer.id], need, rates)
        if isinstance(found, Ranked):
            fitting.append(found)
        else:
            refused.append(found)
    return Ranking(
        tuple(sorted(fitting, key=lambda each: (each.cost.total, -(each.offer.reliability or 0), each.offer.id))),
        tuple(sorted(refused, key=lambda each: (each.offer.price_per_hour or 0, each.offer.id))),
    )


def _judge(offer: Offer, speed: Speed | None, need: Requirements, rates: GoingRates) -> Ranked | Refused:
    if refusal := nonsense(offer) or unfit(offer, need) or rates.too_cheap(offer, speed):
        return Refused(offer, refusal)
    if speed is None:
        name = offer.gpu_name or "GPU without a name"
        return Refused(offer, Refusal("speed unknown", f"is a {name}, of which nothing is known"))
    bid = _bid(offer, speed, need) if need.interruptible else None
    if need.interruptible and bid is None:
        return Refused(offer, Refusal("bid", "costs less on demand than its least bid"))
    each = _ranked(offer, speed, need, bid)
    late = _beyond(each.offer, each.cost, need)
    return Refused(each.offer, late) if late else _with_spare(each, need)


def _ranked(offer: Offer, speed: Speed, need: Requirements, bid: Bid | None) -> Ranked:
    """At its own price, or at what is bid for it."""
    if bid is None:
        return Ranked(offer, expected_cost(offer, need.work, speed, disk_gb=need.disk_gb))
    offer = replace(offer, price_per_hour=bid.per_hour + storage_per_hour(offer, need.disk_gb))
    often = bid.interruptions_per_hour
    cost = expected_cost(offer, need.work, speed, disk_gb=need.disk_gb, interruptions_per_hour=often)
    return Ranked(offer, cost, bid)


def _bid(offer: Offer, speed: Speed, need: Requirements) -> Bid | None:
    """The best bid for this run on this machine."""
    hours, storage = hours_of(offer, need.work, speed), storage_per_hour(offer, need.disk_gb)
    stake = Stake(
        hours.total,
        redone_hours(need.work, hours),
        need.work.download_gb * (offer.inet_down_usd_per_gb or 0),
        storage,
    )
    least = offer.min_bid_per_hour or gpu_per_hour(offer, need.disk_gb)
    limit = math.inf if need.max_price_per_hour is None else need.max_price_per_hour - storage
    return choose(least, offer.on_demand_per_hour, stake, limit)


def _with_spare(each: Ranked, need: Requirements) -> Ranked:
    limits = RunLimits.of(need.work, need.budget_usd, need.deadline_hours)
    left = Remaining(limits.budget_usd, limits.deadline_hours)
    spare = left.after(limits, Rates.of(vars(each.offer)), each.cost.hours.total)
    return replace(
        each,
        spare_usd=None if need.budget_usd is None else spare.usd,
        spare_hours=None if need.deadline_hours is None else spare.hours,
    )


def _beyond(offer: Offer, cost: Cost, need: Requirements) -> Refusal | None:
    """Whether the run would outlast the offer's term, the budget or the deadline."""
    # At the deadline it is over, however slowly it went.
    longest = cost.hours_high if need.deadline_hours is None else min(cost.hours_high, need.deadline_hours)
    guaranteed, wanted = (offer.duration_seconds or 0) / 3600, max(longest, need.duration_hours)
    if guaranteed < wanted:
        return Refusal(
            "guaranteed time", f"has {guaranteed:.1f} hours guaranteed, {wanted:.1f} needed if it goes slowly"
        )
    limits = RunLimits.of(need.work, need.budget_usd, need.deadline_hours)
    left, rates, hours = Remaining(limits.budget_usd, limits.deadline_hours), Rates.of(vars(offer)), cost.hours.total
    usd = max(left.missing_usd(limits, rates, hours), cost.total - left.usd, 0.0)
    late = left.missing_hours(limits, hours)
    if usd:
        reason = f"needs ${left.usd + usd:.2f} for the run and its end, ${left.usd:.2f} are left"
        return Refusal("budget", reason, usd, late)
    if late:
        reason = f"needs {left.hours + late:.1f} hours for the run and its end, {left.hours:.1f} are left"
        return Refusal("deadline", reason, usd, late)
    return None


def _speed(offer: Offer, own: Mapping[str, Correction] | None) -> Speed | None:
    return speed_of(
        offer.gpu_name, gpus=offer.num_gpus or 1, dlperf=offer.dlperf, total_flops=offer.total_flops, own=own
    )
