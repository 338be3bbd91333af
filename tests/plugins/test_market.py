"""A market of more offers than vast.ai tells in one answer: the cheapest run is found all the same, and soon."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import VastServer, serving
from fluxlora.estimates.speeds import Correction
from fluxlora.estimates.work import Work
from fluxlora.offers import Ranking, find, rank
from fluxlora.offers.requirements import Requirements
from fluxlora.rehearsal.vast.market import Market
from fluxlora.vast.client import OFFERS_PER_ANSWER, Vast
from fluxlora.vast.records import Offer
from replay import replaying

SEED, MACHINES = 3, 30
QUANTISED = Work(precision="int8-quanto", batch_size=4, steps=3000)


@pytest.fixture(scope="module")
def large() -> Iterator[VastServer]:
    with serving("--hosts", "none", "--seed", str(SEED), "--machines", str(MACHINES)) as server:
        yield server


def everything(need: Requirements) -> Ranking:
    """The ranking of the whole market, which nobody sees in one answer."""
    offers = Market(SEED, MACHINES).offers(storage=need.disk_gb, bid=need.interruptible)
    return rank([Offer.from_record(record) for record in offers], need)


def searched(server: VastServer) -> int:
    return sum(request["path"].startswith("/api/v0/bundles") for request in server.requests())


@pytest.mark.parametrize(
    "need",
    [
        Requirements(gpu_ram_gb=15, work=QUANTISED),
        Requirements(gpu_ram_gb=40),
        Requirements(gpu_ram_gb=15, work=QUANTISED, interruptible=True),
        Requirements(gpu_ram_gb=23, work=QUANTISED, max_price_per_hour=1.0),
    ],
    ids=["small cards", "guide", "bids", "price limit"],
)
def test_the_cheapest_run_is_found_behind_64_cheaper_hours(large: VastServer, need: Requirements) -> None:
    large.call("POST", "/rehearsal/reset").raise_for_status()
    found, whole = find(Vast(large.api_key, large.url), need), everything(need)
    assert len(whole.fitting) > 10
    assert found.fitting[0].cost.total == pytest.approx(whole.fitting[0].cost.total, rel=1e-3)
    # vast.ai's limit is ten a minute.
    assert 2 <= searched(large) <= 10
    assert found.cut_at is None


def test_the_cheapest_run_is_not_among_the_64_cheapest_hours(large: VastServer) -> None:
    need = Requirements(gpu_ram_gb=15, work=QUANTISED)
    first = Vast(large.api_key, large.url).offers(need.query(), disk_gb=need.disk_gb)
    assert len(first) == OFFERS_PER_ANSWER
    assert everything(need).fitting[0].offer.id not in [offer.id for offer in first]


def test_dearer_hours_are_looked_at_where_your_own_runs_were_faster_than_any_card_of_the_table() -> None:
    need, own = Requirements(gpu_ram_gb=15, work=QUANTISED), {"h100sxm": Correction(1 / 3, 9)}
    offers = [Offer.from_record(record) for record in Market(7, 20).offers(storage=need.disk_gb)]
    with serving("--hosts", "none", "--seed", "7", "--machines", "20") as server:
        found = find(Vast(server.api_key, server.url), need, own)
    assert found.fitting[0].cost.total == pytest.approx(rank(offers, need, own).fitting[0].cost.total, rel=1e-3)


def test_bids_are_priced_at_their_least_and_fixed_prices_are_dearer(large: VastServer) -> None:
    fixed, bids = (
        find(Vast(large.api_key, large.url), Requirements(gpu_ram_gb=40, interruptible=each)) for each in (False, True)
    )
    assert bids.fitting[0].cost.gpu < fixed.fitting[0].cost.gpu
    assert bids.fitting[0].cost.retry > fixed.fitting[0].cost.retry


def test_a_search_that_is_answered_the_same_again_ends_and_says_what_was_not_looked_at() -> None:
    record = json.loads((Path(__file__).parents[1] / "data" / "vast" / "offer.json").read_text())
    full = {"offers": [record | {"id": number} for number in range(1, OFFERS_PER_ANSWER + 1)]}
    with replaying((200, full)) as replay:
        found = find(Vast("k", replay.url), Requirements(gpu_ram_gb=15, work=QUANTISED))
    assert len(replay.requests) == 3
    assert len(found.fitting) == OFFERS_PER_ANSWER
    assert "Offers above $0.41 an hour were not looked at." in found.lines()
