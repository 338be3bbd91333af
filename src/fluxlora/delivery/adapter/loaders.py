"""Which programs load all layers of which adapter.

Found by running the loaders: docs/loaders.md is made from this, and tests/trainers/test_loaders.py runs diffusers and
LyCORIS again. ComfyUI is in no package index; its loader was run by hand on the same files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

# lora: `transformer.LAYER.lora_A.weight` and `.lora_B.weight`, and no other key: the copy that is delivered.
# mixed: a checkpoint of SimpleTuner 3.1.6, or a file with keys for alpha; dora: with magnitudes; lokr: as LyCORIS
# writes it; other: keys that SimpleTuner does not write.
Form = Literal["lora", "mixed", "dora", "lokr", "other"]

_LOADERS: Mapping[Form, tuple[str, ...]] = {
    "lora": ("diffusers", "ComfyUI"),
    # diffusers loads the layers of one spelling and drops the others without an error.
    "mixed": ("ComfyUI",),
    # ComfyUI has its own key for the magnitudes.
    "dora": ("diffusers",),
    "lokr": ("ComfyUI", "LyCORIS"),
    "other": (),
}
# Of the copy of a LoKr that has diffusers' names and one factor.
LOKR_COPY_LOADERS = ("diffusers from 0.42.1 on, with transformer.load_lora_adapter", "ComfyUI")

# The releases that the tests ran, oldest first: those of SimpleTuner 3.1.6 and of 4.10.1, and the newest.
DIFFUSERS = ("0.35.2", "0.41.0", "0.42.1")
LYCORIS = ("3.4.0", "4.1.3")
COMFYUI = "0.3.64 of 2025-10-12"


@dataclass(frozen=True)
class Row:
    """What each program makes of a file; all layers at the trained strength, where nothing else is said."""

    file: str
    diffusers: str
    comfyui: str
    lycoris: str


TABLE = (
    Row("`RUN.safetensors` of a LoRA", "`pipe.load_lora_weights`", "all layers", "-"),
    Row("`RUN.safetensors` of a LoKr", "no", "all layers", "`create_lycoris_from_weights`"),
    Row(
        "`RUN-diffusers.safetensors`, the copies of a LoKr",
        "`pipe.transformer.load_lora_adapter`, from 0.42.1 on",
        "all layers",
        "no",
    ),
    Row("`RUN-lora-RANK.safetensors`, the LoRA of a LoKr", "`pipe.load_lora_weights`", "all layers", "-"),
    Row(
        "the trainer's own file of a finished LoRA",
        "at strength 1, whatever its alpha",
        "at strength 1, whatever its alpha",
        "-",
    ),
    Row(
        "a checkpoint of SimpleTuner 3.1.6",
        "no error, but `to_q`, `to_k`, `to_v` and `to_out` of every attention are lost: 190 of 419 layers",
        "all layers, at strength 1",
        "-",
    ),
    Row(
        "a checkpoint of SimpleTuner 4.10.1",
        "all layers, but with the training's dropout switched on until `pipe.transformer.eval()`",
        "all layers, at strength 1",
        "-",
    ),
)


def loads_in(form: Form) -> tuple[str, ...]:
    """The programs by name; none where nobody has tried."""
    return _LOADERS[form]
