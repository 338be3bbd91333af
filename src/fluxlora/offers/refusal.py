"""Why no offer of the market fits a run, and with which limits one would."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_SHOWN = 5


def why_no_offer(
    found: Mapping[str, Any], cost: Mapping[str, Any], budget_usd: float | str, deadline_hours: float | str
) -> str:
    """The reason and the remedy, for people.

    `found` is what the module vastai_offer_info returned, `cost` the account of the run (spending.Account.as_facts);
    the budget ($) and the deadline are those that were set.
    """
    parts = ["No offer fits, nothing was rented."]
    if "missing_usd" in found:
        raised = [
            f"-e {name}={_raised(float(limit) + found[missing])}"
            for name, limit, missing in (
                ("provision_budget_usd", budget_usd, "missing_usd"),
                ("provision_deadline_hours", deadline_hours, "missing_hours"),
            )
            if found[missing] > 0
        ]
        parts.append(f"{cost['line']}. It would fit with {' '.join(raised)}.")
        if cost["earlier_usd"] > 0:
            parts.append("`fluxlora audit` asks vast.ai what the earlier instances have really cost.")
    else:
        nearest = [
            f"{offer['gpu_name']} at ${offer.get('price_per_hour') or 0:.2f}/h {offer['reason']};"
            for offer in found["refused"][:_SHOWN]
        ]
        parts += ["The cheapest that do not fit:", *nearest]
    return " ".join([*parts, "`fluxlora offers --refused`, or -e provision_show_refused=true, shows all of them."])


def _raised(limit: float) -> float:
    """Rounded up, with a little for the minutes that go by until then."""
    return math.ceil(limit * 10 + 1) / 10
