"""Rules about the adapter and how it learns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fluxlora.plan.figures import Figures
from fluxlora.plan.rules.rule import Source, Weight, rule


@rule(Weight.REFUSED, Source.LYCORIS)
def lycoris_has_its_configuration(run: Figures) -> Iterator[str]:
    """LyCORIS needs a configuration of its own."""
    if run.is_lycoris and not isinstance(run.settings.raw("simpletuner_lycoris"), Mapping):
        yield "simpletuner_lora_type is lycoris and simpletuner_lycoris is not set: the preset lokr sets both."


@rule(Weight.REFUSED, Source.TRAINER)
def one_shift_of_the_noise_schedule(run: Figures) -> Iterator[str]:
    """A fixed shift and one by resolution exclude each other."""
    if run.settings.flag("flow_schedule_auto_shift") and run.settings.number("flow_schedule_shift", 3.0):
        yield "simpletuner_flow_schedule_auto_shift excludes a fixed shift: set simpletuner_flow_schedule_shift to 0."


@rule(Weight.REFUSED, Source.TRAINER)
def alpha_that_lets_something_through(run: Figures) -> Iterator[str]:
    """At alpha 0 a LoRA is applied at strength 0."""
    if not run.is_lycoris and run.lora_alpha <= 0:
        yield "simpletuner_lora_alpha is 0: the LoRA would be applied at strength 0, leave it empty for the rank."


@rule(Weight.HINT, Source.TRAINER)
def alpha_is_part_of_the_strength(run: Figures) -> Iterator[str]:
    """A LoRA whose alpha is not its rank is trained at alpha / rank."""
    if not run.is_lycoris and run.lora_alpha not in (0, run.lora_rank):
        yield (
            f"simpletuner_lora_alpha is {run.lora_alpha:g} at simpletuner_lora_rank {run.lora_rank}: the LoRA is "
            f"trained at {run.lora_alpha / run.lora_rank:g} times its strength. RUN.safetensors has that in its "
            "weights and loads at strength 1; the trainer's own final file does not say it."
        )


@rule(Weight.SPOILT, Source.QUICK_START)
def lora_learning_rate(run: Figures) -> Iterator[str]:
    """A LoRA of so large a model wants a low learning rate, above 1e-5 and well below 1e-3."""
    if run.is_lycoris:
        return
    if run.learning_rate > 5e-4:
        yield f"simpletuner_learning_rate is {run.learning_rate:g}: a LoRA tends to diverge above 5e-4, take 1e-4."
    if run.learning_rate <= 1e-5:
        yield f"simpletuner_learning_rate is {run.learning_rate:g}: at 1e-5 a LoRA learns next to nothing, take 1e-4."


@rule(Weight.SPOILT, Source.OURS)
def learning_rate_of_a_high_rank(run: Figures) -> Iterator[str]:
    """The higher the rank of a LoRA, the lower its learning rate."""
    if not run.is_lycoris and run.lora_rank >= 64 and 2e-4 < run.learning_rate <= 5e-4:
        yield (
            f"simpletuner_learning_rate is {run.learning_rate:g}: at simpletuner_lora_rank {run.lora_rank} that is "
            "likely to ruin what the model knew, take 1e-4."
        )


@rule(Weight.SPOILT, Source.QUICK_START)
def lokr_learning_rate(run: Figures) -> Iterator[str]:
    """A LoKr wants a high learning rate: 1e-3 with AdamW, 2e-4 with Lion."""
    if not run.is_lycoris:
        return
    usual = 2e-4 if "lion" in run.settings.text("optimizer") else 1e-3
    if run.learning_rate < 0.3 * usual:
        yield (
            f"simpletuner_learning_rate is {run.learning_rate:g}: a LoKr hardly learns below {0.3 * usual:g}, take "
            f"{usual:g}."
        )
    if run.learning_rate > 3 * usual:
        yield (
            f"simpletuner_learning_rate is {run.learning_rate:g}: that is far above the {usual:g} that a LoKr is "
            "trained with, and likely to ruin it."
        )


@rule(Weight.SPOILT, Source.GUIDE)
def lokr_on_a_small_batch(run: Figures) -> Iterator[str]:
    """A LoKr learns at ten times the rate of a LoRA, and wants a batch that is not too small."""
    if run.is_lycoris and run.batching.effective < 4:
        yield (
            f"A step sees {run.batching.effective} pictures (batch x accumulation x GPUs), few for a LoKr's high "
            "learning rate: set simpletuner_gradient_accumulation_steps so that it sees 4, or lower "
            "simpletuner_learning_rate."
        )


@rule(Weight.SPOILT, Source.QUICK_START)
def four_bits_and_lion(run: Figures) -> Iterator[str]:
    """A model quantised to four bits collapses under Lion."""
    if run.precision.startswith("nf4") and "lion" in run.settings.text("optimizer"):
        yield (
            f"simpletuner_optimizer is {run.settings.text('optimizer')}, and a model in {run.precision} collapses "
            "under Lion: take adamw_bf16."
        )


@rule(Weight.HINT, Source.QUICK_START)
def so_high_a_rank(run: Figures) -> Iterator[str]:
    """A high rank is seldom needed on a model this large."""
    if not run.is_lycoris and run.lora_rank >= 64:
        yield (
            f"simpletuner_lora_rank is {run.lora_rank}: on a model this large 4 to 16 train faster and are often "
            "enough, so try these first."
        )


@rule(Weight.HINT, Source.QUICK_START)
def targets_that_travel(run: Figures) -> Iterator[str]:
    """A LoRA with feed-forward layers does not load in every program."""
    if not run.is_lycoris and "ffs" in run.lora_target:
        yield (
            f"simpletuner_flux_lora_target is {run.lora_target}: with its feed-forward layers some programs may not "
            "load the LoRA. diffusers and ComfyUI did when we tried (docs/loaders.md); the preset attention leaves "
            "them out."
        )


@rule(Weight.HINT, Source.LOADERS)
def what_loads_a_lokr(run: Figures) -> Iterator[str]:
    """A LoKr loads in fewer programs than a LoRA."""
    settings = run.settings.raw("simpletuner_lycoris")
    if run.is_lycoris and isinstance(settings, Mapping) and settings.get("algo") == "lokr":
        yield (
            "A LoKr loads in ComfyUI and LyCORIS, and in diffusers from 0.42.1 on as a copy for each of its factors, "
            "which you get beside it: one with the preset lokr16. For other programs artifacts_lora_rank makes a LoRA "
            "of it."
        )


@rule(Weight.HINT, Source.QUICK_START)
def an_experimental_target(run: Figures) -> Iterator[str]:
    """The effect of training the context layers alone is not known."""
    if not run.is_lycoris and run.lora_target.startswith("context"):
        yield f"simpletuner_flux_lora_target is {run.lora_target}: an experiment, nobody knows its effect yet."


@rule(Weight.HINT, Source.TRAINER)
def some_captions_are_left_out(run: Figures) -> Iterator[str]:
    """Without caption dropout an adapter may learn its captions by heart."""
    if run.settings.number("caption_dropout_probability", 0.1) == 0:
        yield (
            "simpletuner_caption_dropout_probability is 0, as in the guide: the adapter may learn the captions by "
            "heart, and SimpleTuner recommends 0.1."
        )


@rule(Weight.HINT, Source.QUICK_START)
def guidance_that_others_can_follow(run: Figures) -> Iterator[str]:
    """A LoRA trained with guidance above 1 has to be used with real guidance."""
    value = run.settings.number("flux_guidance_value", 1.0)
    if value > 1:
        yield (
            f"simpletuner_flux_guidance_value is {value:g}: the adapter then needs a program that does real guidance, "
            "at half the speed; 1 keeps it compatible."
        )


@rule(Weight.HINT, Source.QUICK_START)
def drawn_with_what_it_was_trained_on(run: Figures) -> Iterator[str]:
    """An adapter of a quantised model wants the model in the same precision."""
    if run.is_quantised:
        yield (
            f"simpletuner_base_model_precision is {run.precision}: load the model in the same precision when you "
            "draw with the adapter."
        )
