"""A run's local folder for files from a stranger's host and from the Hub: only regular files, with checked names."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from fluxlora.errors import FluxloraError

# Files that fluxlora itself writes at the top of a run's folder, in lower case; `{run}` stands for the run's name. A
# downloaded file never gets such a name. Names that begin with a dot are refused there, too, so temporary files are not
# listed here.
RESERVED = frozenset({"manifest.json", "report.txt", "{run}.safetensors"})
# Also the copies of checkpoints, after the run's name.
_CHECKPOINT_COPY = re.compile(r"-step\d+\.safetensors")
# Folder for files that are not complete yet.
STAGING = ".arriving"
# rsync's own folder for such files, in any folder.
PARTIAL = ".rsync-partial"
# A checkpoint is complete if this file exists, so it is the last file of a folder that is moved to its place.
_LAST = "training_state.json"
# Bytes that always stay free on the disk.
RESERVE_BYTES = 10**9

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class HomeError(FluxloraError):
    """A run's folder cannot be written to in its present state."""

    code = "link_at_home"


@dataclass(frozen=True)
class Bound:
    """The limits of one download; the defaults are far more than a training produces."""

    files: int = 50_000
    size_bytes: int = 220 * 10**9

    def exceeded(self, files: int, size_bytes: int) -> str:
        """Return a sentence if this is above the limits, otherwise an empty text."""
        if files <= self.files and size_bytes <= self.size_bytes:
            return ""
        return (
            f"{files} files of {size_bytes / 1e9:.1f} GB are more than the {self.files} files and "
            f"{self.size_bytes / 1e9:.1f} GB that are expected of this run at most."
        )


# The hint for this error.
RAISE_BOUND = "If the run has really produced so much, raise artifacts_max_gb or artifacts_max_files."


def require_room(folder: Path, size_bytes: int) -> None:
    """Raise HomeError if this many bytes would leave too little free space on the disk of the folder."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if (missing := size_bytes + RESERVE_BYTES - shutil.disk_usage(there).free) > 0:
        raise HomeError(
            f"{size_bytes / 1e9:.1f} GB would arrive in {folder}, whose disk has {missing / 1e9:.1f} GB too little "
            "room.",
            hint="Free some space, then run the same command again: it resumes from what has arrived.",
            code="disk_full",
        )


def refusal(name: str, run: str) -> str:
    """Return why a file of this name is refused, or an empty text. The name is relative to the run's folder, with
    slashes."""
    first, *_ = parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "the name leaves the folder"
    if not name.isprintable():
        return "the name cannot be printed"
    if {_folded(part) for part in parts} & {STAGING, PARTIAL}:
        return "the name is reserved for incomplete downloads"
    if first.startswith("."):
        return "no file of a training has such a name"
    copy = _folded(first).removeprefix(run.casefold())
    if _folded(first) in {kept.format(run=run).casefold() for kept in RESERVED} or _CHECKPOINT_COPY.fullmatch(copy):
        return "fluxlora writes this file itself"
    return ""


def _folded(part: str) -> str:
    """Return the same text for names that a file system may treat as equal: macOS ignores case and Unicode form, as
    Windows does case.

    More is folded than either does, for example marks and ligatures. Names with invisible characters were refused
    before.
    """
    letters = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", part).casefold())
    return "".join(letter for letter in letters if not unicodedata.category(letter).startswith("M")).rstrip(". ")


def refuse_links(home: Path, name: str = "") -> None:
    """Raise HomeError if the run's folder, or a part of the path from it to `name`, is a link.

    Folders above the run's folder are not checked, because the user chose them.
    """
    way = home
    for part in ("", *PurePosixPath(name).parts):
        way = way / part
        if way.is_symlink():
            raise HomeError(
                f"{way} is a link to {way.readlink()}, and what comes from a host is not written through links.",
                hint="Remove the link or put a folder in its place, then run the same command again.",
            )


def place(staged: Path, home: Path, name: str) -> None:
    """Move a staged file to its name in the run's folder, and make the folders for it; no link is followed.

    Raises HomeError if something else has this name.
    """
    *above, last = PurePosixPath(name).parts
    folder = _open(home, home)
    try:
        for depth, part in enumerate(above, 1):
            with suppress(FileExistsError):
                os.mkdir(part, dir_fd=folder)
            deeper = _open(part, home.joinpath(*above[:depth]), within=folder)
            os.close(folder)
            folder = deeper
        with suppress(FileNotFoundError):
            there = os.stat(last, dir_fd=folder, follow_symlinks=False)
            if not stat.S_ISREG(there.st_mode):
                raise _in_the_way(home / name)
        os.rename(staged, last, dst_dir_fd=folder)
    finally:
        os.close(folder)


def regular_files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Return the regular files below a folder by their relative names, sorted; links are neither followed nor
    listed."""
    yield from sorted(_walk(folder, ""), key=lambda found: found[0])


def first_irregular(folder: Path) -> Path | None:
    """Return the folder itself, or the first entry in it, that is neither a regular file nor a folder; None if all
    are."""
    if not stat.S_ISDIR(folder.lstat().st_mode):
        return folder
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda item: item.name):
            if entry.is_dir(follow_symlinks=False):
                if found := first_irregular(folder / entry.name):
                    return found
            elif not entry.is_file(follow_symlinks=False):
                return folder / entry.name
    return None


def open_regular(path: Path) -> IO[bytes]:
    """Open a regular file for reading. Raises OSError for a link, and for files that would block, such as a FIFO."""
    opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return os.fdopen(opened, "rb")


def last_of_its_folder(name: str) -> bool:
    """Return whether the existence of this file means that the other files of its folder are complete."""
    return PurePosixPath(name).name == _LAST


def _walk(folder: Path, above: str) -> Iterator[tuple[str, os.stat_result]]:
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            name = above + entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(folder / entry.name, f"{name}/")
            elif entry.is_file(follow_symlinks=False):
                # rsync renames its temporary files.
                with suppress(FileNotFoundError):
                    yield name, entry.stat(follow_symlinks=False)


def _open(part: str | Path, path: Path, within: int | None = None) -> int:
    try:
        return os.open(part, _FOLDER, dir_fd=within)
    except OSError as error:
        raise _in_the_way(path) from error


def _in_the_way(path: Path) -> HomeError:
    what = "a link" if path.is_symlink() else "in the way of what arrives"
    return HomeError(
        f"{path} is {what}, and what comes from a host is not written through links or over folders.",
        hint="Move it away, then run the same command again.",
    )
