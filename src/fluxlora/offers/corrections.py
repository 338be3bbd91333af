"""What your own runs say of each GPU, against the table of speeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

from fluxlora.estimates.speeds import Correction, plain_name
from fluxlora.money.journal import Entry, Event

# One run of your own counts half, three count three quarters; and no run counts for more than this.
MOST_CORRECTION = 3.0


def corrections(entries: Iterable[Entry]) -> dict[str, Correction]:
    """What the journal's measured trainings say of each GPU.

    The median of measured / expected, so that one odd run changes nothing; drawn towards 1 while there are few.
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
