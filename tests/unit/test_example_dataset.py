"""The photographs that every rehearsal trains on."""

import re
from pathlib import Path

import pytest
from PIL import Image

DATASET = Path(__file__).parents[2] / "examples" / "dataset"
IMAGES = sorted(DATASET.glob("*.jpg"))
SUBJECT = [image for image in IMAGES if image.name.startswith("nature-")]
REGULARISATION = [image for image in IMAGES if image.name.startswith("regularisation-")]
LICENCES = {"GPL-2.0-or-later", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-SA-3.0", "CC0-1.0"}
TRIGGER = "sksmacro"

each_image = pytest.mark.parametrize("image", IMAGES, ids=lambda path: path.stem)


def captions(image: Path) -> list[str]:
    return image.with_suffix(".txt").read_text(encoding="utf-8").splitlines()


def test_there_are_12_to_16_pictures_of_the_style_and_some_of_other_things() -> None:
    assert 12 <= len(SUBJECT) <= 16
    assert 6 <= len(REGULARISATION) <= 10
    assert len(SUBJECT) + len(REGULARISATION) == len(IMAGES)


def test_nothing_lies_in_the_folder_but_pictures_their_captions_and_the_credits() -> None:
    expected = {image.name for image in IMAGES} | {image.with_suffix(".txt").name for image in IMAGES} | {"CREDITS.md"}
    assert {path.name for path in DATASET.iterdir()} == expected


def test_the_whole_folder_is_small_enough_for_a_repository() -> None:
    assert sum(path.stat().st_size for path in DATASET.iterdir()) < 4_000_000


@each_image
def test_both_edges_are_long_enough_for_training_at_1024(image: Path) -> None:
    with Image.open(image) as picture:
        picture.load()
        assert min(picture.size) >= 1024
        assert picture.mode == "RGB"


@each_image
def test_a_picture_carries_no_metadata_of_its_camera(image: Path) -> None:
    with Image.open(image) as picture:
        assert not picture.getexif()


@each_image
def test_every_caption_line_says_something(image: Path) -> None:
    lines = captions(image)
    assert lines
    assert all(len(line.split()) >= 4 and line == line.strip() for line in lines)


@pytest.mark.parametrize("image", SUBJECT, ids=lambda path: path.stem)
def test_every_caption_of_the_style_holds_the_trigger_word(image: Path) -> None:
    assert all(TRIGGER in re.findall(r"\w+", line) for line in captions(image))


@pytest.mark.parametrize("image", REGULARISATION, ids=lambda path: path.stem)
def test_no_regularisation_caption_holds_the_trigger_word(image: Path) -> None:
    assert not any(TRIGGER in line.lower() for line in captions(image))


def test_captions_are_short_and_long_and_some_pictures_have_several() -> None:
    lengths = [len(line.split()) for image in IMAGES for line in captions(image)]
    assert min(lengths) <= 10
    assert max(lengths) >= 40
    assert 5 <= sum(len(captions(image)) > 1 for image in IMAGES) < len(IMAGES)


@each_image
def test_every_picture_is_credited_with_author_and_licence(image: Path) -> None:
    credits = (DATASET / "CREDITS.md").read_text(encoding="utf-8").splitlines()
    rows = [row.strip("| ").split(" | ") for row in credits if row.startswith(f"| {image.name} ")]
    assert len(rows) == 1
    _, original, author, licence = rows[0]
    assert original.endswith(("[1]", "[2]", "[3]"))
    assert author.strip()
    assert licence in LICENCES
