"""Filters for the trainer's files, its environment and its instance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fluxlora.settings.credentials import without_secrets
from fluxlora.trainer.options import divide_pixels, trainer_options
from fluxlora.trainer.versions import release


def set_only(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The variables that have a value: an empty one would hide what somebody else sets."""
    return {name: value for name, value in variables.items() if value}


def gpus_below(gpus: Sequence[Mapping[str, Any]], capability: object) -> list[str]:
    """The names of the GPUs whose compute capability is known and lower than this."""
    return [gpu["name"] for gpu in gpus if (own := gpu["compute_capability"]) and _parts(own) < _parts(capability)]


def _parts(version: object) -> list[int]:
    return [int(part) for part in str(version).split(".")]


def foreign_files(found: Sequence[Mapping[str, Any]], ours: Mapping[str, str]) -> list[str]:
    """Of the results of stat in a loop the files that are there and do not have the checksum of one of ours.

    A link or a folder has no checksum, and so is nobody's but somebody's own.
    """
    there = [result for result in found if result["stat"]["exists"]]
    return sorted(result["item"] for result in there if result["stat"].get("checksum") not in ours.values())


class FilterModule:
    """What the trainer's options and versions, and the credentials among the settings, come to, for Jinja to print."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {
            "foreign_files": foreign_files,
            "gpus_below": gpus_below,
            "set_only": set_only,
            "divide_pixels": lambda value, divisor: divide_pixels(value, int(divisor)),
            "secret_keys": lambda value: list(without_secrets(value).dropped),
            "simpletuner_release": lambda version: release(version).as_facts(),
            "trainer_options": trainer_options,
        }
