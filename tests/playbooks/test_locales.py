"""The command works in every locale, though Ansible works in those of UTF-8 alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import PROJECT

FLUXLORA = Path(sys.executable).parent / "fluxlora"


def presets(*names: str, **locale: str) -> subprocess.CompletedProcess[bytes]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))}
    command = [str(FLUXLORA), "presets", *names]
    return subprocess.run(command, cwd=PROJECT, env=ours | locale, capture_output=True, timeout=120, check=False)


@pytest.mark.parametrize(
    "locale", [{"LC_ALL": "C"}, {"LC_ALL": "POSIX"}, {"LANG": "xx_XX.UTF-8"}, {}], ids=["C", "POSIX", "unknown", "none"]
)
def test_a_verb_works_in_it(locale):
    done = presets("512", **locale)
    assert done.returncode == 0, done.stdout + done.stderr
    assert b"512" in done.stdout


def test_a_terminal_that_lacks_a_character_shows_a_question_mark():
    done = presets("größe…", LC_ALL="C", PYTHONIOENCODING="latin-1")
    assert done.returncode != 0
    assert "größe?".encode("latin-1") in done.stdout, done.stdout + done.stderr
    assert b"Traceback" not in done.stderr
