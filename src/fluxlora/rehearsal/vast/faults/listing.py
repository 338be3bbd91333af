"""Faults of the list of instances, by which everything is decided."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response

from fluxlora.rehearsal.vast import listing, record
from fluxlora.rehearsal.vast.api import Call
from fluxlora.rehearsal.vast.arming import Answer, api_fault
from fluxlora.rehearsal.vast.faults.responses import Cut, page, refused, too_frequent

LIST = "GET /api/v1/instances"
AGAIN = "It is asked again; as long as it fails nothing is rented, and nothing counts as gone."
REFUSED = "The call fails and says what to mend; nothing is rented."
# {"values": {"id": 0}}
CURSOR = "eyJ2YWx1ZXMiOiB7ImlkIjogMH19"


@api_fault(LIST, AGAIN)
async def list_500(call: Call, answer: Answer) -> Response:
    """The list of instances fails."""
    return PlainTextResponse("Internal Server Error", 500)


@api_fault(LIST, AGAIN)
async def list_502(call: Call, answer: Answer) -> Response:
    """A proxy before vast.ai does not reach it."""
    return page(502, "Bad Gateway")


@api_fault(LIST, AGAIN)
async def list_520(call: Call, answer: Answer) -> Response:
    """Cloudflare does not understand vast.ai."""
    return page(520, "Web server is returning an unknown error")


@api_fault(LIST, AGAIN)
async def list_page_200(call: Call, answer: Answer) -> Response:
    """A web page comes in place of the list, with status 200."""
    return page(200, "Just a moment...")


@api_fault(LIST, AGAIN)
async def list_dropped(call: Call, answer: Answer) -> Response:
    """The connection breaks."""
    return Cut()


@api_fault(LIST, AGAIN)
async def list_cut(call: Call, answer: Answer) -> Response:
    """The connection breaks in the middle of the list."""
    return Cut(await answer())


@api_fault(LIST, AGAIN)
async def list_rate_limited(call: Call, answer: Answer) -> Response:
    """There were too many requests; vast.ai does not say how long to wait."""
    return too_frequent()


@api_fault(LIST, "It is asked again after that time.")
async def list_rate_limited_a_second(call: Call, answer: Answer) -> Response:
    """There were too many requests; vast.ai says to wait a second."""
    return too_frequent("1")


@api_fault(LIST, "The call fails at once and says how long to wait; nothing is rented.")
async def list_rate_limited_a_day(call: Call, answer: Answer) -> Response:
    """There were too many requests; vast.ai says to wait a day."""
    return too_frequent("86400")


@api_fault(LIST, "The call fails; an answer without a list is no empty list, and nothing is rented.")
async def list_refused_200(call: Call, answer: Answer) -> Response:
    """The list is refused with status 200."""
    return refused(200, "internal", "Something went wrong.", instances=[])


@api_fault(LIST, "The call fails rather than read on for ever; nothing is rented.")
async def list_repeats_its_cursor(call: Call, answer: Answer) -> Response:
    """A page of the list names itself as the next one."""
    body = _body(await answer())
    return JSONResponse({**body, "next_token": CURSOR})


@api_fault(LIST, "They are read as far as they go, without harm to the others.")
async def list_odd_rows(call: Call, answer: Answer) -> Response:
    """Rows have null labels, null dates, ports that are numbers; one has no id."""
    body = _body(await answer())
    odd = {"start_date": None, "extra_env": None, "label": None, "ports": [8080, 8081], "actual_status": None}
    body["instances"] += [{"id": 1, **odd}, {**odd}, {"id": "2"}]
    return JSONResponse(body)


@api_fault(LIST, "All pages are read, and the others' instances are left alone.")
async def thirty_foreign_instances(call: Call, answer: Answer) -> Response:
    """The account has thirty instances more, of somebody else's making: the list has two pages."""
    mine = [record.record(instance) for instance in call.cloud.fleet.instances.values()]
    foreign = [{"id": number, "label": "jupyter", "actual_status": "running"} for number in range(1, 31)]
    rows = [{**(mine[0] if mine else {}), **row} for row in foreign]
    return JSONResponse(listing.page([*rows, *mine], call.query))


@api_fault(LIST, REFUSED)
async def auth_401(call: Call, answer: Answer) -> Response:
    """vast.ai does not take the key, with the status of its documents."""
    return refused(401, "auth_error", "Invalid user key")


@api_fault(LIST, REFUSED)
async def auth_404(call: Call, answer: Answer) -> Response:
    """vast.ai does not take the key, with the status that it has in truth."""
    return refused(404, "auth_error", "Invalid user key")


@api_fault(LIST, REFUSED)
async def forbidden_403(call: Call, answer: Answer) -> Response:
    """The key may not list instances."""
    return refused(403, "forbidden", "This key lacks the permission instance_read.")


def _body(response: Response) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(bytes(response.body))
    return body
