"""The process of the stand-ins starts with one line and ends without a trace."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from conftest import VastServer, serving

Server = subprocess.Popen[str]
SERVE = [sys.executable, "-m", "fluxlora", "rehearsal", "serve", "--until-eof", "--speed", "50"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts a server whose temporary folder is in tmp_path."""
    servers: list[Server] = []

    def run(*options: str) -> Server:
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        server = subprocess.Popen(
            [*SERVE, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=environment, text=True
        )  # fmt: skip
        servers.append(server)
        return server

    yield run
    for server in servers:
        server.kill()
        server.communicate(timeout=10)


def ready(server: Server) -> VastServer:
    assert server.stdout
    return VastServer(**json.loads(server.stdout.readline()))


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, "eof"])
def test_server_ends_in_order_and_leaves_nothing(
    start: Callable[..., Server], tmp_path: Path, end: signal.Signals | str
) -> None:
    server = start()
    there = ready(server)
    there.rent_running()
    state = list(tmp_path.iterdir())

    if isinstance(end, signal.Signals):
        server.send_signal(end)
    out, err = server.communicate(timeout=10)  # closes standard input, too

    assert (server.returncode, out, err) == (0, "", "")
    assert state
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(requests.ConnectionError):
        requests.get(there.url, timeout=5)


def test_server_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess; subprocess.run({SERVE!r}, stdin=subprocess.PIPE)"],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)}
    )  # fmt: skip
    ready(parent)
    parent.kill()
    out, _ = parent.communicate(timeout=10)  # until the server has closed it, too
    assert out == ""


def test_both_stand_ins_answer_on_loopback_when_the_line_is_printed(vast_server: VastServer) -> None:
    hub = requests.get(
        vast_server.hub_url + "/api/whoami-v2", headers={"Authorization": f"Bearer {vast_server.hub_token}"}, timeout=10
    )
    assert hub.status_code == 200
    assert vast_server.call("GET", "/api/v0/users/current").status_code == 200
    assert {urlsplit(url).hostname for url in (vast_server.url, vast_server.hub_url)} == {"127.0.0.1"}


def test_port_that_is_taken_is_said_in_one_sentence(start: Callable[..., Server]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        _, err = start("--port", port).communicate(timeout=10)
    assert port in err
    assert "Traceback" not in err


def test_port_that_is_asked_for_is_taken(start: Callable[..., Server]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    assert ready(start("--port", str(port))).url == f"http://127.0.0.1:{port}"


def test_keys_differ_from_one_server_to_the_next(start: Callable[..., Server], vast_server: VastServer) -> None:
    other = ready(start())
    assert other.api_key != vast_server.api_key
    assert other.hub_token != vast_server.hub_token


def test_market_is_the_same_for_the_same_seed() -> None:
    with serving("--seed", "7") as one, serving("--seed", "7") as two, serving("--seed", "8") as three:
        markets = [
            [(offer["id"], offer["gpu_name"], offer["dph_base"], offer["geolocation"]) for offer in server.offers()]
            for server in (one, two, three)
        ]
    assert markets[0] == markets[1]
    assert markets[0] != markets[2]


def test_money_can_run_faster_than_the_clock() -> None:
    with serving("--speed", "50", "--clock-rate", "3600") as there:
        there.rent_running()
        hours = there.ledger()["instances"][0]["storage_hours"]
    assert 0.01 < hours < 30  # in real time it would be a ten-thousandth


def test_bytes_through_the_hub_are_charged_to_the_running_instance(vast: VastServer) -> None:
    vast.rent_running()
    requests.get(vast.hub_url + "/api/models/black-forest-labs/FLUX.1-dev", timeout=10)
    assert vast.ledger()["instances"][0]["bytes_down"] > 0


def test_what_befalls_no_instance_is_refused_with_what_does(vast: VastServer) -> None:
    rented = vast.rent()["new_contract"]
    refused = vast.call("POST", f"/rehearsal/instances/{rented}/explode")
    assert refused.status_code == 404
    assert "vanish, outbid, preempt, lose" in refused.json()["msg"]
