"""All cores, no more than once, and nothing that a broken cache or a crash can spoil."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fluxlora import dataset
from fluxlora.dataset import reading
from fluxlora.dataset.picture import Look

PAIRS = 70


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As many pairs as are worth several processes."""
    made = tmp_path / "pictures"
    made.mkdir()
    for number in range(PAIRS):
        pixels = np.random.default_rng(number).integers(0, 256, (9, 9, 3), np.uint8)
        Image.fromarray(pixels).save(made / f"{number:02}.png")
        (made / f"{number:02}.txt").write_text(f"a photo of number {number}")
    return made


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def opened(folder: Path, cache: Path) -> list[tuple[int, int]]:
    """How far the scan said it was, once for each file that it opened."""
    steps: list[tuple[int, int]] = []
    dataset.scan(folder, cache_dir=cache, progress=lambda done, total: steps.append((done, total)))
    return steps


def test_many_processes_find_what_one_finds(folder: Path) -> None:
    (folder / "03.png").write_bytes(b"no image")
    one, many = dataset.scan(folder, workers=1), dataset.scan(folder, workers=3)
    assert (one.pictures, one.findings) == (many.pictures, many.findings)
    assert len(one.pictures) == PAIRS - 1


def test_no_process_is_forked_beside_a_thread(folder: Path) -> None:
    """Of which python warns from 3.12 on."""
    scan = f"from pathlib import Path; from fluxlora import dataset; dataset.scan(Path({str(folder)!r}), workers=3)"
    told = ["-W", "always::DeprecationWarning:multiprocessing.popen_fork"]
    done = subprocess.run([sys.executable, *told, "-c", scan], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""


def test_every_file_is_a_step_and_the_second_time_none_is_opened(folder: Path, cache: Path) -> None:
    assert opened(folder, cache) == [(done, 2 * PAIRS) for done in range(1, 2 * PAIRS + 1)]
    first = dataset.scan(folder)
    assert opened(folder, cache) == []
    second = dataset.scan(folder, cache_dir=cache)
    assert (first.pictures, first.findings) == (second.pictures, second.findings)


def test_only_what_has_changed_is_opened_again(folder: Path, cache: Path) -> None:
    opened(folder, cache)
    (folder / "05.txt").write_text("another caption")
    status = (folder / "07.png").stat()
    Image.new("RGB", (9, 9)).save(folder / "07.png")
    os.utime(folder / "07.png", ns=(status.st_atime_ns, status.st_mtime_ns))
    (folder / "09.png").rename(folder / "90.png")
    (folder / "09.txt").rename(folder / "90.txt")
    assert opened(folder, cache) == [(2 * PAIRS - left, 2 * PAIRS) for left in (3, 2, 1, 0)]


def test_what_depends_on_the_run_is_not_remembered(folder: Path, cache: Path) -> None:
    opened(folder, cache)
    wanted = dataset.Wanted("sksbadz")
    again = dataset.scan(folder, wanted, cache_dir=cache)
    assert {finding.code for finding in again.findings} == {"no_trigger"}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: "[" * 100_000,
        lambda text: text[:-1],
        lambda text: text[1:],
        lambda text: text.replace('"width": 9', '"width": "9"'),
        lambda text: text.replace('["a photo', '[7, "a photo'),
        lambda text: "\0" + text,
    ],
)  # fmt: skip
def test_a_cache_that_cannot_be_understood_is_made_anew(folder: Path, cache: Path, spoil: Callable[[str], str]) -> None:
    opened(folder, cache)
    (file,) = cache.iterdir()
    file.write_text(spoil(file.read_text()))
    assert len(opened(folder, cache)) == 2 * PAIRS
    assert opened(folder, cache) == []


def test_a_cache_of_another_pillow_is_made_anew(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(folder, cache)
    monkeypatch.setattr("PIL.__version__", "1.0")
    assert len(opened(folder, cache)) == 2 * PAIRS


def test_a_cache_that_cannot_be_written_only_costs_time(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert len(dataset.scan(folder, cache_dir=tmp_path / "file").pictures) == PAIRS


def test_each_folder_has_a_cache_of_its_own(folder: Path, cache: Path, tmp_path: Path) -> None:
    opened(folder, cache)
    (tmp_path / "other").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "other" / "00.png")
    (tmp_path / "other" / "00.txt").write_text("other")
    assert len(opened(tmp_path / "other", cache)) == 2
    assert opened(folder, cache) == []


def _dies_at_thirteen(number: int) -> int:
    if number == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_file_that_takes_its_process_down_is_named_and_the_others_are_read() -> None:
    assert list(reading.spread(_dies_at_thirteen, range(200), lambda number: -number, workers=2)) == [
        *range(13), -13, *range(14, 200),
    ]  # fmt: skip


def test_the_processes_go_when_whoever_asked_for_them_is_killed(tmp_path: Path) -> None:
    import subprocess
    import sys
    import time

    script = (
        "import os, time\n"
        "from fluxlora.dataset import reading\n"
        "def work(number):\n"
        f"    open({str(tmp_path)!r} + '/' + str(os.getpid()), 'w').close()\n"
        "    time.sleep(60)\n"
        "list(reading.spread(work, range(100), abs, workers=2))\n"
    )
    with subprocess.Popen([sys.executable, "-c", script]) as asking:
        end = time.monotonic() + 60
        while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < end:
            time.sleep(0.1)
        workers = [int(file.name) for file in tmp_path.iterdir()]
        asking.kill()
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < end:
        time.sleep(0.1)
    assert len(workers) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_facts_of_either_kind_come_back_from_the_cache_as_they_were(folder: Path, cache: Path) -> None:
    first = dataset.scan(folder, cache_dir=cache).facts
    again = dataset.scan(folder, cache_dir=cache).facts
    assert dict(first) == dict(again)
    assert isinstance(again["00.png"], Look)
    assert again["00.png"].digest
