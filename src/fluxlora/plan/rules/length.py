"""Rules about how long a run is and what an interruption costs."""

from __future__ import annotations

import math
from collections.abc import Iterator

from fluxlora.plan.figures import Figures
from fluxlora.plan.rules.rule import Source, Weight, rule

_HOURS_AT_STAKE = 1.5
# At the 50 Mbit/s that an offer must have, almost five hours.
_SENT_GB = 100
# Ten times OPTIONS.md's usual most: the guide's 5000 steps go beyond that with less than 400 pictures.
_SEEN = 500


@rule(Weight.REFUSED, Source.TRAINER)
def steps_or_epochs(run: Figures) -> Iterator[str]:
    """A run's length is given in steps or in epochs."""
    if run.steps_asked and run.epochs_asked:
        yield (
            f"simpletuner_max_train_steps is {run.steps_asked} and simpletuner_num_train_epochs "
            f"{run.epochs_asked}: SimpleTuner refuses both, set one of them to 0."
        )
    if not run.steps_asked and not run.epochs_asked:
        yield "simpletuner_max_train_steps and simpletuner_num_train_epochs are both 0: set one of them."


@rule(Weight.REFUSED, Source.TRAINER)
def epochs_last_as_long_as_the_steps(run: Figures) -> Iterator[str]:
    """The trainer's epochs are not over before its steps are."""
    if not run.steps or not run.steps_per_epoch:
        return
    by_steps = run.settings.flag("ignore_final_epochs") if run.release.ends_by_epochs else run.steps_asked > 0
    batches = sum(each.batches for each in run.backends)
    epochs = math.ceil(run.steps / run.steps_per_epoch)
    done = epochs * batches // run.batching.accumulation
    if done < run.steps and not by_steps:
        mend = (
            "simpletuner_ignore_final_epochs to true"
            if run.release.ends_by_epochs
            else f"simpletuner_max_train_steps to {done} and simpletuner_num_train_epochs to 0"
        )
        yield (
            f"An epoch has {batches} batches, so {batches / run.batching.accumulation:.3g} steps of "
            f"simpletuner_gradient_accumulation_steps {run.batching.accumulation}; SimpleTuner counts "
            f"{run.steps_per_epoch}, and its epochs are over after {done} of {run.steps} steps: set {mend}."
        )


@rule(Weight.LOSS, Source.OURS)
def a_checkpoint_before_the_end(run: Figures) -> Iterator[str]:
    """There is something to resume from."""
    if run.checkpoint_interval > run.steps > 0:
        yield (
            f"simpletuner_checkpointing_steps is {run.checkpoint_interval} and the run has {run.steps} steps: "
            "until it ends there is nothing to resume from, and an interruption loses everything."
        )


@rule(Weight.LOSS, Source.OURS)
def what_an_interruption_costs(run: Figures) -> Iterator[str]:
    """Checkpoints are close enough that an interruption costs little."""
    hours = run.checkpoint_interval * run.seconds_per_step / 3600
    if hours > _HOURS_AT_STAKE and run.checkpoint_interval <= run.steps:
        wanted = max(math.floor(_HOURS_AT_STAKE * 3600 / run.seconds_per_step / 50) * 50, 1)
        price = run.asked("provision_max_price_per_hour")
        money = f", up to ${hours * price:.2f} at ${price:g} an hour" if price else ""
        yield (
            f"simpletuner_checkpointing_steps is {run.checkpoint_interval}, and an interruption loses what was done "
            f"since the last checkpoint: up to about {hours:.1f} hours{money}. Set it to {wanted}."
        )


@rule(Weight.LOSS, Source.OURS)
def checkpoints_are_worth_their_bytes(run: Figures) -> Iterator[str]:
    """What the checkpoints weigh is paid for on the way out, and takes its time."""
    if run.sent_gb > _SENT_GB:
        yield (
            f"{run.checkpoints} checkpoints send about {run.sent_gb:.0f} GB, which vast.ai bills: raise "
            "simpletuner_checkpointing_steps, lower simpletuner_lora_rank, or turn simpletuner_push_to_hub off."
        )


@rule(Weight.SPOILT, Source.OURS)
def warm_up_ends_before_the_run(run: Figures) -> Iterator[str]:
    """The learning rate is reached while there is something left to learn."""
    warm_up = run.settings.whole("lr_warmup_steps", 0, least=0)
    if warm_up > run.steps / 2 > 0:
        yield (
            f"simpletuner_lr_warmup_steps is {warm_up}, and the run has {run.steps} steps: the learning rate is "
            "hardly reached; a tenth of the steps is plenty."
        )


@rule(Weight.HINT, Source.OPTIONS)
def seen_often_enough(run: Figures) -> Iterator[str]:
    """A picture that is seen too often is learnt by heart."""
    pictures = len(run.dataset.pictures)
    seen = run.steps * run.batching.effective / pictures if pictures else 0
    if seen > _SEEN:
        yield (
            f"Each of the {pictures} images is seen about {seen:.0f} times; 5 to 50 are usual, and more tend to be "
            "learnt by heart. Look at the pictures on the way, and stop early or lower simpletuner_max_train_steps."
        )
