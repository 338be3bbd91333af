"""Answers that are not vast.ai's API: pages of proxies, limits, connections that break."""

from __future__ import annotations

import asyncio

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from fluxlora.rehearsal.vast.arming import CUT


def page(status: int, title: str) -> Response:
    """What a proxy before vast.ai shows."""
    return Response(f"<html><body><h1>{status} {title}</h1></body></html>", status, media_type="text/html")


def refused(status: int, error: str, message: str, **more: object) -> Response:
    """A refusal in the API's words."""
    return JSONResponse({"success": False, "error": error, "msg": message, **more}, status)


def too_frequent(wait: str | None = None) -> Response:
    """vast.ai's rate limit: plain text, with or without Retry-After."""
    return PlainTextResponse("API requests too frequent", 429, {"Retry-After": wait} if wait else None)


class Cut(Response):
    """The first half of another answer, and then the connection is closed; of none, not even a status."""

    def __init__(self, whole: Response | None = None) -> None:
        super().__init__()
        self.whole = whole
        self.status_code = whole.status_code if whole else 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.whole:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.whole.raw_headers})
            half = bytes(self.whole.body)[: len(self.whole.body) // 2]
            await send({"type": "http.response.body", "body": half, "more_body": True})
        scope[CUT]()
        while (await receive())["type"] != "http.disconnect":
            pass


class Late(Response):
    """Another answer, when nobody waits for it any more, or after so many seconds."""

    def __init__(self, whole: Response, seconds: float) -> None:
        super().__init__()
        self.whole, self.seconds, self.status_code = whole, seconds, whole.status_code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self.seconds):
                while (await receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            await self.whole(scope, receive, send)
