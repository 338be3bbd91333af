"""The one family of errors: the message says what happened, the hint what to do about it."""

from __future__ import annotations


class FluxloraError(Exception):
    """What happened, in one sentence.

    `code` is stable and meant for programs, `hint` is the next thing to do and meant for people.
    """

    code = "error"

    def __init__(self, message: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code or type(self).code


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
