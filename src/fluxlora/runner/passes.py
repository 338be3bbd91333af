"""Passes of train.yml: each goes as far as it gets, and the next one goes on where the last one was interrupted."""

from __future__ import annotations

import os
from collections.abc import Callable

from fluxlora.runner.play import Outcome

# The exit status of a pass in which nothing went wrong but that interruptible instances were taken away.
INTERRUPTED = os.EX_TEMPFAIL
# In one call: the first, and one for each instance that is replaced. The budget and provision_max_replacements bound
# the replacements of the whole training.
PASSES = 4


def interrupted_line(run: str, instance_id: int, how: str) -> str:
    """What happened to an instance that was taken away, and what to do."""
    return (
        f"Instance {instance_id} of {run} was {how}. The same call again destroys what is left of it, which still "
        f"costs money, and resumes {run} from its newest checkpoint on another instance, within its budget."
    )


def play_to_the_end(play_once: Callable[[], Outcome]) -> Outcome:
    """Play a pass, and another one after each interruption, PASSES in all; returns the outcome of the last."""
    outcome = play_once()
    for _ in range(PASSES - 1):
        if outcome.status != INTERRUPTED:
            break
        outcome = play_once()
    return outcome
