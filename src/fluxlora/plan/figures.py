"""The figures of a run: what its variables and its dataset come to in numbers, before any rule has judged them."""

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
    """Numbers that are worked out once; what cannot be worked out is in the settings' errors."""

    settings: Settings
    dataset: Dataset

    @classmethod
    def of(cls, variables: Mapping[str, Any], dataset: Dataset) -> Figures:
        return cls(Settings(variables), dataset)

    @cached_property
    def batching(self) -> Batching:
        return Batching(
            batch_size=self.settings.whole("train_batch_size"),
            accumulation=self.settings.whole("gradient_accumulation_steps", 1),
            gpus=max(int(self.asked("provision_num_gpus")), 1),
            oversubscription=self.settings.flag("allow_dataset_oversubscription"),
            pruning=not self.settings.flag("disable_bucket_pruning"),
        )

    @property
    def version(self) -> str:
        """The line of SimpleTuner that will count."""
        return self.settings.text("version", DEFAULT_VERSION)

    @cached_property
    def entries(self) -> tuple[Mapping[str, Any], ...]:
        """The data backends of images, as they are written."""
        return tuple(self.settings.datasets())

    @cached_property
    def pixel_divisor(self) -> int:
        return self.settings.whole("pixel_divisor", 1)

    @property
    def is_scaled_down(self) -> bool:
        """A rehearsal, whose pictures nobody looks at."""
        return self.pixel_divisor > 1

    @cached_property
    def backends(self) -> tuple[BackendBuckets, ...]:
        """The data backends that can be read, with the pictures in their buckets."""
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
        """Captions to embed, whatever becomes of their pictures: equal ones once."""
        facts = self.dataset.facts.values()
        lines = {line for each in facts if isinstance(each, Caption) for line in each.lines}
        return len(lines) or self.dataset.captions

    @cached_property
    def latents_bytes(self) -> int:
        return sum(caches.latents_bytes(each) for each in self.backends)

    @cached_property
    def steps_asked(self) -> int:
        return self.settings.whole("max_train_steps", 0, least=0)

    @cached_property
    def epochs_asked(self) -> int:
        return self.settings.whole("num_train_epochs", 0, least=0)

    @cached_property
    def steps_per_epoch(self) -> int:
        return buckets.steps_per_epoch(self.backends, self.batching)

    @cached_property
    def steps(self) -> int:
        return self.steps_asked or self.epochs_asked * self.steps_per_epoch

    @cached_property
    def checkpoint_interval(self) -> int:
        return self.settings.whole("checkpointing_steps", 500)

    @cached_property
    def checkpoints(self) -> int:
        return math.floor(self.steps / self.checkpoint_interval)

    @property
    def is_lycoris(self) -> bool:
        return self.settings.text("lora_type", "standard") == "lycoris"

    @cached_property
    def learning_rate(self) -> float:
        return self.settings.number("learning_rate", 1e-4)

    @cached_property
    def lora_rank(self) -> int:
        return self.settings.whole("lora_rank", 16)

    @cached_property
    def lora_alpha(self) -> float:
        """The rank, as SimpleTuner takes it, where nothing is said."""
        given = self.settings.raw("simpletuner_lora_alpha")
        return float(self.lora_rank) if given in (None, "") else self.settings.number("lora_alpha", 0.0)

    @property
    def lora_target(self) -> str:
        return self.settings.text("flux_lora_target", "all")

    @property
    def precision(self) -> str:
        return self.settings.text("base_model_precision", "no_change")

    @property
    def is_quantised(self) -> bool:
        return self.precision != "no_change"

    @cached_property
    def largest_megapixels(self) -> float:
        """What the fullest step holds in memory."""
        return max((_megapixels(each) for each in self.backends), default=1024**2 / 1e6)

    @cached_property
    def mean_megapixels(self) -> float:
        """Of a picture in training. The trainer draws from the backends by their length."""
        batches = sum(each.batches for each in self.backends)
        area = sum(_megapixels(each) * each.batches for each in self.backends) / batches if batches else 0.0
        return area or self.largest_megapixels

    @cached_property
    def work(self) -> Work:
        """What the run has a machine do, whichever that will be."""
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
            latents=sum(each.images for each in self.backends),
            captions=self.embeds,
            download_gb=round(sizes.WEIGHTS_GB + sizes.WHEELS_GB + self.dataset.size_bytes / 1e9, 1),
            upload_gb=round(self.sent_gb, 1),
            checkpoint_gb=round(sizes.checkpoint_gb(self.adapter_mb), 2),
        )

    @cached_property
    def seconds_per_step(self) -> float:
        """On the table's reference card, before there is an offer."""
        return step_seconds(self.work, REFERENCE.tflops, self.batching.gpus)

    @cached_property
    def phases(self) -> hours.Hours:
        """On the same card, behind a good line."""
        return hours.reference_hours(self.work, self.batching.gpus)

    @property
    def validation_hours(self) -> float:
        return self.phases.validation

    @property
    def hours(self) -> float:
        return round(self.phases.total, 2)

    @cached_property
    def adapter_mb(self) -> float:
        if self.is_lycoris:
            return sizes.LOKR_MB
        return sizes.adapter_mb(self.lora_target, self.lora_rank)

    @property
    def release(self) -> Release:
        """The SimpleTuner that will count; the default one where another is asked for that does not exist."""
        return RELEASES.get(self.version, RELEASES[DEFAULT_VERSION])

    @cached_property
    def sent_gb(self) -> float:
        """Checkpoints that leave the instance: for home, and at most once more for the Hub where they are pushed."""
        copies = 2 if self.settings.flag("push_to_hub") else 1
        return (self.checkpoints + 1) * sizes.checkpoint_gb(self.adapter_mb) * copies

    def asked(self, name: str) -> float:
        """What the user asks of the machine in this variable; 0 where nothing was asked."""
        try:
            amount = float(self.settings.raw(name) or 0)
        except (TypeError, ValueError):
            return 0.0
        return amount if math.isfinite(amount) else 0.0

    def describe_adapter(self) -> str:
        """In words: what is trained, and how."""
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


def _megapixels(each: BackendBuckets) -> float:
    return each.backend.target_edge**2 / 1e6
