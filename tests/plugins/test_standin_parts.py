"""The parts behind the stand-in that no request shows: the market's breadth, the meters, the ssh relay."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from fluxlora.rehearsal.serve import wait_for_eof
from fluxlora.rehearsal.vast.faults import FAULTS
from fluxlora.rehearsal.vast.ledger import Clock, Ledger, Prices
from fluxlora.rehearsal.vast.market import Market
from fluxlora.rehearsal.vast.ssh_relay import SshRelay

PRICES = Prices(gpu_hour=0.4, storage_hour=0.05, up_gb=0.01, down_gb=0.002)
KEYS = json.loads((Path(__file__).parents[1] / "data" / "vast-offer-keys.json").read_text())


# The market


@pytest.mark.parametrize("seed", range(5))
def test_market_is_broad_whatever_its_seed(seed: int) -> None:
    market = Market(seed)
    offers = market.offers(storage=220)
    fit = [
        offer
        for offer in offers
        if offer["gpu_ram"] >= 24_000 and offer["compute_cap"] >= 800 and offer["disk_space"] >= 220
    ]
    assert len(offers) >= 60
    assert len(market.gpu_names()) >= 15
    assert len({offer["geolocation"] for offer in offers}) >= 8
    assert len(fit) >= 20


def test_offers_have_the_keys_of_the_api() -> None:
    assert {tuple(sorted(offer)) for offer in Market().offers(storage=8)} == {tuple(sorted(KEYS))}


def test_offer_numbers_are_unique() -> None:
    numbers = [offer["id"] for offer in Market().offers(storage=8)]
    assert len(set(numbers)) == len(numbers)


def test_large_gpus_cost_more_than_small_ones() -> None:
    cheapest: dict[str, float] = {}
    for offer in Market().offers(storage=8):
        hourly = offer["dph_base"] / offer["num_gpus"]
        cheapest[offer["gpu_name"]] = min(hourly, cheapest.get(offer["gpu_name"], hourly))
    assert cheapest["RTX 3090"] < cheapest["RTX 4090"] < cheapest["A100 SXM4"] < cheapest["H100 SXM"]


# The ledger


class Time:
    """A clock to turn by hand, in hours."""

    def __init__(self) -> None:
        self.hours = 1000.0

    def __call__(self) -> float:
        return self.hours * 3600


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def ledger(time: Time) -> Ledger:
    ledger = Ledger(Clock(wall=time))
    ledger.open(1, "fluxlora/a/512", PRICES)
    return ledger


def test_storage_costs_from_creation_and_the_gpu_only_while_it_runs(time: Time, ledger: Ledger) -> None:
    time.hours += 1
    ledger.started(1)
    time.hours += 2
    ledger.stopped(1)
    time.hours += 3
    assert ledger.total() == pytest.approx(6 * 0.05 + 2 * 0.4)


def test_nothing_costs_after_the_end(time: Time, ledger: Ledger) -> None:
    ledger.started(1)
    time.hours += 1
    ledger.closed(1)
    time.hours += 10
    assert ledger.total() == pytest.approx(0.05 + 0.4)


def test_bytes_cost_both_ways(ledger: Ledger) -> None:
    ledger.moved(1, up=3_000_000_000, down=50_000_000_000)
    assert ledger.total() == pytest.approx(3 * 0.01 + 50 * 0.002)


def test_new_price_holds_from_now_on(time: Time, ledger: Ledger) -> None:
    ledger.started(1)
    time.hours += 1
    ledger.repriced(1, gpu_hour=1.0)
    time.hours += 1
    ledger.stopped(1)
    assert ledger.report()["instances"][0]["usd"]["gpu"] == pytest.approx(0.4 + 1.0)


def test_traffic_of_nobody_in_particular_is_shared_by_those_that_run(ledger: Ledger) -> None:
    for number in (2, 3):
        ledger.open(number, None, PRICES)
        ledger.started(number)
    ledger.traffic(10, 100)
    assert [meter.bytes_down for meter in ledger.meters.values()] == [0, 50, 50]


def test_charges_are_those_of_the_days_asked_for(time: Time, ledger: Ledger) -> None:
    time.hours += 1
    ledger.closed(1)
    time.hours += 100
    assert ledger.charges(0, time()) != []
    assert ledger.charges(time() - 3600, time()) == []


# The relay to a host's sshd

Talk = Callable[[SshRelay, int], Awaitable[None]]


def with_relay(talk: Talk) -> list[tuple[int, int]]:
    """Runs `talk` with a relay and the port of a host that echoes behind it; the bytes the relay counted."""
    moved: list[tuple[int, int]] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(100))
        writer.close()

    async def run() -> None:
        relay = SshRelay(lambda up, down: moved.append((up, down)))
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as host:
            await asyncio.wait_for(talk(relay, host.sockets[0].getsockname()[1]), 10)
            relay.close()

    asyncio.run(run())
    return moved


async def said(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"hello")
    try:
        return await asyncio.wait_for(reader.read(100), 0.5)
    finally:
        writer.close()


def test_gate_refuses_until_it_is_opened_then_relays_and_counts() -> None:
    async def talk(relay: SshRelay, host: int) -> None:
        with pytest.raises(ConnectionRefusedError):
            await said(relay.port)
        await relay.open(host)
        assert await said(relay.port) == b"hello"

    assert with_relay(talk) == [(0, 5), (5, 0)]


def test_frozen_gate_takes_and_gives_nothing_and_does_not_hang_up() -> None:
    async def talk(relay: SshRelay, host: int) -> None:
        await relay.open(host)
        relay.freeze()
        with pytest.raises(TimeoutError):
            await said(relay.port)

    assert with_relay(talk) == []


def test_sealed_gate_refuses_for_good() -> None:
    async def talk(relay: SshRelay, host: int) -> None:
        relay.sealed = True
        await relay.open(host)
        with pytest.raises(ConnectionRefusedError):
            await said(relay.port)

    with_relay(talk)


def test_gate_closed_while_it_opens_leaves_no_deaf_connection_behind() -> None:
    """The loop would go on watching the closed socket, and whoever is given its number next is never heard."""

    async def talk(relay: SshRelay, host: int) -> None:
        opening = asyncio.create_task(relay.open(host))
        await asyncio.sleep(0)
        relay.close()
        await opening
        others = [await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) for _ in range(4)]
        for other in others:
            assert await said(other.sockets[0].getsockname()[1]) == b""
            other.close()

    with_relay(talk)


@pytest.mark.parametrize("rounds", range(7))
def test_closed_gate_cuts_even_who_has_come_just_now(rounds: int) -> None:
    async def talk(relay: SshRelay, host: int) -> None:
        await relay.open(host)
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        for _ in range(rounds):
            await asyncio.sleep(0)
        relay.close()
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 2) == b""
        writer.close()

    with_relay(talk)


def test_every_fault_says_what_it_does_and_what_becomes_of_it() -> None:
    for name, fault in FAULTS.items():
        assert (fault.function.__doc__ or "").endswith("."), name
        assert fault.outcome.endswith("."), name


def test_a_caller_that_goes_after_the_server_has_ended_disturbs_nobody() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    loop, over = asyncio.new_event_loop(), asyncio.Event()
    loop.close()
    wait_for_eof(loop, over, reading)
    os.close(reading)
    assert not over.is_set()
