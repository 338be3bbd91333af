"""The journal of money: nothing that was written is lost, whatever happens to the writers."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fluxlora.money.journal import Event, Journal, JournalError


def test_what_was_written_is_read_in_order_and_by_run(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "state" / "journal.jsonl")
    first = journal.write(Event.RENTED, "my-style", 7, gpu_name="L40S", price_per_hour=0.7)
    second = journal.write(Event.FAILED, "my-cat", 8, at=5.0, machine_id=3, code="boot_timeout")
    third = journal.write(Event.DESTROYED, "my-style", 7, spent_usd=0.1)
    assert journal.entries() == [first, second, third]
    assert journal.entries("my-style") == [first, third]
    assert (second.at, second.facts) == (5.0, {"machine_id": 3, "code": "boot_timeout"})


def test_where_nothing_was_written_there_is_nothing(tmp_path: Path) -> None:
    assert Journal(tmp_path / "journal.jsonl").entries() == []


def test_half_a_line_of_a_killed_writer_loses_no_other(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    first = journal.write(Event.RENTED, "my-style", 7)
    with journal.path.open("a") as file:
        file.write('{"event": "rented", "run": "my-st')
    second = journal.write(Event.DESTROYED, "my-style", 7)
    assert journal.entries() == [first, second]


def test_lines_of_another_version_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('[]\n\n{"event": "invented", "run": "a", "at": 1, "instance_id": null}\n7\n{"run": "a"}\n')
    assert Journal(path).entries() == []


@pytest.mark.parametrize(
    "odd", ['"at": NaN', '"at": Infinity', '"at": "9"', f'"at": {10**400}', '"at": 1, "instance_id": [7]']
)
def test_a_line_whose_time_or_instance_is_none_is_passed_over(tmp_path: Path, odd: str) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(f'{{"event": "rented", "run": "a", "instance_id": 7, {odd}}}\n')
    assert Journal(path).entries() == []


def test_a_file_that_cannot_be_used_is_an_error_and_not_an_empty_journal(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    calls: list[Callable[[Journal], object]] = [
        Journal.entries, Journal.require, lambda journal: journal.write(Event.RENTED, "my-style", 7),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(JournalError) as raised:
            call(Journal(tmp_path))
        assert (raised.value.code, str(tmp_path) in str(raised.value)) == ("no_journal", True)
    with pytest.raises(JournalError):
        Journal(tmp_path / "file" / "journal.jsonl").require()


def test_a_writer_that_hangs_does_not_keep_others_waiting(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl", lock_seconds=0.1)
    first = journal.write(Event.RENTED, "my-style", 7)
    with journal.path.open() as hanging:
        fcntl.flock(hanging, fcntl.LOCK_EX)
        second = journal.write(Event.DESTROYED, "my-style", 7)
    assert journal.entries() == [first, second]


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "state" / "journal.jsonl")
    journal.write(Event.RENTED, "my-style", 7)
    assert journal.path.stat().st_mode & 0o777 == 0o600
    assert journal.path.parent.stat().st_mode & 0o777 == 0o700


def test_writers_side_by_side_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    script = (
        "import sys, pathlib; from fluxlora.money.journal import Event, Journal\n"
        "for number in range(50): Journal(pathlib.Path(sys.argv[1])).write(Event.RENTED, sys.argv[2], number)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, str(path), f"run{each}"]) for each in range(4)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0, 0]
    journal = Journal(path)
    assert [[entry.instance_id for entry in journal.entries(f"run{each}")] for each in range(4)] == [
        list(range(50))
    ] * 4
