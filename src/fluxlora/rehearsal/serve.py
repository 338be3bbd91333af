"""Runs the stand-ins for vast.ai, the Hub and Weights & Biases in one process, on 127.0.0.1, until it is ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

import fluxlora.rehearsal.vast.faults  # noqa: F401  (registers them)
from fluxlora.errors import RehearsalError
from fluxlora.process import private_folder
from fluxlora.rehearsal.hosts.protocol import Hosts, NoHosts
from fluxlora.rehearsal.hub import hub_app
from fluxlora.rehearsal.metered import Metered
from fluxlora.rehearsal.vast import controls, routes
from fluxlora.rehearsal.vast.account import Account
from fluxlora.rehearsal.vast.api import Cloud, application
from fluxlora.rehearsal.vast.arming import Faults
from fluxlora.rehearsal.vast.instances import Fleet, Pace
from fluxlora.rehearsal.vast.ledger import Clock, Ledger
from fluxlora.rehearsal.vast.market import Market
from fluxlora.rehearsal.wandb import wandb_app


def serve(
    *,
    port: int = 0,
    hosts: str = "none",
    until_eof: bool = False,
    speed: float = 1.0,
    clock_rate: float = 1.0,
    seed: int = 1,
    machines: int = 1,
) -> None:
    """Print one line of JSON with the url and key of each stand-in; return when everything is removed again.

    It ends at SIGTERM, SIGINT or, with `until_eof`, when standard input ends. `speed` makes instances change their
    states faster, `clock_rate` makes costs grow faster than in real time, `seed` chooses the market, which has this
    many `machines` of each kind.
    """
    behind = _hosts(hosts)
    market, ledger, account, faults = Market(seed, machines), Ledger(Clock(clock_rate)), Account(), Faults()
    fleet = Fleet(account=account, market=market, ledger=ledger, hosts=behind, pace=Pace().at(speed), faults=faults)
    cloud = Cloud(account=account, market=market, ledger=ledger, faults=faults, fleet=fleet)
    with private_folder() as state:
        asyncio.run(_serve(cloud, port, state, until_eof))


def _hosts(kind: str) -> Hosts:
    if kind == "none":
        return NoHosts()
    from fluxlora.rehearsal.hosts.containers import Containers

    return Containers()


async def _serve(cloud: Cloud, port: int, state: Path, until_eof: bool) -> None:
    over, loop, hub_token = asyncio.Event(), asyncio.get_running_loop(), f"hf_{secrets.token_hex(17)}"
    wandb_key = secrets.token_hex(20)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, over.set)
    api = _Server(application(cloud, routes.endpoint, controls.endpoint), port, tells_time=False)
    hub = _Server(Metered(hub_app(state / "hub", hub_token), cloud.ledger.traffic), 0)
    wandb = _Server(wandb_app(wandb_key), 0)
    if until_eof:
        threading.Thread(target=wait_for_eof, args=(loop, over), daemon=True).start()
    try:
        async with api.running(), hub.running(), wandb.running():
            ready = {
                **{"url": api.url, "api_key": cloud.account.api_key},
                **{"hub_url": hub.url, "hub_token": hub_token},
                **{"wandb_url": wandb.url, "wandb_key": wandb_key},
            }
            print(json.dumps(ready), flush=True)
            await over.wait()
    finally:
        await cloud.fleet.close()


def wait_for_eof(loop: asyncio.AbstractEventLoop, over: asyncio.Event, file: int = 0) -> None:
    """Set `over` when standard input ends; this has no effect if the server has already ended."""
    # os.read and not sys.stdin, whose lock would be held by this thread at the end of the interpreter.
    with contextlib.suppress(OSError):
        while os.read(file, 1024):
            pass
    with contextlib.suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(over.set)


class _Server(uvicorn.Server):
    """A uvicorn that does not handle signals and is bound before it starts."""

    def __init__(self, app: ASGIApp, port: int, *, tells_time: bool = True) -> None:
        """`tells_time`: the server sets each answer's date header; otherwise the application does."""
        # Clients keep a connection for five seconds, and so does uvicorn by default: it could close one that is in use.
        config = uvicorn.Config(
            app,
            log_level="warning",
            timeout_graceful_shutdown=1,
            timeout_keep_alive=75,
            access_log=False,
            date_header=tells_time,
        )
        super().__init__(config)
        try:
            self._socket = socket.create_server(("127.0.0.1", port))
        except OSError as error:
            hint = "Choose another one, or leave it out to get any free port."
            raise RehearsalError(f"Port {port} of 127.0.0.1 is not available: {error.strerror}.", hint=hint) from error
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        serving = asyncio.create_task(self.serve([self._socket]))
        while not self.started:
            if serving.done():
                serving.result()
            await asyncio.sleep(0.005)
        try:
            yield
        finally:
            self.should_exit = True
            await serving
