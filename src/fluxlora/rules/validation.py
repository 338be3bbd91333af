"""Rules about the pictures that are made on the way."""

from __future__ import annotations

from collections.abc import Iterator

from fluxlora.draft import Draft
from fluxlora.rules.rule import Source, Weight, rule

_GUIDES_PROMPT = "A happy pizza."


@rule(Weight.LOSS, Source.GUIDE)
def the_validation_prompt_is_ones_own(draft: Draft) -> Iterator[str]:
    """The prompt of the validation pictures speaks of the subject."""
    if draft.settings.text("validation_prompt", _GUIDES_PROMPT) == _GUIDES_PROMPT:
        yield (
            f"simpletuner_validation_prompt is still the guide's {_GUIDES_PROMPT!r}: say what a good picture of your "
            "subject is, with its trigger word, or the validation images show nothing of the training."
        )
