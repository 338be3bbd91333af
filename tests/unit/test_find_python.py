"""`make setup` takes the newest python that works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FIND = Path(__file__).parents[2] / "scripts" / "find_python"


def program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def found(folder: Path, **environment: str) -> str:
    """What it prints where these are the only programs."""
    done = subprocess.run(
        [FIND], env={"PATH": str(folder), **environment}, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode == 0) == bool(done.stdout)
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.fixture
def works() -> str:
    return f'exec {sys.executable} "$@"'


def test_the_newest_is_taken(tmp_path: Path, works: str) -> None:
    for name in ("python3", "python3.11", "python3.13"):
        program(tmp_path, name, works)
    assert found(tmp_path) == "python3.13"


def test_one_that_is_named_comes_before_newer_ones(tmp_path: Path, works: str) -> None:
    for name in ("python3.13", "my python"):
        program(tmp_path, name, works)
    assert found(tmp_path, PYTHON="my python") == "my python"


@pytest.mark.parametrize("module", ["bz2", "ensurepip", "lzma", "sqlite3", "ssl"])
def test_one_without_a_part_of_the_standard_library_is_passed_over(tmp_path: Path, works: str, module: str) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / f"{module}.py").write_text("raise ImportError\n")
    program(tmp_path, "python3.14", f"export PYTHONPATH={tmp_path}/broken; {works}")
    program(tmp_path, "python3.12", works)
    assert found(tmp_path) == "python3.12"


def test_one_that_does_not_run_is_passed_over(tmp_path: Path, works: str) -> None:
    program(tmp_path, "python3.14", "echo python3.14: command not found >&2; exit 127")
    program(tmp_path, "python3", works)
    assert found(tmp_path) == "python3"


def test_one_that_is_too_old_is_none(tmp_path: Path, works: str) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "sitecustomize.py").write_text("import sys; sys.version_info = (3, 10, 4)\n")
    program(tmp_path, "python3", f"export PYTHONPATH={tmp_path}/old; {works}")
    assert found(tmp_path) == ""
