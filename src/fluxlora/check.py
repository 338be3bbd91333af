"""The check of a dataset for a run: every finding, and what a person reads of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fluxlora import fit
from fluxlora.dataset import MENDED, Dataset, Finding, Progress, Severity, Wanted, by_weight, printable, scan, told
from fluxlora.draft import Draft


@dataclass(frozen=True)
class Check:
    """A dataset, and all that was found about it for this run; the weightiest first."""

    dataset: Dataset
    findings: tuple[Finding, ...]
    # What is wrong with the run's settings, where they say how pictures are cut.
    refused: tuple[str, ...] = ()

    @property
    def errors(self) -> int:
        """How many findings end a plan."""
        return sum(1 for finding in self.findings if finding.severity is Severity.ERROR)

    def lines(self) -> list[str]:
        """The check as a person reads it."""
        mended = sum(1 for finding in self.findings if finding.code in MENDED)
        path = printable(str(self.dataset.path))
        return [
            f"dataset    {path}: {len(self.dataset.pictures)} images, {self.dataset.captions} captions",
            *(f"error      {sentence}" for sentence in self.refused),
            *(f"{severity:<10} {sentence}" for severity, sentence in told(self.findings)),
            f"found      {_count(self.errors, 'error')}, {_count(len(self.findings) - self.errors, 'warning')}"
            + (f"; `fluxlora check --fix` mends {mended} of these in a copy" if mended else ""),
        ]

    def as_facts(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "images": len(self.dataset.pictures),
            "captions": self.dataset.captions,
            "size_gb": round(self.dataset.size_bytes / 1e9, 3),
            "findings": [asdict(finding) for finding in self.findings],
            "errors": self.errors + len(self.refused),
            "lines": self.lines(),
        }


def check(
    path: Path,
    variables: Mapping[str, Any],
    wanted: Wanted,
    *,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> Check:
    """Look at every file, and at how each picture fits the run's data backends. Raises InputError."""
    dataset = scan(path, wanted, cache_dir=cache_dir, progress=progress)
    draft = Draft.of(variables, dataset)
    found = by_weight([*dataset.findings, *fit.findings(draft)])
    return Check(dataset, found, tuple(draft.settings.errors))


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
