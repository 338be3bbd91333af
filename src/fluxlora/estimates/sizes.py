"""Sizes of a FLUX.1-dev training: every number that is estimated rather than known, with its source.

Times are in work.py, offers/speeds.py and offers/costs.py.

"FLUX.md" is SimpleTuner's quick start documentation/quickstart/FLUX.md. Sizes are decimal GB.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

# FLUX.md: what a rank 16 LoRA at batch 1 and 1024 pixels asks of the GPU, by base_model_precision; about one GB was
# added for what is not the training. Reported from real runs within 2 GB of these.
GPU_RAM_GB: Mapping[str, float] = {
    "no_change": 31.0,
    "int8-quanto": 19.0,
    "int8-torchao": 19.0,
    "fp8-quanto": 19.0,
    "fp8-torchao": 19.0,
    "int4-quanto": 14.0,
    "nf4-bnb": 10.0,
    "int2-quanto": 10.0,
}
# Computed: 57 checkpointed blocks of 4608 tokens x 3072 in bf16 are 1.6 GB, the block being recomputed about 1 GB more.
SAMPLE_GB_AT_1024 = 2.5
# Computed: weights, gradients and adamw_bf16's states, for each byte of the adapter that the numbers above don't have.
ADAPTER_FACTOR = 5
# FLUX.md: quantising takes about 50 GB of the host's memory; unquantised loading holds the 24 GB transformer once.
CPU_RAM_GB, CPU_RAM_QUANTISED_GB = 40.0, 64.0
QUANTISING_GB = 50.0

# What the guide asks for, with the model as it is.
GUIDE_GPU_RAM_GB = 40.0
# A card sold as 24 GB shows vast.ai 23.0 (L4) to 24.6, one of 48 GB 46.1 (A40, L40S) to 49.1, one of 80 GB 81.6.
CARD_SHARE = 0.94

# bfloat16 needs compute capability 8.0, 800 in vast.ai's notation; fp8 needs Ada, and torchao's, says OPTIONS.md,
# Hopper.
COMPUTE_CAP, COMPUTE_CAP_FP8, COMPUTE_CAP_FP8_TORCHAO = 800, 890, 900

# Transformer 23.8, T5 9.5, CLIP 0.25, VAE 0.17; measured 5.3 GB of wheels that unpack to 8.6 GB.
WEIGHTS_GB, WHEELS_GB, ENVIRONMENT_GB = 34.0, 5.3, 8.6
# Image, apt packages, logs, validation pictures and the space a file needs while it is replaced.
SLACK_GB = 15.0

# Computed from the model's shapes: MB of a rank 16 LoRA in bf16, by flux_lora_target; the largest for the others.
ADAPTER_MB_AT_RANK_16: Mapping[str, float] = {"all": 52, "mmdit": 37, "context": 15, "all+ffs": 131}
# Computed too: a LoKr with the guide's factors, 16, and 8 in the feed-forward layers.
LOKR_MB = 160.0
# With the optimizer's states a checkpoint is about four times the adapter.
CHECKPOINT_FACTOR = 4


def gpu_ram_gb(precision: str, *, batch_size: int, megapixels: float, adapter_mb: float) -> float:
    """Memory that the fullest GPU needs; unknown precisions count as unquantised."""
    samples = SAMPLE_GB_AT_1024 * (batch_size * megapixels / 1.048576 - 1)
    adapter = ADAPTER_FACTOR * max(adapter_mb - ADAPTER_MB_AT_RANK_16["all+ffs"], 0) / 1000
    return float(math.ceil(GPU_RAM_GB.get(precision, GPU_RAM_GB["no_change"]) + samples + adapter))


def compute_cap(precision: str) -> int:
    """The least compute capability, times 100."""
    if precision.startswith("fp8"):
        return COMPUTE_CAP_FP8_TORCHAO if "torchao" in precision else COMPUTE_CAP_FP8
    return COMPUTE_CAP


def adapter_mb(target: str, rank: int) -> float:
    """A LoRA's file."""
    return ADAPTER_MB_AT_RANK_16.get(target, ADAPTER_MB_AT_RANK_16["all+ffs"]) * max(rank, 1) / 16


def checkpoint_gb(adapter_mb: float) -> float:
    """One checkpoint folder."""
    return adapter_mb / 1000 * CHECKPOINT_FACTOR


def validations(*, steps: int, every: int) -> int:
    """One picture at each validation, one at the start, one at the end."""
    return 2 + (math.floor(steps / every) if every else 0)
