"""The check of a dataset for a run: the plan's own verdict, without a market, and what a corrected copy would fix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluxlora.dataset import MENDED, Progress, Severity, Wanted, printable, scan
from fluxlora.plan.plan import Plan, make


@dataclass(frozen=True)
class Check:
    """What the plan of a run with this dataset comes to."""

    plan: Plan

    @property
    def errors(self) -> int:
        """How many mistakes end the plan."""
        return self.plan.count(Severity.ERROR)

    @property
    def mended(self) -> int:
        """How many of the mistakes and warnings a corrected copy does not have."""
        return sum(1 for finding in self.plan.findings if finding.code in MENDED)

    def lines(self) -> list[str]:
        """The check as a person reads it."""
        dataset, warnings = self.plan.dataset, self.plan.count(Severity.WARNING)
        left = self.errors + warnings - self.mended
        rest = f"; the other {left} are for you to fix" if left else ""
        offer = (
            f" `fluxlora check --fix FOLDER` fixes {self.mended} of these in a copy, or leaves their files out{rest}."
        )
        return [
            f"dataset    {printable(str(dataset.path))}: {len(dataset.pictures)} images, {dataset.captions} captions",
            *self.plan.verdict(),
            f"found      {_count(self.errors, 'error')}, {_count(warnings, 'warning')}."
            + (offer if self.mended else ""),
        ]

    def as_facts(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "images": len(self.plan.dataset.pictures),
            "captions": self.plan.dataset.captions,
            "size_gb": round(self.plan.dataset.size_bytes / 1e9, 3),
            "findings": [finding.as_facts() for finding in self.plan.findings],
            "errors": self.errors,
            "lines": self.lines(),
        }


def check(
    path: Path,
    variables: Mapping[str, Any],
    wanted: Wanted,
    *,
    config: Mapping[str, Any] | None = None,
    backends: Sequence[Mapping[str, Any]] = (),
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> Check:
    """Look at every file, and judge it and the variables as the plan does. Raises InputError.

    `config` and `backends` are the trainer's files as these variables render them, as in `plan.make`.
    """
    dataset = scan(path, wanted, cache_dir=cache_dir, progress=progress)
    return Check(make(variables, run="", presets=(), dataset=dataset, config=config, backends=backends))


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
