"""What may be said of runs in playbooks."""

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
    """Why a run cannot be called this, and what instead; empty where it can."""
    try:
        Label(name)
    except InputError as error:
        return f"{error} {error.hint}"
    return ""


def manifest_proof(path: str) -> dict[str, Any]:
    """Which instance's artifacts are all at home by a manifest.json, which need not exist; or why it proves nothing."""
    return asdict(proof(Path(path)))


def written_sums(text: str) -> dict[str, str]:
    """The files that were written before with their checksums; none where the record of them cannot be read.

    Then they count as somebody's own, and are not written over.
    """
    try:
        return texts(text, "The record of the files that were written")
    except MalformedError:
        return {}


class FilterModule:
    """What fluxlora.vast.labels and fluxlora.delivery.report decide, for a playbook to refuse."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {"run_name_fault": run_name_fault, "manifest_proof": manifest_proof, "written_sums": written_sums}
