"""The audit: what costs money and should not is found, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from fluxlora.errors import InputError
from fluxlora.money.audit import Audit, Settlement, audit, since
from fluxlora.money.journal import Entry, Event
from fluxlora.vast.records import Charge, Instance

NOW = 1_800_000_000.0
HOUR, DAY = 3600.0, 86_400.0


def instance(number: int, label: str = "fluxlora/my-style/512", **facts: Any) -> Instance:
    usual = {"status": "running", "intended_status": "running", "gpu_name": "L40S", "price_per_hour": 0.7}
    return Instance(number, label, **{**usual, "storage_usd_per_hour": 0.02, "started_at": NOW - HOUR, **facts})


def entry(event: Event, number: int, hours_ago: float, run: str = "my-style", **facts: Any) -> Entry:
    return Entry(event, run, NOW - hours_ago * HOUR, number, facts)


def rented(number: int, hours_ago: float = 1, **facts: Any) -> Entry:
    return entry(Event.RENTED, number, hours_ago, **{"expected_usd": 2.0, **facts})


def look(*instances: Instance, journal: tuple[Entry, ...] = (), charges: tuple[Charge, ...] | None = ()) -> Audit:
    return audit(instances, journal, charges, now=NOW, lease_hours=24)


def kinds(found: Audit) -> list[tuple[str, int]]:
    return [(each.kind.value, each.instance_id) for each in found.findings]


def test_a_run_that_this_computer_rented_and_that_runs_is_nothing_to_talk_about() -> None:
    found = look(instance(7), journal=(rented(7),))
    assert found.findings == ()
    assert found.lines[0] == "1 instance of yours, $0.700 an hour."


@pytest.mark.parametrize(
    ("label", "facts", "journal", "kind"),
    [
        ("fluxlora/my-style/512", {}, (), "unknown"),
        ("fluxlora/my-style/512", {}, (rented(7, 2), entry(Event.DESTROYED, 7, 1)), "returned"),
        ("fluxlora/../512", {}, (rented(7),), "unreadable"),
        ("fluxlora/my-style/512", {"status": "exited"}, (rented(7),), "stopped"),
        ("fluxlora/my-style/512", {"intended_status": "stopped", "status": "loading"}, (rented(7),), "stopped"),
        ("fluxlora/my-style/512", {"started_at": NOW - 26 * HOUR}, (rented(7, 26),), "overdue"),
        ("fluxlora/my-style/512", {}, (rented(7, 3), entry(Event.DELIVERED, 7, 1)), "delivered"),
    ],
)
def test_an_instance_that_costs_money_and_should_not_is_found_with_the_command_that_ends_it(
    label: str, facts: dict[str, Any], journal: tuple[Entry, ...], kind: str
) -> None:
    found = look(instance(7, label, **facts), journal=journal)
    assert kinds(found) == [(kind, 7)]
    assert "`fluxlora destroy " in found.findings[0].text


def test_the_guard_has_an_hour_to_end_what_outlived_its_lease() -> None:
    assert look(instance(7, started_at=NOW - 24.9 * HOUR), journal=(rented(7, 25),)).findings == ()


def test_a_run_that_has_just_delivered_is_about_to_give_its_instance_back() -> None:
    assert look(instance(7), journal=(rented(7, 3), entry(Event.DELIVERED, 7, 0.05))).findings == ()


def test_a_delivery_before_the_rent_was_another_training_s() -> None:
    journal = (rented(6, 9), entry(Event.DELIVERED, 6, 8), entry(Event.DESTROYED, 6, 7), rented(7, 1))
    assert look(instance(7), journal=journal).findings == ()


def test_of_two_instances_of_a_run_the_younger_is_the_superfluous_one() -> None:
    found = look(instance(9), instance(7), journal=(rented(7), rented(9)))
    assert kinds(found) == [("duplicate", 9)]
    assert "`fluxlora destroy my-style-9` ends it." in found.findings[0].text


def test_what_stands_still_costs_its_disk() -> None:
    found = look(instance(7, status="stopped"), journal=(rented(7),))
    assert found.findings[0].usd_per_hour == 0.02
    assert "$0.020 an hour for its disk" in found.findings[0].text


@pytest.mark.parametrize("label", ["", "somebody/my-style/512", "fluxloras/a/b", "my-style"])
def test_instances_of_others_are_counted_and_never_found(label: str) -> None:
    found = look(instance(7, label, status="exited", started_at=0.0))
    assert (found.findings, found.foreign, found.ours) == ((), 1, ())
    assert found.lines == ["0 instances of yours; 1 instance of others left alone."]


def test_what_ended_elsewhere_is_settled_with_what_was_charged() -> None:
    found = look(journal=(rented(7, 9),), charges=(Charge(7, "fluxlora/my-style/512", 2.5),))
    assert found.findings == ()
    assert found.settlements == (Settlement("my-style", 7, 2.5),)


@pytest.mark.parametrize("charges", [(), None])
def test_what_ended_elsewhere_waits_for_its_charges(charges: tuple[Charge, ...] | None) -> None:
    found = look(journal=(rented(7, 9),), charges=charges)
    assert found.settlements == ()
    assert "my-style: instance 7 is gone, and what it cost is not known yet." in found.notes


def test_a_rent_that_was_never_charged_has_cost_nothing() -> None:
    assert look(journal=(rented(7, 72),)).settlements == (Settlement("my-style", 7, 0.0),)


def test_a_rent_of_a_moment_ago_may_still_appear_in_the_list() -> None:
    found = look(journal=(rented(7, 0.01),), charges=(Charge(7, usd=0.01),))
    assert (found.settlements, found.notes) == ((), ())


def test_what_was_charged_for_our_label_and_is_unknown_is_told_once() -> None:
    charges = (Charge(7, "fluxlora/my-style/512", 2.5, end=NOW - DAY), Charge(8, "somebody's", 9.0), Charge(9))
    found = look(charges=charges)
    assert kinds(found) == [("charged", 7)]
    assert "$2.500" in found.findings[0].text
    (settled,) = found.settlements
    again = look(charges=charges, journal=(entry(Event.DESTROYED, 7, 0, spent_usd=settled.spent_usd),))
    assert (again.findings, again.settlements) == ((), ())


def test_predicted_and_actual_stand_side_by_side_for_each_training() -> None:
    journal = (
        rented(5, 30), entry(Event.FAILED, 5, 29), entry(Event.DESTROYED, 5, 29, spent_usd=0.1),
        rented(6, 28, expected_usd=1.8), entry(Event.DELIVERED, 6, 20), entry(Event.DESTROYED, 6, 19, spent_usd=9.0),
        rented(7, 1, expected_usd=4.0),
    )  # fmt: skip
    found = look(instance(7), journal=journal, charges=(Charge(6, usd=2.1), Charge(7, usd=0.5)))
    first, second = found.trainings
    assert (first.instance_ids, first.expected_usd, first.running) == ((5, 6), 2.0, False)
    assert first.actual_usd == pytest.approx(2.2)
    assert (second.instance_ids, second.expected_usd, second.actual_usd, second.running) == ((7,), 4.0, 0.5, True)
    assert found.lines[-2:] == [
        "my-style      $2.00    $2.20  +10 %, as this computer noted, 2 instances",
        "my-style      $4.00    $0.50  so far",
    ]


def test_charges_are_asked_for_as_far_back_as_an_end_is_missing() -> None:
    assert since((), NOW, 30) == NOW - 30 * DAY
    closed = (rented(6, 3000), entry(Event.DESTROYED, 6, 2990))
    assert since(closed, NOW, 30) == NOW - 30 * DAY
    assert since((*closed, rented(7, 50 * 24)), NOW, 30) == NOW - 51 * DAY


@pytest.mark.parametrize("days", [-1, 0, 1e9, float("nan"), float("inf")])
def test_charges_of_no_days_are_refused(days: float) -> None:
    with pytest.raises(InputError, match="provision_audit_days"):
        since((), NOW, days)


@pytest.mark.parametrize("odd", ["much", [2.0], float("nan"), None])
def test_an_odd_sum_in_the_journal_is_an_unknown_one(odd: object) -> None:
    found = look(journal=(rented(7, 9, expected_usd=odd), entry(Event.DESTROYED, 7, 1, spent_usd=odd)))
    assert found.lines[-1].split() == ["my-style", "?", "?"]
