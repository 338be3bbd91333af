"""Routes that only a rehearsal has, beside vast.ai's: the ledger, the requests, the faults."""

from __future__ import annotations

from fluxlora.rehearsal.vast.account import Account
from fluxlora.rehearsal.vast.api import Body, Call, Endpoints, Refusal
from fluxlora.rehearsal.vast.arming import FAULTS
from fluxlora.rehearsal.vast.instances import Fleet

endpoint = Endpoints()
# Events of a running instance.
EVENTS = {"vanish": Fleet.vanish, "outbid": Fleet.outbid, "preempt": Fleet.preempt, "lose": Fleet.lose}


@endpoint("GET", "/rehearsal/ledger")
async def show_ledger(call: Call) -> Body:
    """Return the ledger of costs."""
    return call.cloud.ledger.report()


@endpoint("GET", "/rehearsal/requests")
async def show_requests(call: Call) -> list[Body]:
    """Return the record of requests."""
    return call.cloud.requests


@endpoint("GET", "/rehearsal/faults")
async def show_faults(call: Call) -> Body:
    """Return all faults, and the armed ones."""
    faults = {name: {"what": fault.function.__doc__, "outcome": fault.outcome} for name, fault in FAULTS.items()}
    return {"faults": faults, "armed": call.cloud.faults.armed}


@endpoint("POST", "/rehearsal/faults")
async def arm_fault(call: Call) -> Body:
    """Arm a fault."""
    try:
        call.cloud.faults.arm(call.text("name", "invalid_args"), int(call.body.get("times", 1)))
    except KeyError as unknown:
        raise Refusal(404, "no_such_fault", f"There is no fault {unknown}; there are {', '.join(FAULTS)}.") from None
    return {"success": True}


@endpoint("DELETE", "/rehearsal/faults")
async def disarm_faults(call: Call) -> Body:
    """Disarm all faults."""
    call.cloud.faults.armed.clear()
    return {"success": True}


@endpoint("POST", "/rehearsal/instances/{id:int}/{event}")
async def trigger_event(call: Call) -> Body:
    """Trigger one of EVENTS."""
    event = call.params["event"]
    if event not in EVENTS:
        raise Refusal(404, "no_such_event", f"There is no event {event}; there are {', '.join(EVENTS)}.")
    EVENTS[event](call.cloud.fleet, call.instance())
    return {"success": True}


@endpoint("POST", "/rehearsal/account")
async def change_account(call: Call) -> Body:
    """Set `deposit` in $, and `skew_seconds` by which vast.ai's clock is ahead."""
    account = call.cloud.account
    account.deposit = float(call.body.get("deposit", account.deposit))
    account.skew_seconds = float(call.body.get("skew_seconds", account.skew_seconds))
    return {"success": True}


@endpoint("POST", "/rehearsal/reset")
async def reset(call: Call) -> Body:
    """Destroy every instance and reset keys, faults, money and requests, for the next test."""
    cloud = call.cloud
    await cloud.fleet.clear()
    cloud.account.forget()
    for kept in (cloud.faults.armed, cloud.ledger.meters):
        kept.clear()
    cloud.requests.clear()
    cloud.account.deposit = Account.deposit
    return {"success": True}
