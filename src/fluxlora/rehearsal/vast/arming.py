"""The faults and which of them are armed.

A fault is one function around what would have happened: an answer of the API, or the boot of an instance. Its docstring
is what users read. It is armed through POST /rehearsal/faults and acts once unless told how often.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from starlette.responses import Response

# The stand-in arms faults without knowing one: each is written for an `api.Call`, or an `instances.Instance` and its
# `Fleet`, which use this module.
Answer = Callable[[], Awaitable[Response]]
ApiFault = Callable[[Any, Answer], Awaitable[Response]]
Boot = Callable[[], Awaitable[None]]
BootFault = Callable[[Any, Boot, Any], Awaitable[None]]

BOOT = "boot"
# Where the server leaves what cuts the connection of a request.
CUT = "rehearsal.cut"


class Fault(NamedTuple):
    """Where it acts, what does it, and what fluxlora makes of it."""

    where: str
    function: Any
    outcome: str


FAULTS: dict[str, Fault] = {}


def api_fault(where: str, outcome: str) -> Callable[[ApiFault], ApiFault]:
    """Around the answer to this method and path."""

    def register(function: ApiFault) -> ApiFault:
        FAULTS[function.__name__] = Fault(where, function, outcome)
        return function

    return register


def boot_fault(outcome: str) -> Callable[[BootFault], BootFault]:
    """Around the first boot of an instance."""

    def register(function: BootFault) -> BootFault:
        FAULTS[function.__name__] = Fault(BOOT, function, outcome)
        return function

    return register


class Faults:
    """Those that are armed, and how often each will still act."""

    def __init__(self) -> None:
        self.armed: dict[str, int] = {}

    def arm(self, name: str, times: int = 1) -> None:
        """Raises KeyError for a name that is none."""
        FAULTS[name]
        self.armed[name] = times

    async def around_answer(self, where: str, call: Any, answer: Answer) -> Response:
        fault = self._take(where)
        return await (fault(call, answer) if fault else answer())

    async def around_boot(self, instance: Any, boot: Boot, fleet: Any) -> None:
        fault = self._take(BOOT)
        await (fault(instance, boot, fleet) if fault else boot())

    def _take(self, where: str) -> Any:
        for name, times in self.armed.items():
            fault = FAULTS[name]
            if fault.where == where and times > 0:
                self.armed[name] = times - 1
                return fault.function
        return None
