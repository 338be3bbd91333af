"""Presets: which there are, and which may stand together."""

from __future__ import annotations

import difflib
import itertools
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fluxlora.errors import InputError

# Added where no chosen preset says what is trained at which size.
DEFAULT = "1024"
# The variable that makes a preset a resolution preset.
DATASETS = "simpletuner_datasets"
# The variable that all presets of a kind set, so that no two of a kind combine; the first that a preset sets counts.
KINDS: Mapping[str, str] = {
    DATASETS: "resolution",
    "simpletuner_lora_type": "adapter",
    "simpletuner_flux_lora_target": "target",
    "simpletuner_lora_rank": "rank",
    "plan_card_gb": "card",
    "simpletuner_max_train_steps": "length",
    "simpletuner_learning_rate": "learning rate",
}
# What only a LoRA of peft reads.
LORA_ONLY = frozenset({"simpletuner_lora_rank", "simpletuner_flux_lora_target"})

_PREFIX = "preset_"
# libyaml's where PyYAML was built with it: eight times as fast, and the presets are read at every call.
_LOADER: type[yaml.SafeLoader | yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Setting:
    """A variable that a preset sets, and why."""

    variable: str
    value: Any
    reason: str


@dataclass(frozen=True)
class Preset:
    """A preset as its file tells it; the reasons are the file's comments."""

    name: str
    kind: str
    purpose: str
    settings: tuple[Setting, ...]

    def lines(self) -> list[str]:
        """The preset as a person reads it."""
        told = [f"{self.name}, {self.kind}", *_indented(textwrap.fill(self.purpose, 100))]
        for each in self.settings:
            told += _indented(textwrap.fill(each.reason, 100, initial_indent="# ", subsequent_indent="# "))
            told += _indented(yaml.safe_dump({each.variable: each.value}, sort_keys=False, width=100))
        return told


@dataclass(frozen=True)
class Shown:
    """Presets that were asked for, and what they are together: the run's presets, or why they do not combine."""

    presets: tuple[Preset, ...]
    together: tuple[str, ...] = ()
    refused: str = ""

    def lines(self) -> list[str]:
        """All of them in a line each, by kind, or some with all they set."""
        if not self.together and not self.refused:
            kinds = [*KINDS.values(), "other"]
            ordered = sorted(self.presets, key=lambda preset: kinds.index(preset.kind))
            return [f"{each.kind:14}{each.name:12}{_first_sentence(each.purpose)}" for each in ordered]
        last = self.refused or f"Together a run has {' + '.join(self.together)}."
        return [line for each in self.presets for line in (*each.lines(), "")] + [last]


def available(project_dir: Path) -> tuple[str, ...]:
    """The names of the presets: one file group_vars/preset_NAME.yml each."""
    return tuple(sorted(file.stem.removeprefix(_PREFIX) for file in (project_dir / "group_vars").glob("preset_*.yml")))


def parse(presets: str | int | Sequence[Any]) -> tuple[str, ...]:
    """The names in "512,lokr", "512+lokr" or a list, each once, in the order written; 512 may be a number."""
    if not isinstance(presets, str | int | list | tuple):
        raise InputError(f"Presets are named as in 512,lokr or in a list, not {presets!r}.", code="unknown_preset")
    words = str(presets).replace("+", ",").split(",") if isinstance(presets, str | int) else map(str, presets)
    return tuple(dict.fromkeys(word.strip() for word in words if word.strip()))


def resolve(presets: str | int | Sequence[Any], project_dir: Path) -> tuple[str, ...]:
    """The presets a run has: those chosen, and the default one where none of them is a resolution preset.

    Raises InputError for an unknown preset and for two that set one variable.
    """
    chosen = parse(presets)
    known = available(project_dir)
    for name in chosen:
        _require(name, known)
    settings = {name: variables(name, project_dir) for name in chosen}
    if not any(DATASETS in values for values in settings.values()):
        if DEFAULT not in known:
            raise InputError(f"group_vars/{_PREFIX}{DEFAULT}.yml is missing, the preset that every run starts from.")
        settings = {DEFAULT: variables(DEFAULT, project_dir), **settings}
    _refuse_conflicts(settings)
    _refuse_pointless(settings)
    return tuple(settings)


def show(presets: str | int | Sequence[Any], project_dir: Path) -> Shown:
    """The presets of these names, or all; raises InputError for an unknown one, not for a conflict."""
    names = parse(presets)
    found = tuple(describe(name, project_dir) for name in names or available(project_dir))
    if not names:
        return Shown(found)
    try:
        return Shown(found, together=resolve(names, project_dir))
    except InputError as error:
        return Shown(found, refused=str(error))


def describe(name: str, project_dir: Path) -> Preset:
    """What a preset sets and why. Raises InputError for an unknown one."""
    _require(name, available(project_dir))
    return described(project_dir / "group_vars" / f"{_PREFIX}{name}.yml", name)


def described(file: Path, name: str) -> Preset:
    """A file of variables, with the comments above them as reasons."""
    values = variables_of(file)
    purpose, reasons = _comments(file.read_text(encoding="utf-8"))
    kind = next((kind for variable, kind in KINDS.items() if variable in values), "other")
    return Preset(name, kind, purpose, tuple(Setting(key, values[key], reasons.get(key, "")) for key in values))


def variables(preset: str, project_dir: Path) -> dict[str, Any]:
    """What a preset sets, as its file has it. Raises InputError where the file is no mapping."""
    return variables_of(project_dir / "group_vars" / f"{_PREFIX}{preset}.yml")


def variables_of(file: Path) -> dict[str, Any]:
    """What a file of variables sets. Raises InputError where it is no mapping."""
    try:
        loaded = yaml.load(file.read_text(encoding="utf-8"), _LOADER)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{file} cannot be read: {reason}", code="bad_yaml") from error
    if not isinstance(loaded or {}, dict):
        raise InputError(f"{file} must hold a mapping of variables, not a {type(loaded).__name__}.", code="bad_yaml")
    return dict(loaded or {})


def _require(name: str, known: Sequence[str]) -> None:
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1)
        raise InputError(
            f"There is no preset {name!r}" + (f", did you mean {nearest[0]!r}?" if nearest else "."),
            hint=f"The presets are {', '.join(known) or 'none: group_vars/preset_*.yml is empty'}.",
            code="unknown_preset",
        )


