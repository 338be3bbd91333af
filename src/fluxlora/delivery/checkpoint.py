"""The local checkpoints of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fluxlora.money.journal import Entry, training_began
from fluxlora.onhost import supervisor


def checkpoint_at_home(folder: Path, entries: Sequence[Entry]) -> int | None:
    """Return the step from which a new instance resumes: the newest complete checkpoint of the training, or None.

    `folder` may contain those of an earlier training: only files that were downloaded after this one's first rent
    count.
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
