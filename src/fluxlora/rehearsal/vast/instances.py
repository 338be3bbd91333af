"""Instances with the states of vast.ai, and the host behind each."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fluxlora.rehearsal.hosts.protocol import Hosts
from fluxlora.rehearsal.vast.account import Account
from fluxlora.rehearsal.vast.arming import Faults
from fluxlora.rehearsal.vast.ledger import Ledger, Prices
from fluxlora.rehearsal.vast.market import Letting, Market
from fluxlora.rehearsal.vast.ssh_relay import SshRelay

LAYERS = ("Pulling fs layer", "Verifying Checksum", "Download complete", "Pull complete")


@dataclass(frozen=True)
class Pace:
    """Seconds an instance spends in each state; on vast.ai it is minutes."""

    pending: float = 0.3  # the v0 record is null
    created: float = 0.2
    loading: float = 0.8
    ports: float = 0.3  # running, but no ports yet
    sshd: float = 0.4  # ports, but refused

    def at(self, speed: float) -> Pace:
        return Pace(
            self.pending / speed, self.created / speed, self.loading / speed, self.ports / speed, self.sshd / speed
        )


class Destroyed(Exception):
    """The instance was destroyed during an operation on it."""


@dataclass
class Instance:
    """One instance, its state and its host."""

    id: int
    letting: Letting
    label: str | None
    image: str
    environment: dict[str, str]  # docker flags among them, "-p 8080:8080": "1"
    onstart: str
    runtype: str
    ssh_keys: dict[int, str]
    relay: SshRelay
    key: str = field(default_factory=lambda: secrets.token_hex(32))
    created: float = field(default_factory=time.time)
    shows_alone: bool = False
    actual_status: str | None = None
    intended_status: str = "running"
    cur_state: str = "running"
    status_msg: str | None = None
    published: bool = False  # ports and address are known
    bid: float | None = None
    # Wrong values of its record; and for how many list requests it is missing.
    shown: dict[str, Any] = field(default_factory=dict)
    unlisted: int = 0
    log: list[str] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def becomes(self, status: str, message: str | None = None) -> None:
        """Change the status."""
        self.actual_status = status
        self.status_msg = message
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.log.append(f"{stamp} {status}: {message or ''}".rstrip(": \n"))

    async def pause(self, seconds: float) -> None:
        """Wait, and raise Destroyed as soon as the instance is destroyed."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.gone.wait(), seconds)
        if self.gone.is_set():
            raise Destroyed

    def consume_hidden_listing(self) -> bool:
        """Return whether this list request does not have the instance, and count it."""
        away = self.unlisted > 0
        self.unlisted -= away
        return away

    @property
    def direct(self) -> bool:
        """Whether a port is mapped directly."""
        return "direc" in self.runtype and self.letting.offer["direct_port_count"] > 0

    def running_message(self) -> str:
        """Return the status message of a running instance."""
        kind = "jupyter" if "jupyter" in self.runtype else "ssh"
        return f"success, running {self.image.replace(':', '_', 1)}/{kind}\n"


