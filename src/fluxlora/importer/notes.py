"""What happened to a key that is not imported unchanged."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fluxlora.settings.guide import ABSENT

_SHOWN = 60


class Kind(StrEnum):
    """Why a key is reported."""

    RENAMED = "renamed"
    DROPPED = "dropped"
    CORRECTED = "corrected"
    # Not in the file, but written.
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
        """Note a secret, which is dropped."""
        self.dropped(key, "secrets do not belong in an inventory; fluxlora reads its tokens from the environment.")

    def path(self, key: str, value: Any) -> None:
        """Note a path of another machine, which is dropped."""
        self.dropped(key, f"{shown(value)} is a path of another machine.")

    def renamed(self, key: str, why: str) -> None:
        """Note a key with a new name."""
        self.append(Note(Kind.RENAMED, key, why))

    def dropped(self, key: str, why: str) -> None:
        """Note a key that is dropped."""
        self.append(Note(Kind.DROPPED, key, why))

    def corrected(self, key: str, before: Any, after: Any, why: str) -> None:
        """Note a value that is corrected."""
        change = f"{shown(before)} becomes {shown(after)}. " if after != ABSENT else "left out. "
        self.append(Note(Kind.CORRECTED, key, change + why))

    def added(self, key: str, value: Any, why: str) -> None:
        """Note a key that is added."""
        self.append(Note(Kind.ADDED, key, f"{shown(value)}. {why}"))


def elsewhere(value: Any) -> bool:
    """Return whether a value is a path, and so of another machine."""
    return isinstance(value, str) and bool(re.match(r"(?:/|~|\.{1,2}/|[A-Za-z]:\\)", value))


def shown(value: Any) -> str:
    """Return text of a user's file on one line, with limited length."""
    line = " ".join(str(value).split())
    printable = "".join(letter if letter.isprintable() else "?" for letter in line)
    return printable if len(printable) <= _SHOWN else f"{printable[: _SHOWN - 1]}…"
