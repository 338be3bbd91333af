"""The vast.ai account as the doctor sees it: keys of every scope, asked without changing anything."""

from __future__ import annotations

import socket

import pytest

from conftest import VastServer
from fluxlora.doctor import account
from fluxlora.vast.client import Vast
from fluxlora.vast.errors import BadApiKey, Forbidden, Unavailable
from replay import replaying


def test_the_accounts_own_key_may_do_everything_and_shows_the_credit(vast: VastServer) -> None:
    vast.call("POST", "/rehearsal/account", {"deposit": 12.5})
    seen = account.look(Vast(vast.api_key, vast.url))
    assert (list(seen.lacks), seen.credit, list(seen.keys or ["?"])) == ([], 12.5, ["?"])


@pytest.mark.parametrize("lacking", account.SCOPES)
def test_a_permission_that_is_lacking_is_told_from_one_that_is_there(vast: VastServer, lacking: str) -> None:
    key = vast.scoped_key(*(name for name in account.SCOPES if name != lacking))
    assert list(account.look(Vast(key, vast.url)).lacks) == [lacking]


def test_a_key_without_any_permission_is_a_valid_key(vast: VastServer) -> None:
    seen = account.look(Vast(vast.scoped_key(), vast.url))
    assert list(seen.lacks) == list(account.SCOPES)
    assert seen.credit is None


def test_asking_changes_nothing(vast: VastServer) -> None:
    before = vast.rent_running(label="fluxlora/my-style/1024")
    vast.call("POST", "/api/v0/ssh/", {"ssh_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPJUmxgsPBPU4vLlOCRfl6EvVYJ"})
    account.look(Vast(vast.api_key, vast.url))
    after = vast.instance(before["id"])
    assert after
    assert (before["label"], before["intended_status"]) == (after["label"], after["intended_status"])
    assert len(vast.call("GET", "/api/v0/ssh/").json()) == 1
    assert vast.rented_ids() == [before["id"]]


def test_a_key_that_vast_does_not_know_is_bad_and_a_vast_that_is_away_is_not(vast: VastServer) -> None:
    with pytest.raises(BadApiKey):
        account.look(Vast("nobodys", vast.url))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Unavailable):
        account.look(Vast("nobodys", f"http://127.0.0.1:{port}", attempts=1))


def test_a_proxys_own_403_is_no_lack_of_permission() -> None:
    with replaying((403, "<html>Access denied</html>")) as server, pytest.raises(Unavailable):
        account.look(Vast("k" * 64, server.url, attempts=1))


@pytest.mark.parametrize("skew", [-600.0, 600.0])
def test_vasts_time_is_read_from_its_answers(vast: VastServer, skew: float) -> None:
    vast.call("POST", "/rehearsal/account", {"skew_seconds": skew})
    seen = account.look(Vast(vast.api_key, vast.url))
    assert seen.skew_seconds == pytest.approx(skew, abs=10)
    assert account.clock(seen.skew_seconds).code == "clock_skewed"


def test_a_lesser_key_is_held_to_its_permissions_when_it_is_used(vast: VastServer) -> None:
    reader = Vast(vast.scoped_key("misc", "instance_read"), vast.url)
    offer = vast.offers(num_gpus={"eq": 1})[0]["id"]
    assert reader.instances() == []
    for refused in (lambda: reader.destroy(1), lambda: reader.ssh_keys(), lambda: reader.user()):
        with pytest.raises(Forbidden):
            refused()
    assert vast.call("PUT", f"/api/v0/asks/{offer}/", {"image": "x"}, key="nobodys").status_code == 404
    assert vast.rented_ids() == []
