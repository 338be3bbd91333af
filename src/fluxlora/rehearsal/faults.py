"""What can go wrong with vast.ai, by name.

A fault is one function around what would have happened: an answer of the API, or the boot of an instance. Its docstring
is what users read. It is armed through POST /rehearsal/faults and acts once unless told how often.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

if TYPE_CHECKING:
    from fluxlora.rehearsal.api import Call
    from fluxlora.rehearsal.instances import Instance

Answer = Callable[[], Awaitable[Response]]
ApiFault = Callable[["Call", Answer], Awaitable[Response]]
BootFault = Callable[["Instance", Callable[[], Awaitable[None]]], Awaitable[None]]

BOOT = "boot"
FAULTS: dict[str, tuple[str, Any]] = {}  # name -> where it acts, the function


def api_fault(where: str) -> Callable[[ApiFault], ApiFault]:
    """Around the answer to this method and path."""

    def register(function: ApiFault) -> ApiFault:
        FAULTS[function.__name__] = where, function
        return function

    return register


def boot_fault(function: BootFault) -> BootFault:
    """Around the first boot of an instance."""
    FAULTS[function.__name__] = BOOT, function
    return function


class Faults:
    """Those that are armed, and how often each will still act."""

    def __init__(self) -> None:
        self.armed: dict[str, int] = {}

    def arm(self, name: str, times: int = 1) -> None:
        """Raises KeyError for a name that is none."""
        FAULTS[name]
        self.armed[name] = times

    async def around_answer(self, where: str, call: Call, answer: Answer) -> Response:
        fault = self._take(where)
        return await (fault(call, answer) if fault else answer())

    async def around_boot(self, instance: Instance, boot: Callable[[], Awaitable[None]]) -> None:
        fault = self._take(BOOT)
        await (fault(instance, boot) if fault else boot())

    def _take(self, where: str) -> Any:
        for name, times in self.armed.items():
            acts, function = FAULTS[name]
            if acts == where and times > 0:
                self.armed[name] = times - 1
                return function
        return None


@api_fault("PUT /api/v0/asks/{id}")
async def rent_then_504(call: Call, answer: Answer) -> Response:
    """The instance is rented, and the reply is lost on its way."""
    await answer()
    return Response("<html><body><h1>504 Gateway Time-out</h1></body></html>", 504, media_type="text/html")


@api_fault("PUT /api/v0/asks/{id}")
async def offer_gone(call: Call, answer: Answer) -> Response:
    """Somebody else was quicker."""
    message = f"error 404/3603: no_such_ask  Instance type by id {call.id} is not available."
    return JSONResponse({"success": False, "error": "invalid_args", "msg": message, "ask_id": call.id}, 400)


@api_fault("GET /api/v1/instances")
async def list_500(call: Call, answer: Answer) -> Response:
    """The list of instances fails."""
    return Response("Internal Server Error", 500, media_type="text/plain")


@api_fault("DELETE /api/v0/instances/{id}")
async def destroy_needs_two(call: Call, answer: Answer) -> Response:
    """The instance is said to be destroyed, and is still there."""
    return JSONResponse({"success": True, "msg": "Instance destroyed successfully"})


@boot_fault
async def stuck_loading(instance: Instance, boot: Callable[[], Awaitable[None]]) -> None:
    """The image never finishes loading."""
    instance.shows_alone = True
    instance.becomes("loading", "4c7d45f7c63c: Download complete")
    await instance.gone.wait()


@boot_fault
async def slow_to_show(instance: Instance, boot: Callable[[], Awaitable[None]]) -> None:
    """For two seconds the look at the new instance shows null, as if there were none."""
    await instance.pause(2)
    await boot()


@boot_fault
async def boot_fails(instance: Instance, boot: Callable[[], Awaitable[None]]) -> None:
    """The container cannot be made."""
    instance.shows_alone = True
    raise RuntimeError("Error response from daemon: failed to create task: OCI runtime create failed: unable to start")


@boot_fault
async def never_ssh(instance: Instance, boot: Callable[[], Awaitable[None]]) -> None:
    """The instance runs and publishes its port, and nothing ever answers there."""
    instance.gate.sealed = True
    await boot()
