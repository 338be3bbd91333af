"""What an ssh port answers, told apart by what it means for the instance."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from fluxlora.errors import InputError
from fluxlora.renting.ssh_probe import Answer, Login, understood
from fluxlora.vast.records import Endpoint


@pytest.mark.parametrize(
    ("complaint", "answer"),
    [
        ("root@1.2.3.4: Permission denied (publickey).", Answer.DENIED),
        ("Received disconnect: Too many authentication failures", Answer.DENIED),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.", Answer.CHANGED),
        ("ssh: connect to host 1.2.3.4 port 22: Connection refused", Answer.REFUSED),
        ("kex_exchange_identification: Connection closed by remote host", Answer.REFUSED),
        ("ssh: connect to host 1.2.3.4 port 22: Connection timed out", Answer.SILENT),
        ("", Answer.REFUSED),
    ],
)
def test_what_ssh_writes_is_understood_and_its_last_line_kept(complaint: str, answer: Answer) -> None:
    probe = understood(complaint)
    assert probe.answer is answer
    assert probe.words == (complaint.splitlines() or [""])[-1]


def test_a_hosts_own_words_are_one_printable_line() -> None:
    probe = understood("Received disconnect from 1.2.3.4 port 22:11: \x1b[2Jgo\u202eod bye" + "e" * 1000)
    assert probe.words.isprintable()
    assert len(probe.words) <= 300


@contextmanager
def listening(*, says: bytes | None) -> Iterator[int]:
    """A port that greets everybody so; with None, that greets nobody and keeps them waiting."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(says or b"")

        if says is not None:
            Thread(target=greet, daemon=True).start()
        yield server.getsockname()[1]


def login(tmp_path: Path) -> Login:
    return Login(tmp_path / "key", tmp_path / "known_hosts", connect_seconds=0.2)


def test_a_port_that_keeps_silent_is_told_from_one_that_closes_and_one_that_refuses(tmp_path: Path) -> None:
    with listening(says=None) as silent, listening(says=b"") as closing:
        assert login(tmp_path).try_at(7, Endpoint("127.0.0.1", silent, True)).answer is Answer.SILENT
        assert login(tmp_path).try_at(7, Endpoint("127.0.0.1", closing, True)).answer is Answer.REFUSED
    assert login(tmp_path).try_at(7, Endpoint("127.0.0.1", closing, True)).answer is Answer.REFUSED


def test_what_would_keep_this_computer_out_of_every_instance_is_said_before_one_is_rented(tmp_path: Path) -> None:
    (tmp_path / "key").touch()
    login(tmp_path).require()
    for wrong in (Login(tmp_path / "no key", tmp_path / "hosts"), Login(tmp_path / "key", tmp_path / "key" / "hosts")):
        with pytest.raises(InputError) as refused:
            wrong.require()
        assert refused.value.code == "no_login"
        assert str(tmp_path) in str(refused.value)
