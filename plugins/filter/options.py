"""Filters for the templates of the trainer's files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fluxlora.settings.credentials import without_secrets
from fluxlora.trainer.options import divide_pixels, trainer_options
from fluxlora.trainer.versions import release


class FilterModule:
    """Filters for the trainer's options and releases, and for credentials in settings."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "divide_pixels": lambda value, divisor: divide_pixels(value, int(divisor)),
            "secret_keys": lambda value: list(without_secrets(value).dropped),
            "simpletuner_release": lambda version: release(version).as_facts(),
            "trainer_options": trainer_options,
        }
