"""The plan of a run from its merged variables and its dataset, with all mistakes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from fluxlora import trainer
from fluxlora.dataset import Dataset, Finding, Severity, by_weight, messages
from fluxlora.errors import InputError
from fluxlora.estimates.speeds import REFERENCE
from fluxlora.estimates.work import Work
from fluxlora.offers.requirements import Requirements
from fluxlora.plan import fit, rules
from fluxlora.plan.figures import Figures
from fluxlora.plan.needs import Needs
from fluxlora.plan.rules import Verdict, Weight
from fluxlora.settings.credentials import without_secrets
from fluxlora.trainer import caches
from fluxlora.trainer.buckets import BackendBuckets

# How many sizes of a data backend are printed.
_SHOWN = 5


@dataclass(frozen=True)
class Plan:
    """The result of the merged variables. If there are errors, some numbers may be missing or wrong."""

    run: str
    presets: tuple[str, ...]
    # A description of the adapter and its training.
    adapter: str
    dataset: Dataset
    backends: tuple[BackendBuckets, ...]
    # Number of different captions.
    embeds: int
    latents_bytes: int
    steps: int
    steps_per_epoch: int
    checkpoints: int
    # On the reference card of the speed table; an offer's own hours are in its ranking.
    hours: float
    disk_gb: float
    needs: Mapping[str, Any] = field(default_factory=dict)
    # Findings about the files, for these backends; errors and warnings include some of each kind.
    findings: tuple[Finding, ...] = ()
    # The most serious first.
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()

    @property
    def epochs(self) -> int:
        """Number of started epochs; 0 if an epoch has no step."""
        return math.ceil(self.steps / self.steps_per_epoch) if self.steps_per_epoch else 0

    @property
    def requirements(self) -> Requirements:
        """The requirements for an offer."""
        return Requirements(**self.needs)

    @property
    def work(self) -> Work:
        """The work of the run."""
        return self.requirements.work

    def count(self, severity: Severity) -> int:
        """Return the number of errors or warnings, including those that are not printed one by one."""
        sentences = self.errors if severity is Severity.ERROR else self.warnings
        shown = sum(1 for kind, _ in messages(self.findings) if kind is severity)
        return len(sentences) - shown + sum(1 for finding in self.findings if finding.severity is severity)

    def verdict(self) -> list[str]:
        """Return errors, then warnings, both with their number, then hints; `check` and `plan` both print this."""
        errors, warnings = self.count(Severity.ERROR), self.count(Severity.WARNING)
        return [
            *([f"errors     {errors}: the run is refused until they are fixed"] if errors else []),
            *(f"error      {error}" for error in self.errors),
            *([f"warnings   {warnings}: these do not stop the run"] if warnings else []),
            *(f"warning    {warning}" for warning in self.warnings),
            *(f"hint       {hint}" for hint in self.hints),
        ]

    def as_facts(self) -> dict[str, Any]:
        """Return the plan as a mapping for JSON; `requirements` has only what the plan decides, not the defaults."""
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
            "backends": [_backend_facts(bucketed) for bucketed in self.backends],
            "captions_embedded": self.embeds,
            "caches_gb": round((self.latents_bytes + self.embeds * caches.EMBED_BYTES) / 1e9, 3),
            "steps": self.steps,
            "steps_per_epoch": self.steps_per_epoch,
            "epochs": self.epochs,
            "checkpoints": self.checkpoints,
            "hours": self.hours,
            "disk_gb": self.disk_gb,
            "requirements": {**self.needs, "hours": self.hours, "work": self.work.as_facts()},
            "errors": list(self.errors),
            "warnings": list(self.warnings),
            "hints": list(self.hints),
            "lines": self.lines(),
        }

    def lines(self) -> list[str]:
        """Return the plan as lines for people."""
        need = self.requirements
        images, captions = len(self.dataset.pictures), self.dataset.captions
        return [
            f"run        {self.run}, presets {' + '.join(self.presets) or 'none'}",
            f"adapter    {self.adapter}",
            f"dataset    {self.dataset.path}: {images} images, {captions} captions, {_size(self.dataset.size_bytes)}",
            *(f"trains on  {_backend_line(bucketed)}" for bucketed in self.backends),
            f"caches     {sum(bucketed.images for bucketed in self.backends)} latents, {_size(self.latents_bytes)}; "
            f"{self.embeds} captions, at most {_size(self.embeds * caches.EMBED_BYTES)}",
            f"steps      {self.steps}, {self.steps_per_epoch} an epoch, {self.epochs} epochs, "
            f"{self.checkpoints} checkpoints",
            f"hours      about {self.hours:.1f} on an {REFERENCE.name}; each offer has its own",
            f"machine    {need.num_gpus} GPU with {need.gpu_ram_gb:.0f} GB, {need.cpu_ram_gb:.0f} GB of memory, "
            f"{need.disk_gb:.0f} GB of disk ({self.disk_gb:.0f} used), CUDA {need.cuda_version}",
            f"transfer   {need.work.download_gb:.0f} GB to the machine, {need.work.upload_gb:.1f} GB from it",
            *self.verdict(),
        ]


def make(
    variables: Mapping[str, Any],
    *,
    run: str,
    presets: Sequence[str],
    dataset: Dataset,
    config: Mapping[str, Any] | None = None,
    backends: Sequence[Mapping[str, Any]] = (),
) -> Plan:
    """Make the plan. Everything that the user has to fix is one sentence in its `errors`; nothing is raised.

    `config` and `backends` are the trainer's config.json and multidatabackend.json, rendered from these variables;
    without the first no option's name is checked.
    """
    try:
        exposed, variables, config, backends = _without_secrets(variables, config, backends)
    except InputError as error:
        exposed, variables, config, backends = (str(error),), {}, None, ()
    compared = trainer.Comparison() if config is None else trainer.compare(variables, config, backends)
    figures = Figures.of(variables, dataset)
    needs = Needs(figures)
    found = [*dataset.findings, *fit.findings(figures)]
    said = sorted([*_of_files(found), *rules.judge(figures)], key=lambda verdict: -verdict.weight)
    return Plan(
        run=run,
        presets=tuple(presets),
        adapter=figures.describe_adapter(),
        dataset=dataset,
        backends=figures.backends,
        embeds=figures.embeds,
        latents_bytes=figures.latents_bytes,
        steps=figures.steps,
        steps_per_epoch=figures.steps_per_epoch,
        checkpoints=figures.checkpoints,
        hours=figures.hours,
        disk_gb=round(needs.disk_used_gb, 1),
        needs=needs.requirements,
        findings=by_weight(found),
        # The settings' errors are complete after every number above was read.
        errors=(
            *figures.settings.errors,
            *compared.errors,
            *exposed,
            *(verdict.message for verdict in said if verdict.weight is Weight.REFUSED),
        ),
        warnings=(
            *compared.warnings,
            *(verdict.message for verdict in said if verdict.weight in (Weight.SPOILT, Weight.LOSS)),
        ),
        hints=tuple(verdict.message for verdict in said if verdict.weight is Weight.HINT),
    )


def _without_secrets(
    variables: Mapping[str, Any], config: Mapping[str, Any] | None, backends: Sequence[Mapping[str, Any]]
) -> tuple[tuple[str, ...], Mapping[str, Any], Mapping[str, Any] | None, Sequence[Mapping[str, Any]]]:
    """Return a sentence for each secret that others could read, and the arguments without secrets, because errors
    quote values.

    Raises InputError for too deeply nested data.
    """
    trainers = without_secrets({name: value for name, value in variables.items() if name.startswith("simpletuner_")})
    others = without_secrets({name: value for name, value in variables.items() if not name.startswith("simpletuner_")})
    dangers = [
        *(
            (key, "would be in clear text in the trainer's files, which are also downloaded")
            for key in trainers.dropped
        ),
        *((key, "would be stored in clear text by vast.ai") for key in others.dropped),
    ]
    remedy = "Remove it; secrets that the trainer reads from its environment are set in training_tokens."
    return (
        tuple(f"{key} looks like a secret, and {danger}. {remedy}" for key, danger in dangers),
        {**trainers.value, **others.value},
        None if config is None else without_secrets(config).value,
        [without_secrets(entry).value for entry in backends],
    )


def _of_files(findings: Iterable[Finding]) -> Iterator[Verdict]:
    for severity, sentence in messages(findings):
        yield Verdict(Weight.REFUSED if severity is Severity.ERROR else Weight.LOSS, sentence)


def _backend_facts(bucketed: BackendBuckets) -> dict[str, Any]:
    return {
        "id": bucketed.backend.id,
        "resolution": bucketed.backend.target_edge,
        "images": bucketed.images,
        "samples": bucketed.samples,
        "batches": bucketed.batches,
        "buckets": [
            {
                "aspect": bucket.aspect,
                "sizes": [f"{width}x{height}" for width, height in bucket.sizes],
                "images": len(bucket.files),
                "samples": bucket.samples,
                "batches": bucket.batches,
            }
            for bucket in bucketed.buckets
        ],
        "left_out": bucketed.left_out,
        "latents_gb": round(caches.latents_bytes(bucketed) / 1e9, 3),
    }


def _backend_line(bucketed: BackendBuckets) -> str:
    left_out = sum(map(len, bucketed.left_out.values()))
    why = ", ".join(f"{len(files)} {reason}" for reason, files in bucketed.left_out.items())
    sizes = [
        f"{len(bucket.files)} of {' or '.join(f'{w}x{h}' for w, h in bucket.sizes)}" for bucket in bucketed.buckets
    ]
    shown = ", ".join(sizes[:_SHOWN]) + (f" and {len(sizes) - _SHOWN} more sizes" if len(sizes) > _SHOWN else "")
    return (
        f"{bucketed.backend.id}: {bucketed.images} images ({shown or 'none'})"
        + (f", {left_out} left out ({why})" if left_out else "")
        + f", {bucketed.samples} samples in {bucketed.batches} batches"
    )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
