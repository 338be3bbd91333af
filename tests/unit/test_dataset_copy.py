"""A copy in which nothing is left that could be mended, beside an original that nobody touched."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from pictures import HALF_CLEAR, JPEG, PNG, exif, frames, noise, png16, saved
from PIL import Image, ImageOps

from fluxlora import dataset
from fluxlora.dataset import MENDED, copy
from fluxlora.errors import InputError

PHOTOGRAPH = Path(__file__).parents[2] / "examples" / "dataset" / "nature-12-dragonfly.jpg"
State = dict[str, tuple[bytes, int]]


def state(folder: Path) -> State:
    return {
        str(f.relative_to(folder)): (f.read_bytes(), f.stat().st_mtime_ns) for f in folder.rglob("*") if f.is_file()
    }


def names(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file() and file.name[0] != "."}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source" / "deep").mkdir(parents=True)
    return tmp_path / "source"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "copy"


def put(folder: Path, name: str, content: bytes, caption: str | bytes = "a photo") -> None:
    (folder / name).write_bytes(content)
    text = caption.encode() if isinstance(caption, str) else caption
    (folder / name).with_suffix(".txt").write_bytes(text)


def everything_that_can_be_mended(folder: Path) -> None:
    seeds = iter(range(100))

    def fresh(kind: str, **options: object) -> bytes:
        return saved(noise(next(seeds)), kind, **options)

    put(folder, "fine.jpg", fresh("JPEG"))
    put(folder, "turned.jpg", fresh("JPEG", exif=exif(6)))
    put(folder, "turned-png.png", fresh("PNG", exif=exif(8)))
    put(folder, "clear.png", saved(HALF_CLEAR, "PNG"))
    put(folder, "deep/sixteen.png", png16(3, 2))
    put(folder, "palette.png", saved(noise(60).convert("P"), "PNG"))
    put(folder, "moving.webp", saved(noise(61), "WEBP", save_all=True, append_images=[noise(62)]))
    put(folder, "moving.gif", frames("GIF"))
    put(folder, "film.mp4", b"a film")
    put(folder, "BIG.JPG", fresh("JPEG"))
    put(folder, "jpeg-inside.png", fresh("JPEG"))
    put(folder, "broken.png", PNG[:-30])
    put(folder, "nothing.png", b"")
    put(folder, "copied.jpg", (folder / "fine.jpg").read_bytes(), "another word for it")
    put(folder, "twice.png", fresh("PNG"), "of both")
    put(folder, "twice.jpg", fresh("JPEG"), "of both")
    put(folder, "fiNE.webp", fresh("WEBP"))
    put(folder, "cafe\u0301.png", fresh("PNG"))
    put(folder, "line\nbreak.png", fresh("PNG"))
    put(folder, os.fsdecode(b"latin-\xe9.png"), fresh("PNG"))
    put(folder, "mark.png", fresh("PNG"), b"\xef\xbb\xbfa photo")
    put(folder, "wide.png", fresh("PNG"), "a photo".encode("utf-16"))
    put(folder, "western.png", fresh("PNG"), b"a caf\xe9")
    put(folder, "windows.png", fresh("PNG"), "a photo\r\n\r\nanother\r\n")
    (folder / "alone.txt").write_text("nobody")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / "linked.png").symlink_to(folder / "fine.jpg")
    (folder / "linked.txt").write_text("a third word")


def test_what_a_link_names_outside_the_folder_is_not_copied_and_the_link_is_named(
    source: Path, target: Path, tmp_path: Path
) -> None:
    put(source, "fine.png", PNG)
    (tmp_path / "elsewhere").mkdir()
    put(tmp_path / "elsewhere", "theirs.png", JPEG, "of the user")
    (source / "linked.png").symlink_to(tmp_path / "elsewhere" / "theirs.png")
    (source / "more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    drawn = copy.draw_up(source)
    copy.write(drawn, target)
    assert sorted(path.name for path in target.iterdir() if path.name[0] != ".") == ["fine.png", "fine.txt"]
    for name in ("linked.png", "more"):
        assert any(f"{name}: It is a link to {tmp_path}/elsewhere" in sentence for sentence in drawn.left_out)


@pytest.mark.parametrize("wanted", [dataset.Wanted(), dataset.Wanted(simpletuner_version="4.10.1")])
def test_nothing_is_left_that_could_be_mended_and_the_original_is_as_it_was(
    source: Path, target: Path, wanted: dataset.Wanted
) -> None:
    everything_that_can_be_mended(source)
    found = {finding.code for finding in dataset.scan(source, wanted).findings}
    only_old, only_modern = {"upper_case_suffix"}, set()
    missing = MENDED - found - (only_old if wanted.modern else only_modern)
    assert missing <= {"link_loop", "too_large"}
    before = state(source)

    copy.write(copy.draw_up(source), target)

    assert state(source) == before
    assert [finding for finding in dataset.scan(target, wanted).findings if finding.code in MENDED] == []
    assert [finding for finding in dataset.scan(target, wanted).findings if finding.severity == "error"] == []


def test_what_is_fine_is_copied_to_the_byte_and_what_is_turned_shows_the_same(source: Path, target: Path) -> None:
    put(source, "fine.webp", saved(noise(), "WEBP", quality=50))
    put(source, "turned.png", saved(noise(1), "PNG", exif=exif(6)))
    copy.write(copy.draw_up(source), target)
    assert (target / "fine.webp").read_bytes() == (source / "fine.webp").read_bytes()
    with Image.open(source / "turned.png") as before, Image.open(target / "turned.png") as after:
        assert np.array_equal(np.asarray(ImageOps.exif_transpose(before)), np.asarray(after))
        assert after.getexif() == {}


def test_a_turned_jpeg_stays_a_jpeg_and_looks_the_same(source: Path, target: Path) -> None:
    with Image.open(PHOTOGRAPH) as photograph:
        put(source, "turned.jpg", saved(photograph, "JPEG", exif=exif(6)))
    copy.write(copy.draw_up(source), target)
    with Image.open(source / "turned.jpg") as before, Image.open(target / "turned.jpg") as after:
        shown = np.asarray(ImageOps.exif_transpose(before), np.int16)
        assert (after.height, after.width) == shown.shape[:2] == (1365, 1024)
        assert np.abs(np.asarray(after, np.int16) - shown).mean() < 2


def test_what_is_transparent_lies_on_white(source: Path, target: Path) -> None:
    put(source, "clear.png", saved(Image.new("RGBA", (64, 48), (0, 0, 0, 0)), "PNG"))
    copy.write(copy.draw_up(source), target)
    with Image.open(target / "clear.png") as image:
        assert (image.mode, image.getpixel((3, 3))) == ("RGB", (255, 255, 255))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_become_the_upper_eight(source: Path, target: Path, kind: str) -> None:
    grey = np.linspace(0, 65535, 3072).astype(np.uint16).reshape(48, 64)
    put(source, "grey.tif", saved(Image.fromarray(grey), kind))
    copy.write(copy.draw_up(source), target)
    with Image.open(target / "grey.png") as image:
        assert np.abs(np.asarray(image, np.int16) - (grey >> 8)).max() <= 1


def test_copies_leave_their_captions_to_the_first(source: Path, target: Path) -> None:
    put(source, "a.jpg", JPEG, "one\ntwo")
    put(source, "b.jpg", JPEG, "two\nthree")
    made = copy.draw_up(source)
    copy.write(made, target)
    assert names(target) == {"a.jpg", "a.txt"}
    assert (target / "a.txt").read_text() == "one\ntwo\nthree\n"
    assert any(sentence.startswith("b.jpg: it is a copy of a.jpg") for sentence in made.left_out)


def test_everything_that_is_not_in_the_copy_is_said(source: Path) -> None:
    everything_that_can_be_mended(source)
    (source / "notes.md").write_text("mine")
    left_out = copy.draw_up(source).left_out
    for name in ("film.mp4", "broken.png", "nothing.png", "fine.jpg", "alone.txt", "gone.png", "notes.md"):
        assert sum(sentence.startswith(f"{name}: ") for sentence in left_out) == 1
    assert any(sentence.startswith("western.txt: it was read as WINDOWS-1252") for sentence in left_out)
    assert all(sentence.isprintable() for sentence in left_out)


def test_the_same_copy_is_not_written_twice_and_another_replaces_it_whole(source: Path, target: Path) -> None:
    put(source, "a.jpg", JPEG)
    put(source, "b.png", PNG)
    copy.write(copy.draw_up(source), target)
    before = state(target)
    (target / "mine.txt").write_text("somebody's own")

    assert copy.is_written(copy.draw_up(source), target)
    copy.write(copy.draw_up(source), target)
    assert {name: was for name, was in state(target).items() if name != "mine.txt"} == before

    (source / "b.png").unlink()
    (source / "b.txt").unlink()
    assert not copy.is_written(copy.draw_up(source), target)
    copy.write(copy.draw_up(source), target)
    assert names(target) == {"a.jpg", "a.txt", "mine.txt"}


def test_what_was_not_finished_is_begun_anew(source: Path, target: Path) -> None:
    put(source, "a.jpg", JPEG)
    copy.write(copy.draw_up(source), target)
    (target / "a.jpg").unlink()
    assert not copy.is_written(copy.draw_up(source), target)
    copy.write(copy.draw_up(source), target)
    assert names(target) == {"a.jpg", "a.txt"}


@pytest.mark.parametrize(
    ("where", "code"),
    [
        ("source", "copy_in_source"),
        ("source/deep", "copy_in_source"),
        ("source/new", "copy_in_source"),
        (".", "copy_in_source"),
        ("link-to-source", "copy_in_source"),
        ("full", "foreign_folder"),
        ("file", "foreign_folder"),
        ("of-another", "foreign_folder"),
    ],
)
def test_a_copy_is_never_written_over_something_else(source: Path, tmp_path: Path, where: str, code: str) -> None:
    put(source, "a.jpg", JPEG)
    (tmp_path / "link-to-source").symlink_to(source)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "another").mkdir()
    put(tmp_path / "another", "b.png", PNG)
    copy.write(copy.draw_up(tmp_path / "another"), tmp_path / "of-another")
    before = state(tmp_path)
    with pytest.raises(InputError) as refused:
        copy.write(copy.draw_up(source), tmp_path / where)
    assert refused.value.code == code
    assert refused.value.hint
    assert state(tmp_path) == before


def test_a_mark_that_somebody_wrote_deletes_nothing_outside_the_copy(
    source: Path, target: Path, tmp_path: Path
) -> None:
    put(source, "a.jpg", JPEG)
    (tmp_path / "precious").write_text("mine")
    target.mkdir()
    mark = f'{{"source": "{source}", "files": ["../precious", "{tmp_path}/precious", 7, null]}}'
    (target / ".fluxlora-copy.json").write_text(mark)
    copy.write(copy.draw_up(source), target)
    assert (tmp_path / "precious").read_text() == "mine"
    assert names(target) == {"a.jpg", "a.txt"}


def test_a_folder_that_cannot_be_written_to_is_a_sentence(source: Path, tmp_path: Path) -> None:
    put(source, "a.jpg", JPEG)
    with pytest.raises(InputError) as refused:
        copy.write(copy.draw_up(source), Path("/proc/nobody/copy"))
    assert refused.value.code == "copy_failed"
