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
def lora_learning_rate(draft: Draft) -> Iterator[str]:
    """A LoRA of so large a model wants a low learning rate, above 1e-5 and well below 1e-3."""
    if draft.is_lycoris:
        return
    if draft.learning_rate > 5e-4:
        yield f"simpletuner_learning_rate is {draft.learning_rate:g}: a LoRA tends to diverge above 5e-4, take 1e-4."
    if draft.learning_rate <= 1e-5:
        yield f"simpletuner_learning_rate is {draft.learning_rate:g}: at 1e-5 a LoRA learns next to nothing, take 1e-4."


@rule(Weight.SPOILT, Source.OURS)
def learning_rate_of_a_high_rank(draft: Draft) -> Iterator[str]:
    """The higher the rank of a LoRA, the lower its learning rate."""
    if not draft.is_lycoris and draft.lora_rank >= 64 and 2e-4 < draft.learning_rate <= 5e-4:
        yield (
            f"simpletuner_learning_rate is {draft.learning_rate:g}: at simpletuner_lora_rank {draft.lora_rank} that is "
            "likely to ruin what the model knew, take 1e-4."
        )


@rule(Weight.SPOILT, Source.QUICK_START)
def lokr_learning_rate(draft: Draft) -> Iterator[str]:
    """A LoKr wants a high learning rate: 1e-3 with AdamW, 2e-4 with Lion."""
    if not draft.is_lycoris:
        return
    usual = 2e-4 if "lion" in draft.settings.text("optimizer") else 1e-3
    if draft.learning_rate < 0.3 * usual:
        yield (
            f"simpletuner_learning_rate is {draft.learning_rate:g}: a LoKr hardly learns below {0.3 * usual:g}, take "
            f"{usual:g}."
        )
    if draft.learning_rate > 3 * usual:
        yield (
            f"simpletuner_learning_rate is {draft.learning_rate:g}: that is far above the {usual:g} that a LoKr is "
            "trained with, and likely to ruin it."
        )


@rule(Weight.SPOILT, Source.GUIDE)
def lokr_on_a_small_batch(draft: Draft) -> Iterator[str]:
    """A LoKr learns at ten times the rate of a LoRA, and wants a batch that is not too small."""
    if draft.is_lycoris and draft.batching.effective < 4:
        yield (
            f"A step sees {draft.batching.effective} pictures (batch x accumulation x GPUs), few for a LoKr's high "
            "learning rate: set simpletuner_gradient_accumulation_steps so that it sees 4, or lower "
            "simpletuner_learning_rate."
        )


@rule(Weight.SPOILT, Source.QUICK_START)
def four_bits_and_lion(draft: Draft) -> Iterator[str]:
    """A model quantised to four bits collapses under Lion."""
    if draft.precision.startswith("nf4") and "lion" in draft.settings.text("optimizer"):
        yield (
            f"simpletuner_optimizer is {draft.settings.text('optimizer')}, and a model in {draft.precision} collapses "
            "under Lion: take adamw_bf16."
        )


@rule(Weight.HINT, Source.QUICK_START)
def so_high_a_rank(draft: Draft) -> Iterator[str]:
    """A high rank is seldom needed on a model this large."""
    if not draft.is_lycoris and draft.lora_rank >= 64:
        yield (
            f"simpletuner_lora_rank is {draft.lora_rank}: on a model this large 4 to 16 train faster and are often "
            "enough, so try these first."
        )


@rule(Weight.HINT, Source.QUICK_START)
def targets_that_travel(draft: Draft) -> Iterator[str]:
    """A LoRA with feed-forward layers does not load in every program."""
    if not draft.is_lycoris and "ffs" in draft.lora_target:
        yield (
            f"simpletuner_flux_lora_target is {draft.lora_target}: with its feed-forward layers some programs, ComfyUI "
            "is named, may not load the LoRA; the preset attention leaves them out."
        )


@rule(Weight.HINT, Source.QUICK_START)
def an_experimental_target(draft: Draft) -> Iterator[str]:
    """The effect of training the context layers alone is not known."""
    if not draft.is_lycoris and draft.lora_target.startswith("context"):
        yield f"simpletuner_flux_lora_target is {draft.lora_target}: an experiment, nobody knows its effect yet."


@rule(Weight.HINT, Source.TRAINER)
def some_captions_are_left_out(draft: Draft) -> Iterator[str]:
    """Without caption dropout an adapter may learn its captions by heart."""
    if draft.settings.number("caption_dropout_probability", 0.1) == 0:
        yield (
            "simpletuner_caption_dropout_probability is 0, as in the guide: the adapter may learn the captions by "
            "heart, and SimpleTuner recommends 0.1."
        )


@rule(Weight.HINT, Source.QUICK_START)
def guidance_that_others_can_follow(draft: Draft) -> Iterator[str]:
    """A LoRA trained with guidance above 1 has to be used with real guidance."""
    value = draft.settings.number("flux_guidance_value", 1.0)
    if value > 1:
        yield (
            f"simpletuner_flux_guidance_value is {value:g}: the adapter then needs a program that does real guidance, "
            "at half the speed; 1 keeps it compatible."
        )


@rule(Weight.HINT, Source.QUICK_START)
def drawn_with_what_it_was_trained_on(draft: Draft) -> Iterator[str]:
    """An adapter of a quantised model wants the model in the same precision."""
    if draft.is_quantised:
        yield (
            f"simpletuner_base_model_precision is {draft.precision}: load the model in the same precision when you "
            "draw with the adapter."
        )
