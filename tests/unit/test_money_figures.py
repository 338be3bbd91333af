"""What a run has cost and may cost, to the cent, from the files it is told by."""

from __future__ import annotations

import math
from typing import Any

import pytest

from fluxlora.estimates.work import Work
from fluxlora.money import budget, spending
from fluxlora.money.budget import Rates, Remaining, RunLimits, Spent
from fluxlora.money.journal import Entry, Event

BEGIN = 1_800_000_000.0
LIMITS = RunLimits(20, 24, download_gb=40, upload_gb=26)
RATES = Rates(1.0, 0.1, 0.01, 0.02)
FACTS = {
    "price_per_hour": 1.0, "storage_usd_per_hour": 0.1, "inet_down_usd_per_gb": 0.01, "inet_up_usd_per_gb": 0.02,
}  # fmt: skip
# Twice the plan, ten more, the image, and what a gigabit moves in 105 s; the same up, and the delivery.
TRAFFIC = (90 + 10 + 13.125) * 0.01 + (62 + 13.125 + 4) * 0.02
LATE = 2505 / 3600


def entry(event: Event, hours: float, instance_id: int, **facts: Any) -> Entry:
    return Entry(event, "my-style", BEGIN + hours * 3600, instance_id, facts)


def rented(hours: float, instance_id: int, **facts: Any) -> Entry:
    return entry(Event.RENTED, hours, instance_id, **FACTS | facts)


def spent(*entries: Entry, hours: float = 10, instance_id: int | None = None) -> Spent:
    return spending.spent(entries, LIMITS, now=BEGIN + hours * 3600, instance_id=instance_id)


def test_prices_have_the_same_names_in_offers_instances_and_the_journal() -> None:
    assert Rates.of(FACTS) == RATES
    assert RATES.as_facts() == FACTS
    assert Rates.of({}, FACTS) == Rates.of(dict.fromkeys(FACTS), FACTS) == RATES
    assert Rates.of(FACTS, {"price_per_hour": 9.0}) == RATES
    assert Rates.of({"price_per_hour": 0.0}, FACTS).per_hour == 0
    assert Rates.of({}) == Rates(0.0, 0.0, 0.0, 0.0)


def test_limits_are_those_of_the_work_and_none_where_none_is_given() -> None:
    work = Work(download_gb=11, upload_gb=12, checkpoint_gb=13)
    assert RunLimits.of(work, 5, 6) == RunLimits(5, 6, download_gb=11, upload_gb=12, delivery_gb=13)
    assert RunLimits.of(work, None, None).budget_usd == math.inf
    assert RunLimits.of(work, None, None).deadline_hours == math.inf


def test_what_an_instance_may_cost_is_its_hours_its_end_and_all_its_bytes() -> None:
    assert LIMITS.traffic_usd(RATES) == pytest.approx(TRAFFIC)
    assert LIMITS.needed_usd(RATES, 5) == pytest.approx(5 + LATE + TRAFFIC)
    assert LIMITS.needed_usd(RATES, 0.1) == pytest.approx(0.85 + LATE + TRAFFIC), "until a guard runs"
    assert LIMITS.usable_hours(RATES, 10) == pytest.approx(10 - TRAFFIC - LATE)
    assert LIMITS.usable_hours(Rates(2.0), 10) == pytest.approx(5 - LATE)
    assert LIMITS.usable_hours(Rates(0.0), 10) == 24, "what costs nothing may be used until the deadline"
    assert LIMITS.usable_hours(Rates(-1.0), 10) == 24
    assert LIMITS.usable_hours(Rates(0.5), 10) == pytest.approx(20 - LATE)


def test_what_is_left_after_an_instance_and_what_is_missing_for_one() -> None:
    left = Remaining(20, 24)
    after = left.after(LIMITS, RATES, 5)
    assert (after.usd, after.hours) == pytest.approx((20 - 5 - LATE - TRAFFIC, 24 - 5 - LATE))
    assert (left.missing_usd(LIMITS, RATES, 5), left.missing_hours(LIMITS, 5)) == (0, 0)
    assert Remaining(1, 2).missing_usd(LIMITS, RATES, 5) == pytest.approx(4 + LATE + TRAFFIC)
    assert Remaining(1, 2).missing_hours(LIMITS, 5) == pytest.approx(3 + LATE)
    short = Remaining(20, 24).after(LIMITS, RATES, 0.1)
    assert short.hours == pytest.approx(24 - 0.85 - LATE)


