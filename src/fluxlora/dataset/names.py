"""The files of a dataset by name and status, before any is opened."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from fluxlora.dataset.finding import Finding, error, warning

# What 3.1.6 loads as videos, which FLUX cannot train on.
_VIDEOS = frozenset({".gif", ".mp4", ".avi", ".mov", ".webm"})
# 4.10.1 takes a GIF for a picture, more files for videos, and lists sounds among the pictures too.
_VIDEOS_4 = (_VIDEOS - {".gif"}) | {".mkv", ".flv", ".wmv", ".m4v", ".mpeg", ".mpg", ".3gp", ".ogv"}
_SOUNDS_4 = frozenset(
    {
        ".wav",
        ".wave",
        ".flac",
        ".mp3",
        ".mp4a",
        ".m4a",
        ".aac",
        ".ogg",
        ".oga",
        ".opus",
        ".wma",
        ".aiff",
        ".aif",
        ".aifc",
    }
    | {".alac"}
)
# Pictures that cameras, phones and programs make, and no SimpleTuner looks for.
_PASSED_OVER = frozenset(
    {".heic", ".heif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".svg", ".xcf", ".kra"}
)


@dataclass(frozen=True)
class Status:
    """What changes when a file does."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, stat: os.stat_result) -> Status:
        """The part of a file's status that tells one content from another."""
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


@dataclass(frozen=True)
class Names:
    """Every file that travels, by its name relative to the folder."""

    files: dict[str, Status]
    findings: tuple[Finding, ...]

    @property
    def size_bytes(self) -> int:
        """All that travels."""
        return sum(status.size for status in self.files.values())


def walk(path: Path) -> Names:
    """Links inside the folder are followed as rsync follows them; what is hidden stays here."""
    files: dict[str, Status] = {}
    findings: list[Finding] = []
    _enter(str(path), "", (os.path.realpath(path),), files, findings)
    return Names(dict(sorted(files.items())), tuple(findings))


def _enter(folder: str, above: str, way: tuple[str, ...], files: dict[str, Status], findings: list[Finding]) -> None:
    try:
        entries = list(os.scandir(folder))
    except OSError as reason:
        findings.append(
            error(above or ".", "not_a_file", f"The folder cannot be read ({reason.strerror}).", "Let yourself in.")
        )
        return
    for entry in entries:
        # Hidden files belong to file managers.
        if entry.name.startswith("."):
            continue
        name = above + entry.name
        if entry.is_symlink():
            real = os.path.realpath(entry.path)
            if os.path.commonpath((real, way[0])) != way[0]:
                findings.append(_leaving(name, real))
                continue
            if entry.is_dir() and any(os.path.commonpath((real, each)) == real for each in way):
                findings.append(
                    error(
                        name,
                        "link_loop",
                        "The link leads to a folder that it lies in, and sending never ends.",
                        "Remove the link.",
                    )
                )
                continue
            if Path(real).exists():
                findings.append(
                    warning(
                        name,
                        "link",
                        f"It is a link, and what it points at, {os.path.relpath(real, way[0])}, is sent in its place.",
                        "Nothing, if that is what you mean; else put the file itself here.",
                    )
                )
        if entry.is_dir():
            _enter(entry.path, f"{name}/", (*way, os.path.realpath(entry.path)), files, findings)
        elif entry.is_file():
            files[name] = Status.of(entry.stat())
        else:
            findings.append(
                error(
                    name,
                    "not_a_file",
                    "It is a broken link or no ordinary file and cannot be sent to the instance.",
                    "Remove it.",
                )
            )


def _leaving(name: str, target: str) -> Finding:
    return error(
        name,
        "link_outside",
        f"It is a link to {target}, outside the folder, which would be sent to somebody else's computer.",
        "Put the file itself here, or remove the link.",
    )


def accepted(modern: bool) -> frozenset[str]:
    """The suffixes that SimpleTuner takes for pictures: what Pillow opens, and by mistake films and sounds."""
    registered = Image.registered_extensions()
    opened = frozenset(suffix for suffix, kind in registered.items() if kind in Image.OPEN)
    return opened | videos(modern)


