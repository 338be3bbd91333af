"""A run's folder at home, into which a stranger's host and the Hub send files: regular ones, under names of theirs."""

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

# What fluxlora itself writes at the top of a run's folder, in small letters; `{run}` stands for the run's name. Nothing
# that arrives takes such a name. Names that begin with a point are never taken there either, so a temporary file needs
# no line here.
RESERVED = frozenset({"manifest.json", "report.txt", "{run}.safetensors"})
# And the copies of checkpoints, which follow the run's name.
_CHECKPOINT_COPY = re.compile(r"-step\d+\.safetensors")
# Holds what has not arrived as a whole yet.
STAGING = ".arriving"
# rsync's own folder of the same kind, inside any other.
PARTIAL = ".rsync-partial"
# A checkpoint is whole when this file is there, so it is the last of a folder's files to be put in its place.
_LAST = "training_state.json"
# What stays free on the disk, whatever arrives.
RESERVE_BYTES = 10**9

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class HomeError(FluxloraError):
    """A run's folder cannot be written to as it is."""

    code = "link_at_home"


@dataclass(frozen=True)
class Bound:
    """What may arrive in one call; the defaults are far more than a training leaves behind."""

    files: int = 50_000
    size_bytes: int = 220 * 10**9

    def exceeded(self, files: int, size_bytes: int) -> str:
        """A sentence where so much is more than may arrive, else nothing."""
        if files <= self.files and size_bytes <= self.size_bytes:
            return ""
        return (
            f"{files} files of {size_bytes / 1e9:.1f} GB are more than the {self.files} files and "
            f"{self.size_bytes / 1e9:.1f} GB that are expected of this run at most."
        )


# What to do about it.
RAISE_BOUND = "If the run has really made so much, raise artifacts_max_gb or artifacts_max_files."


def require_room(folder: Path, size_bytes: int) -> None:
    """Raise HomeError where so many bytes would leave too little of the disk that the folder is on, or will be."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if (missing := size_bytes + RESERVE_BYTES - shutil.disk_usage(there).free) > 0:
        raise HomeError(
            f"{size_bytes / 1e9:.1f} GB would arrive in {folder}, whose disk has {missing / 1e9:.1f} GB too little "
            "room.",
            hint="Make room, then run the same command again: it goes on from what has arrived.",
            code="disk_full",
        )


def refusal(name: str, run: str) -> str:
    """Why no file arrives under this name, relative to the run's folder and with slashes; empty where one may."""
    first, *_ = parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "the name leaves the folder"
    if not name.isprintable():
        return "the name cannot be printed"
    if {_folded(part) for part in parts} & {STAGING, PARTIAL}:
        return "the name is kept for what is still arriving"
    if first.startswith("."):
        return "no file of a training has such a name"
    copy = _folded(first).removeprefix(run.casefold())
    if _folded(first) in {kept.format(run=run).casefold() for kept in RESERVED} or _CHECKPOINT_COPY.fullmatch(copy):
        return "fluxlora writes this file itself"
    return ""


def _folded(part: str) -> str:
    """The same for names that a file system may hold for the same: of macOS in case and Unicode form, of Windows too.

    More is folded than either does, marks and ligatures for example, and what cannot be seen was refused before.
    """
    letters = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", part).casefold())
    return "".join(each for each in letters if not unicodedata.category(each).startswith("M")).rstrip(". ")


def refuse_links(home: Path, name: str = "") -> None:
    """Raise HomeError where the run's folder, or a part of the way from it to `name`, is a link.

    What lies above the run's folder is the user's own choice.
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
    """Move a staged file to its name in the run's folder, and make the folders on the way; no link is followed.

    Raises HomeError where something else is in the way.
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
    """The regular files below a folder, by their names relative to it, sorted; links are neither followed nor told."""
    yield from sorted(_walk(folder, ""), key=lambda found: found[0])


def first_irregular(folder: Path) -> Path | None:
    """The folder itself or the first thing in it that is neither a regular file nor a folder; none for a clean one."""
    if not stat.S_ISDIR(folder.lstat().st_mode):
        return folder
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda each: each.name):
            if entry.is_dir(follow_symlinks=False):
                if found := first_irregular(folder / entry.name):
                    return found
            elif not entry.is_file(follow_symlinks=False):
                return folder / entry.name
    return None


def open_regular(path: Path) -> IO[bytes]:
    """A regular file, to be read. Raises OSError for a link, and for what would be waited for, such as a FIFO."""
    opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise OSError(errno.EINVAL, "it is no regular file")
    return os.fdopen(opened, "rb")


def last_of_its_folder(name: str) -> bool:
    """Whether a file says by being there that the others of its folder are."""
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
