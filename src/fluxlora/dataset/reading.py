"""Opens every file of a dataset that has changed since it was opened last, on all cores."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import PIL

from fluxlora.dataset.caption import Caption
from fluxlora.dataset.caption import read as read_caption
from fluxlora.dataset.names import Status
from fluxlora.dataset.picture import Look, look

Facts = Look | Caption
# Called with how many files have been looked at, of how many.
Progress = Callable[[int, int], object]

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")

# Fewer files than this are read sooner than the processes start.
_WORTH_PROCESSES = 64
# Files that one process takes at a time: enough to hide the way there and back, few enough to show progress.
_CHUNK = 16
# Goes up whenever the facts of a file are others than before: what was written under another number, or with another
# Pillow, is read again.
_FORMAT = 1


def read(
    folder: Path,
    files: Mapping[str, Status],
    *,
    cache_dir: Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Facts]:
    """The facts of each file, from the cache where its status has not changed."""
    cache = _cache_file(cache_dir, folder)
    facts = _remembered(cache, files)
    wanted = [name for name in files if name not in facts]
    done = len(facts)
    for name, fact in zip(wanted, spread(partial(_read_one, folder), wanted, _crashed, workers=workers), strict=True):
        facts[name] = fact
        done += 1
        if progress:
            progress(done, len(files))
    if wanted and cache:
        _remember(cache, files, facts)
    return facts


def spread(
    work: Callable[[_Job], _Result],
    jobs: Sequence[_Job],
    crashed: Callable[[_Job], _Result],
    *,
    workers: int | None = None,
) -> Iterator[_Result]:
    """Results in the order of the jobs. `crashed` answers for a job that takes its process down with it."""
    workers = workers or cores()
    if len(jobs) < _WORTH_PROCESSES or workers == 1:
        yield from map(work, jobs)
        return
    done = 0
    while done < len(jobs):
        try:
            for result in _pooled(work, jobs[done:], workers, _CHUNK):
                done += 1
                yield result
        except BrokenProcessPool:
            # One of the jobs at hand did it, so each gets a process of its own.
            for job in jobs[done : done + workers * _CHUNK]:
                done += 1
                try:
                    (result,) = _pooled(work, [job], 1, 1)
                except BrokenProcessPool:
                    result = crashed(job)
                yield result


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _pooled(work: Callable[[_Job], _Result], jobs: Iterable[_Job], workers: int, chunk: int) -> Iterator[_Result]:
    # Named, because the default differs by version of Python. The other methods import the main program again, which
    # here is ansible-playbook or a module in an archive.
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(os.getpid(),)) as pool:
        try:
            yield from pool.map(work, jobs, chunksize=chunk)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin(parent: int) -> None:
    """In each process: Ctrl-C is the parent's to answer, and a parent that is gone takes its children along."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _read_one(folder: Path, name: str) -> Facts:
    file = folder / name
    return read_caption(file) if name.endswith(".txt") else look(file)


def _crashed(name: str) -> Facts:
    return (
        Caption(reason="its reader crashed")
        if name.endswith(".txt")
        else Look(problem="unreadable", reason="its decoder crashed")
    )


def _cache_file(cache_dir: Path | None, folder: Path) -> Path | None:
    if not cache_dir:
        return None
    return cache_dir / f"{sha256(os.fsencode(folder.resolve())).hexdigest()[:16]}.json"


def _remembered(cache: Path | None, files: Mapping[str, Status]) -> dict[str, Facts]:
    """Nothing, where the cache is not byte by byte what this very program wrote."""
    try:
        digest, _, text = cache.read_text().partition("\n") if cache else ("", "", "")
        if digest != _digest(text):
            return {}
        rows = json.loads(text)
        return {
            name: _facts(name, facts) for name, (status, facts) in rows.items() if status == _status(files.get(name))
        }
    except (OSError, ValueError):
        return {}


def _remember(cache: Path, files: Mapping[str, Status], facts: Mapping[str, Facts]) -> None:
    """Whole or not at all; a cache that cannot be written costs time and nothing else."""
    text = json.dumps({name: (_status(status), facts[name].__dict__) for name, status in files.items()})
    new = cache.with_suffix(f".{os.getpid()}")
    with suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        try:
            new.write_text(f"{_digest(text)}\n{text}")
            new.replace(cache)
        finally:
            new.unlink(missing_ok=True)


def _digest(text: str) -> str:
    return sha256(f"{_FORMAT} {PIL.__version__} {text}".encode()).hexdigest()


def _status(status: Status | None) -> list[int] | None:
    return [status.size, status.mtime_ns, status.ctime_ns, status.inode] if status else None


def _facts(name: str, row: dict[str, Any]) -> Facts:
    if name.endswith(".txt"):
        return Caption(**{**row, "lines": tuple(row["lines"])})
    return Look(**row)
