"""What a check comes to, and how it is told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a check ended; only the last means that nothing may be spent."""

    OK = "ok"
    NOT_NEEDED = "not needed"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Check:
    """One thing that was proven, or not: `remedy` is the command or the address that mends it."""

    name: str
    state: State
    sentence: str
    remedy: str = ""
    # Stable, for programs; empty where nothing is wrong.
    code: str = ""

    def as_facts(self) -> dict[str, str]:
        """For JSON."""
        return {
            "name": self.name,
            "state": str(self.state),
            "sentence": self.sentence,
            "remedy": self.remedy,
            "code": self.code,
        }


def ok(name: str, sentence: str) -> Check:
    return Check(name, State.OK, sentence)


def not_needed(name: str, sentence: str, remedy: str = "") -> Check:
    return Check(name, State.NOT_NEEDED, sentence, remedy)


def warning(name: str, sentence: str, remedy: str, code: str) -> Check:
    return Check(name, State.WARNING, sentence, remedy, code)


def failed(name: str, sentence: str, remedy: str, code: str) -> Check:
    return Check(name, State.FAILED, sentence, remedy, code)


def failures(checks: Iterable[Check]) -> list[Check]:
    return [check for check in checks if check.state is State.FAILED]


def lines(checks: Sequence[Check]) -> list[str]:
    """A table: one line for each check, and under what is not well the line that mends it."""
    return [line for check in checks for line in _told(check, max((len(each.name) for each in checks), default=0))]


def _told(check: Check, width: int) -> Iterator[str]:
    yield f"{check.state:<10}  {check.name:<{width}}  {check.sentence}"
    if check.remedy:
        yield f"{'':<10}  {'':<{width}}  -> {check.remedy}"
