"""The audit as cron calls it: what it exits with, what it says, and that it touches nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fluxlora.money.journal import Event, Journal

if TYPE_CHECKING:
    from tests.conftest import VastServer

PROJECT = Path(__file__).parents[2]
Audit = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "state" / "journal.jsonl")


@pytest.fixture
def audit(vast: VastServer, tmp_path: Path) -> Audit:
    def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["fluxlora", "audit", *words],
            cwd=PROJECT,
            env={
                **os.environ, "HOME": str(tmp_path), "FLUXLORA_STATE_DIR": str(tmp_path / "state"),
                "VAST_URL": vast.url, "VAST_API_KEY": vast.api_key,
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", **environment,
            },
            capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert vast.api_key not in done.stdout + done.stderr
        return done

    return run


def test_where_all_is_known_cron_hears_success_and_what_ended_elsewhere_is_settled(
    vast: VastServer, audit: Audit, journal: Journal
) -> None:
    running = vast.rent_running(label="fluxlora/my-style/512")["id"]
    ended = vast.rent_running(label="fluxlora/my-cat/512")["id"]
    vast.call("DELETE", f"/api/v0/instances/{ended}/").raise_for_status()
    vast.rent_running(label="somebody's")
    journal.write(Event.RENTED, "my-style", running, expected_usd=2.0)
    journal.write(Event.RENTED, "my-cat", ended, at=time.time() - 600, expected_usd=3.0)

    done = audit()

    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 instance of others left alone" in done.stdout
    assert f"closed: my-cat: instance {ended}" in done.stdout
    assert [(each.event, each.instance_id) for each in journal.entries("my-cat")][1:] == [(Event.DESTROYED, ended)]
    assert {request["method"] for request in vast.requests()[-2:]} == {"GET"}


def test_what_costs_money_and_should_not_is_named_and_kept(vast: VastServer, audit: Audit) -> None:
    forgotten = vast.rent_running(label="fluxlora/my-style/512")["id"]
    vast.rent_running(label="fluxlora/{{ 7 * 191 }}/512")
    vast.fault("list_with_templates", times=99)
    done = audit()
    assert done.returncode == 2
    assert ("{{ 7 * 191 }}" in done.stdout, "1337" in done.stdout) == (True, False)
    assert f"unknown: instance {forgotten}" in done.stdout
    assert "`fluxlora destroy my-style` ends it." in done.stdout
    assert vast.instance(forgotten) is not None


def test_a_list_that_cannot_be_read_is_no_good_news(audit: Audit) -> None:
    done = audit("-e", "provision_audit_days=1", VAST_API_KEY="wrong")
    assert done.returncode == 2
    assert "Invalid user key" in done.stdout
    assert "of yours" not in done.stdout
