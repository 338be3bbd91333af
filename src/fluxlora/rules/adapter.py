"""Rules about the adapter and how it learns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fluxlora.draft import Draft
from fluxlora.rules.rule import Source, Weight, rule


@rule(Weight.REFUSED, Source.LYCORIS)
def lycoris_has_its_configuration(draft: Draft) -> Iterator[str]:
    """LyCORIS needs a configuration of its own."""
    if draft.is_lycoris and not isinstance(draft.settings.raw("simpletuner_lycoris"), Mapping):
        yield "simpletuner_lora_type is lycoris and simpletuner_lycoris is not set: the preset lokr sets both."


@rule(Weight.REFUSED, Source.TRAINER)
def one_shift_of_the_noise_schedule(draft: Draft) -> Iterator[str]:
    """A fixed shift and one by resolution exclude each other."""
    if draft.settings.flag("flow_schedule_auto_shift") and draft.settings.number("flow_schedule_shift", 3.0):
        yield "simpletuner_flow_schedule_auto_shift excludes a fixed shift: set simpletuner_flow_schedule_shift to 0."


@rule(Weight.SPOILT, Source.QUICK_START)
def lokr_learning_rate(draft: Draft) -> Iterator[str]:
    """A LoKr wants a high learning rate."""
    if draft.is_lycoris and draft.learning_rate < 3e-4:
        yield f"simpletuner_learning_rate is {draft.learning_rate:g}: a LoKr hardly learns below 3e-4, take 1e-3."


@rule(Weight.SPOILT, Source.QUICK_START)
def lora_learning_rate(draft: Draft) -> Iterator[str]:
    """A LoRA of so large a model wants a low learning rate."""
    if not draft.is_lycoris and draft.learning_rate > 5e-4:
        yield f"simpletuner_learning_rate is {draft.learning_rate:g}: a LoRA tends to diverge above 5e-4, take 1e-4."