def _refuse_conflicts(settings: Mapping[str, Mapping[str, Any]]) -> None:
    for one, other in itertools.combinations(settings, 2):
        if both := [variable for variable in settings[one] if variable in settings[other]]:
            raise InputError(
                f"The presets {one} and {other} cannot be combined: both set {', '.join(both)}.",
                hint="Choose one of them; a value of your own goes to the run's host variables or to -e.",
                code="preset_conflict",
            )


def _refuse_pointless(settings: Mapping[str, Mapping[str, Any]]) -> None:
    lycoris = [name for name, values in settings.items() if values.get("simpletuner_lora_type") == "lycoris"]
    for name, values in settings.items():
        if lycoris and (unread := sorted(LORA_ONLY & set(values))):
            raise InputError(
                f"The presets {lycoris[0]} and {name} cannot be combined: {name} sets {', '.join(unread)}, which "
                f"a LoRA alone reads, and {lycoris[0]} trains with LyCORIS, whose own settings say what it changes.",
                hint="Choose one of them, or change simpletuner_lycoris.",
                code="preset_conflict",
            )


def _comments(text: str) -> tuple[str, dict[str, str]]:
    """The comment that opens a file, and the one above each further top-level variable."""
    opening: str | None = None
    comments: dict[str, str] = {}
    pending: list[str] = []
    for line in text.splitlines():
        if line.startswith("#"):
            pending.append(line.removeprefix("#").strip())
        elif pending:
            key = re.match(r"(\w+):", line)
            if opening is None:
                opening = " ".join(pending)
            elif key:
                comments[key[1]] = " ".join(pending)
            pending = []
    return opening or "", comments


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=\.)\s", text, maxsplit=1)[0]


def _indented(text: str) -> list[str]:
    return textwrap.indent(text, "  ").splitlines()
