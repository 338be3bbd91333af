"""The figures of a run: numbers from its variables and its dataset, before the rules are applied."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fluxlora.dataset import Dataset
from fluxlora.dataset.caption import Caption
from fluxlora.errors import InputError
from fluxlora.estimates import hours, sizes
from fluxlora.estimates.speeds import REFERENCE, step_seconds
from fluxlora.estimates.work import Work
from fluxlora.settings.merged import Settings
from fluxlora.trainer import buckets, caches
from fluxlora.trainer.buckets import DEFAULT_VERSION, DEFAULTS, Backend, BackendBuckets, Batching
from fluxlora.trainer.options import divide_pixels
from fluxlora.trainer.versions import RELEASES, Release


@dataclass(frozen=True)
class Figures:
    """Numbers that are calculated once; mistakes in their settings are in the settings' errors."""

    settings: Settings
    dataset: Dataset

    @classmethod
    def of(cls, variables: Mapping[str, Any], dataset: Dataset) -> Figures:
        """Return the figures of merged variables and a dataset."""

        return cls(Settings(variables), dataset)

    @cached_property
    def batching(self) -> Batching:
        """Batch size, accumulation and GPUs."""

        return Batching(
            batch_size=self.settings.whole("train_batch_size"),
            accumulation=self.settings.whole("gradient_accumulation_steps", 1),
            gpus=max(int(self.asked("provision_num_gpus")), 1),
            oversubscription=self.settings.flag("allow_dataset_oversubscription"),
            pruning=not self.settings.flag("disable_bucket_pruning"),
        )

    @property
    def version(self) -> str:
        """The release of SimpleTuner."""
        return self.settings.text("version", DEFAULT_VERSION)

    @cached_property
    def entries(self) -> tuple[Mapping[str, Any], ...]:
        """The enabled data backends of images, unchanged."""
        return tuple(self.settings.datasets())

    @cached_property
    def pixel_divisor(self) -> int:
        """Number by which a rehearsal divides every edge; otherwise 1."""

        return self.settings.whole("pixel_divisor", 1)

    @property
    def is_scaled_down(self) -> bool:
        """Whether the run is a rehearsal, whose images do not matter."""
        return self.pixel_divisor > 1

    @cached_property
    def backends(self) -> tuple[BackendBuckets, ...]:
        """The valid data backends, with the images in their buckets."""
        options = {name: self.settings.raw(f"simpletuner_{name}") for name in DEFAULTS}
        found: list[BackendBuckets] = []
        for entry in self.entries:
            try:
                Backend.of(entry, options, self.version)
                backend = Backend.of(divide_pixels(entry, self.pixel_divisor), options, self.version)
                found.append(buckets.assign_buckets(self.dataset.pictures, backend, self.batching))
            except InputError as error:
                self.settings.errors.add(str(error))
        return tuple(found)

    @cached_property
    def embeds(self) -> int:
        """Number of different captions, including those of images that are left out."""
        facts = self.dataset.facts.values()
        lines = {line for fact in facts if isinstance(fact, Caption) for line in fact.lines}
        return len(lines) or self.dataset.captions

    @cached_property
    def latents_bytes(self) -> int:
        """Bytes of all cached latents."""

        return sum(caches.latents_bytes(bucketed) for bucketed in self.backends)

    @cached_property
    def steps_asked(self) -> int:
        """Steps in the settings; 0 for none."""

        return self.settings.whole("max_train_steps", 0, least=0)

    @cached_property
    def epochs_asked(self) -> int:
        """Epochs in the settings; 0 for none."""

        return self.settings.whole("num_train_epochs", 0, least=0)

    @cached_property
    def steps_per_epoch(self) -> int:
        """Optimizer steps that the trainer counts for an epoch."""

        return buckets.steps_per_epoch(self.backends, self.batching)

    @cached_property
    def steps(self) -> int:
        """Optimizer steps of the run."""

        return self.steps_asked or self.epochs_asked * self.steps_per_epoch

    @cached_property
    def checkpoint_interval(self) -> int:
        """Steps between two checkpoints."""

        return self.settings.whole("checkpointing_steps", 500)

    @cached_property
    def checkpoints(self) -> int:
        """Number of checkpoints."""

        return math.floor(self.steps / self.checkpoint_interval)

    @property
    def is_lycoris(self) -> bool:
        """Whether the adapter is trained by LyCORIS."""

        return self.settings.text("lora_type", "standard") == "lycoris"

    @cached_property
    def learning_rate(self) -> float:
        """Learning rate after the warm-up."""

        return self.settings.number("learning_rate", 1e-4)

    @cached_property
    def lora_rank(self) -> int:
        """Rank of a LoRA."""

        return self.settings.whole("lora_rank", 16)

    @cached_property
    def lora_alpha(self) -> float:
        """Alpha of a LoRA; by default its rank, as in SimpleTuner."""
        given = self.settings.raw("simpletuner_lora_alpha")
        return float(self.lora_rank) if given in (None, "") else self.settings.number("lora_alpha", 0.0)

    @property
    def lora_target(self) -> str:
        """Layers that a LoRA changes."""

        return self.settings.text("flux_lora_target", "all")

    @property
    def precision(self) -> str:
        """Quantisation of the base model; no_change for none."""

        return self.settings.text("base_model_precision", "no_change")

    @property
    def is_quantised(self) -> bool:
        """Whether the base model is quantised."""

        return self.precision != "no_change"

    @cached_property
    def largest_megapixels(self) -> float:
        """Megapixels of the largest images, which decide about memory."""
        return max((_megapixels(bucketed) for bucketed in self.backends), default=1024**2 / 1e6)

    @cached_property
    def mean_megapixels(self) -> float:
        """Mean megapixels of a training image. The trainer uses the backends in proportion to their length."""
        batches = sum(bucketed.batches for bucketed in self.backends)
        area = sum(_megapixels(bucketed) * bucketed.batches for bucketed in self.backends) / batches if batches else 0.0
        return area or self.largest_megapixels

    @cached_property
    def work(self) -> Work:
        """The work of the run on any machine."""
        every = self.settings.whole("validation_steps", 100)
        return Work(
            steps=self.steps,
            batch_size=self.batching.batch_size,
            accumulation=self.batching.accumulation,
            megapixels=round(self.mean_megapixels, 4),
            precision=self.precision,
            adapter_mb=round(self.adapter_mb, 1),
            lycoris=self.is_lycoris,
            checkpoint_steps=self.checkpoint_interval,
            validations=sizes.validations(steps=self.steps, every=every),
            inference_steps=self.settings.whole("validation_num_inference_steps", 30),
            validation_megapixels=round(self.largest_megapixels, 4),
            latents=sum(bucketed.images for bucketed in self.backends),
            captions=self.embeds,
            download_gb=round(sizes.WEIGHTS_GB + sizes.WHEELS_GB + self.dataset.size_bytes / 1e9, 1),
            upload_gb=round(self.sent_gb, 1),
            checkpoint_gb=round(sizes.checkpoint_gb(self.adapter_mb), 2),
        )

    @cached_property
    def seconds_per_step(self) -> float:
        """Seconds per step on the reference card, before there is an offer."""
        return step_seconds(self.work, REFERENCE.tflops, self.batching.gpus)

    @cached_property
    def phases(self) -> hours.Hours:
        """Hours of each phase on the same card, with a good connection."""
        return hours.reference_hours(self.work, self.batching.gpus)

    @property
    def validation_hours(self) -> float:
        """Hours for validation images."""

        return self.phases.validation

    @property
    def hours(self) -> float:
        """Hours of the run."""

        return round(self.phases.total, 2)

    @cached_property
    def adapter_mb(self) -> float:
        """Size of the adapter's file, in MB."""

        if self.is_lycoris:
            return sizes.LOKR_MB
        return sizes.adapter_mb(self.lora_target, self.lora_rank)

    @property
    def release(self) -> Release:
        """The release of SimpleTuner; the default one if the requested one is not supported."""
        return RELEASES.get(self.version, RELEASES[DEFAULT_VERSION])

    @cached_property
    def sent_gb(self) -> float:
        """GB of checkpoints that the instance sends: to the user, and once more to the Hub if they are pushed."""
        copies = 2 if self.settings.flag("push_to_hub") else 1
        return (self.checkpoints + 1) * sizes.checkpoint_gb(self.adapter_mb) * copies

    def asked(self, name: str) -> float:
        """Return the user's number in a variable about the machine; 0 if it is not set."""
        try:
            amount = float(self.settings.raw(name) or 0)
        except (TypeError, ValueError):
            return 0.0
        return amount if math.isfinite(amount) else 0.0

    def describe_adapter(self) -> str:
        """Return a description of the adapter and its training."""
        if self.is_lycoris:
            settings = self.settings.raw("simpletuner_lycoris")
            algorithm = settings.get("algo", "unknown") if isinstance(settings, Mapping) else "not set"
            kind = f"lycoris ({algorithm})"
        else:
            kind = f"LoRA of rank {self.lora_rank}, alpha {self.lora_alpha:g}, on {self.lora_target}"
        accumulated = f" x {self.batching.accumulation}" if self.batching.accumulation > 1 else ""
        precision = self.precision if self.is_quantised else "not quantised"
        return (
            f"{kind}, learning rate {self.learning_rate:g}, batch {self.batching.batch_size}{accumulated}, {precision}"
        )


def _megapixels(bucketed: BackendBuckets) -> float:
    return bucketed.backend.target_edge**2 / 1e6
