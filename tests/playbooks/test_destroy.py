"""Giving instances back: shown first, asked about, several at once, and never anybody else's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect
import pytest

if TYPE_CHECKING:
    from tests.conftest import VastServer

PROJECT = Path(__file__).parents[2]
QUICKLY = ["-e", "provision_poll_seconds=0.1"]
UNSAVED = ["destroy", "my-style", "--unsaved", *QUICKLY]
Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environment(vast: VastServer, tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ, "HOME": str(tmp_path), "FLUXLORA_STATE_DIR": str(tmp_path / "state"),
        "VAST_URL": vast.url, "VAST_API_KEY": vast.api_key, "ANSIBLE_NOCOLOR": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip


@pytest.fixture
def fluxlora(environment: dict[str, str]) -> Call:
    """Without a terminal, as scripts and cron call it."""

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["fluxlora", *words], cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    return call


def rent(vast: VastServer, *labels: str) -> list[int]:
    return [vast.rent_running(label=label)["id"] for label in labels]


def left(vast: VastServer) -> list[int]:
    return [row["id"] for row in vast.call("GET", "/api/v1/instances/").json()["instances"]]


def at_the_terminal(environment: dict[str, str], command: list[str], question: str, answer: str) -> str:
    child = pexpect.spawn(command[0], command[1:], cwd=str(PROJECT), env=environment, encoding="utf-8", timeout=60)
    child.expect(question)
    shown = child.before or ""
    child.sendline(answer)
    child.expect(pexpect.EOF)
    child.close()
    return shown


def test_several_or_all_are_given_back_and_nobody_else_s(vast: VastServer, fluxlora: Call) -> None:
    first, second, third, unreadable, foreign, near = rent(
        vast,
        "fluxlora/a/512",
        "fluxlora/b/512",
        "fluxlora/c/512",
        "fluxlora/{{ 7 * 191 }}/512",
        "somebody/a/512",
        "fluxloras/a/512",
    )
    done = fluxlora("destroy", "a", "b", "--unsaved", "--yes", *QUICKLY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"a: instance {first}, " in done.stdout
    assert f"b: instance {second}, " in done.stdout
    assert left(vast) == [third, unreadable, foreign, near]

    # What strangers write is no template.
    vast.fault("list_with_templates", times=99)
    done = fluxlora("destroy", "--all", "--unsaved", "--yes", *QUICKLY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("{{ 7 * 191 }}" in done.stdout, "1337" in done.stdout) == (True, False)
    assert left(vast) == [foreign, near]
    assert "nothing of it costs money" in fluxlora("destroy", "--all", "--yes").stdout


@pytest.mark.parametrize("words", [["destroy"], ["destroy", "a", "--all"]])
def test_without_a_name_or_with_both_nothing_is_destroyed(vast: VastServer, fluxlora: Call, words: list[str]) -> None:
    rented = rent(vast, "fluxlora/a/512")
    done = fluxlora(*words, "--unsaved", "--yes")
    assert done.returncode != 0
    assert "Which runs' instances are destroyed?" in done.stdout
    assert left(vast) == rented


def test_of_two_instances_of_a_run_the_younger_is_given_back_by_its_own_name(vast: VastServer, fluxlora: Call) -> None:
    older, younger = sorted(rent(vast, "fluxlora/a/512", "fluxlora/a/512"))
    done = fluxlora("destroy", f"a-{younger}", "--unsaved", "--yes", *QUICKLY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert left(vast) == [older]


@pytest.mark.parametrize("name", ["all", "vastai", "&vastai", "~a", "a:b", "a,"])
def test_what_is_no_run_s_name_is_refused_and_ends_nothing(vast: VastServer, fluxlora: Call, name: str) -> None:
    rented = rent(vast, "fluxlora/a/512", "fluxlora/b/512")
    done = fluxlora("destroy", "--unsaved", "--yes", "--", name)
    assert done.returncode != 0
    assert "costs money" not in done.stdout
    assert left(vast) == rented


def test_a_manifest_that_cannot_be_used_proves_nothing_and_the_instance_stays(
    vast: VastServer, fluxlora: Call, tmp_path: Path
) -> None:
    (rented,) = rent(vast, "fluxlora/my-style/512")
    manifest = tmp_path / "artifacts" / "my-style" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(f'{{"run": "my-style", "vastai_id": "{rented}"}}')
    done = fluxlora("destroy", "my-style", "--yes", "-e", f"provision_artifacts_dir={tmp_path}/artifacts", *QUICKLY)
    said = " ".join(done.stdout.split())
    assert done.returncode != 0
    assert f'{manifest} cannot be used: vastai_id should be a valid integer and is "{rented}".' in said
    assert f"instance {rented} costs $" in said
    assert "ansible-playbook destroy.yml -e run_name=my-style" in said
    assert left(vast) == [rented]


def test_where_nobody_can_be_asked_the_answer_is_no(vast: VastServer, fluxlora: Call) -> None:
    rented = rent(vast, "fluxlora/my-style/512")
    done = fluxlora(*UNSAVED)
    assert done.returncode != 0
    assert "bytes as planned $" in done.stdout
    assert "its artifacts were NOT downloaded" in done.stdout
    assert "`--yes`" in done.stdout
    assert left(vast) == rented


def test_at_a_terminal_it_is_shown_and_asked_about(vast: VastServer, environment: dict[str, str]) -> None:
    rented = rent(vast, "fluxlora/my-style/512")
    shown = at_the_terminal(environment, ["fluxlora", *UNSAVED], "Give them back", "n")
    assert f"my-style: instance {rented[0]}, " in shown
    assert left(vast) == rented


def test_ansible_playbook_asks_too(vast: VastServer, environment: dict[str, str]) -> None:
    rent(vast, "fluxlora/my-style/512")
    command = ["ansible-playbook", "destroy.yml", "-e", "run_name=my-style", "-e", "provision_destroy_unsaved=true"]
    at_the_terminal(environment, [*command, *QUICKLY], "Answer yes or no", "yes")
    assert left(vast) == []
