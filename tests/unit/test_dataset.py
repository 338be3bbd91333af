"""What is found in a folder of real, small images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from fluxlora import dataset
from fluxlora.dataset import CAPTION_LIMIT_BYTES, Picture, Severity
from fluxlora.errors import InputError

Add = Callable[..., Path]


@pytest.fixture
def add(tmp_path: Path) -> Add:
    def make(name: str, size: tuple[int, int] = (64, 48), caption: str | bytes | None = "a photo of sksbadz") -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, "teal").save(file)
        if caption is not None:
            text = caption.encode() if isinstance(caption, str) else caption
            file.with_suffix(".txt").write_bytes(text)
        return file

    return make


def found(path: Path) -> list[tuple[str, str, Severity]]:
    return [(each.file, each.code, each.severity) for each in dataset.scan(path).findings]


def test_pictures_have_their_size_and_their_lines_of_caption(tmp_path: Path, add: Add) -> None:
    add("a.jpg", (64, 48), "one\ntwo\n\n")
    add("deep/er/b.webp", (30, 40), "one")
    scanned = dataset.scan(tmp_path)
    assert scanned.pictures == (Picture("a.jpg", 64, 48, 2), Picture("deep/er/b.webp", 30, 40, 1))
    assert scanned.findings == ()
    assert scanned.captions == 3
    assert scanned.size_bytes == sum(file.stat().st_size for file in tmp_path.rglob("*.*"))


def test_a_picture_that_lies_on_its_side_has_its_displayed_size(tmp_path: Path, add: Add) -> None:
    file = add("a.jpg", (64, 48))
    with Image.open(file) as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(file, exif=exif)
    (picture,) = dataset.scan(tmp_path).pictures
    assert (picture.width, picture.height) == (48, 64)


@pytest.mark.parametrize(
    ("caption", "code", "file"),
    [
        (None, "no_caption", "a.png"),
        ("", "empty_caption", "a.txt"),
        (" \n\t\n", "empty_caption", "a.txt"),
        (b"caf\xe9", "not_utf8", "a.txt"),
        ("x" * (CAPTION_LIMIT_BYTES + 1), "caption_too_long", "a.txt"),
    ],
)
def test_a_caption_that_cannot_be_trained_on_is_an_error(
    tmp_path: Path, add: Add, caption: str | bytes | None, code: str, file: str
) -> None:
    add("a.png", caption=caption)
    assert found(tmp_path) == [(file, code, Severity.ERROR)]
    assert dataset.scan(tmp_path).pictures == ()


def test_a_caption_without_an_image_is_a_warning(tmp_path: Path, add: Add) -> None:
    add("a.png")
    (tmp_path / "b.txt").write_text("nobody")
    assert found(tmp_path) == [("b.txt", "caption_alone", Severity.WARNING)]


def test_a_suffix_in_capitals_is_a_warning_because_the_trainer_passes_it_over(tmp_path: Path, add: Add) -> None:
    add("a.png")
    add("B.JPG")
    assert found(tmp_path) == [("B.JPG", "upper_case_suffix", Severity.WARNING)]
    assert len(dataset.scan(tmp_path).pictures) == 1


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"])
def test_a_file_that_is_no_image_is_an_error(tmp_path: Path, add: Add, content: bytes) -> None:
    add("a.png")
    (tmp_path / "b.png").write_bytes(content)
    (tmp_path / "b.txt").write_text("b")
    assert found(tmp_path) == [("b.png", "unreadable", Severity.ERROR)]


def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path, add: Add) -> None:
    add("a.png")
    bomb = bytearray((tmp_path / "a.png").read_bytes())
    bomb[16:24] = (60000).to_bytes(4, "big") * 2
    # Pillow checks the header's checksum.
    import zlib

    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(bomb)
    assert found(tmp_path) == [("a.png", "too_large", Severity.ERROR)]


def test_a_gif_is_an_error_because_the_trainer_takes_it_for_a_video(tmp_path: Path, add: Add) -> None:
    add("a.gif")
    assert found(tmp_path) == [("a.gif", "video", Severity.ERROR)]


def test_hidden_files_and_others_are_not_looked_at(tmp_path: Path, add: Add) -> None:
    add("a.png")
    (tmp_path / "._a.png").write_bytes(b"a file manager's")
    (tmp_path / ".thumbnails").mkdir()
    (tmp_path / ".thumbnails/a.png").write_bytes(b"no image")
    (tmp_path / "aspect_ratio_bucket_indices_square.json").write_text("{}")
    assert found(tmp_path) == []


def test_a_broken_link_is_an_error_and_a_loop_ends(tmp_path: Path, add: Add) -> None:
    add("a.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "round").symlink_to(tmp_path, target_is_directory=True)
    assert found(tmp_path) == [("gone.png", "not_a_file", Severity.ERROR), ("round", "link_loop", Severity.ERROR)]


def test_every_finding_says_what_happens_and_what_mends_it(tmp_path: Path, add: Add) -> None:
    add("a.png", caption=None)
    (finding,) = dataset.scan(tmp_path).findings
    assert str(finding).startswith("a.png: It has no caption")
    assert "Write a.txt" in str(finding)


def test_a_missing_folder_and_one_without_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as missing:
        dataset.scan(tmp_path / "nowhere")
    with pytest.raises(InputError) as empty:
        dataset.scan(tmp_path)
    assert (missing.value.code, empty.value.code) == ("no_dataset", "empty_dataset")