def test_what_is_left_counts_from_the_first_rent() -> None:
    now = BEGIN + 7200
    assert budget.remaining(LIMITS, Spent(), now=now) == Remaining(20, 24)
    assert budget.remaining(LIMITS, Spent(3, 1, BEGIN), now=now) == Remaining(17, 22)


def test_a_lease_is_over_when_the_money_or_the_time_is() -> None:
    by_money = budget.lease(RunLimits(10, 1000), Rates(1.0), Spent(2), rented_at=BEGIN)
    assert by_money.ends_at == pytest.approx(BEGIN + 3600 * (8 - LATE))
    by_time = budget.lease(RunLimits(1000, 10), Rates(1.0), Spent(0, 0, BEGIN - 3600), rented_at=BEGIN)
    assert by_time.ends_at == pytest.approx(BEGIN + 3600 * (9 - LATE))
    # A first rent that is later than this one is none.
    late = budget.lease(RunLimits(1000, 10), Rates(1.0), Spent(0, 0, BEGIN + 3600), rented_at=BEGIN)
    assert late.ends_at == pytest.approx(BEGIN + 3600 * (10 - LATE))
    assert late.facts["first_rented_at"] == BEGIN


def test_a_lease_tells_another_computer_all_it_was_made_of() -> None:
    lease = budget.lease(LIMITS, RATES, Spent(2.5, 3, BEGIN - 60, 9.0), rented_at=BEGIN)
    assert lease.as_dict() == {
        "ends_at": round(lease.ends_at),
        "bytes_down": 90_000_000_000,
        "bytes_up": 62_000_000_000,
        "budget": {
            "budget_usd": 20, "deadline_hours": 24, "first_rented_at": BEGIN - 60, "rented_at": BEGIN,
            "spent_usd": 2.5, "earlier_instances": 3, "expected_usd": 9.0,
            "rates": {"per_hour": 1.0, "storage_per_hour": 0.1, "down_per_gb": 0.01, "up_per_gb": 0.02},
        },
    }  # fmt: skip
    assert isinstance(lease.as_dict()["bytes_down"], int)


def test_of_two_computers_that_know_of_a_run_the_one_that_knows_of_more_is_believed() -> None:
    mine = Spent(3, 2, BEGIN, 7.0)
    assert mine.at_least({}) == mine
    known = {"spent_usd": 5, "earlier_instances": 4, "first_rented_at": BEGIN - 60, "expected_usd": 9.0}
    assert mine.at_least(known) == Spent(5, 4, BEGIN - 60, 7.0)
    less = {"spent_usd": 1, "earlier_instances": 1, "first_rented_at": BEGIN + 60}
    assert mine.at_least(less) == mine
    assert Spent().at_least(known) == Spent(5, 4, BEGIN - 60, 9.0)
    assert Spent().at_least({"spent_usd": None, "earlier_instances": None, "first_rented_at": None}) == Spent()


# --- What the journal says.


def test_each_earlier_instance_costs_the_hours_until_its_end_or_the_next_rent() -> None:
    ended = entry(Event.DESTROYED, 2, 1)
    assert spent(rented(0, 1), ended).usd == pytest.approx(2 + TRAFFIC, abs=1e-4)
    assert spent(rented(0, 1), hours=3).usd == pytest.approx(3 + TRAFFIC, abs=1e-4), (
        "until now, where nobody saw its end"
    )
    two = spent(rented(0, 1), rented(3, 2), hours=4)
    assert (two.instances, two.first_rented_at) == (2, BEGIN)
    assert two.usd == pytest.approx(3 + 1 + 2 * TRAFFIC, abs=1e-4)
    # An end that was noticed after the next was rented was before it.
    assert spent(rented(0, 1), rented(3, 2), entry(Event.DESTROYED, 5, 1), hours=4).usd == pytest.approx(two.usd)
    assert spent(rented(5, 1), hours=4).usd == pytest.approx(TRAFFIC, abs=1e-4), "no hour is less than none"


def test_what_its_end_says_counts_where_it_is_more_and_what_was_charged_in_any_case() -> None:
    assert spent(rented(0, 1), entry(Event.DESTROYED, 2, 1, spent_usd=50)).usd == 50
    low = spent(rented(0, 1), entry(Event.DESTROYED, 2, 1, spent_usd=0.5))
    assert low.usd == pytest.approx(2 + TRAFFIC, abs=1e-4)
    assert spent(rented(0, 1), entry(Event.DESTROYED, 2, 1, spent_usd=0.5, charged=True)).usd == 0.5


