"""The cost of a run on an offer is arithmetic that a bill can be checked against, and every refusal has its reason."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fluxlora.estimates.speeds import Basis, Correction, Speed
from fluxlora.estimates.work import Work
from fluxlora.offers import Ranking, rank
from fluxlora.offers.avoid import Avoid
from fluxlora.offers.costs import Cost, expected_cost, storage_per_hour
from fluxlora.offers.requirements import Requirements
from fluxlora.vast.records import Offer

RECORD = json.loads((Path(__file__).parents[1] / "data" / "vast" / "offer.json").read_text())
SAMPLE = Offer.from_record(RECORD)
# What the published example of an offer, an RTX 4090 for $0.41 with 100 GB, is good for.
NOTHING = Work(steps=0, validations=0, latents=0, captions=0, download_gb=0, upload_gb=0, checkpoint_gb=0, batch_size=1)
NEED = Requirements(gpu_ram_gb=24, disk_gb=100, work=replace(NOTHING, steps=3600))
# Ten hours for 3600 steps of ten seconds, whatever else.
TEN_SECONDS = Speed(NEED.work.batch_tflop / 9.8, NEED.work.batch_tflop / 9.8, Basis.COMPUTED, 2.0)


def cost(offer: Offer = SAMPLE, work: Work = NEED.work, speed: Speed = TEN_SECONDS, **options: Any) -> Cost:
    return expected_cost(offer, work, speed, **{"disk_gb": 100} | options)


def only(offer: Offer, need: Requirements = NEED) -> Ranking:
    return rank([offer], need)


def test_a_published_offer_is_read_with_its_units() -> None:
    assert (SAMPLE.id, SAMPLE.gpu_name, SAMPLE.gpu_ram_mb, SAMPLE.disk_gb) == (18209627, "RTX 4090", 24564, 812.4)
    assert (SAMPLE.price_per_hour, SAMPLE.storage_usd_per_gb_month, SAMPLE.cuda_max_good) == (0.41, 0.15, 12.8)
    assert (SAMPLE.inet_down_mbps, SAMPLE.inet_down_usd_per_gb, SAMPLE.compute_cap) == (842.7, 0.002, 890)
    assert (SAMPLE.address, SAMPLE.total_flops, SAMPLE.gpu_share) == ("203.0.113.42", 82.6, 1.0)


def test_the_same_disk_as_in_the_search_costs_what_vast_ai_says_in_an_hour() -> None:
    found = cost()
    assert found.gpu + found.storage == pytest.approx(found.hours.total * 0.41, abs=1e-3)
    assert found.hours.training == pytest.approx(10)


def test_a_larger_disk_costs_its_share_of_a_month_of_30_days() -> None:
    found = cost(disk_gb=220)
    assert found.storage == pytest.approx(220 * 0.15 / 720 * found.hours.total)
    assert found.gpu == pytest.approx((0.41 - 0.0208) * found.hours.total, abs=1e-3)


def test_bytes_are_paid_in_both_directions_and_their_time_is_paid_as_well() -> None:
    found, without = cost(work=replace(NEED.work, download_gb=40, upload_gb=2)), cost()
    assert found.bytes == pytest.approx(42 * 0.002)
    assert found.hours.download == pytest.approx(40 * 8000 / 842.7 / 3600)
    assert found.gpu > without.gpu


def test_what_leaves_while_it_trains_costs_no_time_and_the_last_checkpoint_does() -> None:
    sent = replace(NEED.work, upload_gb=20, checkpoint_gb=0.5)
    slow = replace(SAMPLE, inet_up_mbps=100.0)
    assert cost(slow, sent).hours.fetch == pytest.approx(0.5 * 8000 / 100 / 3600)
    long, short = replace(sent, upload_gb=600), replace(sent, upload_gb=600, steps=0)
    assert cost(slow, long).hours.fetch == pytest.approx(600 * 8000 / 100 / 3600 - 10)
    assert cost(slow, short).hours.fetch == pytest.approx(600 * 8000 / 100 / 3600)


def test_a_failure_costs_the_start_and_half_a_checkpoint_interval_as_often_as_it_is_likely() -> None:
    work = replace(NEED.work, checkpoint_steps=720)
    found = cost(replace(SAMPLE, reliability=0.94), work)
    assert found.retry == pytest.approx((found.hours.start + 1) * 0.41 * found.hours.total * 0.06 / 6, abs=1e-3)
    assert cost(replace(SAMPLE, reliability=1.0), work).retry == 0
    assert cost(replace(SAMPLE, reliability=1.0), work, interruptions_per_hour=0.1).retry > 0


def test_a_line_faster_than_the_hub_gives_saves_nothing() -> None:
    work = replace(NEED.work, download_gb=40)
    fast, faster = (cost(replace(SAMPLE, inet_down_mbps=rate), work) for rate in (4_000.0, 40_000.0))
    assert fast.hours.download == faster.hours.download


def test_the_range_holds_the_expected_cost_and_narrows_with_runs_of_your_own() -> None:
    unknown, known = cost(), cost(speed=replace(TEN_SECONDS, factor=1.2))
    assert unknown.low < known.low < known.total < known.high < unknown.high
    assert unknown.hours_low < known.hours_low < known.hours.total < known.hours_high < unknown.hours_high


def test_the_cheapest_hour_is_passed_by_an_offer_whose_run_is_cheaper() -> None:
    dear_bytes = replace(SAMPLE, id=1, price_per_hour=0.30, inet_down_usd_per_gb=0.05)
    dear_hours = replace(SAMPLE, id=2, price_per_hour=0.41, inet_down_usd_per_gb=0.0)
    ranking = rank([dear_bytes, dear_hours], replace(NEED, work=replace(NEED.work, download_gb=100)))
    assert [each.offer.id for each in ranking.fitting] == [2, 1]


def test_a_faster_gpu_at_thrice_the_price_is_the_cheaper_run() -> None:
    slow = replace(SAMPLE, id=1, gpu_name="RTX A6000", price_per_hour=0.6)
    fast = replace(SAMPLE, id=2, gpu_name="H100 SXM", price_per_hour=1.8)
    ranking = rank([slow, fast], replace(NEED, work=replace(NEED.work, steps=8000, batch_size=4)))
    assert [each.offer.id for each in ranking.fitting] == [2, 1]


def test_ranking_does_not_depend_on_the_order_of_the_offers() -> None:
    offers = [replace(SAMPLE, id=number, price_per_hour=0.4 + number % 3 / 10) for number in range(6)]
    assert rank(offers, NEED) == rank(offers[::-1], NEED)


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("rented", True, "rented"),
        ("rentable", False, "rented"),
        ("external", True, "marketplace"),
        ("num_gpus", 2, "GPUs"),
        ("gpu_ram_mb", 16000, "GPU memory"),
        ("gpu_ram_mb", None, "GPU memory"),
        ("cpu_ram_mb", 16000, "memory"),
        ("gpu_share", 0.125, "memory"),
        ("gpu_share", None, "memory"),
        ("disk_gb", 99.9, "disk"),
        ("cuda_max_good", 12.2, "CUDA"),
        ("compute_cap", 750, "compute capability"),
        ("compute_cap", 1300, "torch"),
        ("cpu_arch", "arm64", "architecture"),
        ("inet_down_mbps", 100.0, "down"),
        ("inet_down_mbps", 1e6, "claims a line"),
        ("inet_up_mbps", 10.0, "up"),
        ("inet_up_mbps", None, "no rate up"),
        ("direct_ports", 0, "direct ports"),
        ("reliability", 0.9, "reliability"),
        ("reliability", 1.2, "reliability"),
        ("reliability", float("nan"), "reliability"),
        ("duration_seconds", 3600.0, "hours guaranteed"),
        ("verification", "unverified", "verified"),
        ("verification", "deverified", "verified"),
        ("storage_usd_per_gb_month", None, "storage"),
        ("storage_usd_per_hour", 0.5, "nothing for its GPU"),
        ("inet_up_usd_per_gb", None, "bytes"),
        ("inet_down_usd_per_gb", -0.01, "bytes"),
        ("price_per_hour", None, "price"),
        ("price_per_hour", 0.0, "nothing for its GPU"),
        ("price_per_hour", -0.3, "price"),
        ("price_per_hour", float("nan"), "price"),
        ("price_per_hour", float("inf"), "price"),
    ],
)
def test_an_offer_that_does_not_fit_is_refused_with_the_reason(field: str, value: Any, word: str) -> None:
    assert len(only(SAMPLE).fitting) == 1
    ranking = only(replace(SAMPLE, **{field: value}))
    assert ranking.fitting == ()
    assert word in ranking.refused[0].reason


@pytest.mark.parametrize(
    ("wish", "word"),
    [
        ({"gpu_names": ("RTX A6000",)}, "RTX 4090"),
        ({"countries": ("NO",)}, "US"),
        ({"excluded_machine_ids": (43973,)}, "excluded"),
        ({"avoid": Avoid(machine_ids=frozenset({43973}))}, "failed"),
        ({"avoid": Avoid(host_ids=frozenset({307092}))}, "failed"),
        ({"avoid": Avoid(addresses=frozenset({"203.0.113.42"}))}, "failed"),
        ({"max_price_per_hour": 0.4}, "allowed"),
        ({"budget_usd": 0.5}, "for the run and its end, $0.50 are left"),
        ({"deadline_hours": -1.0}, "hours for the run and its end, -1.0 are left"),
        ({"deadline_hours": 1.0}, "hours for the run and its end, 1.0 are left"),
        ({"duration_hours": 1e6}, "guaranteed"),
    ],
)
def test_a_wish_that_an_offer_misses_is_the_reason(wish: dict[str, Any], word: str) -> None:
    ranking = only(SAMPLE, replace(NEED, **wish))
    assert ranking.fitting == ()
    assert word in ranking.refused[0].reason


def test_a_host_must_stay_for_as_long_as_the_run_takes_if_it_goes_slowly() -> None:
    (each,) = only(SAMPLE).fitting
    middle = (each.cost.hours.total + each.cost.hours_high) / 2
    assert only(replace(SAMPLE, duration_seconds=middle * 3600)).fitting == ()
    assert only(replace(SAMPLE, duration_seconds=middle * 3600), replace(NEED, deadline_hours=middle)).fitting
    assert only(replace(SAMPLE, duration_seconds=each.cost.hours_high * 3600 + 1)).fitting


def test_a_price_far_below_what_others_ask_for_the_same_gpu_is_bait() -> None:
    others = [replace(SAMPLE, id=number) for number in range(4)]
    ranking = rank([*others, replace(SAMPLE, id=99, price_per_hour=0.09)], NEED)
    assert 99 not in [each.offer.id for each in ranking.fitting]
    assert "elsewhere" in ranking.refused[0].reason


def test_storage_that_costs_more_than_everything_is_no_offer() -> None:
    ranking = only(replace(SAMPLE, storage_usd_per_gb_month=900.0, storage_usd_per_hour=None))
    assert "storage" in ranking.refused[0].reason


def test_a_rare_gpu_is_held_against_what_the_market_asks_for_as_much_computing() -> None:
    others = [replace(SAMPLE, id=number) for number in range(4)]
    ranking = rank([*others, replace(SAMPLE, id=99, gpu_name="B200", price_per_hour=0.3)], NEED)
    assert [each.offer.id for each in ranking.refused] == [99]


def test_many_baits_of_a_kind_do_not_make_their_price_the_usual_one() -> None:
    others = [replace(SAMPLE, id=number, gpu_name="RTX 3090", price_per_hour=0.18) for number in range(30)]
    baits = [replace(SAMPLE, id=100 + number, gpu_name="H100 SXM", price_per_hour=0.1) for number in range(10)]
    ranking = rank([*others, *baits], NEED)
    assert {each.offer.gpu_name for each in ranking.fitting} == {"RTX 3090"}
    assert {each.why.kind for each in ranking.refused} == {"too cheap to be true"}


def test_a_gpu_of_which_nothing_is_known_is_refused_and_one_with_figures_is_marked() -> None:
    new = replace(SAMPLE, gpu_name="RTX 7090")
    assert "speed estimated" in only(new).lines()[1]
    ranking = only(replace(new, dlperf=None, total_flops=None))
    assert "nothing is known" in ranking.refused[0].reason


def test_the_table_shows_the_ten_best_counts_the_rest_and_tells_each_refusal_on_request() -> None:
    offers = [replace(SAMPLE, id=number, price_per_hour=0.4 + number / 100) for number in range(12)]
    small = [replace(SAMPLE, id=100 + number, disk_gb=10.0) for number in range(3)]
    ranking = rank([*offers, *small, replace(SAMPLE, id=200, rented=True)], NEED)
    head, *rows = ranking.lines()
    assert head.split()[:2] == ["cost", "range"]
    assert [row.startswith("$") for row in rows] == [True] * 10 + [False] * 2
    assert "RTX 4090" in rows[0]
    assert rows[10:] == ["2 more fit and cost more", "4 were passed over: disk 3, rented 1"]
    assert sum("has 10 GB of disk, 100 needed" in line for line in ranking.lines(refused=True)) == 3


def test_your_own_runs_move_an_offer_and_are_named() -> None:
    own = {"rtx4090": Correction(0.5, 2)}
    (table,), (mine,) = only(SAMPLE).fitting, rank([SAMPLE], NEED, own).fitting
    assert mine.cost.seconds_per_step < table.cost.seconds_per_step == mine.cost.table_seconds_per_step
    assert mine.cost.total < table.cost.total
    assert "2 runs of your own" in rank([SAMPLE], NEED, own).lines()[1]


def test_control_characters_of_a_host_never_reach_the_terminal() -> None:
    odd = Offer.from_record(RECORD | {"geolocation": "\x1b[2J\nUtah, US", "gpu_name": "RTX\x07 4090"})
    assert all(line.isprintable() for line in [*only(odd).lines(), odd.gpu_name, odd.geolocation])


def test_an_offer_is_json_with_its_cost() -> None:
    (found,) = only(SAMPLE).fitting
    facts = json.loads(json.dumps(found.as_dict()))
    assert (facts["id"], facts["machine_id"], facts["host_id"]) == (18209627, 43973, 307092)
    parts = ("gpu", "storage", "bytes", "retry")
    assert facts["cost"]["total"] == pytest.approx(sum(facts["cost"][part] for part in parts))
    assert facts["cost"]["hours"]["total"] == pytest.approx(found.cost.hours.total)


def test_the_search_asks_for_what_the_ranking_checks() -> None:
    query = replace(NEED, gpu_names=("RTX 4090",), countries=("US",), max_price_per_hour=1.0).query(least_hours=10)
    assert query["gpu_ram"] == {"gte": 24000}
    assert query["duration"] == {"gte": 36000}
    assert {"cuda_max_good", "compute_cap", "disk_space", "verified", "gpu_name", "geolocation", "dph_total"} < set(
        query
    )


def test_the_guides_numbers_are_the_defaults() -> None:
    assert Requirements().gpu_ram_gb >= 40
    assert Requirements().disk_gb > 200


def test_an_interruptible_offer_is_priced_at_its_bid_and_the_ranking_says_what_that_saves_and_loses() -> None:
    bid = replace(SAMPLE, min_bid_per_hour=0.2, price_per_hour=0.2, storage_usd_per_hour=0.0, on_demand_per_hour=0.5)
    ranking = rank([bid], replace(NEED, interruptible=True))
    (each,) = ranking.fitting
    assert each.bid is not None
    assert 0.2 <= each.as_dict()["bid_per_hour"] < 0.5
    assert each.offer.price_per_hour == pytest.approx(each.bid.per_hour + storage_per_hour(SAMPLE, NEED.disk_gb))

    fixed = only(SAMPLE).fitting[0]
    saved = fixed.cost.total - each.cost.total
    assert f"That is ${saved:.2f} less than" in replace(ranking, on_demand=fixed).lines()[-1]
    assert "Nothing fits on demand" in ranking.lines()[-1]


def test_a_bid_keeps_what_an_hour_may_cost_with_its_storage() -> None:
    bid = replace(SAMPLE, min_bid_per_hour=0.2, price_per_hour=0.2, storage_usd_per_hour=0.0, on_demand_per_hour=0.5)
    (each,) = rank([bid], replace(NEED, interruptible=True, max_price_per_hour=0.222)).fitting
    assert each.offer.price_per_hour == pytest.approx(0.222)


def test_what_costs_less_on_demand_is_not_bid_for() -> None:
    dear = replace(SAMPLE, min_bid_per_hour=0.4, on_demand_per_hour=0.3)
    (refused,) = rank([dear], replace(NEED, interruptible=True)).refused
    assert refused.reason == "costs less on demand than its least bid"
