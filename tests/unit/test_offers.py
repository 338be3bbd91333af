"""The ranking of offers is arithmetic that a bill can be checked against."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fluxlora.offers import Requirements, expected_cost, rank, why_not
from fluxlora.records import Offer

SAMPLE = Offer.from_record(json.loads((Path(__file__).parents[1] / "data" / "vast" / "offer.json").read_text()))
# What the published example of an offer, an RTX 4090, is good for.
NEED = Requirements(gpu_ram_gb=24, hours=10, download_gb=0, upload_gb=0, disk_gb=100)


def test_a_published_offer_is_read_with_its_units() -> None:
    assert (SAMPLE.id, SAMPLE.gpu_name, SAMPLE.gpu_ram_mb, SAMPLE.disk_gb) == (18209627, "RTX 4090", 24564, 812.4)
    assert (SAMPLE.price_per_hour, SAMPLE.storage_usd_per_gb_month, SAMPLE.cuda_max_good) == (0.41, 0.15, 12.8)
    assert (SAMPLE.inet_down_mbps, SAMPLE.inet_down_usd_per_gb, SAMPLE.compute_cap) == (842.7, 0.002, 890)


def test_the_same_disk_as_in_the_search_costs_what_vast_ai_says_in_an_hour() -> None:
    assert expected_cost(SAMPLE, NEED).total == pytest.approx(10 * 0.41, abs=1e-3)


def test_a_larger_disk_costs_its_share_of_a_month_of_30_days() -> None:
    cost = expected_cost(SAMPLE, replace(NEED, disk_gb=220))
    assert cost.storage == pytest.approx(220 * 0.15 / 720 * 10)
    assert cost.gpu == pytest.approx((0.41 - 0.0208) * 10)


def test_bytes_are_paid_in_both_directions_and_their_time_is_paid_as_well() -> None:
    cost = expected_cost(SAMPLE, replace(NEED, download_gb=40, upload_gb=2))
    assert cost.bytes == pytest.approx(42 * 0.002)
    assert cost.hours == pytest.approx(10 + 40 * 8000 / 842.7 / 3600)


def test_the_cheapest_hour_is_passed_by_an_offer_whose_run_is_cheaper() -> None:
    dear_bytes = replace(SAMPLE, id=1, price_per_hour=0.30, inet_down_usd_per_gb=0.05)
    dear_hours = replace(SAMPLE, id=2, price_per_hour=0.41, inet_down_usd_per_gb=0.0)
    ranking = rank([dear_bytes, dear_hours], replace(NEED, download_gb=100))
    assert [each.offer.id for each in ranking.fitting] == [2, 1]


def test_ranking_does_not_depend_on_the_order_of_the_offers() -> None:
    offers = [replace(SAMPLE, id=number, price_per_hour=0.4 + number % 3 / 10) for number in range(6)]
    assert rank(offers, NEED).fitting == rank(offers[::-1], NEED).fitting


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("rented", True, "rented"),
        ("rentable", False, "rented"),
        ("num_gpus", 2, "GPUs"),
        ("gpu_ram_mb", 16000, "GPU memory"),
        ("cpu_ram_mb", 16000, "memory"),
        ("disk_gb", 99.9, "disk"),
        ("cuda_max_good", 12.2, "CUDA"),
        ("compute_cap", 750, "compute capability"),
        ("cpu_arch", "arm64", "architecture"),
        ("inet_down_mbps", 100.0, "down"),
        ("inet_up_mbps", 10.0, "up"),
        ("direct_ports", 0, "direct ports"),
        ("reliability", 0.9, "reliability"),
        ("duration_seconds", 3600.0, "hours guaranteed"),
        ("verification", "unverified", "verified"),
        ("storage_usd_per_gb_month", None, "storage"),
        ("inet_up_usd_per_gb", None, "bytes"),
        ("price_per_hour", None, "hour"),
        ("gpu_ram_mb", None, "GPU memory"),
    ],
)
def test_an_offer_that_does_not_fit_is_refused_with_the_reason(field: str, value: Any, word: str) -> None:
    assert why_not(SAMPLE, NEED) == ""
    ranking = rank([replace(SAMPLE, **{field: value})], NEED)
    assert ranking.fitting == ()
    assert word in ranking.refused[0].reason


@pytest.mark.parametrize(
    ("wish", "word"),
    [
        ({"gpu_names": ("RTX A6000",)}, "RTX 4090"),
        ({"countries": ("NO",)}, "US"),
        ({"excluded_machine_ids": (43973,)}, "excluded"),
        ({"max_price_per_hour": 0.4}, "allowed"),
    ],
)
def test_a_wish_that_an_offer_misses_is_the_reason(wish: dict[str, Any], word: str) -> None:
    assert word in why_not(SAMPLE, replace(NEED, **wish))


def test_the_search_asks_for_what_the_ranking_checks() -> None:
    query = replace(NEED, gpu_names=("RTX 4090",), countries=("US",), max_price_per_hour=1.0).query()
    assert query["gpu_ram"] == {"gte": 24000}
    assert query["duration"] == {"gte": 36000}
    assert {"cuda_max_good", "compute_cap", "disk_space", "verified", "gpu_name", "geolocation", "dph_total"} < set(
        query
    )


def test_the_guides_numbers_are_the_defaults() -> None:
    assert Requirements().gpu_ram_gb >= 40
    assert Requirements().disk_gb > 200
