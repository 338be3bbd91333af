"""The table of seconds per step: every number has a source, the order is plausible, and own runs correct it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from fluxlora.errors import InputError
from fluxlora.estimates.speeds import CARDS, FASTEST, Basis, Correction, Speed, speed_of
from fluxlora.estimates.work import Work
from fluxlora.money.journal import Entry, Event
from fluxlora.offers.corrections import corrections
from fluxlora.rehearsal.vast.market import MODELS

ONE = Work(batch_size=1, megapixels=1024**2 / 1e6)
SMALL = replace(ONE, megapixels=512**2 / 1e6)


def known(name: str) -> Speed:
    speed = speed_of(name)
    assert speed, name
    return speed


def trained(gpu: str, measured: Any, expected: Any = 2.0) -> Entry:
    facts = {"gpu_name": gpu, "seconds_per_step": measured, "expected_seconds_per_step": expected}
    return Entry(Event.TRAINED, "my-style", 0.0, 7, facts)


def test_every_gpu_has_a_source_and_stands_in_the_table_once() -> None:
    assert len({card.name for card in CARDS}) == len(CARDS)
    for card in CARDS:
        assert card.share.source, card
        assert 0.1 < card.share.share < 0.7, card
        assert 10 < card.sheet_tflops < 2500, card


def test_a_published_speed_says_where() -> None:
    published = [card for card in CARDS if card.basis is Basis.PUBLISHED]
    assert len(published) >= 4
    assert all(any(where in card.share.source for where in ("FLUX.md", "#")) for card in published)


def test_every_gpu_of_the_market_is_in_the_table() -> None:
    assert [model.name for model in MODELS if known(model.name).basis is Basis.ESTIMATED] == []


@pytest.mark.parametrize(
    "slower_to_faster",
    [
        ("RTX 3060", "RTX 3080", "RTX 3090", "RTX 4090"),
        ("RTX 4060 Ti", "RTX 4070 Ti", "RTX 4080", "RTX 4090"),
        ("RTX 5080", "RTX 5090", "RTX PRO 6000 WS"),
        ("RTX A4000", "RTX A5000", "RTX A6000", "RTX 6000Ada"),
        ("L4", "A40", "L40", "L40S"),
        ("A40", "A100 PCIE", "A100 SXM4", "H100 PCIE", "H100 SXM", "B200"),
    ],
)
def test_what_nvidia_sells_as_faster_is_faster(slower_to_faster: tuple[str, ...]) -> None:
    seconds = [known(name).step_seconds(ONE) for name in slower_to_faster]
    assert seconds == sorted(seconds, reverse=True)


@pytest.mark.parametrize(
    ("name", "work", "seconds", "off"),
    [
        ("RTX 4090", replace(ONE, precision="nf4-bnb"), 3.5, 0.05),
        ("RTX 4090", replace(SMALL, precision="nf4-bnb"), 1.4, 0.05),
        ("RTX A6000", replace(ONE, adapter_mb=131.0 * 8), 8.25, 0.05),
        # 512, 768 and 1024 pixels in turn, 0.64 megapixels on average.
        ("A40", replace(ONE, megapixels=0.64, precision="fp8-quanto"), 6.5, 0.3),
        # At a resolution that nobody told.
        ("H100 SXM", ONE, 0.5, 1.0),
    ],
)
def test_what_was_published_comes_out_of_the_table(name: str, work: Work, seconds: float, off: float) -> None:
    assert known(name).step_seconds(work) == pytest.approx(seconds, rel=off)


def test_the_factor_of_uncertainty_grows_with_how_little_is_known() -> None:
    guessed = speed_of("RTX 7090", dlperf=100.0)
    assert guessed
    factors = [known("RTX 4090").factor, known("RTX 3090").factor, guessed.factor]
    assert factors == sorted(factors)
    assert len(set(factors)) == 3


@pytest.mark.parametrize("name", ["RTX 6000Ada", "RTX 6000 Ada", "RTX_6000Ada", "rtx 6000ada"])
def test_a_name_is_known_in_every_spelling(name: str) -> None:
    assert known(name).tflops == known("RTX 6000Ada").tflops


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_an_estimate_is_on_the_slow_side_of_what_is_known(model: Any) -> None:
    estimated = speed_of("unheard of", dlperf=model.dlperf, total_flops=model.tflops)
    assert estimated
    assert estimated.basis is Basis.ESTIMATED
    assert estimated.tflops <= known(model.name).tflops


def test_figures_are_of_all_gpus_of_the_offer() -> None:
    one, two = speed_of("new", dlperf=90.0), speed_of("new", dlperf=180.0, gpus=2)
    assert one == two


@pytest.mark.parametrize("dlperf", [None, 0.0, -5.0, math.nan, math.inf])
def test_without_a_sensible_figure_nothing_is_guessed(dlperf: float | None) -> None:
    assert speed_of("new", dlperf=dlperf) is None


def test_no_figure_makes_an_unknown_gpu_faster_than_any_that_exists() -> None:
    boastful = speed_of("new", dlperf=1e12, total_flops=1e12)
    assert boastful
    assert boastful.tflops == FASTEST.tflops


def test_time_grows_with_the_picture_a_little_more_than_its_area() -> None:
    card = known("H100 SXM")
    compute = [card.step_seconds(work) - 0.2 for work in (SMALL, ONE)]
    assert 3 < compute[1] / compute[0] < 4.5


def test_a_batch_is_cheaper_than_its_pictures_one_by_one_and_accumulating_is_not() -> None:
    card = known("L40S")
    together, apart = replace(ONE, batch_size=4), replace(ONE, accumulation=4)
    assert card.step_seconds(together) < card.step_seconds(apart) == pytest.approx(4 * card.step_seconds(ONE))


def test_a_quantised_model_pays_for_each_batch_not_for_each_picture() -> None:
    card = known("RTX 4090")
    extra = [
        card.step_seconds(replace(ONE, batch_size=size, precision="int8-quanto"))
        - card.step_seconds(replace(ONE, batch_size=size))
        for size in (1, 4)
    ]
    assert extra[0] == pytest.approx(extra[1])
    assert extra[0] > 0


def test_one_run_of_your_own_counts_half_and_many_count_nearly_whole() -> None:
    one, many = (corrections([trained("L40S", 4.0)] * count)["l40s"] for count in (1, 20))
    assert one == Correction(pytest.approx(2**0.5), 1)
    assert many.factor == pytest.approx(2, rel=0.05)


def test_one_odd_run_among_your_own_changes_nothing() -> None:
    sound = [trained("L40S", 2.2), trained("L40S", 2.0), trained("L40S", 2.1)]
    odd = [*sound, trained("L40S", 2.1), trained("L40S", 900.0)]
    assert corrections(odd)["l40s"].factor == pytest.approx(corrections(sound)["l40s"].factor, rel=0.02)


@pytest.mark.parametrize("measured", [1e9, 1e-9])
def test_no_run_moves_the_table_beyond_a_factor_of_three(measured: float) -> None:
    factor = corrections([trained("L40S", measured)] * 5)["l40s"].factor
    assert 1 / 3 <= factor <= 3


@pytest.mark.parametrize("measured", [None, 0, -1.0, math.nan, math.inf, "fast", True])
def test_a_run_without_a_sensible_speed_is_passed_over(measured: Any) -> None:
    assert corrections([trained("L40S", measured)]) == {}


def test_your_own_runs_correct_their_gpu_alone_and_narrow_its_range() -> None:
    own = corrections([trained("L40S", 4.0)] * 3)
    before, after, other = speed_of("L40S"), speed_of("L40S", own=own), speed_of("A40", own=own)
    assert before
    assert after
    assert after.step_seconds(ONE) > before.step_seconds(ONE)
    assert after.table_tflops == before.tflops
    assert (after.factor < before.factor, after.runs) == (True, 3)
    assert other == speed_of("A40")


@pytest.mark.parametrize(
    ("given", "word"), [({"stepz": 1}, "stepz"), ({"steps": "x"}, "steps"), ({"steps": -1}, "steps")]
)
def test_work_that_cannot_be_read_is_refused_by_name(given: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        Work.of(given)


def test_work_goes_through_ansibles_text_and_back() -> None:
    facts = Work(steps=300, lycoris=True, precision="nf4-bnb").as_facts()
    assert Work.of({name: str(value) for name, value in facts.items()}) == Work.of(facts) == Work(**facts)
