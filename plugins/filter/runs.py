"""What may be said of runs in playbooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fluxlora.errors import InputError
from fluxlora.labels import Label


def run_name_fault(name: str) -> str:
    """Why a run cannot be called this, and what instead; empty where it can."""
    try:
        Label(name)
    except InputError as error:
        return f"{error} {error.hint}"
    return ""


class FilterModule:
    """What fluxlora.labels decides, for a playbook to refuse."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {"run_name_fault": run_name_fault}
