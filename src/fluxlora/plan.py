"""The plan: what a run's merged variables and its dataset come to, and whether that can work."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from fluxlora import buckets, estimates
from fluxlora.buckets import Backend, Batching, Sorted
from fluxlora.dataset import Dataset, Finding, Severity
from fluxlora.errors import InputError
from fluxlora.offers import Requirements
from fluxlora.options import divide_pixels

# Findings about files are shown up to this many of a kind; a large dataset may have thousands.
_SHOWN = 5
_GUIDES_PROMPT = "A happy pizza."

_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True)
class Plan:
    """The validated outcome of the merged variables. With errors the numbers are what could be worked out."""

    run: str
    presets: tuple[str, ...]
    # In words: what is trained, and how.
    adapter: str
    dataset: Dataset
    backends: tuple[Sorted, ...]
    steps: int
    steps_per_epoch: int
    checkpoints: int
    # On the estimates' reference card, right within a factor of `estimates.UNCERTAINTY`.
    hours: float
    disk_gb: float
    needs: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()

    @property
    def epochs(self) -> int:
        """Begun epochs; 0 where an epoch has no step."""
        return math.ceil(self.steps / self.steps_per_epoch) if self.steps_per_epoch else 0

    @property
    def requirements(self) -> Requirements:
        """What an offer must have."""
        return Requirements(**self.needs)

    def as_facts(self) -> dict[str, Any]:
        """For JSON; `requirements` has only what the plan decides, the rest keeps the market's defaults."""
        return {
            "run": self.run,
            "presets": list(self.presets),
            "adapter": self.adapter,
            "dataset": {
                "path": str(self.dataset.path),
                "images": len(self.dataset.pictures),
                "captions": self.dataset.captions,
                "size_gb": round(self.dataset.size_bytes / 1e9, 3),
                "findings": [asdict(finding) for finding in self.dataset.findings],
            },
            "backends": [_backend_facts(each) for each in self.backends],
            "steps": self.steps,
            "steps_per_epoch": self.steps_per_epoch,
            "epochs": self.epochs,
            "checkpoints": self.checkpoints,
            "hours": self.hours,
            "disk_gb": self.disk_gb,
            "requirements": dict(self.needs),
            "warnings": list(self.warnings),
            "errors": list(self.errors),
            "lines": self.lines(),
        }

    def lines(self) -> list[str]:
        """The plan as a person reads it."""
        need = self.requirements
        images, captions = len(self.dataset.pictures), self.dataset.captions
        return [
            f"run        {self.run}, presets {' + '.join(self.presets) or 'none'}",
            f"adapter    {self.adapter}",
            f"dataset    {self.dataset.path}: {images} images, {captions} captions, {_size(self.dataset.size_bytes)}",
            *(f"trains on  {_backend_line(each)}" for each in self.backends),
            f"steps      {self.steps}, {self.steps_per_epoch} an epoch, {self.epochs} epochs, "
            f"{self.checkpoints} checkpoints",
            f"hours      about {self.hours:.1f} on an A100-class GPU, right within a factor of {estimates.UNCERTAINTY}",
            f"machine    {need.num_gpus} GPU with {need.gpu_ram_gb:.0f} GB, {need.cpu_ram_gb:.0f} GB of memory, "
            f"{need.disk_gb:.0f} GB of disk ({self.disk_gb:.0f} used), CUDA {need.cuda_version}",
            f"transfer   {need.download_gb:.0f} GB to the machine, {need.upload_gb:.1f} GB from it",
            *(f"warning    {warning}" for warning in self.warnings),
            *(f"error      {error}" for error in self.errors),
        ]


