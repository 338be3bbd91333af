"""Faults of the search and of the rent, the one request that must not be repeated."""

from __future__ import annotations

import asyncio
import contextlib

from starlette.responses import JSONResponse, Response

from fluxlora.rehearsal.vast.api import Call
from fluxlora.rehearsal.vast.arming import Answer, api_fault
from fluxlora.rehearsal.vast.faults.responses import Cut, Late, page, refused, too_frequent

SEARCH = "POST /api/v0/bundles"
RENT = "PUT /api/v0/asks/{id}"
LOOKED_UP = "The instance is found by its label, and no second one is rented."
NEXT = "The next offer is rented."
# Longer than any client waits for an answer.
LATE_SECONDS = 90.0
# After a rent whose reply is lost.
UNSEEN_SECONDS = 0.5
_background: set[asyncio.Task[object]] = set()


@api_fault(SEARCH, "The call fails and says when the quota is renewed; nothing is rented.")
async def search_quota(call: Call, answer: Answer) -> Response:
    """The day's searches are used up."""
    return refused(429, "search_quota_exceeded", "You have exceeded your daily search quota.")


@api_fault(RENT, LOOKED_UP)
async def rent_then_504(call: Call, answer: Answer) -> Response:
    """The instance is rented, and a proxy gives up waiting for the reply."""
    await answer()
    return page(504, "Gateway Time-out")


@api_fault(RENT, LOOKED_UP)
async def rent_then_dropped(call: Call, answer: Answer) -> Response:
    """The instance is rented, and the connection breaks before the reply."""
    await answer()
    return Cut()


@api_fault(RENT, LOOKED_UP)
async def rent_reply_cut(call: Call, answer: Answer) -> Response:
    """The instance is rented, and the connection breaks in the middle of the reply."""
    return Cut(await answer())


@api_fault(RENT, LOOKED_UP)
async def rent_reply_late(call: Call, answer: Answer) -> Response:
    """The instance is rented, and the reply comes when nobody waits for it any more."""
    return Late(await answer(), LATE_SECONDS)


@api_fault(RENT, LOOKED_UP)
async def rent_seen_late(call: Call, answer: Answer) -> Response:
    """The connection breaks, and only later is the instance rented and listed."""

    async def later() -> None:
        await asyncio.sleep(UNSEEN_SECONDS)
        # A refusal would reach nobody either.
        with contextlib.suppress(Exception):
            await answer()

    task = asyncio.create_task(later())
    _background.add(task)
    task.add_done_callback(_background.discard)
    return Cut()


@api_fault(RENT, LOOKED_UP)
async def rent_without_id(call: Call, answer: Answer) -> Response:
    """The instance is rented, and the reply does not say which it is."""
    await answer()
    return JSONResponse({"success": True})


@api_fault(RENT, LOOKED_UP)
async def rent_then_page(call: Call, answer: Answer) -> Response:
    """The instance is rented, and the reply is a web page with status 200."""
    await answer()
    return page(200, "Just a moment...")


@api_fault(RENT, "The call stops after a long look for an instance; it rents no second one and says where to look.")
async def rent_dropped(call: Call, answer: Answer) -> Response:
    """The connection breaks, and nothing is rented."""
    return Cut()


@api_fault(RENT, "The older one is kept, the other is destroyed.")
async def rent_made_twice(call: Call, answer: Answer) -> Response:
    """One request makes two instances."""
    disk = float(call.body.get("disk") or 10)
    others = [each for each in call.cloud.market.offers(storage=disk) if each["disk_space"] >= disk]
    response = await answer()
    call.cloud.fleet.rent(next(each["id"] for each in others if each["id"] != call.id), call.body)
    return response


def _no_such_ask(call: Call, status: int) -> Response:
    message = f"error 404/3603: no_such_ask  Instance type by id {call.id} is not available."
    return refused(status, "invalid_args", message, ask_id=call.id)


@api_fault(RENT, NEXT)
async def offer_gone(call: Call, answer: Answer) -> Response:
    """Somebody else was quicker; vast.ai answers 400."""
    return _no_such_ask(call, 400)


@api_fault(RENT, NEXT)
async def offer_gone_404(call: Call, answer: Answer) -> Response:
    """Somebody else was quicker; vast.ai answers 404."""
    return _no_such_ask(call, 404)


@api_fault(RENT, NEXT)
async def offer_gone_410(call: Call, answer: Answer) -> Response:
    """Somebody else was quicker; vast.ai answers 410."""
    message = f"error 410/3907: no_such_ask Instance type {call.id} is no longer available."
    return refused(410, "no_such_ask", message, ask_id=call.id)


@api_fault(RENT, "It was not carried out, so it is sent again.")
async def rent_rate_limited(call: Call, answer: Answer) -> Response:
    """The rent comes too soon after another request; vast.ai does not say how long to wait."""
    return too_frequent()


@api_fault(RENT, "It was not carried out, so it is sent again after that time.")
async def rent_rate_limited_a_second(call: Call, answer: Answer) -> Response:
    """The rent comes too soon after another request; vast.ai says to wait a second."""
    return too_frequent("1")


@api_fault(RENT, "What it left is destroyed, and the next offer is rented.")
async def rent_refused_but_made(call: Call, answer: Answer) -> Response:
    """The rent is refused, and makes an instance all the same."""
    call.body["target_state"] = "stopped"
    await answer()
    made = max(call.cloud.fleet.instances)
    return JSONResponse({"success": False, "error": "invalid_price", "msg": "price too low", "new_contract": made})


@api_fault(RENT, "The call fails and says where to add credit; nothing is rented.")
async def no_credit(call: Call, answer: Answer) -> Response:
    """The account cannot pay."""
    return refused(400, "insufficient_credit", "Your account has no credit left.", ask_id=call.id)
