"""The options of each supported SimpleTuner, as scripts/make_trainer_facts.py read them off that version's parser."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from fluxlora.errors import InputError
from fluxlora.trainer.versions import RELEASES


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
def facts(version: str) -> Facts:
    """The facts of one release. Raises InputError for a version that is not supported."""
    if version not in RELEASES:
        raise InputError(f"There is no SimpleTuner {version!r} here.", hint=f"Choose one of {', '.join(RELEASES)}.")
    read = json.loads((files(__package__) / f"{version}.json").read_text(encoding="utf-8"))
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