def make(variables: Mapping[str, Any], *, run: str, presets: Sequence[str], dataset: Dataset) -> Plan:
    """Work the plan out. What the user has to mend ends up in its `errors`, as one sentence each; nothing is raised."""
    errors, warnings = _Messages(), _Messages()
    values = _Values(variables, errors)
    batching = Batching(
        batch_size=values.whole("train_batch_size"),
        accumulation=values.whole("gradient_accumulation_steps", 1),
        gpus=values.whole("num_processes", 1),
        oversubscription=values.flag("allow_dataset_oversubscription"),
    )
    steps_asked, epochs_asked = (
        values.whole("max_train_steps", 0, least=0),
        values.whole("num_train_epochs", 0, least=0),
    )
    every = values.whole("checkpointing_steps", 500)

    entries = values.datasets()
    backends = _sorted(entries, values.whole("pixel_divisor", 1), dataset, batching, errors)
    steps_per_epoch = buckets.steps_per_epoch(backends, batching)
    steps = steps_asked or epochs_asked * steps_per_epoch

    _check_files(dataset.findings, errors, warnings)
    _check_length(steps_asked, epochs_asked, steps, every, errors, warnings)
    _check_backends(backends, batching, errors, warnings)
    _check_entries(entries, errors)
    _check_adapter(values, errors, warnings)
    _check_validation(values, warnings)

    checkpoints = math.floor(steps / every)
    needs = _needs(values, batching, backends, dataset, steps=steps, checkpoints=checkpoints)
    disk_gb = _disk_used_gb(values, backends, dataset, checkpoints)
    if disk_gb > needs["disk_gb"]:
        errors.add(
            f"provision_disk_gb is {needs['disk_gb']:g}, and this run fills about {disk_gb:.0f} GB: "
            f"set it to {math.ceil(disk_gb * 1.2)} or more."
        )
    return Plan(
        run=run,
        presets=tuple(presets),
        adapter=_adapter(values, batching),
        dataset=dataset,
        backends=backends,
        steps=steps,
        steps_per_epoch=steps_per_epoch,
        checkpoints=checkpoints,
        hours=needs["hours"],
        disk_gb=round(disk_gb, 1),
        needs=needs,
        warnings=tuple(warnings),
        errors=tuple(errors),
    )


class _Messages(list[str]):
    """Sentences, each once."""

    def add(self, message: str) -> None:
        if message not in self:
            self.append(message)


class _Values:
    """The variables of SimpleTuner's options, cast; what cannot be cast is an error and counts as the default."""

    def __init__(self, variables: Mapping[str, Any], errors: _Messages) -> None:
        extra = variables.get("simpletuner_extra_config") or {}
        if not isinstance(extra, Mapping):
            errors.add(f"simpletuner_extra_config must be a mapping of options, not {extra!r}.")
            extra = {}
        # Written over everything else, its names with or without the dashes.
        over = {f"simpletuner_{str(name).lstrip('-')}": value for name, value in extra.items() if value is not None}
        self._variables = {**variables, **over}
        self._errors = errors

    def whole(self, option: str, default: int | None = None, *, least: int = 1) -> int:
        return self._number(int, option, default, least)

    def number(self, option: str, default: float, *, least: float = 0.0) -> float:
        return self._number(float, option, default, least)

    def text(self, option: str, default: str = "") -> str:
        value = self._variables.get(f"simpletuner_{option}")
        return default if value is None else str(value)

    def flag(self, option: str, default: bool = False) -> bool:
        return self.text(option, str(default)).lower() in ("true", "yes", "on", "1")

    def raw(self, name: str) -> Any:
        return self._variables.get(name)

    def datasets(self) -> list[Mapping[str, Any]]:
        """The enabled data backends of images, as they are written."""
        entries = self._variables.get("simpletuner_datasets")
        if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
            self._errors.add("simpletuner_datasets must be a list of data backends; a resolution preset sets it.")
            return []
        images = [entry for entry in entries if entry.get("dataset_type", "image") == "image"]
        return [entry for entry in images if not entry.get("disabled", False)]

    def _number(self, kind: type[_Number], option: str, default: _Number | None, least: _Number) -> _Number:
        """YAML reads 1e-4 as text, so text that is a number is one."""
        name = f"simpletuner_{option}"
        value = self._variables.get(name, default)
        fallback = least if default is None else default
        if value is None:
            self._errors.add(f"{name} is not set: group_vars/training.yml, which sets it, was not loaded for this run.")
            return fallback
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number) or number < least or (kind is int and number != int(number)):
            what = "a whole number" if kind is int else "a number"
            self._errors.add(f"{name} must be {what} of at least {least}, not {value!r}.")
            return fallback
        return kind(number)