class Fleet:
    """Every instance of the account. A request takes effect immediately, the host follows in a thread."""

    def __init__(
        self, *, account: Account, market: Market, ledger: Ledger, hosts: Hosts, pace: Pace, faults: Faults
    ) -> None:
        self.account, self.market, self.ledger, self.hosts = account, market, ledger, hosts
        self.pace, self.faults = pace, faults
        self.instances: dict[int, Instance] = {}
        self._ids = itertools.count(int(time.time()), 7)  # never an id of an earlier rehearsal
        self._tasks: set[asyncio.Task[None]] = set()

    def rent(self, offer_id: int, wanted: dict[str, Any]) -> Instance:
        """Rent an offer. `wanted` is the body of the API's call. Raises the same as `Market.take`."""
        disk = max(8.0, float(wanted.get("disk") or 10))
        price = wanted.get("price")
        letting = self.market.take(offer_id, disk, bid=price is not None)
        offer, instance_id = letting.offer, next(self._ids)
        instance = Instance(
            id=instance_id,
            letting=letting,
            label=wanted.get("label"),
            image=wanted.get("image") or "vastai/base-image",
            environment=dict(wanted.get("env") or {}),
            onstart=wanted.get("onstart") or "",
            runtype=wanted.get("runtype") or "ssh",
            ssh_keys=dict(self.account.ssh_keys),
            relay=SshRelay(lambda up, down: self.ledger.moved(instance_id, up, down)),
            bid=price,
        )
        self.instances[instance_id] = instance
        gpu_hour = offer["dph_base"] if price is None else price
        prices = Prices(gpu_hour, offer["storage_total_cost"], offer["inet_up_cost"], offer["inet_down_cost"])
        self.ledger.open(instance_id, instance.label, prices)
        if wanted.get("target_state") == "stopped" or (price is not None and price < offer["min_bid"]):
            instance.intended_status = instance.cur_state = "stopped"
            instance.shows_alone = True
            instance.becomes("stopped")
        else:
            self._do(instance, lambda: self.faults.around_boot(instance, lambda: self._boot(instance), self))
        return instance

    def start(self, instance: Instance) -> None:
        """Start a stopped instance."""
        instance.intended_status = instance.cur_state = "running"
        self._do(instance, lambda: self._start(instance))

    def stop(self, instance: Instance) -> None:
        """Stop an instance; its disk still costs money."""
        instance.intended_status = instance.cur_state = "stopped"
        self._do(instance, lambda: self._stop(instance))

    def reboot(self, instance: Instance) -> None:
        """Boot an instance again."""
        instance.becomes("rebooting")
        self._do(instance, lambda: self._restart(instance))

    def recycle(self, instance: Instance) -> None:
        """Create the container again; the data on its disk is lost."""
        instance.becomes("recycling")
        self._do(instance, lambda: self._recycle(instance))

    def bid(self, instance: Instance, price: float) -> None:
        """Change the bid ($/h) from now on."""
        instance.bid = price
        self.ledger.repriced(instance.id, gpu_hour=price)

    def authorize(self, instance: Instance) -> None:
        """Copy the instance's ssh keys to its host, if it has one yet."""
        keys = list(instance.ssh_keys.values())
        self._do(instance, lambda: asyncio.to_thread(self.hosts.authorize, instance.id, keys))

    def destroy(self, instance: Instance) -> None:
        """Destroy an instance."""
        del self.instances[instance.id]
        self.ledger.closed(instance.id)
        self.market.release(instance.letting)
        instance.gone.set()
        instance.relay.close()
        self._do(instance, lambda: asyncio.to_thread(self.hosts.remove, instance.id))

    def vanish(self, instance: Instance) -> None:
        """Make the host stop answering; vast.ai has not noticed."""
        instance.relay.freeze()
        self._do(instance, lambda: asyncio.to_thread(self.hosts.vanish, instance.id))

    def outbid(self, instance: Instance) -> None:
        """Simulate a higher bid: the instance stops without a message, and its disk still costs money."""
        self.stop(instance)

    def preempt(self, instance: Instance) -> None:
        """Simulate that its GPU is rented on demand: the instance waits for it, perhaps for ever."""
        instance.cur_state = "stopped"
        waits = "Attempting to schedule your instance. Your GPU is currently in use."
        self._do(instance, lambda: self._stop(instance, waits))

    def lose(self, instance: Instance) -> None:
        """Make the host stop answering, and vast.ai notice it; the disk still costs money."""
        self.ledger.stopped(instance.id)
        instance.becomes("offline", instance.status_msg)
        self.vanish(instance)

    async def clear(self) -> None:
        """Destroy everything and wait until it is gone."""
        # Instances that are rented in the meantime are destroyed, too.
        while self.instances or self._tasks:
            for instance in list(self.instances.values()):
                self.destroy(instance)
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Close permanently; no host remains."""
        try:
            await self.clear()
        finally:
            await asyncio.to_thread(self.hosts.close)

    def _do(self, instance: Instance, work: Callable[[], Awaitable[None]]) -> None:
        """Run an operation in the background, one at a time for each instance; errors appear in its status."""

        async def alone() -> None:
            async with instance.lock:
                try:
                    await work()
                except Destroyed:
                    pass
                except Exception as error:
                    self.ledger.stopped(instance.id)
                    instance.published = False
                    instance.becomes("exited", str(error))

        task = asyncio.create_task(alone())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _boot(self, instance: Instance) -> None:
        await instance.pause(self.pace.pending)
        instance.shows_alone = True
        instance.becomes("created")
        await instance.pause(self.pace.created)
        for number, step in enumerate(LAYERS):
            instance.becomes("loading", f"{0x4C7D45F7C63C + number:012x}: {step}")
            await instance.pause(self.pace.loading / len(LAYERS))
        await self._run(instance, await asyncio.to_thread(self._start_host, instance))

    async def _start(self, instance: Instance) -> None:
        if instance.actual_status == "stopped":  # it never ran
            await self._boot(instance)
            return
        instance.becomes("loading", instance.status_msg)
        await self._restart(instance)

    async def _stop(self, instance: Instance, message: str = "") -> None:
        self.ledger.stopped(instance.id)
        instance.published = False
        await asyncio.to_thread(self.hosts.stop, instance.id)
        instance.becomes("exited", message or instance.running_message())

    async def _restart(self, instance: Instance) -> None:
        await self._run(instance, await asyncio.to_thread(self.hosts.restart, instance.id))

    async def _recycle(self, instance: Instance) -> None:
        await asyncio.to_thread(self.hosts.remove, instance.id)
        await self._run(instance, await asyncio.to_thread(self._start_host, instance))

    def _start_host(self, instance: Instance) -> int:
        keys = list(instance.ssh_keys.values())
        own = {name: value for name, value in instance.environment.items() if not name.startswith("-")}
        environment = {
            **self.account.environment,
            **own,
            "CONTAINER_API_KEY": instance.key,
            "CONTAINER_ID": str(instance.id),
            "VAST_CONTAINERLABEL": f"C.{instance.id}",
            "GPU_COUNT": str(instance.letting.gpus),
            "PUBLIC_IPADDR": "127.0.0.1",
            "VAST_TCP_PORT_22": str(instance.relay.port),
            "SSH_PUBLIC_KEY": "\n".join(keys),
        }
        return self.hosts.start(instance.id, environment=environment, authorized_keys=keys, onstart=instance.onstart)

    async def _run(self, instance: Instance, sshd_port: int) -> None:
        await instance.pause(0)
        self.ledger.started(instance.id)
        instance.becomes("running", instance.running_message())
        await instance.pause(self.pace.ports)
        instance.published = True
        await instance.pause(self.pace.sshd)
        await instance.relay.open(sshd_port)
