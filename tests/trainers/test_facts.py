"""The facts of each SimpleTuner are what its own parser says today."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from environments import PROJECT

from fluxlora.trainer import LINES


@pytest.mark.parametrize("version", LINES.values())
def test_the_facts_in_the_project_are_those_that_the_parser_itself_gives(
    trainer: Any, version: str, tmp_path: Path
) -> None:
    trainer(version).run(PROJECT / "scripts" / "make_trainer_facts.py", tmp_path)
    written = PROJECT / "src" / "fluxlora" / "trainer" / f"{version}.json"
    assert (tmp_path / f"{version}.json").read_text() == written.read_text()
