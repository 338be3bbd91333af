"""Faults of the request that destroys an instance and ends its costs."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from fluxlora.rehearsal.vast.api import Call
from fluxlora.rehearsal.vast.arming import Answer, api_fault
from fluxlora.rehearsal.vast.faults.responses import page, refused

DESTROY = "DELETE /api/v0/instances/{id}"
UNTIL_GONE = "The request is repeated until the list no longer has the instance."
SAID = {"success": True, "msg": "Instance destroyed successfully"}


@api_fault(DESTROY, UNTIL_GONE)
async def destroy_502(call: Call, answer: Answer) -> Response:
    """The instance is not destroyed, because vast.ai is not reached."""
    return page(502, "Bad Gateway")


@api_fault(DESTROY, UNTIL_GONE)
async def destroy_refused(call: Call, answer: Answer) -> Response:
    """vast.ai refuses to destroy the instance."""
    return refused(200, "busy", "The instance is busy.")


@api_fault(DESTROY, UNTIL_GONE)
async def destroy_needs_two(call: Call, answer: Answer) -> Response:
    """vast.ai reports that the instance is destroyed, but it still exists."""
    return JSONResponse(SAID)


@api_fault(DESTROY, "The list is checked twice, and an instance that comes back is destroyed again.")
async def destroy_comes_back(call: Call, answer: Answer) -> Response:
    """vast.ai reports that the instance is destroyed; it is missing in the next list, and then comes back."""
    call.instance().unlisted = 1
    return JSONResponse(SAID)


@api_fault(DESTROY, "Only the list counts: it no longer has the instance, which therefore costs nothing any more.")
async def destroy_404(call: Call, answer: Answer) -> Response:
    """The instance is destroyed, and vast.ai answers that there is none."""
    await answer()
    return refused(404, "no_such_instance", f"Instance {call.id} not found.")
