"""Edges divided for a rehearsal, options merged for the trainer's files."""

from __future__ import annotations

import pytest

from fluxlora.trainer.options import divide_pixels, trainer_options


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
    assert trainer_options({"--seed": 42, "--x": None}, {"seed": 7}, "3.1.6") == {"--seed": 7}


def test_an_option_of_ours_is_left_out_where_the_version_has_none():
    options = {"--validation_torch_compile": False, "--seed": 42}

    assert trainer_options(options, {}, "3.1.6") == options
    assert trainer_options(options, {}, "4.10.1") == {"--seed": 42}


def test_a_users_own_option_stays_for_the_plan_to_refuse():
    extra = {"validation_torch_compile": True}

    assert trainer_options({}, extra, "4.10.1") == {"--validation_torch_compile": True}


def test_a_version_that_embeds_no_empty_text_is_not_asked_to_draw_with_one() -> None:
    drawn = {
        "--validation_prompt": "A pizza.",
        "--validation_negative_prompt": "",
        "--caption_dropout_probability": 0.0,
    }
    asked = trainer_options(drawn, {}, "4.10.1")
    assert asked["--validation_disable_unconditional"] is True
    assert "--validation_negative_prompt" not in asked, "its own is not empty"
    assert trainer_options(drawn, {}, "3.1.6") == drawn
    dropped = drawn | {"--caption_dropout_probability": 0.1}
    assert trainer_options(dropped, {}, "4.10.1") == dropped
    assert trainer_options(drawn | {"--validation_negative_prompt": "ugly"}, {}, "4.10.1")[
        "--validation_negative_prompt"
    ]
    assert trainer_options(drawn, {"validation_negative_prompt": ""}, "4.10.1")["--validation_negative_prompt"] == ""
