"""Over random markets nothing cheaper than the chosen offer is left, and nothing that cannot be true is chosen.

The reckoning here is one of its own: it reads vast.ai's raw records, and shares only the table's numbers.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxlora.estimates import speeds
from fluxlora.estimates.work import Work
from fluxlora.offers import Ranking, costs, rank
from fluxlora.offers.requirements import Requirements
from fluxlora.rehearsal.vast.market import Market
from fluxlora.vast.records import Offer

Record = dict[str, Any]
SEEDS = range(150)
# TFLOPS by the table.
RATES = {card.name: card.sheet_tflops * card.share.share for card in speeds.CARDS}


def market(seed: int) -> list[Record]:
    """Some 200 offers of two markets, with prices, lines and figures shaken once more."""
    chance = random.Random(seed)
    records = [*Market(seed).offers(storage=220), *Market(seed + 10_000).offers(storage=220)]
    for number, record in enumerate(records, start=1):
        factor = chance.uniform(0.8, 1.25)
        disk = record["storage_total_cost"]
        record |= {
            "id": number,
            "machine_id": number,
            "dph_total": (record["dph_total"] - disk) * factor + disk,
            "reliability2": chance.choice((0.94, 0.97, 0.99, 0.999)),
            "inet_down": chance.uniform(150, 5000),
            "inet_up": chance.uniform(40, 2000),
        }
    return records


def need_of(seed: int) -> Requirements:
    chance = random.Random(seed)
    run = Work(
        steps=chance.choice((300, 1500, 5000)),
        batch_size=chance.choice((1, 2, 4)),
        accumulation=chance.choice((1, 4)),
        megapixels=chance.choice((0.262144, 1.048576)),
        checkpoint_steps=chance.choice((100, 500, 10_000)),
        validations=chance.choice((0, 12, 52)),
        latents=chance.choice((20, 2000)),
        download_gb=chance.choice((40.0, 60.0)),
        upload_gb=chance.choice((2.0, 26.0, 200.0)),
    )
    return Requirements(
        gpu_ram_gb=chance.choice((23, 40, 75)),
        num_gpus=chance.choice((1, 1, 2)),
        max_price_per_hour=chance.choice((None, 3.0)),
        work=run,
    )


def plain_cost(record: Record, need: Requirements) -> float | None:
    """Dollars for the run on this record, or None where it does not do; written down as plainly as it goes."""
    run, gpus = need.work, record["num_gpus"]
    rate = RATES.get(record["gpu_name"])
    fits = (
        record["rentable"]
        and not record["rented"]
        and gpus == need.num_gpus
        and record["gpu_ram"] >= need.gpu_ram_gb * 1000
        and record["cpu_ram"] * record["gpu_frac"] >= need.cpu_ram_gb * 1000
        and record["disk_space"] >= need.disk_gb
        and record["cuda_max_good"] >= need.cuda_version
        and need.compute_cap <= record["compute_cap"] < 1300
        and record["inet_down"] >= need.inet_down_mbps
        and record["inet_up"] >= need.inet_up_mbps
        and record["direct_port_count"] >= need.direct_ports
        and record["reliability2"] >= need.reliability
        and record["verification"] == "verified"
        and (need.max_price_per_hour is None or record["dph_total"] <= need.max_price_per_hour)
    )
    if not fits or rate is None:
        return None
    tokens = run.megapixels * 1e6 / 256 + 512
    linear, attention = 2 * 6.45e9 * tokens, 4 * 57 * 3072 * tokens * tokens
    sample = 3 * linear + 4.5 * attention + 4 * run.adapter_mb * 1e6 * tokens
    step = run.accumulation * (run.batch_size * sample / (rate * 1e12) + 0.2) * (1.05 if gpus > 1 else 1)
    drawn = run.validation_megapixels * 1e6 / 256 + 512
    draw = (2 * 6.45e9 * drawn + 4 * 57 * 3072 * drawn * drawn) / (rate * 1e12) + 0.05
    down, up = min(record["inet_down"], 4000) / 8000, min(record["inet_up"], 1000) / 8000
    start = 0.1 + run.download_gb / down / 3600 + 0.15 + 0.1 + (run.latents * 0.5 + run.captions * 0.15) / 3600
    training = run.steps * step / 3600
    validation = run.validations * (10 + run.inference_steps * draw) / 3600
    sending = run.upload_gb / up / 3600
    fetch = max(sending - training, min(sending, run.checkpoint_gb / up / 3600))
    hours = start + training + validation + fetch
    per_hour = record["dph_total"]
    if record["duration"] < 3600 * slow_hours(record, run, rate, training, validation, fetch):
        return None
    lost = training * min(run.checkpoint_steps / run.steps, 1) / 2
    failures = (1 - record["reliability2"]) / 6 * hours
    down_cost = run.download_gb * record["inet_down_cost"]
    retry = failures * ((start + lost) * per_hour + down_cost)
    return hours * per_hour + down_cost + run.upload_gb * record["inet_up_cost"] + retry


def slow_hours(record: Record, run: Work, rate: float, training: float, validation: float, fetch: float) -> float:
    """If everything goes badly, for which the host has to stay."""
    published = {"RTX 4090", "RTX A6000", "A40", "H100 SXM"}
    factor = 1.5 if record["gpu_name"] in published else 1.8
    caching = 0.1 + (run.latents * 0.5 + run.captions * 0.15) / 3600
    download = run.download_gb / (min(record["inet_down"], 4000) / 8000) / 3600
    return 3 * (0.1 + 0.15) + 2 * download + factor * (caching + training + validation) + 2 * fetch


def ranked(records: list[Record], need: Requirements) -> Ranking:
    return rank([Offer.from_record(record) for record in records], need)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_offer_of_a_market_is_cheaper_than_the_chosen_one(seed: int) -> None:
    records, need = market(seed), need_of(seed)
    expected = {record["id"]: cost for record in records if (cost := plain_cost(record, need)) is not None}
    found = ranked(records, need)
    assert {each.offer.id for each in found.fitting} == set(expected) != set()
    assert expected[found.fitting[0].offer.id] <= min(expected.values()) * 1.01
    assert found.fitting[0].cost.total == pytest.approx(expected[found.fitting[0].offer.id], rel=0.001)


LURES: dict[str, Callable[[Record], Record]] = {
    "bait": lambda best: {"dph_total": 0.1 * best["dph_total"] + 0.9 * best["storage_total_cost"]},
    "free": lambda best: {"dph_total": 0.0},
    "negative": lambda best: {"dph_total": -1.0},
    "not a number": lambda best: {"dph_total": "NaN"},
    "no price": lambda best: {"dph_total": None},
    "nothing but storage": lambda best: {"storage_total_cost": best["dph_total"]},
    "absurd line": lambda best: {"inet_down": 1e6, "inet_up": 1e6},
    "endless line": lambda best: {"inet_down": float("inf")},
    "tiny disk": lambda best: {"disk_space": 219.0, "dph_total": best["dph_total"] * 0.8},
    "deverified": lambda best: {"verification": "deverified", "dph_total": best["dph_total"] * 0.8},
    "more than reliable": lambda best: {"reliability2": 40.0, "reliability": 40.0},
    "pays for bytes": lambda best: {"inet_down_cost": -0.1},
    "leaves soon": lambda best: {"duration": 600.0, "dph_total": best["dph_total"] * 0.8},
    "rented": lambda best: {"rented": True, "dph_total": best["dph_total"] * 0.8},
    "too new": lambda best: {"compute_cap": 1300, "gpu_name": "Z1000", "dph_total": best["dph_total"] * 0.8},
    "unknown and silent": lambda best: {"gpu_name": "Z1000", "dlperf": None, "total_flops": None},
    "unknown and boastful": lambda best: {"gpu_name": "Z1000", "dlperf": 1e9, "total_flops": 1e9, "dph_total": 0.1},
}  # fmt: skip


@pytest.mark.parametrize("seed", range(0, 150, 5))
def test_no_lure_ever_wins(seed: int) -> None:
    records, need = market(seed), need_of(seed)
    chosen = ranked(records, need).fitting[0].offer.id
    original = next(record for record in records if record["id"] == chosen)
    lures = [
        {**original, **change(original), "id": 100_000 + number, "machine_id": 100_000 + number}
        for number, change in enumerate(LURES.values())
    ]
    found = ranked([*lures, *records], need)
    assert found.fitting[0].offer.id == original["id"]
    assert {each.offer.id for each in found.fitting} & {lure["id"] for lure in lures} == set()


ODD = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5) | st.lists(st.none(), max_size=1)
RECORDS = market(1)


@settings(max_examples=60)
@given(st.lists(st.dictionaries(st.sampled_from(sorted({*RECORDS[0]} - {"id"})), ODD, max_size=6), max_size=8))
def test_whatever_a_host_writes_the_ranking_is_one_and_its_costs_are_numbers(odd: list[dict[str, Any]]) -> None:
    records = [{**RECORDS[number], **changes, "id": 1000 + number} for number, changes in enumerate(odd)]
    found = ranked([*RECORDS, *records], Requirements(gpu_ram_gb=10, compute_cap=700))
    assert all(0 < each.cost.low <= each.cost.total <= each.cost.high < math.inf for each in found.fitting)
    assert len(found.fitting) + len(found.refused) == len(RECORDS) + len(records)
    json.dumps([each.as_dict() for each in (*found.fitting, *found.refused)], allow_nan=False)


OFFER = Offer.from_record(market(1)[60])
HONEST = replace(OFFER, num_gpus=1, gpu_name="L40S", price_per_hour=0.9, reliability=0.98, inet_down_mbps=900.0)


def total(offer: Offer = HONEST, **changes: Any) -> float:
    speed = speeds.speed_of(offer.gpu_name)
    assert speed
    return costs.expected_cost(offer, replace(Work(), **changes), speed, disk_gb=220).total


@pytest.mark.parametrize(
    "dearer",
    [
        {"price_per_hour": 1.0},
        {"inet_down_usd_per_gb": 0.9},
        {"inet_up_usd_per_gb": 0.9},
        {"storage_usd_per_gb_month": 3.0},
        {"inet_down_mbps": 300.0},
        {"reliability": 0.95},
        {"gpu_name": "A40"},
        # What it calls storage makes its GPU no cheaper.
        {"price_per_hour": 0.95, "storage_usd_per_hour": 0.94},
    ],
)
def test_what_is_worse_in_one_thing_costs_more(dearer: dict[str, Any]) -> None:
    assert total(replace(HONEST, **dearer)) > total()


@pytest.mark.parametrize(
    "more",
    [
        {"steps": 6000},
        {"batch_size": 8},
        {"accumulation": 2},
        {"megapixels": 2.0},
        {"precision": "int8-quanto"},
        {"adapter_mb": 1000.0},
        {"lycoris": True},
        {"validations": 100},
        {"inference_steps": 30},
        {"latents": 20_000},
        {"captions": 40_000},
        {"download_gb": 80.0},
        {"upload_gb": 900.0},
        {"checkpoint_gb": 3.0},
        {"checkpoint_steps": 2000},
    ],
)
def test_more_work_costs_more(more: dict[str, Any]) -> None:
    assert total(**more) > total()
