"""What strangers write is shown as it is: a label, a message or a machine's name is never taken for a template."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import VastServer

PROJECT = Path(__file__).parents[2]
# With the values that the stand-in's faults and these tests write, see faults.py.
WRITTEN, EVALUATED = "{{ 7 * 191 }}", "1337"


@pytest.mark.fault("list_with_templates")
@pytest.mark.fault("offers_with_templates")
# The audit and destroy are held to it in their own tests.
@pytest.mark.parametrize(
    "words", [["status"], ["offers", str(PROJECT / "examples" / "dataset")]], ids=lambda each: each[0]
)
def test_rented_text_is_shown_as_it_is(vast: VastServer, tmp_path: Path, words: list[str]) -> None:
    vast.rent_running(label="fluxlora/my-style/512")
    vast.fault("list_with_templates", times=99)
    vast.fault("offers_with_templates", times=99)

    done = subprocess.run(
        ["fluxlora", *words],
        cwd=PROJECT,
        env={
            **os.environ, "HOME": str(tmp_path), "FLUXLORA_STATE_DIR": str(tmp_path / "state"),
            "VAST_URL": vast.url, "VAST_API_KEY": vast.api_key,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        },
        capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip

    said = done.stdout + done.stderr
    assert WRITTEN in said
    assert EVALUATED not in said
