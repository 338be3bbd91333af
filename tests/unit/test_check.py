"""The check and the plan: one verdict, errors apart from warnings, and a fix offered only for what it fixes."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fluxlora.dataset import MENDED, Dataset, Picture, Wanted, scan, warning
from fluxlora.dataset.finding import SHOWN, WEIGHT, error
from fluxlora.plan import plan
from fluxlora.plan.check import Check, check
from fluxlora.settings import presets

PROJECT = Path(__file__).parents[2]
MERGED: dict[str, Any] = presets.variables_of(PROJECT / "group_vars/training.yml") | presets.variables("1024", PROJECT)


def dataset(count: int, edge: int) -> Dataset:
    return Dataset(Path("/photos"), tuple(Picture(f"{n}.jpg", edge, edge, 1) for n in range(count)), (), 1)


def judged(found: Dataset, **changes: Any) -> Check:
    return Check(plan.make(MERGED | changes, run="", presets=(), dataset=found))


def test_pictures_that_are_all_too_small_are_errors_of_the_check_as_of_the_plan() -> None:
    found = judged(dataset(8, 64))
    assert found.errors == found.as_facts()["errors"] > 0
    assert found.plan.errors == plan.make(MERGED, run="my-style", presets=["1024"], dataset=dataset(8, 64)).errors


@pytest.mark.parametrize(
    "changes",
    [
        {"simpletuner_max_train_steps": "1.5k"},
        {"simpletuner_train_batch_size": 100},
        {"simpletuner_learning_rate": 5.0},
        {"plan_card_gb": 1},
    ],
)
def test_whatever_refuses_a_plan_fails_the_check_and_is_counted(changes: dict[str, Any]) -> None:
    found = judged(dataset(8, 1024), **changes)
    refused = plan.make(MERGED | changes, run="my-style", presets=["1024"], dataset=dataset(8, 1024)).errors
    assert (found.plan.errors, found.errors) == (refused, len(refused))
    assert found.lines()[-1].startswith(f"found      {found.errors or 'no'} error")


def test_the_check_of_the_example_is_the_plan_of_the_example() -> None:
    found = check(PROJECT / "examples/dataset", MERGED, Wanted())
    made = plan.make(MERGED, run="my-style", presets=["1024"], dataset=scan(PROJECT / "examples/dataset"))
    assert found.errors == 0
    assert [line for line in found.lines() if line in made.lines()] == made.verdict()


def test_errors_stand_first_and_are_counted_then_the_warnings_with_those_that_are_not_told() -> None:
    many = tuple(warning(f"{n}.jpg", "duplicate", "It is one.", "Remove it.") for n in range(SHOWN + 4))
    wrong = tuple(error(f"{n}.jpg", "no_caption", "It has none.", "Write it.") for n in range(SHOWN + 2))
    lines = judged(replace(dataset(16, 1024), findings=(*many, *wrong))).lines()
    words = [line.split()[0] for line in lines]
    assert [word for word, _ in itertools.groupby(words) if word != "hint"] == [
        "dataset", "errors", "error", "warnings", "warning", "found",
    ]  # fmt: skip
    assert words.count("error") == SHOWN + 1
    assert lines[1] == f"errors     {SHOWN + 2}: the run is refused until they are fixed"
    # A rule warns of something else besides.
    assert f"{SHOWN + 2} errors, {SHOWN + 5} warnings." in lines[-1]
    assert f"fixes {SHOWN + 4} of these in a copy" in lines[-1]
    assert f"the other {SHOWN + 3} are for you to fix" in lines[-1]


@pytest.mark.parametrize("code", WEIGHT)
def test_a_fix_is_offered_exactly_for_the_kinds_that_a_copy_does_not_have(code: str) -> None:
    found = replace(dataset(16, 1024), findings=(warning("0.jpg", code, "It is so.", "Do that."),))
    assert ("--fix" in judged(found).lines()[-1]) == (code in MENDED)
