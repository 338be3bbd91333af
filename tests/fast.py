"""A pytest plugin that leaves out what is too slow to be run for each of thousands of mutants: `make mutants`.

Those are the tests that start processes, most of them a stand-in, and the random ones. What only they notice counts as
not noticed.
"""

from __future__ import annotations

import pytest

STAND_INS = {"vast", "vast_server", "odd_url"}
SLOW = (
    "test_whatever_", "test_when_everything_goes_", "test_where_nothing_goes_wrong_", "test_no_offer_of_a_market_",
    "test_a_bid_lies_between_", "test_what_a_lease_is_said_", "test_a_guard_that_ended_", "test_a_guard_without_a_",
    "test_of_two_guards_", "test_a_lease_ends_by_the_clock_of_the_", "test_the_tokens_are_gone_",
    "test_importing_the_client_", "test_without_any_key_", "test_what_cannot_be_delivered_", "test_no_lure_ever_wins",
)  # fmt: skip


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    fast = [
        item
        for item in items
        if not STAND_INS & set(getattr(item, "fixturenames", ())) and not item.name.startswith(SLOW)
    ]
    config.hook.pytest_deselected(items=[item for item in items if item not in fast])
    items[:] = fast
