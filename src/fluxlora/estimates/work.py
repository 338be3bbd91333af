"""The work of a run: what it has a machine compute, download and send, whichever machine that will be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from fluxlora.errors import InputError

# FLUX's transformer, from its published shapes: 19 double blocks, where an image's and a caption's tokens pass through
# weights of their own, and 38 single ones. A token passes through 57 x 113 million weights of the 11.9 billion.
BLOCKS, WIDTH, WEIGHTS_PER_TOKEN = 57, 3072, 6.45e9
# 16 x 16 pixels are one token, and a caption is always padded to 512.
TOKENS_PER_MEGAPIXEL, CAPTION_TOKENS = 1e6 / 256, 512
# With gradient checkpointing each block runs forward twice. Backwards the frozen weights need no gradient of their own,
# so that pass costs as much as a forward one; attention's costs 2.5, for FlashAttention computes its scores again.
PASSES, ATTENTION_PASSES, ADAPTER_PASSES = 3.0, 4.5, 4.0
# Fitted to SimpleTuner's FLUX.md, 1.4 s at 512 and 3.5 s at 1024 pixels on an RTX 4090 in nf4: what is the same for
# both is the weights' way back to bf16, three times a batch, as if 34 TFLOP more were computed. OPTIONS.md calls
# fp8-quanto slower than int8-quanto; torchao's fp8 and int8 multiply as they are.
DEQUANTISING_TFLOP: Mapping[str, float] = {
    "no_change": 0.0,
    "fp8-torchao": 0.0,
    "int8-torchao": 17.0,
    "fp8-quanto": 50.0,
}
DEQUANTISING_TFLOP_OTHERS = 34.0
# LyCORIS builds the changed weights in each pass. Nobody measured it; a guess on the slow side.
LYCORIS_FACTOR = 1.15


@dataclass(frozen=True)
class Work:
    """What a run amounts to. Sizes are decimal GB, areas 10^6 pixels; the defaults are the guide's run."""

    steps: int = 5000
    # Samples of one GPU: a step of n GPUs sees n times as many in about the same time.
    batch_size: int = 4
    accumulation: int = 1
    megapixels: float = 1.05
    precision: str = "no_change"
    adapter_mb: float = 131.0
    lycoris: bool = False
    checkpoint_steps: int = 200
    # Pictures that are drawn on the way.
    validations: int = 52
    inference_steps: int = 15
    validation_megapixels: float = 1.05
    latents: int = 22
    captions: int = 44
    download_gb: float = 40.0
    # All that leaves the machine, of which the last checkpoint is waited for.
    upload_gb: float = 26.0
    checkpoint_gb: float = 0.5

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Work:
        """From a plan's facts; what is absent has the guide's value. Raises InputError."""
        known = {each.name: each.default for each in fields(cls)}
        if unknown := sorted(str(name) for name in given if name not in known):
            raise InputError(f"A run's work has no {', '.join(unknown)}; it has {', '.join(known)}.")
        return cls(**{name: _like(known[name], name, value) for name, value in given.items() if value is not None})

    def as_facts(self) -> dict[str, Any]:
        return asdict(self)

    def after(self, step: int) -> Work:
        """What is left of it after a step whose checkpoint was saved: the start has to be made again, the rest not."""
        share = max(self.steps - step, 0) / self.steps if self.steps else 0.0
        return replace(
            self,
            steps=round(self.steps * share),
            validations=math.ceil(self.validations * share),
            upload_gb=max(self.upload_gb * share, min(self.checkpoint_gb, self.upload_gb)),
        )

    @property
    def batch_tflop(self) -> float:
        """TFLOP of one batch on one GPU, forward and back."""
        tokens = _tokens(self.megapixels)
        linear, attention = _forward_tflop(tokens)
        adapter = 2 * self.adapter_mb / 2 * 1e6 * tokens / 1e12
        sample = PASSES * linear + ATTENTION_PASSES * attention + ADAPTER_PASSES * adapter
        factor = LYCORIS_FACTOR if self.lycoris else 1.0
        return self.batch_size * sample * factor + self.dequantising_tflop

    @property
    def draw_tflop(self) -> float:
        """TFLOP of one step of drawing a picture."""
        return sum(_forward_tflop(_tokens(self.validation_megapixels))) + self.dequantising_tflop / PASSES

    @property
    def dequantising_tflop(self) -> float:
        return DEQUANTISING_TFLOP.get(self.precision, DEQUANTISING_TFLOP_OTHERS)


def _tokens(megapixels: float) -> float:
    return megapixels * TOKENS_PER_MEGAPIXEL + CAPTION_TOKENS


def _forward_tflop(tokens: float) -> tuple[float, float]:
    """Of one sample through all blocks: the weights' share and attention's."""
    return 2 * WEIGHTS_PER_TOKEN * tokens / 1e12, 4 * BLOCKS * WIDTH * tokens**2 / 1e12


def _like(default: Any, name: str, value: Any) -> Any:
    """The value in its field's type."""
    if isinstance(default, str):
        return str(value)
    if isinstance(default, bool):
        return value if isinstance(value, bool) else str(value).lower() == "true"
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or number < 0 or isinstance(value, bool):
        raise InputError(f"A run's work has {name} {value!r}, which must be a number, 0 or more.")
    return type(default)(number)
