"""Corrections of the table of speeds by your own runs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

from fluxlora.estimates.speeds import Correction, plain_name
from fluxlora.money.journal import Entry, Event

# One own run counts half, three count three quarters; and a run changes a speed by at most this factor.
MOST_CORRECTION = 3.0


def corrections(entries: Iterable[Entry]) -> dict[str, Correction]:
    """Return the correction of each GPU by the journal's measured trainings.

    It is the median of measured / expected time, so that one unusual run changes nothing, and nearer to 1 if there
    are few runs.
    """
    found: dict[str, list[float]] = {}
    for entry in entries:
        if entry.event is Event.TRAINED:
            measured = _positive(entry.facts.get("seconds_per_step"))
            expected = _positive(entry.facts.get("expected_seconds_per_step"))
            if measured and expected:
                found.setdefault(plain_name(str(entry.facts.get("gpu_name", ""))), []).append(
                    math.log(measured / expected)
                )
    return {
        name: Correction(_clamped(math.exp(statistics.median(logs) * len(logs) / (len(logs) + 1))), len(logs))
        for name, logs in found.items()
    }


def _clamped(factor: float) -> float:
    return min(max(factor, 1 / MOST_CORRECTION), MOST_CORRECTION)


def _positive(fact: object) -> float | None:
    if isinstance(fact, bool) or not isinstance(fact, int | float) or not math.isfinite(fact) or fact <= 0:
        return None
    return float(fact)
