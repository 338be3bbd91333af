"""How this project differs from the guide, "Super Simple LoRA Training for flux-dev using vast.ai", and why.

A test compares what the presets render with the guide's files and finds these differences and no others. The tables of
docs/guide-keys.md are made from them, and so is the report of `fluxlora import` on a file that followed the guide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

# The value of a key that a file does not have.
ABSENT: Final = "absent"
# A run's name, wherever the guide has one name for all runs.
RUN: Final = "my-style"

# The guide's files of data backends, by the preset that replaces them.
BACKEND_FILES: Mapping[str, str] = {
    "1024": "multidatabackend.json",
    "512": "multidatabackend_512.json",
    "multires": "multidatabackend_512_768_1024.json",
    "arb": "multidatabackend_with_arb.json",
}
# The options whose variable has another name; the last two have no variable, because their values are the same for
# every run.
_VARIABLES: Mapping[str, str | None] = {
    "pretrained_model_name_or_path": "simpletuner_model",
    "data_backend_config": None,
    "lycoris_config": None,
}


@dataclass(frozen=True)
class Departure:
    """One key whose value differs from the guide's."""

    key: str
    guide: Any
    ours: Any
    reason: str


def variable(option: str) -> str | None:
    """Return the variable that sets an option of SimpleTuner, or None if the value is the same for every run."""
    return _VARIABLES.get(option, f"simpletuner_{option}")


def as_read(value: Any) -> Any:
    """Return a value as the trainer reads it: it reads "true" and "1e-4" as true and 0.0001."""
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
        "Epochs default to 1, and SimpleTuner since 1.1 refuses max_train_steps beside them: the guide's file "
        "cannot start any of its versions.",
    ),
    Departure(
        "ignore_final_epochs",
        ABSENT,
        True,
        "If gradients are accumulated, SimpleTuner 3's epochs end before its steps, and the run ends too early.",
    ),
    Departure(
        "flux_schedule_auto_shift",
        "true",
        ABSENT,
        "Called flow_schedule_auto_shift since SimpleTuner 2, which does not start with the old name.",
    ),
    Departure("flow_schedule_auto_shift", ABSENT, True, "The new name of flux_schedule_auto_shift."),
    Departure(
        "flow_schedule_shift",
        ABSENT,
        0,
        "A fixed shift, by default 3, excludes the automatic one: SimpleTuner refuses both together.",
    ),
    Departure(
        "allow_tf32", "true", ABSENT, "Removed in SimpleTuner 2, where TF32 is on unless disable_tf32 says otherwise."
    ),
    Departure(
        "model_flavour",
        ABSENT,
        "dev",
        "The guide is older than the option; without it SimpleTuner applies the checks for another FLUX, krea.",
    ),
    Departure(
        "hub_model_id",
        "flux-lora-training",
        RUN,
        "With one name for every training, the second overwrites the first on the Hub.",
    ),
    Departure("tracker_run_name", "flux-lora-training", RUN, "With one name, the loss curves cannot be distinguished."),
    Departure(
        "model_card_private",
        ABSENT,
        True,
        "SimpleTuner's own default since 2, written out because it decides who can see the trained person's face.",
    ),
    Departure(
        "checkpoints_total_limit",
        2,
        5,
        "A checkpoint must exist until it is downloaded; over a slow connection two intervals are too short for that.",
    ),
    Departure(
        "checkpointing_use_tempdir",
        ABSENT,
        True,
        "A checkpoint that a crash left incomplete looks complete: the next start resumes from it and fails, too.",
    ),
    Departure(
        "webhook_config",
        ABSENT,
        "/root/.fluxlora/webhook.json",
        "SimpleTuner reports each step to the supervisor on the instance, which the guide does not have.",
    ),
)

# What a preset changes in addition.
PRESETS: Mapping[str, tuple[Departure, ...]] = {
    "1024": (),
    "512": (
        Departure("resolution", 1024, 512, "The guide leaves it at 1024; its data backend has another size."),
        Departure(
            "validation_resolution",
            "1024x1024",
            "512x512",
            "The size that is trained, and a quarter of the time.",
        ),
    ),
    "multires": (),
    "arb": (),
    "lokr": (
        Departure("lora_type", "standard", "lycoris", "With standard, lycoris_config.json is not read."),
        Departure(
            "lycoris_config",
            ABSENT,
            "config/lycoris_config.json",
            "SimpleTuner's default, written out so that the file is found from every folder.",
        ),
        Departure(
            "learning_rate",
            "1e-4",
            1e-3,
            "A LoKr hardly learns at a LoRA's rate; SimpleTuner's FLUX quick start (FLUX.md) uses 1e-3 with AdamW.",
        ),
    ),
}

_NAMES = (
    "The guide's files share names between resolutions: SimpleTuner then keeps the list of images and the cached "
    "images of the first one, and trains on them."
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
    "A bucket with fewer samples than the batch is dropped without a message, which at the guide's batch of 4 applies "
    "to most aspect ratios. Four samples of each image fill a batch, in both backends.",
)
_NO_CROP = "SimpleTuner does not read it where crop is false."

# The data backends with images, in the order of the files.
BACKENDS: Mapping[str, tuple[tuple[Departure, ...], ...]] = {
    "1024": (_names("default_dataset", "square", "square_1024"),),
    "512": (
        (
            *_names("default_dataset", "square", "square_512"),
            Departure("resolution", 384, 512, "A mistake in the guide's 512 file, which therefore trains at 384."),
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
