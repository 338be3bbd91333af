"""Which checkpoint of a run is on this computer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fluxlora.money.journal import Entry, training_began
from fluxlora.onhost import supervisor


def checkpoint_at_home(folder: Path, entries: Sequence[Entry]) -> int | None:
    """The step from which a fresh instance goes on: the newest whole checkpoint of the same training; None for none.

    `folder` may hold another training's from before: only what came home after this one's first rent counts.
    """
    began = training_began(entries)
    if began is None:
        return None
    steps = [
        step
        for step in supervisor.checkpoints(folder)
        if (folder / f"checkpoint-{step}" / "training_state.json").lstat().st_mtime >= began
    ]
    return max(steps, default=None)
