"""The key of Weights & Biases: our question and the real client's have one answer."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from wandb.sdk.lib.wbauth.validation import check_api_key

from conftest import VastServer
from fluxlora.doctor import State
from fluxlora.doctor.wandb_key import examine
from replay import replaying

CLIENT = "import sys, wandb; print(wandb.Api(api_key=sys.argv[1]).viewer.username)"


def client(url: str, key: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "WANDB_BASE_URL": url, "WANDB_SILENT": "true"}
    command = [sys.executable, "-c", CLIENT, key]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_good_key_is_good_to_the_real_client_and_to_us(vast: VastServer) -> None:
    assert client(vast.wandb_url, vast.wandb_key).stdout.strip() == "rehearsal"
    found = examine(vast.wandb_key, base_url=vast.wandb_url)
    assert (found.state, found.sentence) == (State.OK, "of rehearsal")


@pytest.mark.parametrize("answer", [(401, {"errors": [{"message": "no"}]}), (200, {"data": {"viewer": None}})])
def test_a_key_that_nobody_has_is_bad_to_the_real_client_and_to_us(answer: tuple[int, object]) -> None:
    with replaying(answer) as server:
        assert "verify credentials" in client(server.url, "0" * 40).stderr
        found = examine("0" * 40, base_url=server.url)
    assert (found.state, found.code) == (State.FAILED, "bad_key")
    assert "https://wandb.ai/authorize" in found.remedy


def test_the_standin_does_not_know_another_key(vast: VastServer) -> None:
    assert examine("0" * 40, base_url=vast.wandb_url).code == "bad_key"


@pytest.mark.parametrize("answer", [(500, "<html>"), (200, "<html>"), (0, None), (404, {"message": "no"})])
def test_a_server_in_trouble_is_no_bad_key_and_the_way_round_it_is_told(answer: tuple[int, object]) -> None:
    with replaying(answer) as server:
        found = examine("0" * 40, base_url=server.url)
    assert (found.state, found.code) == (State.FAILED, "unreachable")
    assert "WANDB_MODE=offline" in found.remedy


@pytest.mark.parametrize(
    "key",
    [
        "a" * 39, "a" * 40, "wandb_v1_" + "A9_" * 26, "local-" + "b" * 40, "local-" + "b" * 39,
        "b" * 20 + "-" + "b" * 30,
        "header.payload.signature", "a" * 40 + ".b", "a" * 40 + "\n", " " + "a" * 40, "-" * 41, "a" * 40 + "-",
    ],
)  # fmt: skip
def test_a_key_is_no_key_to_us_where_it_is_none_to_the_client(vast: VastServer, key: str) -> None:
    """Those that the client would send are asked about, and nobody has them."""
    found = examine(key, base_url=vast.wandb_url)
    assert found.sentence.startswith("no key of") == (check_api_key(key) is not None)


def test_a_key_with_space_around_it_is_told_to_be_one() -> None:
    assert "a space" in examine(" " + "a" * 40).sentence
