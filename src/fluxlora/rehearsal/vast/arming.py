"""The faults, and which of them are armed.

A fault is one function around an answer of the API, or around the boot of an instance. Users read its docstring. POST
/rehearsal/faults arms it; it acts once, or as often as the request says.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from starlette.responses import Response

# This module does not know the faults: each takes an `api.Call`, or an `instances.Instance` and its `Fleet`, and the
# modules of these use this one.
Answer = Callable[[], Awaitable[Response]]
ApiFault = Callable[[Any, Answer], Awaitable[Response]]
Boot = Callable[[], Awaitable[None]]
BootFault = Callable[[Any, Boot, Any], Awaitable[None]]

BOOT = "boot"
# Key of the ASGI scope under which the server stores the function that cuts the connection of a request.
CUT = "rehearsal.cut"


class Fault(NamedTuple):
    """Where the fault acts, its function, and how fluxlora reacts."""

    where: str
    function: Any
    outcome: str


FAULTS: dict[str, Fault] = {}


def api_fault(where: str, outcome: str) -> Callable[[ApiFault], ApiFault]:
    """Return a decorator that registers a fault around the answer to this method and path."""

    def register(function: ApiFault) -> ApiFault:
        FAULTS[function.__name__] = Fault(where, function, outcome)
        return function

    return register


def boot_fault(outcome: str) -> Callable[[BootFault], BootFault]:
    """Return a decorator that registers a fault around the first boot of an instance."""

    def register(function: BootFault) -> BootFault:
        FAULTS[function.__name__] = Fault(BOOT, function, outcome)
        return function

    return register


class Faults:
    """The armed faults, and how often each will still act."""

    def __init__(self) -> None:
        self.armed: dict[str, int] = {}

    def arm(self, name: str, times: int = 1) -> None:
        """Arm a fault. Raises KeyError for an unknown name."""
        FAULTS[name]
        self.armed[name] = times

    async def around_answer(self, where: str, call: Any, answer: Answer) -> Response:
        """Return the answer, or what an armed fault makes of it."""

        fault = self._take(where)
        return await (fault(call, answer) if fault else answer())

    async def around_boot(self, instance: Any, boot: Boot, fleet: Any) -> None:
        """Boot the instance, with an armed fault around it."""

        fault = self._take(BOOT)
        await (fault(instance, boot, fleet) if fault else boot())

    def _take(self, where: str) -> Any:
        for name, times in self.armed.items():
            fault = FAULTS[name]
            if fault.where == where and times > 0:
                self.armed[name] = times - 1
                return fault.function
        return None
