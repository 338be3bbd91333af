"""The check of a dataset for a run: the plan's own verdict without offers, and what a corrected copy would fix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluxlora.dataset import FIXABLE, Progress, Severity, Wanted, printable, scan
from fluxlora.plan.plan import Plan, make


@dataclass(frozen=True)
class Check:
    """The result of the plan of a run with this dataset."""

    plan: Plan

    @property
    def errors(self) -> int:
        """Number of mistakes that make the plan fail."""
        return self.plan.count(Severity.ERROR)

    @property
    def fixable(self) -> int:
        """Number of mistakes and warnings that a corrected copy would not have."""
        return sum(1 for finding in self.plan.findings if finding.code in FIXABLE)

    def lines(self) -> list[str]:
        """Return the check as lines for people."""
        dataset, warnings = self.plan.dataset, self.plan.count(Severity.WARNING)
        left = self.errors + warnings - self.fixable
        rest = f"; the other {left} are for you to fix" if left else ""
        offer = (
            f" `fluxlora check --fix FOLDER` fixes {self.fixable} of these in a copy, or leaves their files out{rest}."
        )
        return [
            f"dataset    {printable(str(dataset.path))}: {len(dataset.pictures)} images, {dataset.captions} captions",
            *self.plan.verdict(),
            f"found      {_count(self.errors, 'error')}, {_count(warnings, 'warning')}."
            + (offer if self.fixable else ""),
        ]

    def as_facts(self) -> dict[str, Any]:
        """Return the check as a mapping for JSON."""
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
    """Check every file and the variables in the same way as the plan. Raises InputError.

    `config` and `backends` are the trainer's files, rendered from these variables, as in `plan.make`.
    """
    dataset = scan(path, wanted, cache_dir=cache_dir, progress=progress)
    return Check(make(variables, run="", presets=(), dataset=dataset, config=config, backends=backends))


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
