"""What became of a key that is not taken over as it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fluxlora.settings.guide import ABSENT

_SHOWN = 60


class Kind(StrEnum):
    """Why a key is named."""

    RENAMED = "renamed"
    DROPPED = "dropped"
    CORRECTED = "corrected"
    # Not in the file, and written all the same.
    ADDED = "added"


@dataclass(frozen=True)
class Note:
    """One key, and the reason in a sentence."""

    kind: Kind
    key: str
    why: str

    def __str__(self) -> str:
        return f"{self.kind} {shown(self.key)}: {self.why}"


class Notes(list[Note]):
    """The notes of an import, in the order of its files."""

    def secret(self, key: str) -> None:
        self.dropped(key, "a secret has no place in an inventory; fluxlora takes its tokens from the environment.")

    def path(self, key: str, value: Any) -> None:
        self.dropped(key, f"{shown(value)} is a path of another machine.")

    def renamed(self, key: str, why: str) -> None:
        self.append(Note(Kind.RENAMED, key, why))

    def dropped(self, key: str, why: str) -> None:
        self.append(Note(Kind.DROPPED, key, why))

    def corrected(self, key: str, before: Any, after: Any, why: str) -> None:
        change = f"{shown(before)} becomes {shown(after)}. " if after != ABSENT else "left out. "
        self.append(Note(Kind.CORRECTED, key, change + why))

    def added(self, key: str, value: Any, why: str) -> None:
        self.append(Note(Kind.ADDED, key, f"{shown(value)}. {why}"))


def elsewhere(value: Any) -> bool:
    """Whether a value is a path, and so one of another machine."""
    return isinstance(value, str) and bool(re.match(r"(?:/|~|\.{1,2}/|[A-Za-z]:\\)", value))


def shown(value: Any) -> str:
    """Text of somebody's file, on one line and not for ever."""
    line = " ".join(str(value).split())
    printable = "".join(each if each.isprintable() else "?" for each in line)
    return printable if len(printable) <= _SHOWN else f"{printable[: _SHOWN - 1]}…"
