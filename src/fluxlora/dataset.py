"""A folder of pictures and captions, seen as SimpleTuner 3.1.6 will see it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from PIL import Image, UnidentifiedImageError

from fluxlora.errors import InputError

# T5 reads 512 tokens, a few KB of text; a caption file beyond this is something else under the name of one.
CAPTION_LIMIT_BYTES = 64 * 1024
# SimpleTuner loads these as videos, which FLUX cannot train on.
_VIDEOS = frozenset({".gif", ".mp4", ".avi", ".mov", ".webm"})
_ORIENTATION = 0x0112
# EXIF orientations that lie on their side.
_TURNED = frozenset({5, 6, 7, 8})


class Severity(StrEnum):
    """An error ends the plan; a warning is printed."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """One thing about one file: what will happen because of it, and what mends it."""

    file: str
    effect: str
    fix: str
    severity: Severity
    code: str

    def __str__(self) -> str:
        return f"{self.file}: {self.effect} {self.fix}"


@dataclass(frozen=True)
class Picture:
    """An image that can be trained on; sizes in pixels as displayed, the file relative to the dataset."""

    file: str
    width: int
    height: int
    captions: int


@dataclass(frozen=True)
class Dataset:
    """What a folder holds; `size_bytes` counts all that travels, and hidden files don't."""

    path: Path
    pictures: tuple[Picture, ...]
    findings: tuple[Finding, ...]
    size_bytes: int

    @property
    def captions(self) -> int:
        """Lines of caption; each is embedded."""
        return sum(picture.captions for picture in self.pictures)


def scan(path: Path) -> Dataset:
    """Read names, headers and captions, no pixels. Raises InputError where there is no such folder."""
    if not path.is_dir():
        raise InputError(
            f"There is no folder {path}.",
            hint="dataset_path is the folder that holds the images and a .txt caption beside each.",
            code="no_dataset",
        )
    files, findings, size_bytes = _walk(path)
    pictures: list[Picture] = []
    accepted = _accepted_suffixes()
    for file in sorted(files):
        suffix = PurePosixPath(file).suffix
        if suffix.lower() not in accepted:
            continue
        found = _look(path, file, suffix, files)
        (pictures if isinstance(found, Picture) else findings).append(found)  # type: ignore[arg-type]
    findings += _captions_alone(files, accepted)
    if not pictures and not any(finding.severity is Severity.ERROR for finding in findings):
        raise InputError(
            f"There are no images in {path}.", hint="JPEG, PNG and WebP are common choices.", code="empty_dataset"
        )
    return Dataset(path, tuple(pictures), tuple(findings), size_bytes)


def _walk(path: Path) -> tuple[set[str], list[Finding], int]:
    """Every file below, links followed as the trainer follows them, each folder once."""
    files: set[str] = set()
    findings: list[Finding] = []
    size_bytes = 0
    seen: set[str] = set()
    for folder, folders, names in os.walk(path, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        # What is hidden belongs to file managers and stays here.
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.startswith("."):
                continue
            file = Path(folder, name)
            relative = file.relative_to(path).as_posix()
            if file.is_file():
                files.add(relative)
                size_bytes += file.stat().st_size
            else:
                findings.append(
                    Finding(
                        relative,
                        "It is a broken link or no ordinary file and cannot be sent to the instance.",
                        "Remove it.",
                        Severity.ERROR,
                        "not_a_file",
                    )
                )
    return files, findings, size_bytes


def _look(path: Path, file: str, suffix: str, files: set[str]) -> Picture | Finding:
    def error(code: str, effect: str, fix: str) -> Finding:
        return Finding(file, effect, fix, Severity.ERROR, code)

    if suffix.lower() in _VIDEOS:
        return error(
            "video", f"SimpleTuner reads {suffix} as a video, which FLUX cannot train on.", "Save it as PNG or JPEG."
        )
    if suffix != suffix.lower():
        return Finding(
            file,
            f"SimpleTuner looks for {suffix.lower()} only and passes it over without a word.",
            f"Rename it to {PurePosixPath(file).with_suffix(suffix.lower()).name}.",
            Severity.WARNING,
            "upper_case_suffix",
        )
    try:
        width, height = _size(path / file)
    except Image.DecompressionBombError:
        return error("too_large", "It has more pixels than can be decoded safely.", "Scale it down.")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError) as reason:
        return error("unreadable", f"It cannot be read as an image ({_plain(reason)}).", "Save it again or remove it.")
    caption = str(PurePosixPath(file).with_suffix(".txt"))
    if caption not in files:
        return error(
            "no_caption",
            "It has no caption, and SimpleTuner ends the run at the first image without one.",
            f"Write {PurePosixPath(caption).name} beside it, one caption a line.",
        )
    lines = _caption_lines(path / caption, caption)
    return lines if isinstance(lines, Finding) else Picture(file, width, height, lines)


def _caption_lines(file: Path, name: str) -> int | Finding:
    def error(code: str, effect: str, fix: str) -> Finding:
        return Finding(name, effect, fix, Severity.ERROR, code)

    with file.open("rb") as opened:
        raw = opened.read(CAPTION_LIMIT_BYTES + 1)
    if len(raw) > CAPTION_LIMIT_BYTES:
        return error(
            "caption_too_long", f"It has more than {CAPTION_LIMIT_BYTES // 1024} KB of text.", "Shorten the captions."
        )
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return error(
            "not_utf8", "It is not UTF-8 text, so SimpleTuner cannot read the caption.", "Save it again as UTF-8."
        )
    lines = sum(1 for line in text.split("\n") if line.strip())
    return lines or error(
        "empty_caption",
        "It is empty, so the image would be trained on no words, or the run end.",
        "Write one caption a line.",
    )


def _captions_alone(files: set[str], accepted: frozenset[str]) -> Iterator[Finding]:
    pictured = {str(PurePosixPath(f).with_suffix("")) for f in files if PurePosixPath(f).suffix.lower() in accepted}
    for file in sorted(files):
        name = PurePosixPath(file)
        if name.suffix == ".txt" and str(name.with_suffix("")) not in pictured:
            yield Finding(
                file,
                "There is no image of this name, so the caption is not used.",
                "Add the image or remove the caption.",
                Severity.WARNING,
                "caption_alone",
            )


def _size(file: Path) -> tuple[int, int]:
    """Width and height as displayed, from the header."""
    with warnings.catch_warnings():
        # Pillow warns at half of what it refuses; large photographs are welcome here.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(file) as image:
            width, height = image.size
            turned = image.getexif().get(_ORIENTATION) in _TURNED
    return (height, width) if turned else (width, height)


def _accepted_suffixes() -> frozenset[str]:
    """SimpleTuner takes every suffix that Pillow can open, and those of videos."""
    registered = Image.registered_extensions()
    return frozenset(suffix for suffix, kind in registered.items() if kind in Image.OPEN) | _VIDEOS


def _plain(reason: BaseException) -> str:
    """Pillow's reason without the path that its messages carry."""
    return type(reason).__name__ if isinstance(reason, UnidentifiedImageError) else str(reason) or type(reason).__name__