def _sorted(
    entries: Iterable[Mapping[str, Any]], divisor: int, dataset: Dataset, batching: Batching, errors: _Messages
) -> tuple[Sorted, ...]:
    found: list[Sorted] = []
    for entry in entries:
        try:
            Backend.of(entry)
            found.append(buckets.sort(dataset.pictures, Backend.of(divide_pixels(entry, divisor)), batching))
        except InputError as error:
            errors.add(str(error))
    return tuple(found)


def _check_files(findings: Iterable[Finding], errors: _Messages, warnings: _Messages) -> None:
    kinds: dict[tuple[Severity, str], list[Finding]] = {}
    for finding in findings:
        kinds.setdefault((finding.severity, finding.code), []).append(finding)
    for (severity, code), same in kinds.items():
        target = errors if severity is Severity.ERROR else warnings
        for finding in same[:_SHOWN]:
            target.add(str(finding))
        if len(same) > _SHOWN:
            target.add(f"... and {len(same) - _SHOWN} more files of this kind ({code}).")


def _check_length(
    steps_asked: int, epochs_asked: int, steps: int, every: int, errors: _Messages, warnings: _Messages
) -> None:
    if steps_asked and epochs_asked:
        errors.add(
            f"simpletuner_max_train_steps is {steps_asked} and simpletuner_num_train_epochs {epochs_asked}: "
            "SimpleTuner refuses both, set one of them to 0."
        )
    if not steps_asked and not epochs_asked:
        errors.add("simpletuner_max_train_steps and simpletuner_num_train_epochs are both 0: set one of them.")
    if every > steps > 0:
        warnings.add(
            f"simpletuner_checkpointing_steps is {every} and the run has {steps} steps: until it ends there is nothing "
            "to resume from, and an interruption loses everything."
        )


def _check_backends(backends: Iterable[Sorted], batching: Batching, errors: _Messages, warnings: _Messages) -> None:
    for each in backends:
        name = each.backend.id
        if each.too_small:
            examples = "; ".join(
                f"{picture.file} is {each.backend.too_small(picture)}" for picture in each.too_small[:_SHOWN]
            )
            more = f"; and {len(each.too_small) - _SHOWN} more" if len(each.too_small) > _SHOWN else ""
            warnings.add(
                f"Data backend {name} leaves out {len(each.too_small)} images without a word: {examples}{more}. "
                "Enlarge them or choose a preset of a smaller resolution."
            )
        for bucket in each.pruned:
            warnings.add(
                f"Data backend {name} leaves out {len(bucket.files)} images of aspect {bucket.aspect}: they are fewer "
                f"than simpletuner_train_batch_size, {batching.batch_size}. Lower it, or set repeats on the backend."
            )
        for bucket in each.unusable:
            errors.add(
                f"Data backend {name} has {bucket.samples} samples of aspect {bucket.aspect}, and one step takes "
                f"{batching.effective} (batch x accumulation x GPUs), so SimpleTuner ends the run: lower one of the "
                f"three, add images, or set repeats to {_repeats(bucket, batching)} on the backend."
            )
        if not each.batches and not each.unusable:
            pruned = sum(len(bucket.files) for bucket in each.pruned)
            errors.add(
                f"Data backend {name} is left without an image to train on, so SimpleTuner ends the run: of the images "
                f"{len(each.too_small)} are too small for it, and {pruned} in buckets of fewer than "
                f"simpletuner_train_batch_size, {batching.batch_size}."
            )


