"""Checks every image and caption of a dataset and prints its progress, which a module cannot do."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from fluxlora.dataset import Wanted
from fluxlora.errors import FluxloraError
from fluxlora.plan.check import check

display = Display()
# Seconds between two lines of progress.
_SECONDS = 1.0


class ActionModule(ActionBase):  # type: ignore[misc]
    """See plugins/modules/dataset_check.py for the documentation."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the findings; only a folder without images is a failure."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, args = self.validate_argument_spec(
            {
                "path": {"type": "path", "required": True},
                "variables": {"type": "dict", "required": True},
                "trigger_word": {"type": "str", "default": ""},
                "regularisation_pattern": {"type": "str", "default": ""},
                "config": {"type": "dict"},
                "backends": {"type": "list", "elements": "dict", "default": []},
                "cache_dir": {"type": "path"},
            }
        )
        wanted = Wanted(
            args["trigger_word"],
            args["regularisation_pattern"],
            str(args["variables"].get("simpletuner_version", Wanted.simpletuner_version)),
        )
        cache = Path(args["cache_dir"]) if args["cache_dir"] else None
        try:
            found = check(
                Path(args["path"]),
                args["variables"],
                wanted,
                config=args["config"],
                backends=args["backends"],
                cache_dir=cache,
                progress=_Shown(),
            )
        except FluxloraError as error:
            return result | error.as_facts()
        return result | {"changed": False, **found.as_facts()}


class _Shown:
    """Progress as lines, which the command turns into a bar."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _SECONDS

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() >= self._next:
            display.display(f"looked at {done} of {total} files")
            self._next = time.monotonic() + _SECONDS
