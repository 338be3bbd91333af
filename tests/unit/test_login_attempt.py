"""One attempt to log in: what is asked of ssh, and what each of its answers means."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from fluxlora.errors import InputError
from fluxlora.renting.ssh_probe import Answer, Login, Probe, understood
from fluxlora.vast.records import Endpoint
from remote import greeting


@pytest.fixture
def login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Login:
    """A way in whose ssh writes down its words and ends as the file `status` says, complaining of its complaint."""
    (tmp_path / "ssh").write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/words\ncat {tmp_path}/complaint >&2\nexec sh {tmp_path}/end\n'
    )
    (tmp_path / "ssh").chmod(0o755)
    (tmp_path / "complaint").touch()
    (tmp_path / "end").write_text("exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return Login(tmp_path / "key", tmp_path / "new" / "hosts", connect_seconds=2)


def test_a_host_that_lets_in_is_entered_with_the_key_that_was_named_and_a_host_key_of_its_own(
    login: Login, tmp_path: Path
) -> None:
    with greeting() as endpoint:
        assert login.try_at(7, endpoint) == Probe(Answer.IN)
    words = (tmp_path / "words").read_text().splitlines()
    options = {words[at + 1] for at, word in enumerate(words) if word == "-o"}
    assert {
        "HostKeyAlias=vastai-7", f'UserKnownHostsFile="{login.known_hosts_dir}/7"', "StrictHostKeyChecking=accept-new",
        "BatchMode=yes", "IdentitiesOnly=yes", "LogLevel=ERROR", "ConnectTimeout=2",
    } <= options  # fmt: skip
    assert words[words.index("-i") + 1] == str(login.key_file)
    assert words[words.index("-p") + 1] == str(endpoint.port)
    assert "-n" in words
    assert words[-2:] == ["root@127.0.0.1", "true"]


@pytest.mark.parametrize(("seconds", "said"), [(0.3, 1), (1.6, 2)])
def test_ssh_waits_for_a_connection_in_whole_seconds(login: Login, tmp_path: Path, seconds: float, said: int) -> None:
    with greeting() as endpoint:
        replace(login, connect_seconds=seconds, user="anna").try_at(7, endpoint)
    words = (tmp_path / "words").read_text().splitlines()
    assert f"ConnectTimeout={said}" in words
    assert words[-2] == "anna@127.0.0.1"


@pytest.mark.parametrize(
    ("complaint", "answer", "words"),
    [
        ("banner\nHost key verification failed.", Answer.CHANGED, "Host key verification failed."),
        ("REMOTE HOST IDENTIFICATION HAS CHANGED!", Answer.CHANGED, "REMOTE HOST IDENTIFICATION HAS CHANGED!"),
        ("root@h: Permission denied (publickey).\n", Answer.DENIED, "root@h: Permission denied (publickey)."),
        ("Too many authentication failures", Answer.DENIED, "Too many authentication failures"),
        ("ssh: connect to host h port 22: Connection timed out", Answer.SILENT,
         "ssh: connect to host h port 22: Connection timed out"),
        ("kex_exchange_identification: closed", Answer.REFUSED, "kex_exchange_identification: closed"),
        ("", Answer.REFUSED, ""),
        ("  \n ", Answer.REFUSED, ""),
    ],
)  # fmt: skip
def test_what_ssh_complains_of_is_the_answer(
    login: Login, tmp_path: Path, complaint: str, answer: Answer, words: str
) -> None:
    assert understood(complaint) == Probe(answer, words)
    (tmp_path / "complaint").write_text(complaint)
    (tmp_path / "end").write_text("exit 255")
    with greeting() as endpoint:
        assert login.try_at(7, endpoint) == Probe(answer, words)


def test_a_complaint_that_is_no_text_is_none_to_fail_over(login: Login, tmp_path: Path) -> None:
    (tmp_path / "complaint").write_bytes(b"\xff\xfe denied")
    (tmp_path / "end").write_text("exit 1")
    with greeting() as endpoint:
        assert login.try_at(7, endpoint).answer is Answer.REFUSED


def test_an_ssh_that_hangs_is_ended_and_the_host_called_silent(login: Login, tmp_path: Path) -> None:
    (tmp_path / "end").write_text("exec sleep 20")
    with greeting() as endpoint:
        assert replace(login, connect_seconds=0.2).try_at(7, endpoint) == Probe(Answer.SILENT, "ssh timed out")


def test_a_port_that_greets_nobody_is_not_worth_an_ssh(login: Login, tmp_path: Path) -> None:
    with greeting(b"") as endpoint:
        assert login.try_at(7, endpoint) == Probe(Answer.REFUSED, "the connection is closed at once")
    assert login.try_at(7, endpoint) == Probe(Answer.REFUSED, "Connection refused")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = Endpoint("127.0.0.1", silent.getsockname()[1], True)
        assert replace(login, connect_seconds=0.1).try_at(7, endpoint) == Probe(Answer.SILENT, "timed out")
    assert not (tmp_path / "words").exists()


def test_the_folder_of_the_host_keys_is_made_for_the_user_alone(login: Login) -> None:
    login.key_file.touch()
    login.require()
    login.require()
    assert login.known_hosts_dir.stat().st_mode & 0o777 == 0o700


def test_what_keeps_this_computer_out_of_every_instance_is_named(
    login: Login, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError) as caught:
        login.require()
    assert caught.value.code == "no_login"
    assert str(caught.value) == f"No instance can be entered from here: {login.key_file}: No such file or directory."
    assert "a private key that is there" in caught.value.hint

    login.key_file.touch()
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(InputError) as caught:
        login.require()
    assert (caught.value.code, str(caught.value)) == ("no_login", "There is no ssh here.")
    assert "OpenSSH" in caught.value.hint