def _repeats(bucket: buckets.Bucket, batching: Batching) -> int:
    return math.ceil(batching.effective / len(bucket.files)) - 1


def _check_entries(entries: Sequence[Mapping[str, Any]], errors: _Messages) -> None:
    if not entries:
        errors.add("No data backend of images is enabled: choose a resolution preset, 1024 or 512.")
    for key, why in (
        ("id", "SimpleTuner tells backends apart by it"),
        ("cache_file_suffix", "with the same one a backend reads the other's list of images"),
        ("cache_dir_vae", "with the same one a backend trains on the other's cached images"),
    ):
        names = [entry[key] for entry in entries if entry.get(key)]
        for name in sorted({str(name) for name in names if names.count(name) > 1}):
            errors.add(f"Two data backends have the {key} {name!r}: give each its own, {why}.")


def _check_adapter(values: _Values, errors: _Messages, warnings: _Messages) -> None:
    kind = values.text("lora_type", "standard")
    rate = values.number("learning_rate", 1e-4)
    # FLUX.md's values: 1e-4 for a LoRA, 1e-3 for a LoKr with AdamW.
    if kind == "lycoris":
        if not isinstance(values.raw("simpletuner_lycoris"), Mapping):
            errors.add(
                "simpletuner_lora_type is lycoris and simpletuner_lycoris is not set: the preset lokr sets both."
            )
        if rate < 3e-4:
            warnings.add(
                f"simpletuner_learning_rate is {rate:g}: a LoKr hardly learns below 3e-4, SimpleTuner's FLUX quick "
                "start takes 1e-3."
            )
    else:
        values.whole("lora_rank", 16)
        if rate > 5e-4:
            warnings.add(
                f"simpletuner_learning_rate is {rate:g}: a LoRA tends to diverge above 5e-4, SimpleTuner's FLUX quick "
                "start takes 1e-4."
            )
    if values.flag("flow_schedule_auto_shift") and values.number("flow_schedule_shift", 3.0):
        errors.add(
            "simpletuner_flow_schedule_auto_shift excludes a fixed shift: set simpletuner_flow_schedule_shift to 0."
        )
    if values.flag("push_to_hub") and not values.text("hub_model_id"):
        errors.add(
            "simpletuner_push_to_hub is on and simpletuner_hub_model_id is empty: name the repository, or turn it off."
        )


def _adapter(values: _Values, batching: Batching) -> str:
    if values.text("lora_type", "standard") == "lycoris":
        settings = values.raw("simpletuner_lycoris")
        algorithm = settings.get("algo", "unknown") if isinstance(settings, Mapping) else "not set"
        kind = f"lycoris ({algorithm})"
    else:
        kind = (
            f"LoRA of rank {values.whole('lora_rank', 16)} on {values.text('flux_lora_target') or 'the default layers'}"
        )
    return (
        f"{kind}, learning rate {values.number('learning_rate', 1e-4):g}, batch {batching.batch_size}"
        + (f" x {batching.accumulation}" if batching.accumulation > 1 else "")
        + f", {values.text('base_model_precision', 'no_change').replace('no_change', 'not quantised')}"
    )


def _check_validation(values: _Values, warnings: _Messages) -> None:
    if values.text("validation_prompt", _GUIDES_PROMPT) == _GUIDES_PROMPT:
        warnings.add(
            f"simpletuner_validation_prompt is still the guide's {_GUIDES_PROMPT!r}: say what a good picture of your "
            "subject is, with its trigger word, or the validation images show nothing of the training."
        )


