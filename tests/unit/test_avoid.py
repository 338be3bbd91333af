"""Machines that disappointed are not rented again, until it is forgotten."""

from __future__ import annotations

from typing import Any

import pytest

from fluxlora.money.journal import Entry, Event
from fluxlora.offers.avoid import AVOID_FOR, DAY, HOUR, Avoid, AvoidFor, Failure, avoided

NOW = 1_800_000_000.0


def failed(code: str, age: float = 0.0, **facts: Any) -> Entry:
    where = {"machine_id": 11, "host_id": 5, "address": "203.0.113.9", **facts}
    return Entry(Event.FAILED, "my-style", NOW - age, 7, {"code": code, **where})


@pytest.mark.parametrize("code", Failure)
def test_a_failure_speaks_against_a_machine_until_its_term_is_over(code: str) -> None:
    terms = AVOID_FOR.get(code, AvoidFor())
    assert (11 in avoided([failed(code, terms.machine - 1)], NOW).machine_ids) == (terms.machine > 0)
    assert avoided([failed(code, max(terms.machine, terms.host, terms.address))], NOW) == Avoid()


def test_a_dead_network_speaks_against_all_at_its_address_and_a_raised_price_against_all_of_its_owner() -> None:
    assert avoided([failed("network_dead")], NOW) == Avoid(frozenset({11}), frozenset(), frozenset({"203.0.113.9"}))
    assert avoided([failed("price_changed")], NOW) == Avoid(frozenset({11}), frozenset({5}))


def test_a_failure_of_an_unknown_kind_speaks_against_the_machine_for_a_day() -> None:
    assert avoided([failed("invented", DAY - 1)], NOW) == Avoid(frozenset({11}))
    assert avoided([failed("invented", DAY)], NOW) == Avoid()


def test_a_machine_that_was_outbid_while_it_was_used_is_wanted_by_another_for_an_hour() -> None:
    assert avoided([failed("outbid", HOUR - 1, used=True)], NOW).machine_ids == {11}
    assert avoided([failed("outbid", HOUR, used=True)], NOW) == Avoid()


def test_an_owner_of_two_failed_machines_is_avoided_as_a_whole() -> None:
    twice_one = [failed("boot_timeout"), failed("boot_timeout")]
    two = [failed("boot_timeout", HOUR), failed("no_sshd", machine_id=12)]
    assert avoided(twice_one, NOW).host_ids == frozenset()
    assert avoided(two, NOW).host_ids == {5}
    assert avoided(two, NOW + DAY - HOUR).host_ids == frozenset()


def test_what_is_not_known_of_a_failure_avoids_nothing() -> None:
    odd = [failed("network_dead", machine_id=None, host_id="5", address=None), Entry(Event.FAILED, "my-style", NOW)]
    assert avoided(odd, NOW) == Avoid()


def test_what_did_not_fail_is_not_avoided() -> None:
    facts = {"machine_id": 11, "host_id": 5, "address": "203.0.113.9"}
    entries = [Entry(event, "my-style", NOW, 7, facts) for event in Event if event is not Event.FAILED]
    assert avoided(entries, NOW) == Avoid()