def videos(modern: bool) -> frozenset[str]:
    """Those among them that FLUX cannot train on."""
    return _VIDEOS_4 | _SOUNDS_4 if modern else _VIDEOS


def listed(files: Iterable[str], modern: bool) -> list[str]:
    """Those that SimpleTuner lists; 3.1.6 wants the suffix in small letters."""
    taken = accepted(modern)
    suffixes = {name: suffix_of(name) for name in files}
    return [name for name, suffix in suffixes.items() if (suffix.lower() if modern else suffix) in taken]


def check(files: dict[str, Status], modern: bool) -> Iterator[Finding]:
    """What the names alone say."""
    taken = accepted(modern)
    pictures = [name for name in files if suffix_of(name).lower() in taken]
    yield from _each(files, pictures, modern)
    yield from _clashes(listed(files, modern))
    stems = {stem(name) for name in pictures}
    forms = {fold(each) for each in stems}
    for name in files:
        suffix = suffix_of(name)
        if suffix.lower() in _PASSED_OVER - taken:
            yield warning(
                name,
                "unknown_suffix",
                f"SimpleTuner does not know {suffix} and passes it over without a word.",
                "Save it as PNG or JPEG.",
            )
        elif suffix == ".txt" and stem(name) not in stems and fold(stem(name)) not in forms:
            yield warning(
                name,
                "caption_alone",
                "There is no image of this name, so the caption is not used.",
                "Add the image or remove the caption.",
            )


def _each(files: dict[str, Status], pictures: list[str], modern: bool) -> Iterator[Finding]:
    for name in files:
        if not _is_utf8(name):
            yield error(
                name, "name_not_utf8", "Its name is not UTF-8, at which SimpleTuner ends the run.", "Rename it."
            )
        elif not name.isprintable():
            yield warning(
                name, "odd_name", "Its name holds characters that cannot be seen, and logs break at them.", "Rename it."
            )
    for name in pictures:
        suffix = suffix_of(name)
        if suffix.lower() in videos(modern):
            kind = "a sound" if suffix.lower() in _SOUNDS_4 else "a video"
            yield error(
                name,
                "video",
                f"SimpleTuner takes {suffix} for {kind}, which FLUX cannot train on.",
                "Save it as PNG or JPEG, or take it out of the folder.",
            )
        elif suffix != suffix.lower() and not modern:
            yield warning(
                name,
                "upper_case_suffix",
                f"SimpleTuner 3.1.6 looks for {suffix.lower()} only and passes it over without a word.",
                f"Rename it to {stem(name).rpartition('/')[2]}{suffix.lower()}.",
            )


def _clashes(pictures: list[str]) -> Iterator[Finding]:
    by_stem: dict[str, list[str]] = {}
    by_fold: dict[str, list[str]] = {}
    for name in pictures:
        by_stem.setdefault(stem(name), []).append(name)
    for same, names in by_stem.items():
        by_fold.setdefault(fold(same), []).append(names[0])
    for names in by_stem.values():
        for name in names[1:]:
            yield error(
                name,
                "same_stem",
                f"But for the suffix it is named like {names[0]}: both get one caption and one "
                "file in SimpleTuner's cache, so one of them is trained in the other's place.",
                "Rename one of them, and its caption.",
            )
    for names in by_fold.values():
        for name in names[1:]:
            yield warning(
                name,
                "name_clash",
                f"On macOS and Windows {names[0]} is the same name, and one file "
                "replaces the other when the folder is copied.",
                "Rename one of them.",
            )


# Plain text rather than paths: they are asked several times for each of perhaps 40,000 files.
def stem(name: str) -> str:
    """The name without its suffix, cut where SimpleTuner cuts it."""
    return name.removesuffix(suffix_of(name))


def suffix_of(name: str) -> str:
    """From the last point on; none where the name has no other letter before it."""
    last = name.rpartition("/")[2]
    before, point, after = last.rpartition(".")
    return point + after if before.strip(".") else ""


def fold(name: str) -> str:
    """The same for names that some file systems do not tell apart."""
    return unicodedata.normalize("NFC", name).casefold()


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
