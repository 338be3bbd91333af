"""Edges divided for a rehearsal, options merged for the trainer's files."""

from __future__ import annotations

import pytest

from fluxlora.options import divide_pixels, trainer_options


@pytest.mark.parametrize(
    ("value", "divided"),
    [
        (1024, 128),
        ("1024x1024", "128x128"),
        ("1024x768,512x512", "128x96,64x64"),
        ({"id": "a", "resolution": 1024}, {"id": "a", "resolution": 128}),
        ({"resolution_type": "area", "resolution": 1.0}, {"resolution_type": "area", "resolution": 0.015625}),
        ({"minimum_image_size": 0}, {"minimum_image_size": 0}),
    ],
)
def test_edges_are_divided_and_megapixels_by_the_square(value, divided):
    assert divide_pixels(value, 8) == divided


def test_a_divisor_of_one_changes_nothing():
    backend = {"resolution_type": "area", "resolution": 1.0, "maximum_image_size": 1.0}

    assert divide_pixels(backend, 1) == backend


def test_extra_options_replace_by_name_whatever_their_dashes():
    assert trainer_options({"--seed": 42, "--x": None}, {"seed": 7}) == {"--seed": 7}
