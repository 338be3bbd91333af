"""Rules about the machine and where the adapter goes."""

from __future__ import annotations

import math
from collections.abc import Iterator

from fluxlora.estimates import sizes
from fluxlora.plan.figures import Figures
from fluxlora.plan.needs import Needs
from fluxlora.plan.rules.rule import Source, Weight, rule

# vast.ai's names of cards before Ada, as far as they begin.
_BEFORE_ADA = ("GTX", "RTX 20", "RTX 30", "RTX A", "A10", "A30", "A40", "A100", "Tesla", "Q RTX", "Titan", "V100")


@rule(Weight.REFUSED, Source.QUICK_START)
def the_card_has_room(run: Figures) -> Iterator[str]:
    """The model in its precision, the batch and the adapter fit on the card that was asked for."""
    needs = Needs(run)
    if 0 < needs.card_gb < needs.gpu_ram_gb:
        yield (
            f"This run needs about {needs.gpu_ram_gb:.0f} GB of GPU memory, and the cards that plan_card_gb asks for "
            f"have {needs.card_gb:.0f}: lower simpletuner_train_batch_size, resolution or rank, quantise the model "
            "(simpletuner_base_model_precision), or choose larger cards."
        )
    asked = run.asked("provision_gpu_ram_gb")
    if 0 < asked < needs.gpu_ram_gb:
        yield (
            f"This run needs about {needs.gpu_ram_gb:.0f} GB of GPU memory, and provision_gpu_ram_gb is {asked:g}: "
            "leave it to the plan, or lower simpletuner_train_batch_size, resolution or rank."
        )


@rule(Weight.REFUSED, Source.QUICK_START)
def the_host_has_memory(run: Figures) -> Iterator[str]:
    """Quantising FLUX takes about 50 GB of the host's memory, or the trainer is killed."""
    asked = run.asked("provision_cpu_ram_gb")
    if run.is_quantised and 0 < asked < sizes.QUANTISING_GB:
        yield (
            f"provision_cpu_ram_gb is {asked:g}, and quantising the model takes about {sizes.QUANTISING_GB:.0f} GB "
            "of the host's memory, without which the trainer is killed: leave it to the plan."
        )


@rule(Weight.REFUSED, Source.OURS)
def fp8_has_its_hardware(run: Figures) -> Iterator[str]:
    """Precision fp8 needs compute capability 8.9, that is Ada, or newer."""
    needs = Needs(run)
    names = run.settings.raw("provision_gpu_names")
    old = [str(name) for name in names if str(name).startswith(_BEFORE_ADA)] if isinstance(names, list) else []
    if run.precision.startswith("fp8") and old:
        yield (
            f"simpletuner_base_model_precision is {run.precision}, which needs compute capability 8.9 or newer, and "
            f"provision_gpu_names has {', '.join(old)}: take int8-quanto, or newer cards."
        )
    asked = run.asked("provision_compute_cap")
    if 0 < asked < needs.requirements["compute_cap"]:
        yield (
            f"provision_compute_cap is {asked:g}, and simpletuner_base_model_precision {run.precision} needs "
            f"{needs.requirements['compute_cap']}: leave it to the plan, or take int8-quanto."
        )


@rule(Weight.HINT, Source.OPTIONS)
def int8_before_fp8(run: Figures) -> Iterator[str]:
    """The precision int8-quanto is faster than fp8-quanto, and needs no newer card."""
    if run.precision == "fp8-quanto":
        yield (
            "simpletuner_base_model_precision is fp8-quanto, as the guide advises: int8-quanto is faster to train and "
            "runs on older and cheaper cards."
        )


@rule(Weight.LOSS, Source.QUICK_START)
def memory_is_saved(run: Figures) -> Iterator[str]:
    """Gradient checkpointing is on, without which no card has room."""
    if not run.settings.flag("gradient_checkpointing", True):
        yield "simpletuner_gradient_checkpointing is off: turn it on, or the run will hardly fit into GPU memory."


@rule(Weight.REFUSED, Source.OURS)
def the_disk_is_large_enough(run: Figures) -> Iterator[str]:
    """What is installed, downloaded, cached and kept fits on the disk."""
    needs = Needs(run)
    if needs.disk_used_gb > needs.disk_gb:
        yield (
            f"provision_disk_gb is {needs.disk_gb:g}, and this run fills about {needs.disk_used_gb:.0f} GB: "
            f"set it to {math.ceil(needs.disk_used_gb * 1.2)} or more."
        )


@rule(Weight.LOSS, Source.TRAINER)
def checkpoints_are_pushed_only_where_that_is_wanted(run: Figures) -> Iterator[str]:
    """Checkpoints stay off the Hub where they are told to."""
    # Version 4 obeys.
    pushes = run.settings.flag("push_to_hub") and not run.settings.flag("push_checkpoints_to_hub")
    if pushes and run.release.pushes_all_checkpoints:
        yield (
            "simpletuner_push_checkpoints_to_hub is off, and this SimpleTuner pushes every checkpoint's adapter all "
            "the same: turn simpletuner_push_to_hub off too, and push what has come home yourself."
        )


@rule(Weight.REFUSED, Source.OURS)
def a_push_has_a_repository(run: Figures) -> Iterator[str]:
    """What is pushed to the Hub has a name there."""
    if run.settings.flag("push_to_hub") and not run.settings.text("hub_model_id"):
        yield (
            "simpletuner_push_to_hub is on and simpletuner_hub_model_id is empty: name the repository, or turn it off."
        )
