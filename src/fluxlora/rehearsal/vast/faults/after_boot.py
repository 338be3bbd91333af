"""Faults that befall an instance that was fine: they act when the list is looked at next."""

from __future__ import annotations

from starlette.responses import Response

from fluxlora.rehearsal.vast.api import Call
from fluxlora.rehearsal.vast.arming import Answer, api_fault
from fluxlora.rehearsal.vast.faults.listing import LIST


@api_fault(LIST, "It is kept, for it may hold checkpoints; the message says that there is no credit and what it costs.")
async def credit_runs_out(call: Call, answer: Answer) -> Response:
    """The account's money is used up: vast.ai stops every instance and goes on billing its disk."""
    call.cloud.account.deposit = 0.0
    for instance in call.cloud.fleet.instances.values():
        call.cloud.fleet.stop(instance)
    return await answer()


@api_fault(LIST, "The key is attached again, and the run goes on.")
async def key_revoked(call: Call, answer: Answer) -> Response:
    """Every instance forgets its keys."""
    for instance in call.cloud.fleet.instances.values():
        instance.ssh_keys.clear()
        call.cloud.fleet.authorize(instance)
    return await answer()


@api_fault(LIST, "The call fails, says that the host key changed, and keeps the instance; nothing is sent to it.")
async def host_key_changed(call: Call, answer: Answer) -> Response:
    """Every instance is made anew, and so has another host key."""
    for instance in call.cloud.fleet.instances.values():
        call.cloud.fleet.recycle(instance)
    return await answer()
