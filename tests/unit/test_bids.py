"""Bids: never above the price on demand, and higher where more is at stake."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxlora.offers import bids
from fluxlora.offers.bids import Bid, Stake

SMALL, LARGE = Stake(10, 0.1, 0.02), Stake(10, 2.0, 1.0)


@given(st.floats(0.01, 5), st.floats(1, 3), st.floats(0.1, 60), st.floats(0, 5), st.floats(0, 5))
def test_a_bid_lies_between_the_minimum_and_the_price_on_demand_and_no_other_is_expected_to_cost_less(
    min_bid, dearer, hours, redone_hours, redone_usd
):
    on_demand, stake = min_bid * dearer, Stake(hours, redone_hours, redone_usd)

    bid = bids.choose(min_bid, on_demand, stake)

    assert bid is not None
    assert min_bid <= bid.per_hour <= on_demand
    least = min(min_bid * 1.02, on_demand)
    for share in range(11):
        other = least + (on_demand - least) * share / 10
        # Between two steps of a hundredth it may be a little cheaper still.
        assert stake.usd(bid) <= stake.usd(Bid(other, bids.interruptions_per_hour(other, min_bid))) * 1.01


def test_more_is_bid_where_an_interruption_costs_more():
    small, large = (bids.choose(0.5, 1.0, stake) for stake in (SMALL, LARGE))

    assert small is not None
    assert large is not None
    assert 0.5 <= small.per_hour < large.per_hour < 1.0
    assert small.interruptions_per_hour > large.interruptions_per_hour


def test_what_an_hour_may_cost_limits_the_bid():
    free = bids.choose(0.5, 1.0, LARGE)
    assert free is not None
    for limit in (0.4, 0.505, 0.52, free.per_hour):
        bid = bids.choose(0.5, 1.0, LARGE, limit)
        assert bid is not None
        assert bid.per_hour == max(limit, 0.5)


def test_without_a_price_on_demand_the_minimum_is_bid():
    assert bids.choose(0.5, None, LARGE) == Bid(0.5, bids.PREEMPTIONS_PER_HOUR + bids.OUTBIDS_PER_HOUR)


@pytest.mark.parametrize(("min_bid", "on_demand"), [(0.6, 0.5), (0.0, 0.5)])
def test_a_machine_that_is_cheaper_on_demand_is_not_bid_for(min_bid, on_demand):
    assert bids.choose(min_bid, on_demand, SMALL) is None
