"""The budget and the deadline, asked of the stand-in's own ledger and clock: whatever happens, neither is exceeded."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxlora.money import budget, spending
from fluxlora.money.budget import Rates, RunLimits, Spent
from fluxlora.money.journal import Entry, Event
from fluxlora.onhost import guard
from fluxlora.rehearsal.vast.ledger import Clock, Ledger, Prices

RUN, BEGIN = "my-style", 1_800_000_000.0
LIMITS = RunLimits(20, 24, download_gb=40, upload_gb=2)
A6000 = Rates(0.5, 0.05, 0.003, 0.003)


def amounts(least: float, most: float) -> st.SearchStrategy[float]:
    return st.floats(least, most, allow_nan=False)


# The extremes are where a limit is broken.
share = st.sampled_from([0.0, 1.0]) | amounts(0, 1)
every_rates = st.builds(
    lambda gpu, storage, down, up: Rates(gpu + storage, storage, down, up),
    amounts(0.05, 4.0), amounts(0.0, 0.1), amounts(0.0, 0.03), amounts(0.0, 0.03),
)  # fmt: skip
every_terms = st.builds(
    RunLimits,
    budget_usd=st.just(0.0), deadline_hours=amounts(4, 24) | st.just(200.0), download_gb=amounts(1, 40),
    upload_gb=amounts(0, 20), delivery_minutes=amounts(1, 40), delivery_gb=amounts(0, 4),
)  # fmt: skip


@dataclass(frozen=True)
class Fate:
    """What becomes of one instance. Shares are of what is allowed."""

    rates: Rates
    # By the plan; what it is rented for.
    hours: float
    boots: bool
    unguarded_share: float
    image_share: float
    # The bytes of the allowed that have moved at the end of the lease; above 1 they end it before.
    down_share: float
    up_share: float
    # Into the training it is lost, outbid for example; this computer notices so long after.
    lost_after_hours: float | None
    noticed_after_hours: float
    trains_hours: float
    look_seconds: float
    delivery_share: float
    destroy_share: float
    # As the journal of this computer has it, which may know less than the truth.
    told_share: float


every_fate = st.builds(
    Fate,
    rates=every_rates, hours=st.just(0.1) | amounts(0.1, 5), boots=st.sampled_from([True, True, False]),
    unguarded_share=share, image_share=share, down_share=share | amounts(0, 9), up_share=share | amounts(0, 9),
    lost_after_hours=st.none() | amounts(0, 20),
    noticed_after_hours=share.map(lambda part: part * budget.DESTROY_MINUTES / 60),
    trains_hours=st.just(1e9) | amounts(0, 20), look_seconds=st.just(budget.LATE_SECONDS) | amounts(15, 60),
    delivery_share=share, destroy_share=share, told_share=share,
)  # fmt: skip


@dataclass
class World:
    """A ledger, a clock that only this moves, and a journal."""

    terms: RunLimits
    seconds: float = BEGIN
    journal: list[Entry] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = Ledger(Clock(wall=lambda: self.seconds))

    def wait(self, hours: float) -> None:
        self.seconds += hours * 3600

    def note(self, event: Event, instance_id: int, **facts: object) -> None:
        self.journal.append(Entry(event, RUN, self.seconds, instance_id, facts))

    def live(self, instance_id: int, fate: Fate) -> bool:
        """One instance from its rent to its end; False where it was not rented, for it does not fit."""
        rates, terms, ledger = fate.rates, self.terms, self.ledger
        before = spending.spent(self.journal, terms, now=self.seconds)
        left = budget.remaining(terms, before, now=self.seconds)
        if left.missing_usd(terms, rates, fate.hours) or left.missing_hours(terms, fate.hours):
            return False
        gpu_hour = rates.per_hour - rates.storage_per_hour
        ledger.open(instance_id, RUN, Prices(gpu_hour, rates.storage_per_hour, rates.up_per_gb, rates.down_per_gb))
        rented_at = self.seconds
        self.note(Event.RENTED, instance_id, **rates.as_facts())
        ledger.started(instance_id)
        ledger.moved(instance_id, 0, int(fate.image_share * budget.IMAGE_GB * guard.GB))
        self.wait(fate.unguarded_share * terms.unguarded_hours)
        if fate.boots:
            there = {"id": instance_id, "started_at": rented_at, **rates.as_facts()}
            account = spending.account(self.journal, terms, there, {}, {}, now=self.seconds)
            assert account.lease is not None
            lease = account.lease.as_dict() | {"delivery_minutes": terms.delivery_minutes}
            lost = self.train(instance_id, fate, lease)
            if lost:
                ledger.stopped(instance_id)
                self.wait(fate.noticed_after_hours)
                self.note(Event.FAILED, instance_id, code="outbid", used=True)
        else:
            self.note(Event.FAILED, instance_id, code="boot_timeout")
        ledger.closed(instance_id)
        told = sum(charge.amount for charge in ledger.meters[instance_id].charges(self.seconds)) * fate.told_share
        self.note(Event.DESTROYED, instance_id, spent_usd=told)
        return True

    def train(self, instance_id: int, fate: Fate, lease: dict[str, float]) -> bool:
        """Until it is lost (True), done, or its lease is over and the guard has ended it."""
        begun, moved = self.seconds, {"bytes_down": 0.0, "bytes_up": 0.0}
        shares = {"bytes_down": fate.down_share, "bytes_up": fate.up_share}
        rates = {way: lease[way] * shares[way] / max(lease["ends_at"] - begun, 60) for way in moved}
        while not guard.lease_over(self.seconds, lease, moved):
            hours = (self.seconds - begun) / 3600
            if fate.lost_after_hours is not None and hours >= fate.lost_after_hours:
                return True
            if hours >= fate.trains_hours:
                return False
            self.move(instance_id, fate.look_seconds, rates, moved)
        # The guard is late, and just now everything that can move does.
        line = budget.LATE_GB * guard.GB / budget.LATE_SECONDS
        self.move(instance_id, budget.LATE_SECONDS - fate.look_seconds, dict.fromkeys(moved, line), moved)
        self.seconds += fate.delivery_share * guard.delivery_seconds(self.seconds, lease, over=True)
        self.ledger.moved(instance_id, int(self.terms.delivery_gb * guard.GB), 0)
        self.wait(fate.destroy_share * budget.DESTROY_MINUTES / 60)
        return False

    def move(self, instance_id: int, seconds: float, rates: dict[str, float], moved: dict[str, float]) -> None:
        """At these rates (bytes/s), and no faster than the line."""
        self.seconds += seconds
        line = budget.LATE_GB * guard.GB / budget.LATE_SECONDS
        down, up = (int(min(rates[way], line) * seconds) for way in ("bytes_down", "bytes_up"))
        moved["bytes_down"] += down
        moved["bytes_up"] += up
        self.ledger.moved(instance_id, up, down)


@settings(max_examples=300)
@given(every_terms, st.lists(every_fate, min_size=1, max_size=4), st.just(1.0) | amounts(1, 4))
def test_whatever_happens_to_its_instances_a_run_costs_no_more_than_its_budget_and_ends_by_its_deadline(
    terms, fates, plenty
):
    terms = replace(terms, budget_usd=plenty * terms.needed_usd(fates[0].rates, fates[0].hours))
    world = World(terms)

    rented = [world.live(number, fate) for number, fate in enumerate(fates, start=1)]

    assert world.ledger.total() <= terms.budget_usd + 1e-6
    assert not any(rented) or world.seconds - BEGIN <= terms.deadline_hours * 3600 + 1e-3


@given(every_terms, every_rates, amounts(0, 40))
def test_what_a_lease_is_said_to_need_is_what_it_gets(terms, rates, hours):
    needed = terms.needed_usd(rates, hours)

    assert terms.usable_hours(rates, needed) == pytest.approx(terms.needed_hours(hours))


@settings(max_examples=40)
@given(amounts(8, 30), every_rates.filter(lambda rates: rates.per_hour > 0.2))
def test_when_everything_goes_as_badly_as_it_may_the_budget_is_used_up_and_not_exceeded(budget_usd, rates):
    worst = Fate(rates, 2, True, 1, 1, 0.999, 0.999, None, 0, 1e9, 15, 1, 1, 1)
    world = World(RunLimits(budget_usd, 1e6))

    if world.live(1, worst):
        assert 0.97 * budget_usd <= world.ledger.total() <= budget_usd


@settings(max_examples=40)
@given(amounts(15, 60), amounts(0.2, 1.5), amounts(0.0, 0.01))
def test_where_nothing_goes_wrong_most_of_the_budget_can_be_trained_with(budget_usd, hourly, per_gb):
    rates = Rates(hourly, 0.03, per_gb, per_gb)
    undisturbed = Fate(rates, 0.1, True, 0.3, 0, 0.4, 0.1, None, 0, 1e9, 60, 0.1, 0, 1)
    world = World(RunLimits(budget_usd, 1e6))

    assert world.live(1, undisturbed)
    assert world.ledger.total() >= 0.8 * budget_usd


def entry(event: Event, at_hours: float, instance_id: int, **facts: object) -> Entry:
    return Entry(event, RUN, BEGIN + at_hours * 3600, instance_id, facts)


def rented(at_hours: float, instance_id: int) -> Entry:
    return entry(
        Event.RENTED, at_hours, instance_id, price_per_hour=1.0, storage_usd_per_hour=0.1, inet_down_usd_per_gb=0.01,
        inet_up_usd_per_gb=0.01, expected_usd=7.5,
    )  # fmt: skip


def spent(*entries: Entry, now_hours: float = 10, instance_id: int | None = None) -> Spent:
    return spending.spent(entries, LIMITS, now=BEGIN + now_hours * 3600, instance_id=instance_id)


def test_the_first_instance_begins_the_time_and_costs_nothing_beside_itself():
    assert spent(rented(0, 1), instance_id=1) == Spent(0, 0, BEGIN, 7.5)


def test_an_instance_that_never_became_usable_costs_its_time_and_its_image():
    found = spent(rented(0, 1), entry(Event.FAILED, 0.5, 1, code="boot_timeout"), entry(Event.DESTROYED, 0.5, 1))
    assert found.usd == pytest.approx(0.5 + 10 * 0.01, abs=1e-3)


def test_one_that_was_lost_costs_all_the_bytes_it_was_allowed():
    found = spent(rented(0, 1), entry(Event.FAILED, 2, 1, code="lost", used=True), entry(Event.DESTROYED, 2, 1))
    assert found.usd == pytest.approx(2 + LIMITS.traffic_usd(Rates(1, 0.1, 0.01, 0.01)), abs=1e-3)


def test_one_whose_end_nobody_saw_was_gone_when_the_next_was_rented():
    assert spent(rented(0, 1), rented(3, 2), instance_id=2).usd == pytest.approx(spent(rented(0, 1), now_hours=3).usd)


def test_what_was_spent_before_the_last_delivery_belongs_to_another_training():
    assert spent(rented(0, 1), entry(Event.DELIVERED, 2, 1), entry(Event.DESTROYED, 2, 1)) == Spent()
    assert spent(entry(Event.DELIVERED, 2, 1), entry(Event.DESTROYED, 2, 1, spent_usd=9)) == Spent()


def test_one_that_was_rented_elsewhere_is_known_by_its_end():
    prices = {"price_per_hour": 1.0, "storage_usd_per_hour": 0.1, "inet_down_usd_per_gb": 0.01}
    end = entry(Event.DESTROYED, 5, 1, spent_usd=3.0, rented_at=BEGIN + 7200, **prices)
    assert spent(end).usd == pytest.approx(3 + LIMITS.traffic_usd(Rates(1, 0.1, 0.01)), abs=1e-3)
    assert (spent(end).instances, spent(end).first_rented_at) == (1, BEGIN + 7200)
    # As earlier versions wrote it.
    assert spent(entry(Event.DESTROYED, 5, 1, spent_usd=3.0)).usd == 3


def test_what_its_end_says_of_its_price_is_known_better_than_what_was_offered():
    end = entry(Event.DESTROYED, 5, 1, price_per_hour=1.05, inet_down_usd_per_gb=None)
    assert spent(rented(0, 1), end).usd == pytest.approx(
        5 * 1.05 + LIMITS.traffic_usd(Rates(1, 0.1, 0.01, 0.01)), abs=1e-3
    )


@pytest.mark.parametrize("odd", [None, "much", float("nan"), [1], {}])
def test_facts_that_are_no_numbers_cost_nothing_and_break_nothing(odd):
    rent = entry(Event.RENTED, 0, 1, price_per_hour=odd, inet_down_usd_per_gb=odd, expected_usd=odd)
    assert spent(rent, entry(Event.DESTROYED, 1, 1, spent_usd=odd, rented_at=odd)).usd == 0
    assert spent(rent, instance_id=1).expected_usd is None


@pytest.mark.parametrize("where", ["journal", "lease"])
def test_prices_that_the_list_leaves_out_are_those_of_the_offer(where):
    bare = {"id": 1, "started_at": BEGIN, "price_per_hour": 1.0, "inet_down_usd_per_gb": None}
    offered = spending.account([rented(0, 1)], LIMITS, rented(0, 1).facts | {"id": 1}, {}, {}, now=BEGIN).lease
    assert offered is not None
    journal, known = ([rented(0, 1)], {}) if where == "journal" else ([], offered.facts)

    found = spending.account(journal, LIMITS, bare, known, {}, now=BEGIN)

    assert found.lease is not None
    assert found.lease.ends_at == offered.ends_at
    assert found.lease.facts["rates"]["down_per_gb"] == 0.01


def test_another_computer_learns_from_the_instance_what_was_spent_and_when_it_began():
    known = {"spent_usd": 3.5, "first_rented_at": BEGIN - 3600, "rented_at": BEGIN}
    instance = {"id": 1, "started_at": BEGIN, "price_per_hour": 1.0}

    found = spending.account([], LIMITS, instance, known, {}, now=BEGIN + 3600)

    assert found.spent_usd == pytest.approx(3.5 + 1)
    assert found.left.hours == pytest.approx(22)
    assert found.lease is not None
    assert found.lease.facts["first_rented_at"] == BEGIN - 3600


def test_the_same_terms_make_the_same_lease_later_and_its_own_memory_changes_nothing():
    instance = {"id": 1, "started_at": BEGIN, "price_per_hour": 0.7}
    earlier = [rented(-2, 9), entry(Event.DESTROYED, -1, 9), rented(-0.01, 1)]
    first = spending.account(earlier, LIMITS, instance, {}, {}, now=BEGIN + 60).lease
    assert first is not None

    assert spending.account(earlier, LIMITS, instance, first.facts, {}, now=BEGIN + 9999).lease == first


def test_a_larger_budget_prolongs_a_lease_and_a_smaller_one_shortens_it():
    ends = [
        budget.lease(RunLimits(usd, 100), A6000, Spent(), rented_at=BEGIN).ends_at for usd in (10, 20, 30)
    ]  # fmt: skip
    assert ends == sorted(ends)
    assert ends[1] - ends[0] == pytest.approx(10 / 0.5 * 3600)


def test_the_deadline_counts_from_the_first_rent_and_keeps_the_time_to_deliver():
    lease = budget.lease(RunLimits(1000, 5), A6000, Spent(first_rented_at=BEGIN), rented_at=BEGIN + 7200)
    assert lease.ends_at == pytest.approx(BEGIN + (5 - RunLimits(1000, 5).ending_hours) * 3600)


def test_the_bytes_are_those_that_the_guard_counted_else_those_of_the_plan():
    instance = {"id": 1, "started_at": BEGIN, "price_per_hour": 1.0, "inet_down_usd_per_gb": 0.01}
    counted = {"bytes_down": 200e9, "bytes_up": 0}

    assert spending.account([], LIMITS, instance, {}, counted, now=BEGIN).spent_usd == pytest.approx(2.0)
    assert spending.account([], LIMITS, instance, {}, {}, now=BEGIN).spent_usd == pytest.approx(0.4)


def test_the_cost_is_told_in_one_line_with_what_may_be_spent():
    told = spending.account([rented(0, 1)], LIMITS, {"id": 1, "price_per_hour": 1.0}, {}, {}, now=BEGIN + 3600).line()
    assert told == (
        "$1.42 of $20.00 and 1.0 of 24 hours so far; GPU $0.90, storage $0.10, bytes as planned $0.42; "
        "$7.50 expected in all"
    )


def test_what_vast_ai_has_charged_is_believed_whenever_that_was_written_down():
    assert spent(rented(0, 1), entry(Event.DESTROYED, 100, 1, spent_usd=2.5, charged=True)).usd == 2.5


def test_the_files_on_the_instance_alone_tell_the_same_as_this_computers_journal():
    instance = {"id": 2, "started_at": BEGIN, "price_per_hour": 1.0, "storage_usd_per_hour": 0.1}
    journal = [rented(-3, 1), entry(Event.DESTROYED, -1, 1), rented(0, 2)]
    moved = {"bytes_down": 40e9, "bytes_up": 1e9}
    found = spending.account(journal, LIMITS, instance, {}, moved, now=BEGIN + 7200)
    assert found.lease is not None

    told = spending.of_lease(found.lease.as_dict(), moved, now=BEGIN + 7200)

    assert told is not None
    assert told.line() == found.line()
    assert "for 1 earlier" in told.line()
    assert spending.of_lease({}, {}, now=BEGIN) is None
