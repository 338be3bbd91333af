"""Faults of the destruction, which ends the costs."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from fluxlora.rehearsal.vast.api import Call
from fluxlora.rehearsal.vast.arming import Answer, api_fault
from fluxlora.rehearsal.vast.faults.responses import page, refused

DESTROY = "DELETE /api/v0/instances/{id}"
UNTIL_GONE = "It is asked for again until the list does not have the instance."
SAID = {"success": True, "msg": "Instance destroyed successfully"}


@api_fault(DESTROY, UNTIL_GONE)
async def destroy_502(call: Call, answer: Answer) -> Response:
    """The instance is not destroyed, for vast.ai is not reached."""
    return page(502, "Bad Gateway")


@api_fault(DESTROY, UNTIL_GONE)
async def destroy_refused(call: Call, answer: Answer) -> Response:
    """vast.ai refuses to destroy the instance."""
    return refused(200, "busy", "The instance is busy.")


@api_fault(DESTROY, UNTIL_GONE)
async def destroy_needs_two(call: Call, answer: Answer) -> Response:
    """The instance is said to be destroyed, and is still there."""
    return JSONResponse(SAID)


@api_fault(DESTROY, "The list is looked at twice, and it is destroyed again when it is back.")
async def destroy_comes_back(call: Call, answer: Answer) -> Response:
    """The instance is said to be destroyed, is not in the list for a look, and then is."""
    call.instance().unlisted = 1
    return JSONResponse(SAID)


@api_fault(DESTROY, "The list decides: it does not have the instance, so that it costs nothing any more.")
async def destroy_404(call: Call, answer: Answer) -> Response:
    """The instance is destroyed, and vast.ai says that there is none."""
    await answer()
    return refused(404, "no_such_instance", f"Instance {call.id} not found.")
