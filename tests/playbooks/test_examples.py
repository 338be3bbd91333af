"""The examples for other people's playbooks do what they say, and leave nothing that costs money."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from remote import keygen

if TYPE_CHECKING:
    from tests.conftest import VastServer

PROJECT = Path(__file__).parents[2]
# A variable that an example does not use is refused, as by every playbook.
PATIENCE: dict[str, dict[str, Any]] = {"rent_for_two_hours": {"poll_seconds": 0.1, "ssh_timeout_seconds": 1}}
Play = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def example(vast: VastServer, tmp_path: Path) -> Play:
    keygen(tmp_path / "key")

    def play(name: str, *flags: str) -> subprocess.CompletedProcess[str]:
        key = {} if name == "list_offers" else {"key_file": str(tmp_path / "key")}
        variables = {**key, **PATIENCE.get(name, {})}
        return subprocess.run(
            [
                str(Path(sys.executable).parent / "ansible-playbook"), "-i", "inventory/runs.yml",
                f"examples/{name}.yml", "-e", json.dumps(variables), *flags,
            ],
            cwd=PROJECT,
            env={**os.environ, "HOME": str(tmp_path), "VAST_URL": vast.url, "VAST_API_KEY": vast.api_key},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    return play


def test_offers_are_listed_for_nothing(vast: VastServer, example: Play) -> None:
    done = example("list_offers")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "/h" in done.stdout
    assert {request["path"] for request in vast.requests()} == {"/api/v0/bundles"}


def test_a_key_is_registered(vast: VastServer, example: Play, tmp_path: Path) -> None:
    done = example("register_key")
    assert done.returncode == 0, done.stdout + done.stderr
    (key,) = vast.call("GET", "/api/v0/ssh/").json()
    assert (tmp_path / "key.pub").read_text().startswith(key["public_key"][:60])


def test_what_is_rented_for_a_command_is_given_back_though_it_never_lets_anybody_in(
    vast: VastServer, example: Play
) -> None:
    done = example("rent_for_two_hours")
    assert done.returncode != 0
    assert "Log in" in done.stdout
    (rented,) = vast.ledger()["instances"]
    assert (rented["label"], rented["closed"]) == ("example/two-hours/", True)


def test_a_check_of_an_example_rents_nothing_and_ends_well(vast: VastServer, example: Play) -> None:
    for name in ("list_offers", "register_key", "rent_for_two_hours"):
        done = example(name, "--check")
        assert done.returncode == 0, done.stdout + done.stderr
    assert {request["method"] for request in vast.requests()} == {"GET", "POST"}
    assert {request["path"] for request in vast.requests() if request["method"] == "POST"} == {"/api/v0/bundles"}
