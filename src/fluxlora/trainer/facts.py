"""The options of each supported SimpleTuner, as scripts/make_trainer_facts.py read them off that version's parser."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from fluxlora import lines
from fluxlora.errors import InputError

# The values of simpletuner_version, and the release whose facts speak for each.
LINES: Mapping[str, str] = {version: line.parser for version, line in lines.LINES.items()}


@dataclass(frozen=True)
class Option:
    """One option of config.json."""

    # int, float, str; `bool` is a switch, `flag` one that takes no value, `any` a switch or a text, `list` has commas.
    type: str
    choices: tuple[Any, ...] = ()
    default: Any = None
    required: bool = False
    aliases: tuple[str, ...] = ()
    # Choices that exist on a GPU alone, and from which compute capability on (its first number; 0 for any).
    gpu: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """What one release's parser answers."""

    version: str
    # Under every name that is understood, aliases too.
    options: Mapping[str, Option]
    # Left out of config.json before the parser sees it, without a word.
    ignored: frozenset[str] = frozenset()
    # Options that may be a mapping; any other mapping is left out without a word.
    mappings: frozenset[str] = frozenset()
    # What the code of its data backends ever asks a mapping for, and the choices that it lists for some of it.
    backend_keys: frozenset[str] = frozenset()
    backend_choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def knows(self, name: str) -> bool:
        return name in self.options


@cache
def facts(line: str) -> Facts:
    """The facts that speak for a value of simpletuner_version."""
    if line not in LINES:
        raise InputError(f"There is no SimpleTuner {line!r} here.", hint=f"Choose one of {', '.join(LINES)}.")
    read = json.loads((files(__package__) / f"{LINES[line]}.json").read_text(encoding="utf-8"))
    options: dict[str, Option] = {}
    for name, found in read["options"].items():
        option = Option(**found | {key: tuple(found.get(key, ())) for key in ("choices", "aliases")})
        options |= dict.fromkeys((name, *option.aliases), option)
    options |= {name: options[target] for name, target in read["translated"].items()}
    return Facts(
        read["version"],
        options,
        frozenset(read["ignored"]),
        frozenset(read["mappings"]),
        frozenset(read["backend_keys"]),
        {key: tuple(choices) for key, choices in read["backend_choices"].items()},
    )
