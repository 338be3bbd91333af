"""The trainer's options, as they are written into its files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fluxlora.trainer import change
from fluxlora.trainer.versions import RELEASES

# The keys of a data backend that hold an edge in pixels, or megapixels where `resolution_type` is area.
_EDGES = ("resolution", "minimum_image_size", "maximum_image_size", "target_downsample_size")


def divide_pixels(value: Any, divisor: int) -> Any:
    """Every edge divided by `divisor`, in a data backend, in a size such as "1024x1024,512x512", or in one edge.

    Edges are pixels; a backend whose `resolution_type` is area counts megapixels, which shrink by the divisor's square.
    """
    if isinstance(value, Mapping):
        by = divisor**2 if value.get("resolution_type") == "area" else divisor
        return dict(value) | {key: _divided(value[key], by) for key in _EDGES if value.get(key)}
    if isinstance(value, str):
        return re.sub(r"\d+", lambda match: str(_divided(int(match[0]), divisor)), value)
    return _divided(value, divisor)


def trainer_options(options: Mapping[str, Any], extra: Mapping[str, Any], version: str) -> dict[str, Any]:
    """The options under the names that the version knows, with `extra` over them; one set to null is left out.

    The names in `extra` may lack the dashes and are the user's own, so they stay as they are.
    """
    merged = {
        **_drawable(_known_names(options, version), version),
        **{f"--{str(name).lstrip('-')}": value for name, value in extra.items()},
    }
    return {name: value for name, value in merged.items() if value is not None}


def _drawable(options: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Without what makes the version draw nothing: see `embeds_nothing` in lines.py."""
    line = RELEASES.get(version)
    draws = "--validation_prompt" in options and not options.get("--caption_dropout_probability")
    if line is None or line.embeds_nothing or not draws:
        return dict(options)
    own = {name: value for name, value in options.items() if (name, value) != ("--validation_negative_prompt", "")}
    return own | {"--validation_disable_unconditional": True}


def _known_names(options: Mapping[str, Any], version: str) -> dict[str, Any]:
    """What was removed is left out: the plan has refused it wherever somebody wanted it."""
    named: dict[str, Any] = {}
    for name, value in options.items():
        moved = change(version, name.lstrip("-"))
        if moved is None:
            named[name] = value
        elif moved.new:
            named[f"--{moved.new}"] = value
    return named


def _divided(number: float, by: int) -> float:
    return number // by if isinstance(number, int) else number / by
