"""Filters for the templates of the trainer's files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fluxlora.options import divide_pixels, trainer_options


class FilterModule:
    """What fluxlora.options decides, for Jinja to print."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {
            "divide_pixels": lambda value, divisor: divide_pixels(value, int(divisor)),
            "trainer_options": trainer_options,
        }
