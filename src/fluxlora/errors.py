"""The one family of errors: the message says what happened, the hint what to do about it."""

from __future__ import annotations

from typing import Any

from fluxlora.text import CUT_MARK, printable

# Longer than any sentence of ours.
_LONGEST = 2000


class FluxloraError(Exception):
    """What happened, in one sentence.

    `code` is stable and meant for programs, `hint` is the next thing to do and meant for people. Message and hint are
    one printable line each, whatever a host, the Hub or a file's name put into them.
    """

    code = "error"

    def __init__(self, message: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(_line(message))
        self.hint = _line(hint)
        self.code = code or type(self).code

    def as_facts(self) -> dict[str, Any]:
        """The failure as a module or an action plugin returns it."""
        return {"failed": True, "msg": str(self), "hint": self.hint, "code": str(self.code)}


def _line(text: str) -> str:
    line = " ".join(printable(part) for part in text[: 4 * _LONGEST].splitlines())
    return line if len(line) <= _LONGEST else line[: _LONGEST - len(CUT_MARK)] + CUT_MARK


class InputError(FluxloraError):
    """Something the user wrote cannot be used."""

    code = "bad_input"


class VastError(FluxloraError):
    """vast.ai refused, or answered what cannot be understood.

    `instance_id` is set when an instance exists, and so costs money, in spite of the error.
    """

    code = "vast_error"

    def __init__(
        self, message: str, *, hint: str = "", code: str | None = None, instance_id: int | None = None
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.instance_id = instance_id


class HubError(FluxloraError):
    """The Hugging Face Hub refused, or what it holds is not what was expected."""

    code = "hub_error"


class RehearsalError(FluxloraError):
    """The rehearsal cannot be held on this machine."""

    code = "rehearsal_error"
