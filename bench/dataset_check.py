#!/usr/bin/env python3
"""How long the check of a dataset takes, in how much memory, beside one process that only opens each picture."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "dataset"
EDGE = 1024
# Of twenty pictures: what people's folders hold.
KINDS = ["jpg"] * 18 + ["png", "webp"]


@dataclass(frozen=True)
class Measured:
    seconds: float
    # Of all processes together; what else the machine does hardly changes it.
    cpu_seconds: float
    peak_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", nargs="?", type=int, default=500, help="pictures with captions (500)")
    parser.add_argument("--runs", type=int, default=1, help="how often everything is measured (1)")
    parser.add_argument("--measure", nargs=3, metavar=("WHAT", "FOLDER", "CACHE"), help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.measure:
        what, folder, remembered = wanted.measure
        WORK[what](Path(folder), Path(remembered))
        return
    with tempfile.TemporaryDirectory(prefix="fluxlora-bench-") as folder:
        print("\n".join(table(Path(folder), wanted.pairs, wanted.runs)))


def table(folder: Path, pairs: int, runs: int) -> Iterator[str]:
    size = generate(folder / "pictures", pairs)
    measured: dict[str, list[Measured]] = {what: [] for what in WORK}
    for run in range(runs):
        for what in ORDER:
            measured[what].append(measure(what, folder / "pictures", folder / f"cache-{run}"))
    yield f"{pairs} pictures of {EDGE}x{EDGE} with captions, {size / 1e9:.2f} GB; {machine()}; {runs} runs."
    yield ""
    yield "| What | Seconds | CPU seconds | Pictures a second | Peak MB, all processes |"
    yield "|---|---|---|---|---|"
    for what, results in measured.items():
        seconds = [result.seconds for result in results]
        middle = statistics.median(seconds)
        spread = f" ({min(seconds):.1f} to {max(seconds):.1f})" if len(seconds) > 1 else ""
        peak = max(result.peak_mb for result in results)
        cpu = statistics.median(result.cpu_seconds for result in results)
        yield f"| {NAMES[what]} | {middle:.1f}{spread} | {cpu:.1f} | {pairs / middle:.0f} | {peak:.0f} |"


def generate(folder: Path, pairs: int) -> int:
    """Photographs with a pattern of their own over them, so that none is like another. Returns their bytes."""
    folder.mkdir()
    # Behind whatever else the machine does.
    with multiprocessing.get_context("fork").Pool(initializer=os.nice, initargs=(10,)) as pool:
        return sum(pool.imap_unordered(partial(_make, folder), range(pairs), chunksize=16))


def _make(folder: Path, number: int) -> int:
    pattern = np.random.default_rng(number).integers(-90, 90, (16, 16, 1), np.int16)
    photographs = _photographs()
    pixels = photographs[number % len(photographs)] + np.kron(pattern, np.ones((EDGE // 16, EDGE // 16, 1), np.int16))
    file = folder / f"{number:05}.{KINDS[number % len(KINDS)]}"
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, quality=85, compress_level=1, method=0)
    file.with_suffix(".txt").write_text(f"a photo of sksbench, the picture with the number {number}\n")
    return file.stat().st_size


@cache
def _photographs() -> list[np.ndarray]:
    return [np.asarray(Image.open(file).resize((EDGE, EDGE)), np.int16) for file in sorted(EXAMPLES.glob("*.jpg"))]


def measure(what: str, folder: Path, remembered: Path) -> Measured:
    """In a process of its own, whose memory is watched with that of its children."""
    command = [sys.executable, __file__, "--measure", what, str(folder), str(remembered)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, sum(map(_memory, _family(process.pid))))
            time.sleep(0.1)
        assert process.stdout
        seconds = json.loads(process.stdout.read())["seconds"]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return Measured(seconds, cpu_seconds, peak / 1e6)


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(each for child in children for each in _family(int(child)))]


def _memory(pid: int) -> int:
    """Bytes, of pages that several processes share only this one's part."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def check(folder: Path, remembered: Path) -> None:
    from fluxlora.dataset import scan

    started = time.perf_counter()
    found = scan(folder, cache_dir=remembered)
    seconds = time.perf_counter() - started
    assert len(found.pictures) == len(list(folder.glob("*.txt")))
    print(json.dumps({"seconds": seconds}))


def open_each(folder: Path, _: Path) -> None:
    warnings.simplefilter("ignore")
    started = time.perf_counter()
    for file in sorted(folder.iterdir()):
        if file.suffix != ".txt":
            with Image.open(file) as image:
                image.load()
    print(json.dumps({"seconds": time.perf_counter() - started}))


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{len(os.sched_getaffinity(0))} cores ({name}), {memory:.0f} GiB, load {os.getloadavg()[0]:.1f}"


WORK = {"first": check, "second": check, "naive": open_each}
# What is soon done is done more often.
ORDER = ["first", "second", "second", "second", "naive"]
NAMES = {"first": "first check", "second": "second check", "naive": "one process, `Image.open` and `load` alone"}

if __name__ == "__main__":
    main()
