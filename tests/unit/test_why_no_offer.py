"""What is said when no offer fits: the limits with which one would, or the nearest with their reasons."""

from __future__ import annotations

from typing import Any

import pytest

from fluxlora.offers.refusal import why_no_offer

COST: dict[str, Any] = {"line": "$7.50 of $20.00 so far", "earlier_usd": 0.0}


def missing(usd: float, hours: float) -> dict[str, Any]:
    return {"refused": [], "missing_usd": usd, "missing_hours": hours}


@pytest.mark.parametrize(
    ("usd", "hours", "raised"),
    [
        (1.0, 0.0, "-e provision_budget_usd=21.1."),
        (0.01, 0.0, "-e provision_budget_usd=20.2."),
        (0.0, 2.0, "-e provision_deadline_hours=12.1."),
        (1.0, 2.0, "-e provision_budget_usd=21.1 -e provision_deadline_hours=12.1."),
    ],
)
def test_the_limits_that_would_do_are_named_and_no_others(usd: float, hours: float, raised: str) -> None:
    said = why_no_offer(missing(usd, hours), COST, "20", "10")
    assert said.startswith("No offer fits, nothing was rented. $7.50 of $20.00 so far. It would fit with -e ")
    assert f"It would fit with {raised} `fluxlora offers" in said
    assert "audit" not in said


def test_what_earlier_instances_have_cost_can_be_asked() -> None:
    assert "`fluxlora audit` asks vast.ai" in why_no_offer(missing(1, 0), COST | {"earlier_usd": 0.1}, 20, 10)


def test_otherwise_the_five_cheapest_are_named_with_their_reasons() -> None:
    refused = [{"gpu_name": f"GPU {n}", "price_per_hour": n or None, "reason": "has no disk"} for n in range(7)]
    said = why_no_offer({"refused": refused}, COST, 20, 10)
    assert "GPU 0 at $0.00/h has no disk; GPU 1 at $1.00/h has no disk;" in said
    assert ("GPU 4" in said, "GPU 5" in said) == (True, False)
    assert said.endswith("`fluxlora offers --refused`, or -e provision_show_refused=true, shows all of them.")
