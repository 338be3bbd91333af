"""The machine that a run needs: memory, disk, compute capability."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fluxlora.estimates import sizes
from fluxlora.plan.figures import Figures
from fluxlora.trainer import caches


@dataclass(frozen=True)
class Needs:
    """Calculated once from a run's figures."""

    figures: Figures

    @cached_property
    def gpu_ram_gb(self) -> float:
        """GB of memory that the fullest GPU needs."""
        return sizes.gpu_ram_gb(
            self.figures.precision,
            batch_size=self.figures.batching.batch_size,
            megapixels=self.figures.largest_megapixels,
            adapter_mb=self.figures.adapter_mb,
        )

    @property
    def card_gb(self) -> float:
        """GB of memory that the requested cards have at least; 0 if none were requested."""
        return self.figures.asked("plan_card_gb") * sizes.CARD_SHARE

    @cached_property
    def disk_used_gb(self) -> float:
        """GB of disk that the run uses."""
        kept = min(self.figures.checkpoints, self.figures.settings.whole("checkpoints_total_limit", 5)) + 1
        return (
            sizes.ENVIRONMENT_GB
            + sizes.WEIGHTS_GB
            + sizes.SLACK_GB
            + self.figures.dataset.size_bytes / 1e9
            + kept * sizes.checkpoint_gb(self.figures.adapter_mb)
            + (self.figures.latents_bytes + self.figures.embeds * caches.EMBED_BYTES) / 1e9
        )

    @cached_property
    def disk_gb(self) -> float:
        """GB of disk that the user rents, otherwise what will be used plus a fifth."""
        return self.figures.asked("provision_disk_gb") or float(math.ceil(self.disk_used_gb * 1.2))

    @cached_property
    def requirements(self) -> dict[str, Any]:
        """The requirements for an offer that depend on the run: fields of `Requirements`."""
        return {
            "gpu_ram_gb": max(
                self.gpu_ram_gb, self.card_gb or (0.0 if self.figures.is_quantised else sizes.GUIDE_GPU_RAM_GB)
            ),
            "cpu_ram_gb": sizes.CPU_RAM_QUANTISED_GB if self.figures.is_quantised else sizes.CPU_RAM_GB,
            "num_gpus": self.figures.batching.gpus,
            "cuda_version": float(self.figures.release.cuda),
            "compute_cap": sizes.compute_cap(self.figures.precision),
            "disk_gb": self.disk_gb,
            "work": self.figures.work,
        }
