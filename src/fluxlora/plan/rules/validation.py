"""Rules about the pictures that are made on the way."""

from __future__ import annotations

from collections.abc import Iterator

from fluxlora.plan.figures import Figures
from fluxlora.plan.rules.rule import Source, Weight, rule

_GUIDES_PROMPT = "A happy pizza."


@rule(Weight.LOSS, Source.GUIDE)
def the_validation_prompt_is_ones_own(run: Figures) -> Iterator[str]:
    """The prompt of the validation pictures speaks of the subject."""
    if run.settings.text("validation_prompt", _GUIDES_PROMPT) == _GUIDES_PROMPT:
        yield (
            f"simpletuner_validation_prompt is still the guide's {_GUIDES_PROMPT!r}: say what a good picture of your "
            "subject is, with its trigger word, or the validation images show nothing of the training."
        )


@rule(Weight.LOSS, Source.OURS)
def pictures_on_the_way_are_few(run: Figures) -> Iterator[str]:
    """Validation pictures take a small part of the hours."""
    if run.validation_hours > run.hours / 4:
        yield (
            f"Validation pictures take about {run.validation_hours:.1f} of {run.hours:.1f} hours: raise "
            "simpletuner_validation_steps or lower simpletuner_validation_num_inference_steps."
        )


@rule(Weight.HINT, Source.TRAINER)
def inference_steps_that_show_something(run: Figures) -> Iterator[str]:
    """FLUX.1-dev draws with 15 to 28 steps."""
    steps = run.settings.whole("validation_num_inference_steps", 30)
    if not 15 <= steps <= 28 and not run.is_scaled_down:
        yield f"simpletuner_validation_num_inference_steps is {steps}: FLUX.1-dev draws well with 15 to 28."
