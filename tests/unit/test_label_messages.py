"""A name that cannot be used is refused with the name, what is wrong with it and what to write."""

from __future__ import annotations

import pytest

from fluxlora.errors import InputError
from fluxlora.vast.labels import Label


@pytest.mark.parametrize(
    ("names", "code", "message", "hint"),
    [
        ({"run": "a", "prefix": "a b"}, "bad_label_prefix", "'a b' cannot begin a label.", "digits"),
        ({"run": "a b"}, "bad_run_name", "'a b' is not a name for a run.", "up to 64 letters"),
        ({"run": "training"}, "bad_run_name", "'training'", "Choose another"),
        ({"run": "a", "presets": ("512", "x+y")}, "bad_preset_name", "'x+y' is not a name for a preset.", "'_'"),
        ({"run": "a", "presets": ("p" * 300,)}, "label_too_long", "256 characters", "Choose a shorter name"),
    ],
)
def test_a_refused_name_is_said_with_what_to_write_instead(
    names: dict[str, object], code: str, message: str, hint: str
) -> None:
    with pytest.raises(InputError) as refused:
        Label(**names)  # type: ignore[arg-type]
    assert refused.value.code == code
    assert message in str(refused.value)
    assert hint in refused.value.hint


def test_a_label_of_another_prefix_is_read_with_that_prefix_alone() -> None:
    text = str(Label("a", ("512", "lokr"), "other"))
    assert text == "other/a/512+lokr"
    assert Label.parse(text) is None
    assert Label.parse(f" {text}\n", "other") == Label("a", ("512", "lokr"), "other")
    assert Label.parse("other/a/", "other") == Label("a", (), "other")


@pytest.mark.parametrize("text", ["fluxlora/a", "fluxlora/a/512/more", "/a/512", "Fluxlora/a/512", "fluxlora/a/5 2"])
def test_what_differs_in_one_part_is_no_label_of_ours(text: str) -> None:
    assert Label.parse(text) is None
