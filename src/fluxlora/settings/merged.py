"""The merged variables of a run with their types. A value that cannot be converted is reported once, and the default is
used."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

_Number = TypeVar("_Number", int, float)


class Messages(list[str]):
    """Sentences without repetitions."""

    def add(self, message: str) -> None:
        """Add a sentence."""
        if message not in self:
            self.append(message)


class Settings:
    """The variables by the names of SimpleTuner's options; `errors` has the mistakes in those that were read."""

    def __init__(self, variables: Mapping[str, Any]) -> None:
        self.errors = Messages()
        extra = variables.get("simpletuner_extra_config") or {}
        if not isinstance(extra, Mapping):
            self.errors.add(f"simpletuner_extra_config must be a mapping of options, not {extra!r}.")
            extra = {}
        # Takes precedence over everything else; its names may have dashes or not.
        over = {f"simpletuner_{str(name).lstrip('-')}": value for name, value in extra.items() if value is not None}
        self._variables = {**variables, **over}

    def whole(self, option: str, default: int | None = None, *, least: int = 1) -> int:
        """Return a whole number of an option."""
        return self._number(int, option, default, least)

    def number(self, option: str, default: float, *, least: float = 0.0) -> float:
        """Return a number of an option."""
        return self._number(float, option, default, least)

    def text(self, option: str, default: str = "") -> str:
        """Return the text of an option."""
        value = self._variables.get(f"simpletuner_{option}")
        return default if value is None else str(value)

    def flag(self, option: str, default: bool = False) -> bool:
        """Return whether an option is on."""
        return self.text(option, str(default)).lower() in ("true", "yes", "on", "1")

    def raw(self, name: str) -> Any:
        """Return a variable without a conversion; None if it is not set."""
        return self._variables.get(name)

    def datasets(self) -> list[Mapping[str, Any]]:
        """Return the enabled data backends of images, unchanged."""
        entries = self._variables.get("simpletuner_datasets")
        if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
            self.errors.add("simpletuner_datasets must be a list of data backends; a resolution preset sets it.")
            return []
        images = [entry for entry in entries if entry.get("dataset_type", "image") == "image"]
        return [entry for entry in images if not entry.get("disabled", False)]

    def _number(self, kind: type[_Number], option: str, default: _Number | None, least: _Number) -> _Number:
        """Return a number, also from text, because YAML reads 1e-4 as text."""
        name = f"simpletuner_{option}"
        value = self._variables.get(name, default)
        fallback = least if default is None else default
        if value is None:
            self.errors.add(f"{name} is not set: group_vars/training.yml, which sets it, was not loaded for this run.")
            return fallback
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number) or number < least or (kind is int and number != int(number)):
            what = "a whole number" if kind is int else "a number"
            self.errors.add(f"{name} must be {what} of at least {least}, not {value!r}.")
            return fallback
        return kind(number)
