"""The published ssh port of an instance: a relay on 127.0.0.1 that counts bytes and can stop answering."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import suppress

CHUNK = 256 * 1024
PATIENCE = 3.0  # seconds that a connection is held until the host's sshd is up


class SshRelay:
    """A relay that is bound immediately, so that its port is known and refuses; it answers only after `open`."""

    def __init__(self, moved: Callable[[int, int], None]) -> None:
        """`moved(up, down)` is called with the bytes that left the host and that entered it."""
        self._moved = moved
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.sealed = False  # never opened, even if `open` is called
        self._upstream = 0
        self._crowd: list[socket.socket] = []
        self._server: asyncio.Server | None = None
        self._relays: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def open(self, upstream: int) -> None:
        """Relay to this port of 127.0.0.1 from now on."""
        self._upstream = upstream
        self._flowing.set()
        if self._server is None and not self.sealed:
            # Stored before it serves, so that `close` finds it at any moment.
            self._server = await asyncio.start_server(self._accept, sock=self._socket, start_serving=False)
            await self._server.start_serving()

    async def unseal(self) -> None:
        """Open the relay, to the port that was given in the meantime."""
        self.sealed = False
        await self.open(self._upstream)

    def deafen(self) -> None:
        """Stop answering even to connection attempts: with a full queue the system drops all others."""
        self.sealed = True
        self._socket.listen(0)
        for _ in range(3):
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", self.port))
            self._crowd.append(waiting)

    def freeze(self) -> None:
        """Stop answering from now on, without closing anything."""
        self._flowing.clear()

    def close(self) -> None:
        """Refuse connections, and cut the open ones."""
        self.sealed = True
        if self._server:
            # A socket that is closed while the loop still watches it hides a new one with the same number; and
            # `Server.close` would leave a connection that was just accepted open without an answer.
            asyncio.get_running_loop().remove_reader(self._socket)
            self._server = None
        for connection in (self._socket, *self._crowd):
            connection.close()
        for relay in self._relays:
            relay.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.sealed:
            writer.close()
            return
        relay = asyncio.current_task()
        assert relay
        self._relays.add(relay)
        try:
            inner_reader, inner_writer = await self._connect()
            try:
                await asyncio.gather(
                    self._pump(reader, inner_writer, lambda size: self._moved(0, size)),
                    self._pump(inner_reader, writer, lambda size: self._moved(size, 0)),
                )
            finally:
                inner_writer.close()
        except (OSError, asyncio.CancelledError):
            pass  # the host refuses, or the relay is being closed: in both cases the client's connection ends
        finally:
            writer.close()
            self._relays.discard(relay)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        # No waiting if the host can never start.
        deadline = time.monotonic() + (PATIENCE if self._upstream else 0)
        while True:
            try:
                return await asyncio.open_connection("127.0.0.1", self._upstream)
            except OSError:
                if time.monotonic() > deadline:
                    # A frozen relay does not even pass on a refusal.
                    await self._flowing.wait()
                    raise
                await asyncio.sleep(0.1)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, count: Callable[[int], None]
    ) -> None:
        with suppress(OSError):
            while data := await source.read(CHUNK):
                await self._flowing.wait()
                count(len(data))
                sink.write(data)
                await sink.drain()
        with suppress(OSError):
            sink.write_eof()
