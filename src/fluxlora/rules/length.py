"""Rules about how long a run is and what an interruption costs."""

from __future__ import annotations

import math
from collections.abc import Iterator

from fluxlora.draft import Draft
from fluxlora.rules.rule import Source, Weight, rule

_HOURS_AT_STAKE = 1.5
# At the 50 Mbit/s that an offer must have, almost five hours.
_SENT_GB = 100
# Ten times OPTIONS.md's usual most: the guide's 5000 steps go beyond that with less than 400 pictures.
_SEEN = 500


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


@rule(Weight.REFUSED, Source.TRAINER)
def epochs_last_as_long_as_the_steps(draft: Draft) -> Iterator[str]:
    """The trainer's epochs are not over before its steps are."""
    if not draft.steps or not draft.steps_per_epoch:
        return
    by_steps = draft.settings.flag("ignore_final_epochs") if draft.is_before_4 else draft.steps_asked > 0
    batches = sum(each.batches for each in draft.backends)
    epochs = math.ceil(draft.steps / draft.steps_per_epoch)
    done = epochs * batches // draft.batching.accumulation
    if done < draft.steps and not by_steps:
        mend = (
            "simpletuner_ignore_final_epochs to true"
            if draft.is_before_4
            else f"simpletuner_max_train_steps to {done} and simpletuner_num_train_epochs to 0"
        )
        yield (
            f"An epoch has {batches} batches, so {batches / draft.batching.accumulation:.3g} steps of "
            f"simpletuner_gradient_accumulation_steps {draft.batching.accumulation}; SimpleTuner counts "
            f"{draft.steps_per_epoch}, and its epochs are over after {done} of {draft.steps} steps: set {mend}."
        )


@rule(Weight.LOSS, Source.OURS)
def a_checkpoint_before_the_end(draft: Draft) -> Iterator[str]:
    """There is something to resume from."""
    if draft.checkpoint_interval > draft.steps > 0:
        yield (
            f"simpletuner_checkpointing_steps is {draft.checkpoint_interval} and the run has {draft.steps} steps: "
            "until it ends there is nothing to resume from, and an interruption loses everything."
        )


@rule(Weight.LOSS, Source.OURS)
def what_an_interruption_costs(draft: Draft) -> Iterator[str]:
    """Checkpoints are close enough that an interruption costs little."""
    hours = draft.checkpoint_interval * draft.seconds_per_step / 3600
    if hours > _HOURS_AT_STAKE and draft.checkpoint_interval <= draft.steps:
        wanted = max(math.floor(_HOURS_AT_STAKE * 3600 / draft.seconds_per_step / 50) * 50, 1)
        price = draft.asked("provision_max_price_per_hour")
        money = f", up to ${hours * price:.2f} at ${price:g} an hour" if price else ""
        yield (
            f"simpletuner_checkpointing_steps is {draft.checkpoint_interval}, and an interruption loses what was done "
            f"since the last checkpoint: up to about {hours:.1f} hours{money}. Set it to {wanted}."
        )


@rule(Weight.LOSS, Source.OURS)
def checkpoints_are_worth_their_bytes(draft: Draft) -> Iterator[str]:
    """What the checkpoints weigh is paid for on the way out, and takes its time."""
    if draft.sent_gb > _SENT_GB:
        yield (
            f"{draft.checkpoints} checkpoints send about {draft.sent_gb:.0f} GB, which vast.ai bills: raise "
            "simpletuner_checkpointing_steps, lower simpletuner_lora_rank, or turn simpletuner_push_to_hub off."
        )


@rule(Weight.SPOILT, Source.OURS)
def warm_up_ends_before_the_run(draft: Draft) -> Iterator[str]:
    """The learning rate is reached while there is something left to learn."""
    warm_up = draft.settings.whole("lr_warmup_steps", 0, least=0)
    if warm_up > draft.steps / 2 > 0:
        yield (
            f"simpletuner_lr_warmup_steps is {warm_up}, and the run has {draft.steps} steps: the learning rate is "
            "hardly reached; a tenth of the steps is plenty."
        )


@rule(Weight.HINT, Source.OPTIONS)
def seen_often_enough(draft: Draft) -> Iterator[str]:
    """A picture that is seen too often is learnt by heart."""
    pictures = len(draft.dataset.pictures)
    seen = draft.steps * draft.batching.effective / pictures if pictures else 0
    if seen > _SEEN:
        yield (
            f"Each of the {pictures} images is seen about {seen:.0f} times; 5 to 50 are usual, and more tend to be "
            "learnt by heart. Look at the pictures on the way, and stop early or lower simpletuner_max_train_steps."
        )
