"""What this computer remembers of the money it spent: one line of JSON for each event, appended and never changed.

No run depends on it, for another computer has another one: what exists is told by vast.ai's list alone. It says what
became of earlier instances, which machines disappointed, and how fast which GPU was.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from fluxlora.errors import FluxloraError


class JournalError(FluxloraError):
    """The file cannot be read, or nothing can be appended to it."""

    code = "no_journal"


class Event(StrEnum):
    """What is written down, and with which facts. Money is in $, times in hours, unless the name says otherwise."""

    # Also when it was found and its rent was not written down: then nothing is expected, and `at` is its creation.
    # expected_usd, expected_hours, price_per_hour, storage_usd_per_hour, inet_down_usd_per_gb, inet_up_usd_per_gb,
    # gpu_name, machine_id, host_id, address, is_bid; and expected_seconds_per_step as the table of speeds says it, not
    # corrected by earlier runs
    RENTED = "rented"
    # The instance did not become usable, or was lost after it had been used (used): code, reason, machine_id, host_id,
    # address
    FAILED = "failed"
    # The list was seen without it: spent_usd, as far as this computer can know, or as vast.ai has charged it (charged);
    # and where it was destroyed rather than given up, rented_at and the prices of RENTED
    DESTROYED = "destroyed"
    # The training was measured: gpu_name, seconds_per_step, expected_seconds_per_step of its RENTED
    TRAINED = "trained"
    # The adapter is at home and was checked; what is rented for this name from here on is another training.
    DELIVERED = "delivered"


@dataclass(frozen=True)
class Entry:
    """One event of one run; `at` is in seconds since the epoch."""

    event: Event
    run: str
    at: float
    instance_id: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Journal:
    """The file of the events. It need not exist; its lines survive a crash of the writer and each other."""

    path: Path
    # A line takes a moment; a writer that hangs must not keep others from seeing to their instances.
    lock_seconds: float = 5.0

    def write(
        self, event: Event, run: str, instance_id: int | None = None, *, at: float | None = None, **facts: Any
    ) -> Entry:
        """Append an event, of now unless `at` says when. Raises JournalError."""
        entry = Entry(event, run, time.time() if at is None else at, instance_id, facts)
        line = json.dumps({"event": event, "run": run, "at": entry.at, "instance_id": instance_id, **facts})
        with self._appending() as file:
            _lock(file, self.lock_seconds)
            file.write(b"" if _ends_a_line(file.fileno()) else b"\n")
            file.write(line.encode() + b"\n")
        return entry

    def require(self) -> None:
        """Raises JournalError where nothing could be written down."""
        with self._appending():
            pass

    def entries(self, run: str | None = None) -> list[Entry]:
        """All events, or those of a run, the oldest first. A line that cannot be read is passed over.

        Raises JournalError where the file is there and cannot be read: what was spent is not nothing then.
        """
        try:
            lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._unusable(error) from error
        entries = [entry for line in lines if (entry := _entry(line))]
        return [entry for entry in entries if run in (None, entry.run)]

    @contextmanager
    def _appending(self) -> Iterator[IO[bytes]]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(handle, "r+b") as file:
                yield file
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> JournalError:
        return JournalError(
            f"The journal {self.path} cannot be used: {error.strerror}.",
            hint="Look at the owner of the file and its folder, and at the space that is left.",
        )


def since_delivery(entries: Sequence[Entry]) -> list[Entry]:
    """Of the entries of one run those of the training that goes on: what was delivered before was another."""
    last = max((number for number, each in enumerate(entries) if each.event is Event.DELIVERED), default=-1)
    return list(entries[last + 1 :])


def _lock(file: IO[bytes], seconds: float) -> None:
    """Several runs may be trained at once, each by its own process. Without a lock a line is still written whole."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.01)
        except OSError:
            return
        else:
            return


def _ends_a_line(file: int) -> bool:
    """A writer that was killed may have left half a line, which must not swallow the next one."""
    size = os.fstat(file).st_size
    return size == 0 or os.pread(file, 1, size - 1) == b"\n"


def _entry(line: str) -> Entry | None:
    try:
        facts = json.loads(line)
        event, run, at, instance_id = (facts.pop(name) for name in ("event", "run", "at", "instance_id"))
        if not isinstance(at, float | int) or not math.isfinite(at) or not isinstance(instance_id, int | None):
            return None
        return Entry(Event(event), str(run), float(at), instance_id, facts)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def replacements(entries: Sequence[Entry]) -> int:
    """How many instances of a run's training were taken away so far."""
    return len(_losses(entries))


def training_began(entries: Sequence[Entry]) -> float | None:
    """When the first instance of the training that goes on was rented (seconds since the epoch); None when it is new.

    Whoever destroys an instance by himself begins anew. Where it was taken away, or was ended by its guard, the
    training goes on.
    """
    training = since_delivery(entries)
    failed = {each.instance_id: each.facts.get("used") for each in training if each.event is Event.FAILED}
    thrown_away = [
        number
        for number, each in enumerate(training)
        if each.event is Event.DESTROYED and each.instance_id not in failed and not each.facts.get("charged")
    ]
    rents = [
        each.at
        for each in training[max(thrown_away, default=-1) + 1 :]
        if each.event is Event.RENTED and failed.get(each.instance_id, True)
    ]
    return next(iter(rents), None)


def newest_instance(entries: Sequence[Entry]) -> dict[str, Any]:
    """The last one that was rented for the training that goes on, as `report.build` wants it; empty for none."""
    rents = [each for each in since_delivery(entries) if each.event is Event.RENTED]
    if not rents:
        return {}
    last = rents[-1]
    return {
        "id": last.instance_id,
        "gpu": last.facts.get("gpu_name"),
        "price_per_hour": last.facts.get("price_per_hour"),
        "started_at": last.at,
    }


def _losses(entries: Sequence[Entry]) -> list[Entry]:
    return [each for each in since_delivery(entries) if each.event is Event.FAILED and each.facts.get("used")]
