"""The ranking of a market's offers for a run, the refused ones with their reasons, and both as lines for people."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from fluxlora.estimates.speeds import Basis
from fluxlora.offers.bids import Bid
from fluxlora.offers.costs import Cost
from fluxlora.offers.requirements import Refusal
from fluxlora.vast.records import Offer

_SHOWN = 10


@dataclass(frozen=True)
class Ranked:
    """An offer that fits, with its expected cost."""

    offer: Offer
    cost: Cost
    # For an interruptible one the bid, which is also the price of `offer`.
    bid: Bid | None = None
    # The $ and hours that may be lost on other offers before this one no longer fits; None without a limit.
    spare_usd: float | None = None
    spare_hours: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the offer as a mapping for Ansible."""
        bid = {"bid_per_hour": self.bid.per_hour} if self.bid else {}
        spare = {"spare_usd": self.spare_usd, "spare_hours": self.spare_hours}
        return {**asdict(self.offer), "cost": self.cost.as_dict(), **bid, **spare}


@dataclass(frozen=True)
class Refused:
    """An offer that was passed over, with the reason."""

    offer: Offer
    why: Refusal

    @property
    def reason(self) -> str:
        """The reason in words."""
        return self.why.reason

    def as_dict(self) -> dict[str, Any]:
        """Return the offer as a mapping for Ansible."""
        return {**asdict(self.offer), "reason": self.why.reason, "kind": self.why.kind}


@dataclass(frozen=True)
class Ranking:
    """`fitting` is sorted, the cheapest run first. If `cut_at` is a price, offers above it were not searched.

    `on_demand` is the cheapest run at a fixed price, if bids were requested.
    """

    fitting: tuple[Ranked, ...]
    refused: tuple[Refused, ...]
    cut_at: float | None = None
    on_demand: Ranked | None = None

    @property
    def nearest(self) -> Refusal | None:
        """Return, if nothing fits, the offer that needs the smallest rise of budget or deadline and nothing else."""
        beyond = [refusal.why for refusal in self.refused if refusal.why.missing_usd or refusal.why.missing_hours]
        return min(
            () if self.fitting else beyond,
            key=lambda why: (bool(why.missing_usd) + bool(why.missing_hours), why.missing_usd, why.missing_hours),
            default=None,
        )

    def lines(self, *, refused: bool = False) -> list[str]:
        """Return the best offers as lines for people, then why the others were passed over: counted, or each."""
        head = f"{'cost':<7}  {'range':<17}  {'hours':>6}  {'range':>11}  {'$/h':>6}  {'GPU':<19}  {'place':<16}  notes"
        shown = [_line(ranked) for ranked in self.fitting[:_SHOWN]]
        more = len(self.fitting) - len(shown)
        return [
            *([head, *shown] if shown else ["No offer fits."]),
            *([f"{more} more fit and cost more"] if more else []),
            *self._bidding(),
            *(self._refusals() if refused else self._counts()),
            *([f"Offers above ${self.cut_at:.2f} an hour were not searched."] if self.cut_at is not None else []),
        ]

    def _bidding(self) -> list[str]:
        """Return what the best bid is expected to save and to lose."""
        best = next(iter(self.fitting), None)
        if best is None or best.bid is None:
            return []
        often = best.bid.interruptions_per_hour * best.cost.hours.total
        sentence = (
            f"Interruptible: the bid is ${best.bid.per_hour:.3f} an hour, the minimum "
            f"${best.offer.min_bid_per_hour or 0:.3f}. It is assumed to be taken away {often:.1f} times, and "
            f"${best.cost.retry:.2f} of the cost are for repeating the lost work."
        )
        if self.on_demand is None:
            return [f"{sentence} Nothing fits on demand."]
        saved = self.on_demand.cost.total - best.cost.total
        difference = f"${saved:.2f} less" if saved >= 0 else f"${-saved:.2f} MORE"
        return [f"{sentence} That is {difference} than the cheapest on demand, ${self.on_demand.cost.total:.2f}."]

    def _counts(self) -> list[str]:
        kinds = Counter(refusal.why.kind for refusal in self.refused)
        counts = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
        return [f"{len(self.refused)} were passed over: {counts}"] if counts else []

    def _refusals(self) -> list[str]:
        return [
            f"passed over: {_gpus(refusal.offer)} at ${_price(refusal.offer)}/h, offer {refusal.offer.id}, "
            f"{refusal.reason}"
            for refusal in self.refused
        ]


def _line(ranked: Ranked) -> str:
    cost, offer = ranked.cost, ranked.offer
    runs = f"{cost.own_runs} run{'s' if cost.own_runs > 1 else ''} of your own"
    notes = ", ".join(
        note
        for note, holds in (
            ("speed estimated", cost.basis is Basis.ESTIMATED and not cost.own_runs),
            (runs, cost.own_runs),
            ("not verified", offer.verification != "verified"),
        )
        if holds
    )
    return (
        f"{f'${cost.total:.2f}':<7}  {f'${cost.low:.2f} to ${cost.high:.2f}':<17}  {cost.hours.total:>6.1f}  "
        f"{f'{cost.hours_low:.1f} to {cost.hours_high:.1f}':>11}  {_price(offer):>6}  {_gpus(offer):<19}  "
        f"{offer.geolocation.strip(', ')[:16]:<16}  {notes}"
    ).rstrip()


def _gpus(offer: Offer) -> str:
    return f"{offer.num_gpus} x {offer.gpu_name}" if (offer.num_gpus or 1) > 1 else offer.gpu_name


def _price(offer: Offer) -> str:
    return "?" if offer.price_per_hour is None else f"{offer.price_per_hour:.3f}"
