"""Faults of an instance that was working: they act at the next request for the list."""

from __future__ import annotations

from starlette.responses import Response

from fluxlora.rehearsal.vast.api import Call
from fluxlora.rehearsal.vast.arming import Answer, api_fault
from fluxlora.rehearsal.vast.faults.listing import LIST


@api_fault(
    LIST, "The instance is kept, as it may have checkpoints; the message says that there is no credit, and the cost."
)
async def credit_runs_out(call: Call, answer: Answer) -> Response:
    """The account has no money left: vast.ai stops every instance and continues to bill its disk."""
    call.cloud.account.deposit = 0.0
    for instance in call.cloud.fleet.instances.values():
        call.cloud.fleet.stop(instance)
    return await answer()


@api_fault(LIST, "The key is attached again, and the run continues.")
async def key_revoked(call: Call, answer: Answer) -> Response:
    """Every instance loses its keys."""
    for instance in call.cloud.fleet.instances.values():
        instance.ssh_keys.clear()
        call.cloud.fleet.authorize(instance)
    return await answer()


@api_fault(LIST, "The call fails, says that the host key changed, and keeps the instance; nothing is sent to it.")
async def host_key_changed(call: Call, answer: Answer) -> Response:
    """Every instance is recreated, and so has another host key."""
    for instance in call.cloud.fleet.instances.values():
        call.cloud.fleet.recycle(instance)
    return await answer()
