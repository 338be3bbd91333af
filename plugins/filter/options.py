"""Filters for the templates of the trainer's files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fluxlora.lines import line
from fluxlora.options import divide_pixels, trainer_options


class FilterModule:
    """What fluxlora.options and fluxlora.lines decide, for Jinja to print."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {
            "divide_pixels": lambda value, divisor: divide_pixels(value, int(divisor)),
            "simpletuner_line": lambda version: line(version).as_facts(),
            "trainer_options": trainer_options,
        }
