"""The work of a run: what any machine has to compute, download and send."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from fluxlora.errors import InputError

# FLUX's transformer, from its published shapes: 19 double blocks, with separate weights for the tokens of image and
# caption, and 38 single ones. A token uses 57 x 113 million of the 11.9 billion weights.
BLOCKS, WIDTH, WEIGHTS_PER_TOKEN = 57, 3072, 6.45e9
# 16 x 16 pixels are one token, and a caption is always padded to 512.
TOKENS_PER_MEGAPIXEL, CAPTION_TOKENS = 1e6 / 256, 512
# With gradient checkpointing each block runs forward twice. The frozen weights need no gradient, so their backward pass
# costs as much as a forward one; attention's costs 2.5, because FlashAttention computes its scores again.
PASSES, ATTENTION_PASSES, ADAPTER_PASSES = 3.0, 4.5, 4.0
# Fitted to SimpleTuner's FLUX.md, 1.4 s at 512 and 3.5 s at 1024 pixels on an RTX 4090 in nf4: the constant part is the
# conversion of the weights to bf16, three times per batch, which corresponds to 34 more TFLOP. OPTIONS.md calls
# fp8-quanto slower than int8-quanto; torchao's fp8 and int8 are multiplied without conversion.
DEQUANTISING_TFLOP: Mapping[str, float] = {
    "no_change": 0.0,
    "fp8-torchao": 0.0,
    "int8-torchao": 17.0,
    "fp8-quanto": 50.0,
}
DEQUANTISING_TFLOP_OTHERS = 34.0
# LyCORIS computes the changed weights in each pass. This was not measured; it is a slow guess.
LYCORIS_FACTOR = 1.15


@dataclass(frozen=True)
class Work:
    """The work of a run. Sizes are decimal GB, areas 10^6 pixels; the defaults are the guide's run."""

    steps: int = 5000
    # Samples of one GPU: a step on n GPUs has n times as many in about the same time.
    batch_size: int = 4
    accumulation: int = 1
    megapixels: float = 1.05
    precision: str = "no_change"
    adapter_mb: float = 131.0
    lycoris: bool = False
    checkpoint_steps: int = 200
    # Validation images.
    validations: int = 52
    inference_steps: int = 15
    validation_megapixels: float = 1.05
    latents: int = 22
    captions: int = 44
    download_gb: float = 40.0
    # Everything that is sent from the machine; the run waits for the last checkpoint.
    upload_gb: float = 26.0
    checkpoint_gb: float = 0.5

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Work:
        """Return the work from a plan's facts; missing values are the guide's. Raises InputError."""
        known = {field.name: field.default for field in fields(cls)}
        if unknown := sorted(str(name) for name in given if name not in known):
            raise InputError(f"A run's work has no {', '.join(unknown)}; it has {', '.join(known)}.")
        return cls(**{name: _like(known[name], name, value) for name, value in given.items() if value is not None})

    def as_facts(self) -> dict[str, Any]:
        """Return the work as a mapping for Ansible."""

        return asdict(self)

    def after(self, step: int) -> Work:
        """Return the remaining work after a step whose checkpoint was saved: the start is repeated, the rest is not."""
        share = max(self.steps - step, 0) / self.steps if self.steps else 0.0
        return replace(
            self,
            steps=round(self.steps * share),
            validations=math.ceil(self.validations * share),
            upload_gb=max(self.upload_gb * share, min(self.checkpoint_gb, self.upload_gb)),
        )

    @property
    def batch_tflop(self) -> float:
        """TFLOP of one batch on one GPU, forward and backward."""
        tokens = _tokens(self.megapixels)
        linear, attention = _forward_tflop(tokens)
        adapter = 2 * self.adapter_mb / 2 * 1e6 * tokens / 1e12
        sample = PASSES * linear + ATTENTION_PASSES * attention + ADAPTER_PASSES * adapter
        factor = LYCORIS_FACTOR if self.lycoris else 1.0
        return self.batch_size * sample * factor + self.dequantising_tflop

    @property
    def draw_tflop(self) -> float:
        """TFLOP of one inference step of a validation image."""
        return sum(_forward_tflop(_tokens(self.validation_megapixels))) + self.dequantising_tflop / PASSES

    @property
    def dequantising_tflop(self) -> float:
        """TFLOP that correspond to the conversion of quantised weights, per batch."""

        return DEQUANTISING_TFLOP.get(self.precision, DEQUANTISING_TFLOP_OTHERS)


def _tokens(megapixels: float) -> float:
    return megapixels * TOKENS_PER_MEGAPIXEL + CAPTION_TOKENS


def _forward_tflop(tokens: float) -> tuple[float, float]:
    """Return the TFLOP of one sample through all blocks: of the weights, and of attention."""
    return 2 * WEIGHTS_PER_TOKEN * tokens / 1e12, 4 * BLOCKS * WIDTH * tokens**2 / 1e12


def _like(default: Any, name: str, value: Any) -> Any:
    """Return the value in its field's type."""
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
