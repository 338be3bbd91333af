"""The result of a check, and its output."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """The result of a check; only the last one means that nothing may be spent."""

    OK = "ok"
    NOT_NEEDED = "not needed"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Check:
    """The result of one check: `remedy` is the command or the address that fixes it."""

    name: str
    state: State
    sentence: str
    remedy: str = ""
    # Stable, for programs; empty if nothing is wrong.
    code: str = ""

    def as_facts(self) -> dict[str, str]:
        """Return the check as a mapping for JSON."""
        return {
            "name": self.name,
            "state": str(self.state),
            "sentence": self.sentence,
            "remedy": self.remedy,
            "code": self.code,
        }


def ok(name: str, sentence: str) -> Check:
    """Return a check that has passed."""
    return Check(name, State.OK, sentence)


def not_needed(name: str, sentence: str, remedy: str = "") -> Check:
    """Return a check that is not needed."""
    return Check(name, State.NOT_NEEDED, sentence, remedy)


def warning(name: str, sentence: str, remedy: str, code: str) -> Check:
    """Return a check with a warning."""
    return Check(name, State.WARNING, sentence, remedy, code)


def failed(name: str, sentence: str, remedy: str, code: str) -> Check:
    """Return a check that has failed."""
    return Check(name, State.FAILED, sentence, remedy, code)


def failures(checks: Iterable[Check]) -> list[Check]:
    """Return the failed checks."""
    return [check for check in checks if check.state is State.FAILED]


def lines(checks: Sequence[Check]) -> list[str]:
    """Return a table: one line for each check, and under each failure and warning the line that fixes it."""
    return [line for check in checks for line in _told(check, max((len(each.name) for each in checks), default=0))]


def _told(check: Check, width: int) -> Iterator[str]:
    yield f"{check.state:<10}  {check.name:<{width}}  {check.sentence}"
    if check.remedy:
        yield f"{'':<10}  {'':<{width}}  -> {check.remedy}"
