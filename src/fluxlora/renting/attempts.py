"""The attempts of one call and their cost, for its caller and for the journal, which later calls read."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

from fluxlora.money.budget import RATES, RunLimits
from fluxlora.money.journal import Entry, Event, Journal, JournalError
from fluxlora.money.spending import spent
from fluxlora.offers.avoid import Avoid, avoided
from fluxlora.vast.records import Instance, Offer


@dataclass(frozen=True)
class Choice:
    """An offer to rent, the bid for it ($/h; None rents on demand), and the expected time and cost of the run."""

    offer: Offer
    bid_per_hour: float | None = None
    expected_usd: float | None = None
    expected_hours: float | None = None
    # By the table of speeds alone.
    expected_seconds_per_step: float | None = None
    # The $ and hours that may be lost on other offers before this one no longer fits; None for no limit.
    spare_usd: float | None = None
    spare_hours: float | None = None

    def fits_after(self, usd: float, hours: float) -> bool:
        """Return whether the offer still fits after this much was lost on others."""
        return usd <= _or_any(self.spare_usd) and hours <= _or_any(self.spare_hours)


def _or_any(limit: float | None) -> float:
    return math.inf if limit is None else limit


@dataclass(frozen=True)
class Attempt:
    """One attempt: `code` for programs, `sentence` for people, `usd` as far as it is known."""

    code: str
    sentence: str
    offer_id: int | None = None
    instance_id: int | None = None
    usd: float = 0.0


@dataclass
class Attempts:
    """The attempts of one run. An instance is not lost if the journal can no longer be written."""

    run: str
    journal: Journal | None = None
    made: list[Attempt] = field(default_factory=list)
    _entries: list[Entry] = field(default_factory=list)

    def note(
        self,
        code: str,
        sentence: str,
        *,
        offer_id: int | None = None,
        instance_id: int | None = None,
        usd: float = 0.0,
    ) -> None:
        """Add an attempt."""
        self.made.append(Attempt(code, sentence, offer_id, instance_id, usd))

    def rented(self, choice: Choice, instance_id: int) -> None:
        """Record a new instance, which costs money from now on."""
        offer = choice.offer
        self._write(
            Event.RENTED,
            instance_id,
            offer_id=offer.id,
            expected_usd=choice.expected_usd,
            expected_hours=choice.expected_hours,
            expected_seconds_per_step=choice.expected_seconds_per_step,
            **_rates(offer),
            gpu_name=offer.gpu_name,
            machine_id=offer.machine_id,
            host_id=offer.host_id,
            address=offer.address,
            bid_per_hour=choice.bid_per_hour,
            is_bid=choice.bid_per_hour is not None,
        )

    def found(self, instance: Instance) -> None:
        """Record an existing instance. If its rent is not in the journal, the reply was lost or another
        computer rented it."""
        self.note("found", f"Found instance {instance.id}.", instance_id=instance.id)
        if self._remembers(instance.id):
            return
        self._write(
            Event.RENTED,
            instance.id,
            at=instance.started_at,
            **_rates(instance),
            gpu_name=instance.gpu_name,
            **_machine(instance),
            is_bid=instance.is_bid,
        )

    def failed(
        self, code: str, sentence: str, *, choice: Choice, instance_id: int, seen: Instance | None, usd: float
    ) -> None:
        """Record that a rented instance failed and is gone."""
        self.note(code, sentence, offer_id=choice.offer.id, instance_id=instance_id, usd=usd)
        offer = choice.offer
        facts: dict[str, Any] = {
            "code": str(code),
            "reason": sentence,
            # A value may be missing in the list's row, or in an offer of which only the id is known.
            "machine_id": (seen and seen.machine_id) or offer.machine_id,
            "host_id": (seen and seen.host_id) or offer.host_id,
            "address": offer.address or (seen.direct_host if seen else ""),
        }
        self._write(Event.FAILED, instance_id, **facts)
        self._write(Event.DESTROYED, instance_id, spent_usd=usd)

    def destroyed(self, instance: Instance, lost: str = "") -> None:
        """Record that the list no longer has the instance; its price counts for all of its time, as if it had
        always run.

        `lost` says how it had been taken away before.
        """
        hours = 0.0 if instance.started_at is None else max(0.0, time.time() - instance.started_at) / 3600
        usd = hours * (instance.price_per_hour or 0.0)
        self.note("destroyed", f"Instance {instance.id} was destroyed.", instance_id=instance.id, usd=usd)
        if lost:
            self._write(
                Event.FAILED,
                instance.id,
                code=lost,
                reason=f"It was {lost}.",
                used=True,
                **_machine(instance),
            )
        # For computers that did not rent it; and its price may be slightly above its offer's.
        self._write(
            Event.DESTROYED,
            instance.id,
            spent_usd=usd,
            rented_at=instance.started_at,
            **_rates(instance),
        )

    def avoid(self) -> Avoid:
        """Return the machines, owners and addresses that failed in this call."""
        return avoided(self._entries, time.time())

    def usd(self) -> float:
        """Return the known cost of all attempts, in $."""
        return sum(attempt.usd for attempt in self.made)

    def most_usd(self) -> float:
        """Return the highest possible cost of the failed instances, as the next lease will calculate it."""
        return spent(self._entries, RunLimits(math.inf, math.inf), now=time.time()).usd

    def _remembers(self, instance_id: int) -> bool:
        try:
            entries = self.journal.entries(self.run) if self.journal else []
        except JournalError:
            return False
        return any(entry.event is Event.RENTED and entry.instance_id == instance_id for entry in entries)

    def _write(self, event: Event, instance_id: int, *, at: float | None = None, **facts: Any) -> None:
        entry = Entry(event, self.run, time.time() if at is None else at, instance_id, facts)
        self._entries.append(entry)
        try:
            if self.journal is not None:
                self.journal.write(event, self.run, instance_id, at=entry.at, **facts)
        except JournalError as error:
            sentence = f"That instance {instance_id} was {event} is not remembered. {error}"
            self.note("not_remembered", sentence, instance_id=instance_id)


def _rates(of: Offer | Instance) -> dict[str, float | None]:
    """Return vast.ai's prices; None if they are missing."""
    return {name: getattr(of, name) for name in RATES}


def _machine(of: Instance) -> dict[str, Any]:
    return {"machine_id": of.machine_id, "host_id": of.host_id, "address": of.direct_host}