def test_what_was_spent_is_rounded_upwards_and_reads_the_same_afterwards() -> None:
    assert spent(rented(0, 1), entry(Event.DESTROYED, 2, 1, spent_usd=1.00001, charged=True)).usd == 1.0001
    assert spent(rented(0, 1), entry(Event.DESTROYED, 2, 1, spent_usd=1.0001, charged=True)).usd == 1.0001


def test_one_that_failed_before_it_was_used_costs_its_image_and_one_that_was_lost_all_its_bytes() -> None:
    end = entry(Event.DESTROYED, 1, 1)
    unused = spent(rented(0, 1), entry(Event.FAILED, 1, 1, code="no_sshd"), end)
    assert unused.usd == pytest.approx(1 + 10 * 0.01, abs=1e-4)
    lost = spent(rented(0, 1), entry(Event.FAILED, 1, 1, used=True), end)
    assert lost.usd == pytest.approx(1 + TRAFFIC, abs=1e-4)
    both = spent(rented(0, 1), entry(Event.FAILED, 0.5, 1), entry(Event.FAILED, 1, 1, used=True), end)
    assert both.usd == pytest.approx(1 + TRAFFIC, abs=1e-4)


def test_the_instance_that_is_there_is_not_counted_among_the_earlier_ones() -> None:
    found = spent(rented(0, 1), entry(Event.DESTROYED, 1, 1, spent_usd=2, charged=True), rented(2, 2, expected_usd=7.5),
                  instance_id=2)  # fmt: skip
    assert found == Spent(2, 1, BEGIN, 7.5)
    assert spent(rented(0, 2, expected_usd=7.5), instance_id=2) == Spent(0, 0, BEGIN, 7.5)
    assert spent(rented(0, 2, expected_usd="x"), instance_id=2).expected_usd is None


def test_events_of_an_instance_before_its_own_rent_are_not_its() -> None:
    earlier = entry(Event.FAILED, -1, 1)
    found = spent(earlier, rented(0, 1), entry(Event.DESTROYED, 1, 1))
    assert found.usd == pytest.approx(1 + TRAFFIC, abs=1e-4)


def test_one_that_another_computer_rented_counts_from_when_its_end_says() -> None:
    end = entry(Event.DESTROYED, 5, 9, rented_at=BEGIN + 3600, **FACTS)
    found = spent(rented(3, 1), end, hours=6)
    assert (found.instances, found.first_rented_at) == (2, BEGIN + 3600)
    # It was gone when the next was rented.
    assert found.usd == pytest.approx(2 + 3 + 2 * TRAFFIC, abs=1e-4)
    bare = spent(entry(Event.DESTROYED, 5, 9))
    assert (bare.usd, bare.instances, bare.first_rented_at) == (0, 1, BEGIN + 5 * 3600)


# --- The meters of the instance that is there.


def test_the_meters_are_the_gpu_the_storage_and_the_bytes() -> None:
    counted = spending.meters(LIMITS, RATES, {"bytes_down": 5e9, "bytes_up": 3e9}, rented_at=BEGIN, now=BEGIN + 7200)
    assert (counted.gpu, counted.storage) == pytest.approx((1.8, 0.2))
    assert counted.bytes == pytest.approx(0.05 + 0.06)
    assert (counted.hours, counted.counted) == (2, True)
    assert counted.total == pytest.approx(2.11)
    planned = spending.meters(LIMITS, RATES, {}, rented_at=BEGIN, now=BEGIN - 60)
    assert (planned.gpu, planned.storage, planned.hours, planned.counted) == (0, 0, 0, False)
    assert planned.bytes == pytest.approx(40 * 0.01 + 26 * 0.02)


INSTANCE = {"id": 2, "started_at": BEGIN, **FACTS}


def account(*entries: Entry, instance: Any = INSTANCE, known: Any = None, moved: Any = None, hours: float = 2) -> Any:
    now = BEGIN + hours * 3600
    return spending.account(entries, LIMITS, instance, known or {}, moved or {}, now=now)


def test_a_run_without_an_instance_has_what_its_earlier_ones_cost() -> None:
    found = account(rented(0, 1), entry(Event.DESTROYED, 1, 1, spent_usd=3, charged=True), instance=None)
    assert (found.meters, found.lease) == (None, None)
    assert found.as_facts() == {
        "spent_usd": 3, "earlier_usd": 3, "expected_usd": None, "budget_usd": 20, "left_usd": 17, "left_hours": 22,
        "line": "$3.00 of $20.00 and 2.0 of 24 hours so far; $3.00 of it at most for 1 earlier",
    }  # fmt: skip


