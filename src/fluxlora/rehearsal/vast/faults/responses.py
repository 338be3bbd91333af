"""Answers that do not come from vast.ai's API: pages of proxies, rate limits, broken connections."""

from __future__ import annotations

import asyncio

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from fluxlora.rehearsal.vast.arming import CUT


def page(status: int, title: str) -> Response:
    """Return the error page of a proxy in front of vast.ai."""
    return Response(f"<html><body><h1>{status} {title}</h1></body></html>", status, media_type="text/html")


def refused(status: int, error: str, message: str, **more: object) -> Response:
    """Return a refusal in the API's format."""
    return JSONResponse({"success": False, "error": error, "msg": message, **more}, status)


def too_frequent(wait: str | None = None) -> Response:
    """Return vast.ai's rate limit: plain text, with or without Retry-After."""
    return PlainTextResponse("API requests too frequent", 429, {"Retry-After": wait} if wait else None)


class Cut(Response):
    """The first half of another answer, then the connection is closed. Without another answer, not even a status is
    sent."""

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
    """Another answer, sent when the client has disconnected, or after this many seconds."""

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
