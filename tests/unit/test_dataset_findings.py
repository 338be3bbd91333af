"""Every kind of finding is found in a real file, and not where there is nothing to find."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pictures import (
    CLEAR_PALETTE,
    HALF_CLEAR,
    JPEG,
    ORIENTED,
    PNG,
    PROGRESSIVE,
    WEBP,
    exif,
    frames,
    noise,
    png16,
    saved,
)
from PIL import Image, ImageEnhance

from fluxlora import dataset
from fluxlora.dataset import Severity, Wanted, across
from fluxlora.dataset.caption import TOKEN_LIMIT, tokens
from fluxlora.dataset.finding import MENDED, WEIGHT, by_weight, error, told, warning
from fluxlora.dataset.picture import Look, look

MODERN = Wanted(simpletuner_version="4.10.1")
EXAMPLES = Path(__file__).parents[2] / "examples" / "dataset"


def codes(path: Path, wanted: Wanted | None = None) -> dict[str, list[str]]:
    """The kinds of findings by file."""
    found: dict[str, list[str]] = {}
    for finding in dataset.scan(path, wanted).findings:
        found.setdefault(finding.file, []).append(finding.code)
    return found


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, content: bytes, caption: str | bytes | None = "a photo of sksbadz") -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        if caption is not None:
            file.with_suffix(".txt").write_bytes(caption.encode() if isinstance(caption, str) else caption)
        return file

    # What makes it a dataset in any case.
    write("fine.png", saved(noise(99), "PNG"))
    return write


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jpg", JPEG, []),
        ("a.png", PNG, []),
        ("a.webp", WEBP, []),
        ("a.jpg", PROGRESSIVE, []),
        ("a.jpg", JPEG + b"what a camera appends", []),
        ("a.jpg", JPEG[: len(JPEG) // 2], ["damaged"]),
        ("a.jpg", JPEG[:-40], ["damaged"]),
        ("a.jpg", PROGRESSIVE[: len(PROGRESSIVE) // 2], ["damaged"]),
        ("a.png", PNG[: len(PNG) // 2], ["damaged"]),
        ("a.png", PNG[:-16], ["damaged"]),
        ("a.webp", WEBP[: len(WEBP) // 2], ["unreadable"]),
        ("a.jpg", b"", ["unreadable"]),
        ("a.jpg", b"\0" * 5000, ["unreadable"]),
        ("a.png", JPEG, ["wrong_suffix"]),
        ("a.jpg", PNG, ["wrong_suffix"]),
        ("a.jpeg", JPEG, []),
        ("a.jpg", ORIENTED, ["rotated"]),
        ("a.png", saved(noise(), "PNG", exif=exif(3)), ["rotated"]),
        ("a.jpg", saved(noise(), "JPEG", exif=exif(1)), []),
        ("a.png", saved(HALF_CLEAR, "PNG"), ["alpha"]),
        ("a.png", saved(HALF_CLEAR.convert("LA"), "PNG"), ["alpha"]),
        ("a.webp", saved(HALF_CLEAR, "WEBP"), ["alpha"]),
        ("a.png", saved(noise().convert("RGBA"), "PNG"), []),
        ("a.png", saved(noise().convert("P"), "PNG"), ["palette"]),
        ("a.png", CLEAR_PALETTE, ["alpha", "palette"]),
        ("a.png", png16(3, 2), ["sixteen_bit"]),
        ("a.png", saved(Image.fromarray(np.arange(3072, dtype=np.uint16).reshape(48, 64)), "PNG"), ["sixteen_bit"]),
        ("a.tif", saved(Image.fromarray(np.arange(3072, dtype=np.uint16).reshape(48, 64)), "TIFF"), ["sixteen_bit"]),
        ("a.png", frames("PNG"), ["animated"]),
        ("a.webp", frames("WEBP"), ["animated"]),
        ("a.tif", frames("TIFF"), ["animated"]),
        ("a.gif", frames("GIF"), ["video"]),
        ("a.mp4", b"a film", ["video"]),
        ("a.heic", b"a telephone's", ["unknown_suffix"]),
    ],
)  # fmt: skip
def test_what_a_file_is_is_read_from_its_content(
    put: Callable[..., Path], tmp_path: Path, name: str, content: bytes, expected: list[str]
) -> None:
    put(name, content, caption=None if expected == ["unknown_suffix"] else "a photo of sksbadz")
    assert codes(tmp_path).get(name, []) == expected


def test_bytes_that_changed_inside_a_jpeg_are_found_by_nobody(put: Callable[..., Path], tmp_path: Path) -> None:
    spoilt = bytearray(saved(noise(size=(256, 256)), "JPEG"))
    spoilt[len(spoilt) // 2 : len(spoilt) // 2 + 20] = bytes(20)
    put("a.jpg", bytes(spoilt))
    assert "a.jpg" not in codes(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "old", "modern"),
    [
        ("A.JPG", JPEG, ["upper_case_suffix"], []),
        ("a.gif", frames("GIF"), ["video"], ["animated", "palette"]),
        ("a.mkv", b"a film", [], ["video"]),
        ("a.mp3", b"a sound", [], ["video"]),
    ],
)
def test_each_line_of_simpletuner_has_its_own_suffixes(
    put: Callable[..., Path], tmp_path: Path, name: str, content: bytes, old: list[str], modern: list[str]
) -> None:
    put(name, content)
    assert codes(tmp_path).get(name, []) == old
    assert codes(tmp_path, MODERN).get(name, []) == modern


@pytest.mark.parametrize(
    ("content", "name", "wanted", "size", "turned"),
    [
        (ORIENTED, "a.jpg", Wanted(), (48, 64), True),
        (saved(noise(), "PNG", exif=exif(6)), "a.png", Wanted(), (64, 48), False),
        (saved(noise(), "PNG", exif=exif(6)), "a.png", MODERN, (48, 64), True),
        (saved(noise(), "JPEG", exif=exif(3)), "a.jpg", Wanted(), (64, 48), False),
    ],
)
def test_a_picture_has_the_size_that_its_trainer_sorts_by(
    put: Callable[..., Path],
    tmp_path: Path,
    content: bytes,
    name: str,
    wanted: Wanted,
    size: tuple[int, int],
    turned: bool,
) -> None:
    put(name, content)
    picture = dataset.scan(tmp_path, wanted).pictures[0]
    assert (picture.file, (picture.width, picture.height), picture.turned) == (name, size, turned)


@pytest.mark.parametrize(
    ("kind", "orientation", "old", "modern"),
    [
        ("JPEG", 6, "trained upright, and squeezed", "trained lying on its side, and squeezed"),
        ("PNG", 6, "trained as it is stored", "trained lying on its side, and squeezed"),
        ("JPEG", 3, "3.1.6 does and 4.10.1 not", "4.10.1 does not do"),
    ],
)
def test_what_becomes_of_a_rotation_depends_on_the_trainer(
    put: Callable[..., Path], tmp_path: Path, kind: str, orientation: int, old: str, modern: str
) -> None:
    put(f"a.{kind.lower()}", saved(noise(), kind, exif=exif(orientation)))
    for wanted, words in ((Wanted(), old), (MODERN, modern)):
        (finding,) = dataset.scan(tmp_path, wanted).findings
        assert words in finding.effect


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a photo\n\nanother\n", []),
        ("one line of Windows\r\n", []),
        (b"\xef\xbb\xbfa photo", ["byte_order_mark"]),
        ("a photo".encode("utf-16"), ["not_utf8"]),
        ("a photo".encode("utf-16-be"), ["not_utf8"]),
        (b"caf\xe9", ["not_utf8"]),
        ("a photo\r\n\r\nanother\r\n", ["blank_caption"]),
        ("  \n", ["empty_caption"]),
        ("word " * 600, ["caption_cut"]),
        ("\n".join(["word " * 300] * 3), []),
    ],
)
def test_what_a_caption_is_is_read_from_its_bytes(
    put: Callable[..., Path], tmp_path: Path, caption: str | bytes, expected: list[str]
) -> None:
    put("a.png", PNG, caption)
    assert codes(tmp_path).get("a.txt", []) == expected


def test_tokens_are_estimated_from_words_and_from_letters() -> None:
    assert tokens("a cat, a dog " * 100) > TOKEN_LIMIT
    assert tokens("extraordinarily " * 140) > TOKEN_LIMIT
    assert tokens("a cat and a dog " * 70) < TOKEN_LIMIT


def test_copies_are_found_whatever_they_are_called_and_likenesses_whatever_their_size(
    put: Callable[..., Path], tmp_path: Path
) -> None:
    photograph = EXAMPLES / "nature-12-dragonfly.jpg"
    with Image.open(photograph) as image:
        image.load()
    put("a.jpg", photograph.read_bytes())
    put("copy.jpg", photograph.read_bytes())
    put("half.jpg", saved(image.resize((image.width // 2, image.height // 2)), "JPEG", quality=40))
    put("lossless.png", saved(image.resize((800, 500)), "PNG"))
    put("brighter.jpg", saved(ImageEnhance.Brightness(image).enhance(1.15), "JPEG"))
    put("mirrored.jpg", saved(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "JPEG"))
    found = codes(tmp_path)
    assert found["copy.jpg"] == ["duplicate"]
    assert {name for name, kinds in found.items() if kinds == ["near_duplicate"]} == {
        "brighter.jpg", "half.jpg", "lossless.png",
    }  # fmt: skip
    assert "mirrored.jpg" not in found


def test_thousands_of_likenesses_are_all_named_after_the_first() -> None:
    alike = dict.fromkeys((f"{number:04}.jpg" for number in range(3000)), Look(likeness="0f" * 16))
    assert across.near(alike) == dict.fromkeys(sorted(alike)[1:], "0000.jpg")


def test_different_photographs_and_flat_pictures_are_no_likenesses(put: Callable[..., Path], tmp_path: Path) -> None:
    assert across.near({file.name: look(file) for file in EXAMPLES.glob("*.jpg")}) == {}
    put("white.png", saved(Image.new("RGB", (64, 48), "white"), "PNG"))
    put("grey.png", saved(Image.new("RGB", (64, 48), "grey"), "PNG"))
    assert codes(tmp_path) == {}


def test_names_that_clash_are_errors_on_the_instance_and_warnings_elsewhere(
    put: Callable[..., Path], tmp_path: Path
) -> None:
    put("a.png", PNG)
    put("a.jpg", saved(noise(1), "JPEG"))
    put("A.png", saved(noise(2), "PNG"))
    put("caf\u00e9.png", saved(noise(3), "PNG"))
    put("cafe\u0301.png", saved(noise(4), "PNG"))
    found = codes(tmp_path)
    assert (found["a.png"], found["a.jpg"]) == (["same_stem"], ["name_clash"])
    assert sorted(kinds[0] for name, kinds in found.items() if name.startswith("caf")) == ["name_clash"]


def test_a_caption_in_another_case_or_unicode_form_is_named(put: Callable[..., Path], tmp_path: Path) -> None:
    put("caf\u00e9.png", PNG, caption=None)
    (tmp_path / "cafe\u0301.TXT").write_text("a photo")
    (finding,) = [each for each in dataset.scan(tmp_path).findings if each.code == "no_caption"]
    assert "is another name to it" in str(finding)
    assert "caption_alone" not in [each.code for each in dataset.scan(tmp_path).findings]


def test_names_that_cannot_be_shown_are_found_and_shown(put: Callable[..., Path], tmp_path: Path) -> None:
    put("line\nbreak.png", PNG)
    put(os.fsdecode(b"caf\xe9.png"), saved(noise(1), "PNG"))
    found = dataset.scan(tmp_path).findings
    shown = {each.code: each.file for each in found if each.file.endswith(".png")}
    assert shown == {"odd_name": r"line\nbreak.png", "name_not_utf8": r"caf\udce9.png"}
    assert all(str(each).isprintable() for each in found)


def test_a_link_inside_the_folder_is_said_and_what_it_points_at_is_looked_at(
    put: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "set").mkdir()
    put("set/b.png", PNG, "a photo")
    (tmp_path / "linked").symlink_to("set", target_is_directory=True)
    found = dataset.scan(tmp_path)
    assert [each.effect for each in found.findings if each.code == "link"] == [
        "It is a link, and what it points at, set, is sent in its place."
    ]
    assert [picture.file for picture in found.pictures] == ["fine.png", "linked/b.png", "set/b.png"]


@pytest.mark.parametrize("way", ["c.png", "c.txt", "more", "set/deep", "gone"])
def test_a_link_that_leaves_the_folder_is_an_error_that_names_its_target(
    put: Callable[..., Path], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, way: str
) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "b.png").write_bytes(PNG)
    (tmp_path / "set").mkdir()
    target = {"more": other, "gone": other / "nowhere"}.get(way, other / "b.png")
    (tmp_path / way).symlink_to(target)
    (tmp_path / "linked").symlink_to("set", target_is_directory=True)
    found = dataset.scan(tmp_path)
    left = [each for each in found.findings if each.code == "link_outside"]
    assert {each.file for each in left} == ({way, "linked/deep"} if way == "set/deep" else {way})
    assert all(each.severity == "error" and f"a link to {target}, outside" in each.effect for each in left)
    assert [picture.file for picture in found.pictures] == ["fine.png"], "nothing outside is looked at"


@pytest.mark.parametrize(
    ("subject", "others", "expected"),
    [
        (["sksbadz on a table", "a photo of sksbadz, red"], ["a table"], {}),
        (["sksbadz on a table", "a table"], ["a table"], {"s1.png": ["no_trigger"]}),
        (["SKSBADZ on a table"], ["a table"], {"s0.png": ["no_trigger"]}),
        (["sksbadzen"], ["a table"], {"s0.png": ["no_trigger"]}),
        (["sksbadz\na table"], ["a table"], {"s0.png": ["no_trigger"]}),
        (["sksbadz"], ["sksbadz on a table"], {"other0.png": ["trigger_in_regularisation"]}),
        (["sksbadz"], ["a", "b"], {"other*": ["regularisation"]}),
        (["sksbadz"], [], {"other*": ["regularisation"]}),
    ],
)
def test_the_trigger_word_is_in_every_caption_of_the_subject_and_in_no_other(
    tmp_path: Path, put: Callable[..., Path], subject: list[str], others: list[str], expected: dict[str, list[str]]
) -> None:
    (tmp_path / "fine.png").unlink()
    (tmp_path / "fine.txt").unlink()
    for number, caption in enumerate(subject):
        put(f"s{number}.png", saved(noise(number), "PNG"), caption)
    for number, caption in enumerate(others):
        put(f"other{number}.png", saved(noise(50 + number), "PNG"), caption)
    assert codes(tmp_path, Wanted("sksbadz", "other*")) == expected


def test_nothing_is_found_in_the_example_dataset() -> None:
    assert codes(EXAMPLES, Wanted("sksmacro", "regularisation-*")) == {}
    assert codes(EXAMPLES, Wanted("sksmacro", "regularisation-*", "4.10.1")) == {}


def test_the_weightiest_is_told_first_and_many_of_a_kind_are_counted() -> None:
    found = [
        warning("z.png", "palette", "It has a palette.", "Save it."),
        *(warning(f"{n}.png", "alpha", "It is clear.", "Fill it.") for n in range(7)),
        error("a.txt", "empty_caption", "It is empty.", "Write."),
    ]
    sentences = told(found)
    assert [severity for severity, _ in sentences][:2] == [Severity.ERROR, Severity.WARNING]
    assert sentences[6][1] == "... and 2 more of this kind (alpha)."
    assert sentences[-1][1].startswith("z.png")


def test_every_kind_of_finding_has_a_weight_and_what_is_mended_is_a_kind() -> None:
    source = "".join(file.read_text() for file in Path(dataset.__file__).parent.glob("*.py"))
    source += (Path(dataset.__file__).parents[1] / "plan/fit.py").read_text()
    assert [kind for kind in WEIGHT if source.count(f'"{kind}"') < 2] == []
    assert set(WEIGHT) > MENDED
    assert len(set(WEIGHT)) == len(WEIGHT)
    assert by_weight([]) == ()