def test_an_account_as_facts_has_the_meters_and_the_lease() -> None:
    found = account(
        rented(-2, 1), entry(Event.DESTROYED, -1, 1, spent_usd=3, charged=True), rented(0, 2, expected_usd=7.5),
        moved={"bytes_down": 1e9, "bytes_up": 0},
    )  # fmt: skip
    facts = found.as_facts()
    assert facts["meters"] == {
        "gpu": 1.8, "storage": 0.2, "bytes": 0.01, "hours": 2.0, "counted": True, "total": pytest.approx(2.01)
    }  # fmt: skip
    assert facts["lease"] == found.lease.as_dict()
    assert facts["lease"]["budget"]["spent_usd"] == 3
    assert facts["spent_usd"] == pytest.approx(5.01)
    assert (facts["earlier_usd"], facts["expected_usd"], facts["left_usd"], facts["left_hours"]) == (3, 10.5, 17, 20)
    assert facts["line"] == (
        "$5.01 of $20.00 and 4.0 of 24 hours so far; $3.00 of it at most for 1 earlier; "
        "GPU $1.80, storage $0.20, bytes counted $0.01; $10.50 expected in all"
    )


def test_a_deadline_that_is_longer_than_what_is_left_shows_no_negative_hours() -> None:
    assert "and 0.0 of 24 hours" in account(rented(5, 2)).line()


@pytest.mark.parametrize(
    ("entries", "started_at", "known", "hours"),
    [
        ([rented(-1, 2)], BEGIN, {}, 3),
        ([], BEGIN, {"rented_at": BEGIN - 7200}, 4),
        ([], BEGIN, {}, 2),
        ([], None, {}, 0),
        ([rented(0.5, 2)], None, {}, 1.5),
        # Another instance's rent is not its own.
        ([rented(-9, 1)], BEGIN, {}, 2),
    ],
)
def test_an_instance_began_at_the_earliest_time_that_anybody_says(
    entries: list[Entry], started_at: float | None, known: dict[str, float], hours: float
) -> None:
    found = account(*entries, instance=INSTANCE | {"started_at": started_at}, known=known)
    assert found.meters.hours == pytest.approx(hours)


def test_prices_are_the_lists_then_the_journals_then_those_of_the_lease() -> None:
    bare = {"id": 2, "started_at": BEGIN}
    rates = {"per_hour": 3.0, "storage_per_hour": 0.0, "down_per_gb": 0.0, "up_per_gb": 0.0}
    assert account(rented(0, 2), known={"rates": rates}).lease.facts["rates"]["per_hour"] == 1.0
    listed = account(rented(0, 2, price_per_hour=2.0), instance=bare, known={"rates": rates})
    assert listed.lease.facts["rates"]["per_hour"] == 2.0
    assert account(instance=bare, known={"rates": rates}).lease.facts["rates"]["per_hour"] == 3.0
    assert account(instance=bare).lease.facts["rates"]["per_hour"] == 0.0


def test_the_files_of_the_instance_alone_give_the_same_account() -> None:
    lease = account(rented(-2, 1), entry(Event.DESTROYED, -1, 1), rented(0, 2, expected_usd=7.5)).lease.as_dict()
    told = spending.of_lease(lease, {"bytes_down": 1e9, "bytes_up": 0}, now=BEGIN + 7200)
    assert told is not None
    assert told.meters is not None
    assert told.meters.hours == 2
    assert told.before.instances == 1
    assert told.expected_usd == pytest.approx(lease["budget"]["spent_usd"] + 7.5)
    assert (told.limits.budget_usd, told.limits.deadline_hours) == (20, 24)
    assert spending.of_lease({"budget": {}}, {}, now=BEGIN) is None
    assert spending.of_lease({"budget": None}, {}, now=BEGIN) is None


def test_what_a_failure_leaves_behind_is_named_with_its_price_and_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: BEGIN + 7200)
    end = "Run train.yml again to go on with it, or end it: ansible-playbook destroy.yml -e run_name=my-style"
    assert spending.still_costs("my-style", 7, 0.5, BEGIN) == (
        f"Instance 7 of my-style may still cost $0.50 an hour, about $1.00 so far. {end}"
    )
    assert spending.still_costs("my-style", "7", "0.5") == f"Instance 7 of my-style may still cost $0.50 an hour. {end}"
    assert spending.still_costs("my-style", 7, None, BEGIN) == f"Instance 7 of my-style may still cost money. {end}"
    assert spending.still_costs("my-style", None, 0.5, BEGIN) == ""
