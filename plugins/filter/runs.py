"""Filters about runs, for playbooks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fluxlora.delivery.report import proof
from fluxlora.errors import InputError
from fluxlora.untrusted.schemas import MalformedError, texts
from fluxlora.vast.labels import Label


def run_name_fault(name: str) -> str:
    """Return why a run cannot have this name, with a hint; empty if it can."""
    try:
        Label(name)
    except InputError as error:
        return f"{error} {error.hint}"
    return ""


def manifest_proof(path: str) -> dict[str, Any]:
    """Return the instance whose artifacts are all downloaded by a manifest.json, which need not exist; or why none
    is proven."""
    return asdict(proof(Path(path)))


def written_sums(text: str) -> dict[str, str]:
    """Return the earlier written files with their checksums; empty if the record of them cannot be read.

    Without a record they count as the user's own files, and are not overwritten.
    """
    try:
        return texts(text, "The record of the files that were written")
    except MalformedError:
        return {}


class FilterModule:
    """Filters with decisions of fluxlora.vast.labels and fluxlora.delivery.report."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"run_name_fault": run_name_fault, "manifest_proof": manifest_proof, "written_sums": written_sums}
