"""Rules about how long a run is and what an interruption costs."""

from __future__ import annotations

from collections.abc import Iterator

from fluxlora.draft import Draft
from fluxlora.rules.rule import Source, Weight, rule


@rule(Weight.REFUSED, Source.TRAINER)
def steps_or_epochs(draft: Draft) -> Iterator[str]:
    """A run's length is given in steps or in epochs."""
    if draft.steps_asked and draft.epochs_asked:
        yield (
            f"simpletuner_max_train_steps is {draft.steps_asked} and simpletuner_num_train_epochs "
            f"{draft.epochs_asked}: SimpleTuner refuses both, set one of them to 0."
        )
    if not draft.steps_asked and not draft.epochs_asked:
        yield "simpletuner_max_train_steps and simpletuner_num_train_epochs are both 0: set one of them."


@rule(Weight.LOSS, Source.OURS)
def a_checkpoint_before_the_end(draft: Draft) -> Iterator[str]:
    """There is something to resume from."""
    if draft.checkpoint_interval > draft.steps > 0:
        yield (
            f"simpletuner_checkpointing_steps is {draft.checkpoint_interval} and the run has {draft.steps} steps: "
            "until it ends there is nothing to resume from, and an interruption loses everything."
        )
