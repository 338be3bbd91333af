"""What can be chosen is shown to anybody: without key, dataset or network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import PROJECT


def show(*names: str) -> subprocess.CompletedProcess[str]:
    known = {name: value for name, value in os.environ.items() if not name.startswith(("VAST_", "HF_", "WANDB_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["fluxlora", "presets", *names],
        cwd=PROJECT, env={**known, "PATH": path}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ([], "Squares of 1024 pixels, as in the guide."),
        (["24gb", "lokr"], "Together a run has 1024 + 24gb + lokr."),
        (["lokr", "rank4"], "The presets lokr and rank4 cannot be combined"),
    ],
    ids=["all", "a sound choice", "a contradiction"],
)
def test_presets_are_shown_and_tried_together(names, sentence):
    shown = show(*names)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert sentence in shown.stdout


def test_a_preset_that_does_not_exist_is_a_mistake_with_the_nearest_one():
    shown = show("lork")
    assert shown.returncode != 0
    assert "did you mean 'lokr'" in shown.stdout + shown.stderr
    assert "Traceback" not in shown.stdout + shown.stderr
