"""Pictures that a run's sizes leave out, or cut much off."""

from __future__ import annotations

from pathlib import Path

import pytest

from fluxlora.dataset import Dataset, Picture
from fluxlora.plan import fit
from fluxlora.plan.figures import Figures

SQUARE = {"crop": True, "crop_aspect": "square", "resolution": 512, "minimum_image_size": 512}


def found(width: int, height: int, **backend: object) -> list[str]:
    entry = {"id": "square", "resolution_type": "pixel_area", **SQUARE, **backend}
    picture = Picture("a.jpg", width, height, 1)
    figures = Figures.of({"simpletuner_datasets": [entry]}, Dataset(Path("/data"), (picture,), (), 0))
    return [finding.code for finding in fit.findings(figures)]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((512, 512), []),
        ((511, 2000), ["too_small"]),
        ((2000, 511), ["too_small"]),
        ((900, 600), []),
        ((1920, 1080), ["cropped"]),
        ((1080, 1920), ["cropped"]),
    ],
)
def test_a_square_leaves_out_what_is_short_and_cuts_what_is_long(size: tuple[int, int], expected: list[str]) -> None:
    assert found(*size) == expected


def test_whole_pictures_are_not_cut() -> None:
    assert found(1920, 1080, crop=False) == []


@pytest.mark.parametrize(
    ("second", "expected"), [({}, ["cropped"]), ({"crop": False}, [])], ids=["as a square too", "whole"]
)
def test_what_is_cut_off_is_said_once_and_not_where_the_picture_is_also_trained_whole(
    second: dict[str, object], expected: list[str]
) -> None:
    square = {"id": "one", "resolution_type": "pixel_area", **SQUARE}
    picture = Picture("a.jpg", 1920, 1080, 1)
    variables = {"simpletuner_datasets": [square, {**square, "id": "two", **second}]}
    figures = Figures.of(variables, Dataset(Path("/data"), (picture,), (), 0))
    assert [finding.code for finding in fit.findings(figures)] == expected


def test_each_data_backend_speaks_for_itself_and_says_what_to_do() -> None:
    entries = [{"id": name, "resolution_type": "pixel_area", **SQUARE} for name in ("one", "two")]
    picture = Picture("a.jpg", 600, 500, 1)
    figures = Figures.of({"simpletuner_datasets": entries}, Dataset(Path("/data"), (picture,), (), 0))
    first, second = fit.findings(figures)
    assert "Data backend one leaves it out" in str(first)
    assert "both edges must be at least 512 pixels" in str(first)
    assert "preset of a smaller resolution" in str(second)
