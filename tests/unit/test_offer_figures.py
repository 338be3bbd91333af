"""What is asked of the market and what its offers come to, figure by figure and word by word."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fluxlora.estimates.hours import Hours, hours_of, least_hours, redone_hours, reference_hours
from fluxlora.estimates.speeds import CARDS, REFERENCE, Basis, Correction, Speed, speed_of
from fluxlora.estimates.work import Work
from fluxlora.offers import Ranked, Ranking, Refused, costs, find, rank
from fluxlora.offers.avoid import Avoid
from fluxlora.offers.bids import Bid, Stake, choose
from fluxlora.offers.costs import expected_cost
from fluxlora.offers.requirements import Refusal, Requirements
from fluxlora.vast.client import Vast
from fluxlora.vast.records import Offer
from replay import Replay, replaying

RECORD = json.loads((Path(__file__).parents[1] / "data" / "vast" / "offer.json").read_text())
OFFER = replace(Offer.from_record(RECORD), on_demand_per_hour=None, min_bid_per_hour=None)
WORK = Work(
    steps=3600, validations=0, latents=7200, captions=24_000, download_gb=36, upload_gb=9, checkpoint_gb=4.5,
    checkpoint_steps=720, batch_size=1,
)  # fmt: skip
NEED = Requirements(gpu_ram_gb=24, disk_gb=100, work=WORK)
# Ten seconds a step.
SPEED = Speed(WORK.batch_tflop / 9.8, WORK.batch_tflop / 9.8, Basis.COMPUTED, 2.0)
# 0.4 $ an hour, 0.04 of them for storage; 0.1 $/GB down, 0.2 up; 80 GB an hour down, 90 up.
PLAIN = replace(
    OFFER, price_per_hour=0.4, storage_usd_per_gb_month=0.288, storage_usd_per_hour=None, inet_down_usd_per_gb=0.1,
    inet_up_usd_per_gb=0.2, inet_down_mbps=80 / 0.45, inet_up_mbps=200.0, reliability=0.94,
)  # fmt: skip
# What `NEED` asks for.
FIT = replace(PLAIN, reliability=0.96, inet_down_mbps=300.0)


def test_the_hours_of_a_run_are_those_of_its_phases() -> None:
    hours = hours_of(PLAIN, WORK, SPEED)
    assert vars(hours) == pytest.approx(
        {
            "boot": 0.1,
            # 36 GB at 80 GB an hour.
            "download": 0.45,
            "install": 0.15,
            # The weights; 7200 pictures of half a second, 24,000 captions of 0.15 s.
            "caching": 0.1 + 1 + 1,
            "training": 10,
            "validation": 0,
            # 4.5 GB at 90 GB an hour; the rest leaves while it trains.
            "fetch": 0.05,
        }
    )
    assert hours.start == pytest.approx(0.1 + 0.45 + 0.15 + 2.1)
    assert hours.total == pytest.approx(hours.start + 10 + 0.05)


def test_pictures_that_are_drawn_take_their_time() -> None:
    work = replace(WORK, validations=36)
    assert hours_of(PLAIN, work, SPEED).validation == pytest.approx(36 * SPEED.draw_seconds(work) / 3600)


def test_a_line_of_unknown_speed_is_as_fast_as_the_hub_and_a_faster_one_no_faster() -> None:
    unknown = hours_of(replace(PLAIN, inet_down_mbps=None, inet_up_mbps=None), WORK, SPEED)
    absurd = hours_of(replace(PLAIN, inet_down_mbps=9e4, inet_up_mbps=9e4), WORK, SPEED)
    assert unknown == absurd
    assert (unknown.download, unknown.fetch) == pytest.approx((36 * 8 / 4 / 3600, 4.5 * 8 / 3600))


def test_what_could_not_leave_while_it_trained_is_waited_for() -> None:
    slow = replace(PLAIN, inet_up_mbps=1.0)
    assert hours_of(slow, WORK, SPEED).fetch == pytest.approx(9 * 8000 / 3600 - 10)
    # More than all there is to send is never waited for.
    assert hours_of(PLAIN, replace(WORK, upload_gb=0.9), SPEED).fetch == pytest.approx(0.01)


def test_two_gpus_take_a_little_longer_for_a_step() -> None:
    two = hours_of(replace(PLAIN, num_gpus=2), WORK, SPEED).training
    assert two == pytest.approx(3600 * SPEED.step_seconds(WORK, 2) / 3600)
    assert two > 10
    assert hours_of(replace(PLAIN, num_gpus=None), WORK, SPEED).training == pytest.approx(10)


def test_stretched_hours_are_longer_where_that_part_is_slower() -> None:
    hours = Hours(1, 2, 3, 4, 5, 6, 7).stretched(start=2, line=3, compute=10)
    assert hours == Hours(2, 6, 6, 40, 50, 60, 21)


def test_the_cost_of_a_run_is_the_sum_of_three_meters_and_of_what_failures_cost() -> None:
    cost = expected_cost(PLAIN, WORK, SPEED, disk_gb=100, interruptions_per_hour=0.1)
    total, start = 12.85, 2.8
    assert cost.hours.total == pytest.approx(total)
    assert (cost.gpu, cost.storage) == pytest.approx((0.36 * total, 0.04 * total))
    assert cost.bytes == pytest.approx(36 * 0.1 + 9 * 0.2)
    # Half of the fifth part of ten hours is done again; the image's and the weights' bytes come again.
    redone = start + 1
    assert redone_hours(WORK, cost.hours) == pytest.approx(redone)
    failures = (0.06 / 6 + 0.1) * total
    assert cost.retry == pytest.approx(failures * (redone * 0.4 + 3.6))
    assert cost.total == pytest.approx(0.4 * total + 5.4 + cost.retry)
    assert (cost.basis, cost.own_runs) == (Basis.COMPUTED, 0)
    assert cost.seconds_per_step == pytest.approx(10)


def test_the_range_of_a_cost_is_its_run_at_best_and_at_worst() -> None:
    cost = expected_cost(PLAIN, WORK, SPEED, disk_gb=100)
    best = 0.5 * 0.25 + 0.45 + (2.1 + 10) / 2 + 0.05
    worst = 3 * 0.25 + 2 * 0.45 + 2 * (2.1 + 10) + 2 * 0.05
    assert (cost.hours_low, cost.hours_high) == pytest.approx((best, worst))
    assert cost.low == pytest.approx(best * 0.4 + 5.4)
    again = 3 * 0.25 + 0.9 + 4.2 + 2
    assert cost.high == pytest.approx(worst * 0.4 + 5.4 + 0.01 * worst * (again * 0.4 + 3.6))


def test_a_cost_by_your_own_runs_says_what_the_table_alone_would_say() -> None:
    mine = replace(SPEED, tflops=SPEED.tflops * 2, runs=3, basis=Basis.ESTIMATED)
    cost = expected_cost(replace(PLAIN, num_gpus=2), WORK, mine, disk_gb=100)
    assert cost.seconds_per_step == pytest.approx(mine.step_seconds(WORK, 2))
    assert cost.table_seconds_per_step == pytest.approx(SPEED.step_seconds(WORK, 2))
    assert (cost.basis, cost.own_runs) == (Basis.ESTIMATED, 3)
    one = expected_cost(replace(PLAIN, num_gpus=None), WORK, mine, disk_gb=100)
    assert one.seconds_per_step == pytest.approx(mine.step_seconds(WORK, 1))
    assert one.table_seconds_per_step == pytest.approx(SPEED.step_seconds(WORK, 1))


def test_prices_and_reliability_that_are_unknown_count_as_none() -> None:
    bare = replace(PLAIN, inet_down_usd_per_gb=None, inet_up_usd_per_gb=None, storage_usd_per_gb_month=None)
    cost = expected_cost(bare, WORK, SPEED, disk_gb=100)
    assert (cost.bytes, cost.storage) == (0, 0)
    never_there = expected_cost(replace(bare, reliability=None), WORK, SPEED, disk_gb=100)
    assert never_there.retry == pytest.approx(1 / 6 * 12.85 * 3.8 * 0.4)
    assert costs.gpu_per_hour(replace(bare, price_per_hour=None), 100) == 0


def test_a_run_without_steps_has_only_its_start_to_do_again() -> None:
    none = replace(WORK, steps=0)
    hours = hours_of(PLAIN, none, SPEED)
    assert redone_hours(none, hours) == hours.start
    rare = replace(WORK, checkpoint_steps=9999)
    assert redone_hours(rare, hours_of(PLAIN, rare, SPEED)) == pytest.approx(2.8 + 5)


def test_the_storage_that_a_price_holds_is_what_was_asked_about_and_no_more() -> None:
    assert costs.storage_per_hour(PLAIN, 100) == pytest.approx(0.04)
    assert costs.gpu_per_hour(PLAIN, 100) == pytest.approx(0.36)
    assert costs.gpu_per_hour(replace(PLAIN, storage_usd_per_hour=0.03), 100) == pytest.approx(0.37)
    assert costs.gpu_per_hour(replace(PLAIN, storage_usd_per_hour=0.3), 100) == pytest.approx(0.36)


def test_a_cost_as_facts_has_every_part_and_the_totals() -> None:
    cost = expected_cost(PLAIN, WORK, SPEED, disk_gb=100)
    facts = json.loads(json.dumps(cost.as_dict()))
    assert (facts["total"], facts["basis"]) == (cost.total, str(Basis.COMPUTED))
    hours = facts["hours"]
    assert (hours["total"], hours["low"], hours["high"]) == (cost.hours.total, cost.hours_low, cost.hours_high)
    assert hours["boot"] == 0.1


def test_no_offer_is_done_sooner_than_on_the_fastest_card_behind_the_fastest_line() -> None:
    fastest = max((speed for card in CARDS if (speed := speed_of(card.name))), key=lambda speed: speed.tflops)
    line = replace(PLAIN, num_gpus=1, inet_down_mbps=4000.0, inet_up_mbps=1000.0)
    assert least_hours(WORK) == hours_of(line, WORK, fastest).total
    slow = replace(WORK, upload_gb=100_000)
    assert least_hours(slow) == hours_of(line, slow, fastest).total
    own = {"h100sxm": Correction(0.01, 5)}
    assert least_hours(WORK, own) < least_hours(WORK)


def test_before_there_is_an_offer_the_reference_card_behind_a_gigabit_counts() -> None:
    speed = Speed(REFERENCE.tflops, REFERENCE.tflops, Basis.COMPUTED, 1.0)
    for gpus in (1, 2):
        line = replace(PLAIN, num_gpus=gpus, inet_down_mbps=1000.0, inet_up_mbps=1000.0)
        assert reference_hours(WORK, gpus) == hours_of(line, WORK, speed)


# --- What an offer must be.


@pytest.mark.parametrize(
    ("changes", "kind", "reason"),
    [
        ({"rented": True}, "rented", "is rented"),
        ({"rentable": False}, "rented", "is rented"),
        ({"external": True}, "another marketplace", "belongs to another marketplace"),
        ({"num_gpus": 2}, "number of GPUs", "has 2 GPUs, 1 needed"),
        ({"gpu_ram_mb": 23_999}, "GPU memory", "has 24 GB of GPU memory, 24 needed"),
        ({"gpu_ram_mb": None}, "GPU memory", "does not say its GB of GPU memory"),
        ({"cpu_ram_mb": 31_000}, "memory", "has 31 GB of memory, 32 needed"),
        ({"cpu_ram_mb": 64_000, "gpu_share": 0.25}, "memory", "has 16 GB of memory, 32 needed"),
        ({"cpu_ram_mb": 31_000, "gpu_share": 2.0}, "memory", "has 31 GB of memory, 32 needed"),
        ({"cpu_ram_mb": None}, "memory", "does not say its GB of memory"),
        ({"disk_gb": 99.5}, "disk", "has 99.5 GB of disk, 100 needed"),
        ({"cuda_max_good": 12.4}, "driver", "has 12.4 as the driver's CUDA, 12.8 needed"),
        ({"cuda_max_good": None}, "driver", "does not say its as the driver's CUDA"),
        ({"compute_cap": 799}, "compute capability", "has 799 as compute capability, 800 needed"),
        ({"compute_cap": 1300}, "compute capability", "has 1300 as compute capability, which torch does not know yet"),
        ({"cpu_arch": "arm64"}, "architecture", "has arm64 as architecture, amd64 needed"),
        ({"cpu_arch": ""}, "architecture", "has None as architecture, amd64 needed"),
        ({"inet_down_mbps": 199.0}, "line", "has 199 Mbit/s down, 200 needed"),
        ({"inet_up_mbps": 49.0}, "line", "has 49 Mbit/s up, 50 needed"),
        ({"direct_ports": 0}, "direct ports", "has 0 direct ports, 1 needed"),
        ({"reliability": 0.949}, "reliability", "has 0.95 reliability, 0.95 needed"),
        ({"verification": "unverified"}, "not verified", "is not verified"),
        ({"price_per_hour": None}, "figures missing", "has no price"),
        ({"storage_usd_per_gb_month": None}, "figures missing", "has no price for storage"),
        ({"inet_down_usd_per_gb": None}, "figures missing", "has no price for bytes down"),
        ({"inet_up_usd_per_gb": None}, "figures missing", "has no price for bytes up"),
        ({"inet_down_mbps": None}, "figures missing", "has no rate down"),
        ({"inet_up_mbps": None}, "figures missing", "has no rate up"),
        ({"reliability": None}, "figures missing", "has no reliability"),
        ({"disk_gb": None}, "figures missing", "has no disk"),
        ({"duration_seconds": None}, "figures missing", "has no guaranteed time"),
        ({"price_per_hour": -1.0}, "impossible figures", "has -1 as its price"),
        ({"duration_seconds": float("inf")}, "impossible figures", "has inf as its guaranteed time"),
        ({"reliability": 1.01}, "impossible figures", "has 1.01 as its reliability"),
        ({"inet_down_mbps": 100_001.0}, "impossible figures", "claims a line of 100001 Mbit/s"),
        ({"inet_up_mbps": 200_000.0}, "impossible figures", "claims a line of 200000 Mbit/s"),
        ({"storage_usd_per_hour": 0.4}, "impossible figures", "asks $0.4 an hour, nothing for its GPU"),
        ({"storage_usd_per_hour": -0.1}, "impossible figures", "asks $0.4 an hour, nothing for its GPU"),
        ({"storage_usd_per_hour": float("inf")}, "impossible figures", "asks $0.4 an hour, nothing for its GPU"),
        ({"price_per_hour": 0.0}, "impossible figures", "asks $0 an hour, nothing for its GPU"),
        ({"storage_usd_per_gb_month": 2.88}, "impossible figures", "asks more for its storage than for everything"),
        ({"gpu_name": ""}, "speed unknown", "is a GPU without a name, of which nothing is known"),
        ({"gpu_name": "Z1000"}, "speed unknown", "is a Z1000, of which nothing is known"),
        ({"duration_seconds": 3600.0}, "guaranteed time", "has 1.0 hours guaranteed, "),
    ],
)
def test_an_offer_is_passed_over_for_its_first_fault_in_these_words(
    changes: dict[str, Any], kind: str, reason: str
) -> None:
    silent = {"dlperf": None, "total_flops": None}
    ranking = rank([replace(FIT, **silent | changes)], NEED)
    assert ranking.fitting == ()
    (refused,) = ranking.refused
    assert refused.why.kind == kind
    assert refused.reason == refused.why.reason
    assert refused.reason == reason if reason[-1] != " " else refused.reason.startswith(reason)
    assert refused.as_dict()["reason"] == refused.reason
    assert refused.as_dict()["kind"] == kind


@pytest.mark.parametrize(
    "changes",
    [
        {"gpu_ram_mb": 24_000}, {"cpu_ram_mb": 32_000, "gpu_share": 1.0}, {"disk_gb": 100.0}, {"cuda_max_good": 12.8},
        {"compute_cap": 800}, {"compute_cap": 1299}, {"inet_down_mbps": 200.0}, {"inet_up_mbps": 50.0},
        {"direct_ports": 1}, {"reliability": 0.95}, {"reliability": 1.0}, {"inet_down_mbps": 100_000.0},
        {"inet_up_usd_per_gb": 0.0, "inet_down_usd_per_gb": 0.0, "storage_usd_per_gb_month": 0.0},
        {"host_id": None, "machine_id": None},
    ],
)  # fmt: skip
def test_an_offer_that_just_has_what_is_needed_fits(changes: dict[str, Any]) -> None:
    assert rank([replace(FIT, **changes)], NEED).refused == ()


@pytest.mark.parametrize(
    ("wish", "changes", "reason"),
    [
        ({"verified": False}, {"verification": "deverified"}, "was verified once and is no longer"),
        ({"gpu_names": ("A40",)}, {}, "is a RTX 4090"),
        ({"countries": ("NO",)}, {"geolocation": "Oregon, US"}, "is in US"),
        ({"countries": ("NO",)}, {"geolocation": ""}, "is in an unknown country"),
        ({"excluded_machine_ids": (43973,)}, {}, "is on an excluded machine"),
        ({"max_price_per_hour": 0.39}, {}, "costs $0.400 an hour, $0.39 allowed"),
        ({"num_gpus": 2}, {}, "has 1 GPUs, 2 needed"),
        ({"interruptible": True}, {"min_bid_per_hour": 0.5, "on_demand_per_hour": 0.4},
         "costs less on demand than its least bid"),
        ({"duration_hours": 1000.0}, {"duration_seconds": 3600.0 * 999}, "has 999.0 hours guaranteed, 1000.0 needed "
         "if it goes slowly"),
    ],
)  # fmt: skip
def test_a_wish_that_is_missed_is_said_in_these_words(
    wish: dict[str, Any], changes: dict[str, Any], reason: str
) -> None:
    offer = replace(FIT, **changes)
    assert [refused.reason for refused in rank([offer], replace(NEED, **wish)).refused] == [reason]


@pytest.mark.parametrize(
    ("wish", "kind"),
    [
        ({"gpu_names": ("A40",)}, "another GPU"),
        ({"countries": ("NO",)}, "another country"),
        ({"excluded_machine_ids": (43973,)}, "excluded"),
        ({"avoid": Avoid(machine_ids=frozenset({43973}))}, "failed before"),
        ({"avoid": Avoid(host_ids=frozenset({307092}))}, "failed before"),
        ({"avoid": Avoid(addresses=frozenset({"203.0.113.42"}))}, "failed before"),
        ({"max_price_per_hour": 0.39}, "price per hour"),
    ],
)
def test_wishes_that_are_missed_are_counted_by_their_kind(wish: dict[str, Any], kind: str) -> None:
    assert [refused.why.kind for refused in rank([FIT], replace(NEED, **wish)).refused] == [kind]


def test_an_unverified_machine_fits_where_none_must_be_verified() -> None:
    offer = replace(PLAIN, reliability=0.96, inet_down_mbps=300.0, verification="unverified", geolocation="Oslo, NO")
    assert rank([offer], replace(NEED, verified=False, countries=("US", "NO"), gpu_names=("RTX 4090",))).refused == ()
    assert "not verified" in rank([offer], replace(NEED, verified=False)).lines()[1]


def test_the_search_asks_for_what_is_needed_in_vast_ais_own_units() -> None:
    rough = {
        "rentable": {"eq": True}, "rented": {"eq": False}, "external": {"eq": False}, "num_gpus": {"eq": 1},
        "gpu_ram": {"gte": 24_000},
    }  # fmt: skip
    exact = rough | {
        "cpu_ram": {"gte": 32_000}, "disk_space": {"gte": 100}, "cuda_max_good": {"gte": 12.8},
        "compute_cap": {"gte": 800}, "cpu_arch": {"eq": "amd64"}, "inet_down": {"gte": 200}, "inet_up": {"gte": 50},
        "direct_port_count": {"gte": 1}, "reliability2": {"gte": 0.95}, "duration": {"gte": 0.0},
        "verified": {"eq": True},
    }  # fmt: skip
    assert NEED.rough_query() == rough
    assert NEED.query() == exact
    wishes = replace(
        NEED, verified=False, gpu_names=("A40", "L40S"), countries=("NO",), max_price_per_hour=0.7, duration_hours=2
    )
    assert wishes.query(1) == {name: value for name, value in exact.items() if name != "verified"} | {
        "gpu_name": {"in": ["A40", "L40S"]}, "geolocation": {"in": ["NO"]}, "dph_total": {"lte": 0.7},
        "duration": {"gte": 7200},
    }  # fmt: skip
    assert wishes.query(3)["duration"] == {"gte": 10_800}


# --- Bait.


@pytest.mark.parametrize(("share", "kept"), [(0.299, False), (0.301, True)])
def test_a_price_below_three_tenths_of_the_median_of_the_same_gpu_is_bait(share: float, kept: bool) -> None:
    usual = [replace(FIT, id=number) for number in range(4)]
    lure = replace(usual[0], id=9, price_per_hour=0.04 + 0.36 * share)
    ranking = rank([*usual, lure], NEED)
    assert (9 in [ranked.offer.id for ranked in ranking.fitting]) is kept
    if not kept:
        assert ranking.refused[0].reason == (
            f"asks ${0.36 * share:.3f} an hour for a GPU that is worth $0.36 elsewhere"
        )


def test_three_offers_say_nothing_about_what_is_usual() -> None:
    usual = [replace(FIT, id=number) for number in range(2)]
    lure = replace(usual[0], id=9, price_per_hour=0.05)
    assert rank([*usual, lure], NEED).refused == ()
    assert len(rank([*usual, replace(usual[0], id=3), lure], NEED).refused) == 1


def test_a_price_is_that_of_one_gpu() -> None:
    need = replace(NEED, num_gpus=2)
    two = [
        replace(PLAIN, id=number, num_gpus=2, inet_down_mbps=300.0, reliability=0.96, price_per_hour=0.76)
        for number in range(4)
    ]
    lure = replace(two[0], id=9, price_per_hour=0.04 + 0.2)
    assert "asks $0.100 an hour for a GPU that is worth $0.36 elsewhere" in [
        refused.reason for refused in rank([*two, lure], need).refused
    ]


def test_what_cannot_be_true_does_not_count_among_what_is_usual() -> None:
    usual = [replace(FIT, id=number) for number in range(2)]
    lure, absurd = replace(FIT, id=9, price_per_hour=0.05), replace(FIT, id=3, reliability=7.0)
    assert [refused.offer.id for refused in rank([*usual, lure, absurd], NEED).refused] == [3]


@pytest.mark.parametrize(("rare", "share", "kept"), [(1, 0.2, False), (1, 0.31, True), (5, 0.2, True), (5, 0.1, False)])
def test_many_cheap_ones_of_a_kind_may_be_half_as_dear_for_their_computing_as_a_rare_one(
    rare: int, share: float, kept: bool
) -> None:
    fast, usual = speed_of("H100 SXM"), speed_of("RTX 4090")
    assert fast
    assert usual
    gpu_hour = 0.36 / usual.table_tflops * fast.table_tflops * share
    cheap = replace(FIT, gpu_name="H100 SXM", price_per_hour=0.04 + gpu_hour)
    market = [replace(FIT, id=number) for number in range(20)]
    ranking = rank([*market, *(replace(cheap, id=100 + number) for number in range(rare))], NEED)
    assert any(found.offer.id >= 100 for found in ranking.fitting) is kept


# --- The order and the table.


def test_of_runs_that_cost_the_same_the_older_offer_comes_first() -> None:
    free = replace(PLAIN, inet_down_mbps=300.0, reliability=1.0)
    offers = [replace(free, id=3), replace(free, id=1), replace(free, id=2)]
    assert [ranked.offer.id for ranked in rank(offers, NEED).fitting] == [1, 2, 3]
    refused = [
        replace(free, id=number, rented=True, price_per_hour=price) for number, price in ((1, 0.5), (3, 0.4), (2, 0.4))
    ]
    assert [each.offer.id for each in rank(refused, NEED).refused] == [2, 3, 1]


def ranked(**changes: Any) -> Ranked:
    (found,) = rank([replace(FIT, **changes)], NEED).fitting
    return found


def test_an_offer_is_one_line_of_the_table() -> None:
    found = ranked(geolocation=", US")
    cost = found.cost
    head, line = Ranking((found,), ()).lines()
    assert head == (
        "cost     range               hours        range     $/h  GPU                  place             notes"
    )
    money = f"{f'${cost.total:.2f}':<7}  {f'${cost.low:.2f} to ${cost.high:.2f}':<17}  "
    time = f"{cost.hours.total:>6.1f}  {f'{cost.hours_low:.1f} to {cost.hours_high:.1f}':>11}  "
    assert line == f"{money}{time} 0.400  {'RTX 4090':<19}  US"


@pytest.mark.parametrize(
    ("changes", "own_runs", "notes"),
    [
        ({}, 0, ""),
        ({}, 1, "1 run of your own"),
        ({}, 2, "2 runs of your own"),
        ({"basis": Basis.ESTIMATED}, 0, "speed estimated"),
        ({"basis": Basis.ESTIMATED}, 2, "2 runs of your own"),
    ],
)
def test_the_notes_of_an_offer_say_how_its_speed_is_known(changes: dict[str, Any], own_runs: int, notes: str) -> None:
    found = ranked(geolocation="Somewhere far away, US")
    found = replace(found, cost=replace(found.cost, own_runs=own_runs, **changes))
    line = Ranking((found,), ()).lines()[1]
    assert line.endswith(f"  Somewhere far aw  {notes}".rstrip())


def test_the_table_says_what_it_leaves_out() -> None:
    found = ranked()
    assert Ranking((), ()).lines() == ["No offer fits."]
    many = Ranking((found,) * 12, (), cut_at=1.5).lines()
    assert len(many) == 1 + 10 + 2
    assert many[-2:] == ["2 more fit and cost more", "Offers above $1.50 an hour were not looked at."]
    assert len(Ranking((found,) * 10, ()).lines()) == 11
    gone = [
        Refused(replace(PLAIN, id=5), Refusal("rented", "is rented")),
        Refused(replace(PLAIN, id=6, num_gpus=2, price_per_hour=None), Refusal("disk", "has no disk")),
        Refused(replace(PLAIN, id=7, num_gpus=None), Refusal("rented", "is rented")),
    ]
    assert Ranking((), tuple(gone)).lines()[1:] == ["3 were passed over: rented 2, disk 1"]
    assert Ranking((), tuple(gone)).lines(refused=True)[1:] == [
        "passed over: RTX 4090 at $0.400/h, offer 5, is rented",
        "passed over: 2 x RTX 4090 at $?/h, offer 6, has no disk",
        "passed over: RTX 4090 at $0.400/h, offer 7, is rented",
    ]


def test_what_a_bid_saves_and_loses_is_said_below_the_table() -> None:
    found = ranked(min_bid_per_hour=0.2)
    bid = replace(found, bid=Bid(0.25, 0.1))
    told = (
        "Interruptible: $0.250 an hour is bid, $0.200 is the least. It is assumed to be taken away "
        f"{0.1 * found.cost.hours.total:.1f} times, and ${found.cost.retry:.2f} of the cost are for doing again what "
        "is lost then."
    )
    assert Ranking((bid,), ()).lines()[-1] == f"{told} Nothing fits on demand."
    for gpu, words in ((1.0, "$1.00 less"), (0.0, "$0.00 less"), (-1.0, "$1.00 MORE")):
        fixed = replace(found, cost=replace(found.cost, gpu=found.cost.gpu + gpu))
        assert Ranking((bid,), (), on_demand=fixed).lines()[-1] == (
            f"{told} That is {words} than the cheapest on demand, ${fixed.cost.total:.2f}."
        )
    least = replace(bid, offer=replace(bid.offer, min_bid_per_hour=None))
    assert "$0.000 is the least" in Ranking((least,), ()).lines()[-1]
    assert len(Ranking((found, bid), ()).lines()) == 3


def test_the_nearest_refusal_is_the_one_for_which_the_least_must_be_raised() -> None:
    def refused(usd: float, hours: float) -> Refused:
        return Refused(PLAIN, Refusal("budget", f"{usd} {hours}", usd, hours))

    nothing = Refused(PLAIN, Refusal("disk", "small"))
    both, money, more, time = refused(1, 1), refused(5, 0), refused(6, 0), refused(0, 3)
    assert Ranking((), (nothing, both, more, money)).nearest == money.why
    assert Ranking((), (nothing, both)).nearest == both.why
    assert Ranking((), (both, money, time)).nearest == time.why
    assert Ranking((), (nothing,)).nearest is None
    assert Ranking((ranked(),), (money,)).nearest is None


def test_an_offer_says_what_may_be_lost_on_others_before_it_no_longer_fits() -> None:
    offer = FIT
    (free,) = rank([offer], NEED).fitting
    assert (free.spare_usd, free.spare_hours) == (None, None)
    assert free.as_dict()["spare_usd"] is None
    assert "bid_per_hour" not in free.as_dict()
    (bound,) = rank([offer], replace(NEED, budget_usd=100.0, deadline_hours=50.0)).fitting
    hours, late = bound.cost.hours.total, 2505 / 3600
    down, up = 2 * 36 + 10 + 10 + 105 / 8, 2 * 9 + 10 + 105 / 8 + 4.5
    assert bound.spare_usd == pytest.approx(100 - (hours + late) * 0.4 - down * 0.1 - up * 0.2)
    assert bound.spare_hours == pytest.approx(50 - hours - late)
    assert (bound.as_dict()["spare_usd"], bound.as_dict()["spare_hours"]) == (bound.spare_usd, bound.spare_hours)
    (money,) = rank([offer], replace(NEED, budget_usd=100.0)).fitting
    assert (money.spare_usd, money.spare_hours) == (bound.spare_usd, None)


@pytest.mark.parametrize(
    ("wish", "kind", "words", "usd", "hours"),
    [
        ({"budget_usd": 10.0}, "budget", "for the run and its end, $10.00 are left", True, False),
        ({"budget_usd": 10.0, "deadline_hours": 2.0}, "budget", "$10.00 are left", True, True),
        ({"deadline_hours": 2.0}, "deadline", "hours for the run and its end, 2.0 are left", False, True),
    ],
)
def test_a_run_that_does_not_fit_says_by_how_much(
    wish: dict[str, Any], kind: str, words: str, usd: bool, hours: bool
) -> None:
    offer = FIT
    (bound,) = rank([offer], replace(NEED, budget_usd=100.0, deadline_hours=50.0)).fitting
    assert bound.spare_usd is not None
    assert bound.spare_hours is not None
    (refused,) = rank([offer], replace(NEED, **wish)).refused
    assert refused.why.kind == kind
    assert refused.reason.endswith(words)
    assert refused.why.missing_usd == pytest.approx(90 - bound.spare_usd if usd else 0)
    assert refused.why.missing_hours == pytest.approx(48 - bound.spare_hours if hours else 0)
    if kind == "budget":
        assert refused.reason.startswith(f"needs ${100 - bound.spare_usd:.2f} ")
    else:
        assert refused.reason.startswith(f"needs {50 - bound.spare_hours:.1f} ")


# --- Bids.


def test_a_bid_is_the_cheapest_of_the_steps_of_a_hundredth_from_two_hundredths_above_the_least() -> None:
    stake = Stake(10, 0.5, 0.1, 0.05)
    bid = choose(0.5, 1.0, stake)
    assert bid is not None
    steps = [0.5 * (1 + 0.01 * step) for step in range(2, 101)]
    best = min(steps, key=lambda amount: stake.usd(Bid(amount, interruptions(amount / 0.5))))
    assert bid == Bid(best, pytest.approx(interruptions(best / 0.5)))
    assert stake.usd(Bid(0.5, 0.2)) == pytest.approx(10 * (0.55 + 0.2 * (0.5 * 0.55 + 0.1)))
    # Where almost nothing can be lost, the least that may still be the least when it is placed.
    cautious = choose(0.5, 1.0, Stake(10, 0.0, 0.0))
    assert cautious is not None
    assert cautious.per_hour == pytest.approx(0.51)


def interruptions(share: float) -> float:
    """An hour, at so many times the least bid."""
    return 1 / 48 + 1 / 8 * 0.5 ** ((share - 1) / 0.1)


def test_an_interruptible_offer_is_bid_for_with_what_its_run_would_lose() -> None:
    offer = replace(
        PLAIN, reliability=0.96, inet_down_mbps=300.0, min_bid_per_hour=0.2, on_demand_per_hour=0.9, price_per_hour=0.2,
        storage_usd_per_hour=0.0,
    )  # fmt: skip
    need = replace(NEED, interruptible=True)
    (found,) = rank([offer], need).fitting
    speed = speed_of("RTX 4090", dlperf=offer.dlperf, total_flops=offer.total_flops)
    assert speed
    hours = hours_of(offer, WORK, speed)
    expected = choose(0.2, 0.9, Stake(hours.total, redone_hours(WORK, hours), 3.6, 0.04))
    assert found.bid == expected
    assert found.bid is not None
    assert found.offer.price_per_hour == pytest.approx(found.bid.per_hour + 0.04)
    often = found.bid.interruptions_per_hour
    assert found.cost == expected_cost(found.offer, WORK, speed, disk_gb=100, interruptions_per_hour=often)
    assert found.as_dict()["bid_per_hour"] == found.bid.per_hour
    # A least bid that is not said is its price without storage; a limit is with storage.
    (bare,) = rank([replace(offer, min_bid_per_hour=None, on_demand_per_hour=None)], need).fitting
    assert bare.bid is not None
    assert bare.bid.per_hour == pytest.approx(0.2)
    (limited,) = rank([offer], replace(need, max_price_per_hour=0.25)).fitting
    assert limited.bid is not None
    assert limited.bid.per_hour == pytest.approx(0.21)


# --- The market, over several answers.


def records(count: int, first: int = 1, **changes: Any) -> list[dict[str, Any]]:
    plain = {"dph_total": 0.5, "inet_down": 900.0, "storage_cost": 0.15, "storage_total_cost": None}
    return [RECORD | plain | {"id": first + number, "machine_id": first + number} | changes for number in range(count)]


def answer(rows: list[dict[str, Any]]) -> tuple[int, Any]:
    return 200, {"offers": rows}


def search(need: Requirements, *answers: tuple[int, Any]) -> tuple[Ranking, list[Any]]:
    with replaying(*answers) as replay:
        ranking = find(Vast("k", replay.url, attempts=1), need)
        return ranking, bodies(replay)


def bodies(replay: Replay) -> list[Any]:
    return [body for _, _, body in replay.requests]


def test_a_market_of_one_answer_is_asked_once_and_roughly() -> None:
    ranking, (rough,) = search(NEED, answer(records(2) + records(1, first=9, disk_space=1.0)))
    assert [ranked.offer.id for ranked in ranking.fitting] == [1, 2]
    assert [(refused.offer.id, refused.why.kind) for refused in ranking.refused] == [(9, "disk")]
    assert (ranking.cut_at, ranking.on_demand) == (None, None)
    assert rough == NEED.rough_query() | {
        "order": [["dph_total", "asc"]], "type": "on-demand", "limit": 64, "allocated_storage": 100,
    }  # fmt: skip


@pytest.mark.parametrize(("count", "asked"), [(63, 1), (64, 2)])
def test_a_market_of_more_than_one_answer_is_asked_exactly_too(count: int, asked: int) -> None:
    ranking, questions = search(NEED, answer(records(count, disk_space=1.0)), answer(records(2, first=900)))
    assert len(questions) == asked
    assert len(ranking.fitting) == 2 * (asked - 1)
    assert len(ranking.refused) == count


def test_the_exact_question_asks_for_all_that_the_run_needs() -> None:
    _, (_, exact) = search(NEED, answer(records(64)), answer([]))
    assert exact == NEED.query(least_hours(WORK)) | {
        "order": [["dph_total", "asc"]], "type": "on-demand", "limit": 64, "allocated_storage": 100,
    }  # fmt: skip


def test_a_full_answer_is_followed_by_what_costs_more_until_that_cannot_be_cheaper() -> None:
    # None fits, so that nothing says where to end.
    full = [answer(records(64, first=1 + 100 * page, disk_space=1.0, dph_total=0.5 + page)) for page in range(3)]
    ranking, asked = search(replace(NEED, max_price_per_hour=9.0), full[0], *full, answer(records(2, first=900)))
    assert len(asked) == 5
    assert [body["dph_total"] for body in asked[2:5]] == [{"lte": 9.0, "gte": 0.5 + page} for page in range(3)]
    assert ranking.cut_at is None
    assert len(ranking.refused) == 192

    dear = records(64, dph_total=0.5)
    dear[-1]["dph_total"] = 50.0
    ranking, asked = search(NEED, answer(dear))
    assert len(asked) == 2, "no run at $50 an hour is cheaper"
    assert ranking.cut_at is None


def test_after_eight_answers_the_table_says_what_was_not_looked_at() -> None:
    pages = [answer(records(64, first=1 + 100 * page, disk_space=1.0, dph_total=0.5 + page)) for page in range(9)]
    ranking, asked = search(NEED, pages[0], *pages)
    assert len(asked) == 8 + 1
    assert ranking.cut_at == 7.5


def test_an_answer_that_repeats_itself_ends_the_search() -> None:
    ranking, asked = search(NEED, answer(records(64, disk_space=1.0)))
    assert len(asked) == 3
    assert ranking.cut_at == 0.5


def test_bids_are_asked_for_beside_what_the_same_gpus_cost_on_demand() -> None:
    bid, fixed = {"dph_total": 0.3, "min_bid": 0.3, "storage_total_cost": 0.0}, {"dph_total": 0.8}
    other = records(1, first=9, **bid)
    ranking, asked = search(
        replace(NEED, interruptible=True), answer(records(1, **fixed)), answer(records(1, **bid) + other)
    )
    assert [body["type"] for body in asked] == ["on-demand", "bid"]
    first, second = sorted(ranking.fitting, key=lambda found: found.offer.id)
    assert first.offer.on_demand_per_hour == pytest.approx(0.8 - 100 * 0.15 / 720)
    assert second.offer.on_demand_per_hour is None
    assert ranking.on_demand is not None
    assert (ranking.on_demand.offer.id, ranking.on_demand.bid) == (1, None)
    assert ranking.on_demand.offer.price_per_hour == 0.8


@pytest.mark.parametrize("count", [0, 3])
def test_an_offer_counts_once_however_often_it_is_answered(count: int) -> None:
    ranking, _ = search(NEED, answer(records(count)))
    assert len(ranking.fitting) == count


PHASES: list[Callable[[Hours], float]] = [lambda hours: hours.start, lambda hours: hours.total]


def test_a_start_is_all_that_comes_before_the_first_step() -> None:
    assert [phase(Hours(1, 20, 300, 4000, 5e4, 6e5, 7e6)) for phase in PHASES] == [4321, 7_654_321]
