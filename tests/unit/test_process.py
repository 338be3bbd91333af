"""What a killed process leaves behind is removed by the next, and nothing else is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fluxlora.process import is_dead, mark, private_folder

LINGER = (
    "import sys, time; from pathlib import Path; from fluxlora.process import private_folder\n"
    "with private_folder(Path(sys.argv[1])) as folder: print(folder, flush=True); time.sleep(60)"
)


def linger(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    """Another process that has a folder there."""
    process = subprocess.Popen([sys.executable, "-c", LINGER, parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    return process, Path(process.stdout.readline().strip())


def test_a_folder_is_private_and_gone_afterwards(tmp_path):
    with private_folder(tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "file").touch()

    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_killed_process_goes_when_the_next_is_made_and_that_of_a_living_one_stays(tmp_path):
    killed, left = linger(tmp_path)
    living, used = linger(tmp_path)
    killed.kill()
    killed.wait()
    assert left.is_dir()

    with private_folder(tmp_path) as folder:
        assert sorted(tmp_path.iterdir()) == sorted([used, folder])

    living.kill()
    living.wait()


@pytest.mark.parametrize("name", ["fluxlora-hosts-0", "", "somebody.else", mark(), mark(0)])
def test_nothing_else_is_taken_for_the_leavings_of_a_dead_process(name):
    assert not is_dead(name)
