"""The guide, "Super Simple LoRA Training for flux-dev using vast.ai": where its files and this project part, and why.

A test holds what the presets render against the guide's files and finds these differences and no others; the tables of
docs/guide-keys.md and what `fluxlora import` says of a file that followed the guide are made from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

# What stands for a key that a file does not have.
ABSENT: Final = "absent"
# A run's name, wherever the guide writes one name for all.
RUN: Final = "my-style"

# The guide's data backends, by the preset that took their place.
BACKEND_FILES: Mapping[str, str] = {
    "1024": "multidatabackend.json",
    "512": "multidatabackend_512.json",
    "multires": "multidatabackend_512_768_1024.json",
    "arb": "multidatabackend_with_arb.json",
}
# The options whose variable does not bear their name; the values of the last two are the same for every run.
_VARIABLES: Mapping[str, str | None] = {
    "pretrained_model_name_or_path": "simpletuner_model",
    "data_backend_config": None,
    "lycoris_config": None,
}


@dataclass(frozen=True)
class Departure:
    """One key that is not as the guide has it."""

    key: str
    guide: Any
    ours: Any
    reason: str


def variable(option: str) -> str | None:
    """The variable behind an option of SimpleTuner; none where every run has the same value."""
    return _VARIABLES.get(option, f"simpletuner_{option}")


def as_read(value: Any) -> Any:
    """A value as the trainer reads it: it takes "true" and "1e-4" for true and 0.0001."""
    if not isinstance(value, str):
        return value
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    try:
        number = float(value)
    except ValueError:
        return value
    return int(number) if number.is_integer() and "." not in value else number


CONFIG: tuple[Departure, ...] = (
    Departure(
        "num_train_epochs",
        ABSENT,
        0,
        "Epochs are 1 unless told, and SimpleTuner since 1.1 refuses max_train_steps beside them: the guide's file "
        "starts none of its versions.",
    ),
    Departure(
        "ignore_final_epochs",
        ABSENT,
        True,
        "Where gradients are accumulated, SimpleTuner 3's epochs are over before its steps, and the run is cut short.",
    ),
    Departure(
        "flux_schedule_auto_shift",
        "true",
        ABSENT,
        "Called flow_schedule_auto_shift since SimpleTuner 2; the old name ends the start.",
    ),
    Departure("flow_schedule_auto_shift", ABSENT, True, "The new name of flux_schedule_auto_shift."),
    Departure(
        "flow_schedule_shift",
        ABSENT,
        0,
        "A fixed shift, 3 unless told, excludes the automatic one: SimpleTuner refuses both.",
    ),
    Departure(
        "allow_tf32", "true", ABSENT, "Removed in SimpleTuner 2, where TF32 is on unless disable_tf32 says otherwise."
    ),
    Departure(
        "model_flavour",
        ABSENT,
        "dev",
        "The guide is older than the option; without it SimpleTuner's checks are those of another FLUX, krea.",
    ),
    Departure(
        "hub_model_id",
        "flux-lora-training",
        RUN,
        "With one name for every training, a second one is pushed over the first.",
    ),
    Departure("tracker_run_name", "flux-lora-training", RUN, "With one name, the loss curves cannot be told apart."),
    Departure(
        "model_card_private",
        ABSENT,
        True,
        "SimpleTuner's own default since 2, written out because it decides who sees somebody's face.",
    ),
    Departure(
        "checkpoints_total_limit",
        2,
        5,
        "A checkpoint has to live until it has come home, and on a slow line two intervals are too short for that.",
    ),
    Departure(
        "checkpointing_use_tempdir",
        ABSENT,
        True,
        "A checkpoint that a crash cut short looks like a whole one, is gone on from, and ends that start too.",
    ),
    Departure(
        "webhook_config",
        ABSENT,
        "/root/.fluxlora/webhook.json",
        "SimpleTuner reports each step to the supervisor on the instance, which the guide does not have.",
    ),
)

# What a preset changes besides.
PRESETS: Mapping[str, tuple[Departure, ...]] = {
    "1024": (),
    "512": (
        Departure("resolution", 1024, 512, "The guide leaves it at 1024; its data backend says another size."),
        Departure(
            "validation_resolution",
            "1024x1024",
            "512x512",
            "At the size that is trained, in a quarter of the time.",
        ),
    ),
    "multires": (),
    "arb": (),
    "lokr": (
        Departure("lora_type", "standard", "lycoris", "With standard, lycoris_config.json is not looked at."),
        Departure(
            "lycoris_config",
            ABSENT,
            "config/lycoris_config.json",
            "SimpleTuner's default, written out so that it is found whatever folder it is started in.",
        ),
        Departure(
            "learning_rate",
            "1e-4",
            1e-3,
            "A LoKr hardly learns at a LoRA's rate; SimpleTuner's FLUX quick start (FLUX.md) takes 1e-3 with AdamW.",
        ),
    ),
}

_NAMES = (
    "The guide's files share names between resolutions: SimpleTuner then keeps the first one's list of images and "
    "cached images, and trains on them."
)


def _names(guide: str, suffix: str, ours: str) -> tuple[Departure, ...]:
    cache = "/root/SimpleTuner/cache/vae/flux/"
    return (
        Departure("id", guide, ours, _NAMES),
        Departure("cache_file_suffix", suffix, ours, _NAMES),
        Departure("cache_dir_vae", cache + guide, cache + ours, _NAMES),
    )


_REPEATS = Departure(
    "repeats",
    ABSENT,
    3,
    "A bucket with fewer samples than the batch is dropped without a word, so at the guide's batch of 4 most of its "
    "aspect ratios are; four samples of each image fill it, in both backends alike.",
)
_NO_CROP = "SimpleTuner does not read it where crop is false."

# The data backends with images, in the order of the files.
BACKENDS: Mapping[str, tuple[tuple[Departure, ...], ...]] = {
    "1024": (_names("default_dataset", "square", "square_1024"),),
    "512": (
        (
            *_names("default_dataset", "square", "square_512"),
            Departure("resolution", 384, 512, "A slip in the guide's 512 file, which trains at 384 by it."),
        ),
    ),
    "multires": (
        _names("default_dataset", "square", "multires_1024"),
        _names("default_dataset_512", "square_512", "multires_512"),
        _names("default_dataset_768", "square_768", "multires_768"),
    ),
    "arb": (
        (*_names("default_dataset", "square", "arb_square"), _REPEATS),
        (
            *_names("default_dataset_arb", "arb", "arb_whole"),
            _REPEATS,
            Departure("crop_aspect", "random", ABSENT, _NO_CROP),
            Departure("crop_aspect_buckets", [0.33, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75], ABSENT, _NO_CROP),
        ),
    ),
}