def _needs(
    values: _Values, batching: Batching, backends: Iterable[Sorted], dataset: Dataset, *, steps: int, checkpoints: int
) -> dict[str, Any]:
    """The offer's requirements that follow from the plan, as fields of `Requirements`."""
    precision = values.text("base_model_precision", "no_change")
    rank = values.whole("lora_rank", 16)
    area = max((_megapixels(each) for each in backends), default=1024**2 / 1e6)
    copies = 2 if values.flag("push_to_hub") else 1
    needs = {
        "gpu_ram_gb": estimates.gpu_ram_gb(precision, batch_size=batching.batch_size, megapixels=area, rank=rank),
        "cpu_ram_gb": estimates.CPU_RAM_GB if precision == "no_change" else estimates.CPU_RAM_QUANTISED_GB,
        "num_gpus": batching.gpus,
        "cuda_version": estimates.CUDA_VERSION,
        "compute_cap": estimates.COMPUTE_CAP,
        "hours": _hours(values, batching, backends, dataset, steps=steps, megapixels=area),
        "download_gb": round(estimates.WEIGHTS_GB + estimates.WHEELS_GB + dataset.size_bytes / 1e9, 1),
        "upload_gb": round((checkpoints + 1) * _checkpoint_gb(values) * copies, 1),
    }
    return needs | {"disk_gb": _disk_asked(values, _disk_used_gb(values, backends, dataset, checkpoints))}


def _hours(
    values: _Values,
    batching: Batching,
    backends: Iterable[Sorted],
    dataset: Dataset,
    *,
    steps: int,
    megapixels: float,
) -> float:
    latents = sum(len(bucket.files) for each in backends for bucket in each.buckets)
    caching = latents * estimates.SECONDS_PER_LATENT + dataset.captions * estimates.SECONDS_PER_EMBED
    training = estimates.step_hours(
        steps=steps, samples_per_step=batching.batch_size * batching.accumulation, megapixels=megapixels
    )
    validating = estimates.validation_hours(
        steps=steps,
        every=values.whole("validation_steps", 100),
        inference_steps=values.whole("validation_num_inference_steps", 30),
        megapixels=megapixels,
    )
    return round(estimates.SETUP_HOURS + caching / 3600 + training + validating, 2)


def _disk_used_gb(values: _Values, backends: Iterable[Sorted], dataset: Dataset, checkpoints: int) -> float:
    kept = min(checkpoints, values.whole("checkpoints_total_limit", 5)) + 1
    latents = sum(len(bucket.files) * _megapixels(each) for each in backends for bucket in each.buckets)
    return (
        estimates.ENVIRONMENT_GB
        + estimates.WEIGHTS_GB
        + estimates.SLACK_GB
        + dataset.size_bytes / 1e9
        + kept * _checkpoint_gb(values)
        + latents * estimates.LATENT_GB_PER_MEGAPIXEL
        + dataset.captions * estimates.EMBED_GB
    )


def _disk_asked(values: _Values, used_gb: float) -> float:
    """What the user rents, else what will be used and a fifth."""
    try:
        return float(values.raw("provision_disk_gb"))
    except (TypeError, ValueError):
        return float(math.ceil(used_gb * 1.2))


def _checkpoint_gb(values: _Values) -> float:
    return estimates.checkpoint_gb(values.text("flux_lora_target"), values.whole("lora_rank", 16))


def _megapixels(each: Sorted) -> float:
    return each.backend.target_edge**2 / 1e6


def _backend_facts(each: Sorted) -> dict[str, Any]:
    return {
        "id": each.backend.id,
        "resolution": each.backend.target_edge,
        "images": sum(len(bucket.files) for bucket in each.buckets),
        "samples": each.samples,
        "batches": each.batches,
        "buckets": [
            {"aspect": bucket.aspect, "images": len(bucket.files), "batches": bucket.batches} for bucket in each.buckets
        ],
        "left_out": [picture.file for picture in each.too_small]
        + [file for bucket in each.pruned for file in bucket.files],
    }


def _backend_line(each: Sorted) -> str:
    facts = _backend_facts(each)
    left_out = f", {len(facts['left_out'])} left out" if facts["left_out"] else ""
    shapes = f" in {len(each.buckets)} shapes" if len(each.buckets) > 1 else ""
    images = f"{facts['images']} images{shapes}{left_out}"
    return f"{facts['id']}: {images}, {facts['samples']} samples at {facts['resolution']} pixels"


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
