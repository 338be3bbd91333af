"""Counts the bytes of an application, so that they can be charged."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Metered:
    """Wraps an application, and calls `moved(up, down)` with the bytes of every body that it receives and sends."""

    def __init__(self, app: ASGIApp, moved: Callable[[int, int], None]) -> None:
        self._app, self._moved = app, moved

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counted_receive() -> Message:
            message = await receive()
            self._moved(len(message.get("body", b"")), 0)
            return message

        async def counted_send(message: Message) -> None:
            self._moved(0, len(message.get("body", b"")))
            await send(message)

        await self._app(scope, counted_receive, counted_send)
