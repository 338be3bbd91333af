"""The variables that a user may set, and what is wrong with those that were: unknown names and impossible values."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.common.parameters import DEFAULT_TYPE_VALIDATORS

from fluxlora.settings.presets import variables_of
from fluxlora.text import one_line

# Where a specification lies in the project. What two of them name belongs to the first.
SPECIFICATIONS = ("playbooks/meta/argument_specs.yml", "roles/*/meta/argument_specs.yml")
# Of two variables that are equally near to a misspelt one, the one that people set.
_OWNERS = ("playbooks", "simpletuner", "provision", "plan", "dataset", "artifacts", "training")
# What the inventory of vast.ai sets for an instance; nobody else may.
INSTANCE_VARIABLES = frozenset(
    {
        "vastai_instance", "vastai_id", "vastai_label", "vastai_run", "vastai_presets", "vastai_status",
        "vastai_intended_status", "vastai_status_message", "vastai_gpu_name", "vastai_num_gpus", "vastai_gpu_ram_mb",
        "vastai_cpu_ram_mb", "vastai_cpu_cores", "vastai_disk_gb", "vastai_price_per_hour",
        "vastai_storage_price_per_hour",
        "vastai_inet_down_price_per_gb", "vastai_inet_up_price_per_gb", "vastai_is_bid", "vastai_geolocation",
        "vastai_machine_id", "vastai_host_id", "vastai_started_at", "vastai_ends_at", "vastai_reliability",
        "vastai_cuda_max_good", "vastai_compute_cap", "vastai_driver_version", "vastai_image", "vastai_ssh_direct",
    }
)  # fmt: skip

# Of many names that share a word.
_OFFERED = 3

_KINDS: Mapping[str, str] = {
    "bool": "true or false",
    "dict": "a mapping",
    "float": "a number",
    "int": "a whole number",
    "list": "a list",
    "path": "a path",
    "str": "a text",
}
_TRAINING = "group_vars/training.yml sets it, for the hosts of the group training."
_REMEDY = dict.fromkeys(
    ("simpletuner_datasets", "simpletuner_resolution", "simpletuner_validation_resolution"),
    "a preset of a resolution sets it, 1024 or 512 for example.",
)
# Types that any text has.
_TEXTS = ("path", "raw", "str")
_TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_WORD = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True)
class Variable:
    """A variable and the values that it takes, in the words of Ansible's argument specifications."""

    name: str
    # The role, or `playbooks`.
    owner: str
    type: str = "str"
    # Type of a list's elements; empty for any.
    elements: str = ""
    choices: tuple[Any, ...] = ()
    # Whether its value is never shown or kept.
    secret: bool = False
    # Whether its role has no default for it.
    required: bool = False
    # Whether its role's default is null, which then stands for the trainer's own value.
    nullable: bool = False

    @classmethod
    def of(cls, name: str, owner: str, option: Mapping[str, Any], *, nullable: bool = False) -> Variable:
        """A variable as one option of a specification describes it."""
        return cls(
            name,
            owner,
            option.get("type", "str"),
            option.get("elements", ""),
            tuple(option.get("choices") or ()),
            bool(option.get("no_log")),
            bool(option.get("required")),
            nullable,
        )

    @property
    def kind(self) -> str:
        """Its values in words: a whole number, one of present or absent."""
        if self.choices:
            return f"one of {', '.join(map(str, self.choices[:-1]))} or {self.choices[-1]}"
        if self.type == "list" and self.elements in _KINDS:
            return f"a list, each element {_KINDS[self.elements]}"
        return _KINDS.get(self.type, f"of type {self.type}")

    def takes(self, value: Any) -> bool:
        """Whether a value can be one of this variable's; text that Ansible converts counts as what it becomes."""
        if self.type == "raw" or (value is None and self.nullable):
            return True
        if not _is(self.type, value):
            return False
        if self.type != "list":
            return not self.choices or any(str(value) == str(choice) for choice in self.choices)
        parts = DEFAULT_TYPE_VALIDATORS["list"](value)
        return all(self._takes_element(part) for part in parts)

    def _takes_element(self, part: Any) -> bool:
        if self.elements and not _is(self.elements, part):
            return False
        return not self.choices or any(str(part) == str(choice) for choice in self.choices)


@dataclass(frozen=True)
class Setting:
    """A variable that somebody set, its value, and where: `-e`, `for the group training` or `for my-style`."""

    name: str
    value: Any
    where: str = "-e"


@dataclass(frozen=True)
class Misspelt:
    """A name that nothing reads, and the known names nearest to it, the nearest first."""

    name: str
    nearest: tuple[str, ...] = ()
    where: str = "-e"

    def __str__(self) -> str:
        place = "" if self.where == "-e" else f", set {self.where},"
        if self.nearest:
            return f"The variable {one_line(self.name)}{place} is unknown: did you mean {' or '.join(self.nearest)}?"
        extra = " An option of SimpleTuner without a variable goes into simpletuner_extra_config."
        return (
            f"The variable {one_line(self.name)}{place} is unknown: no role and no playbook reads one with a name like "
            f"it.{extra if self.name.startswith('simpletuner_') else ''}"
        )


def known(project_dir: Path) -> dict[str, Variable]:
    """Every variable that a role or a playbook of the project reads, by name. Raises InputError for a broken file."""
    found: dict[str, Variable] = {}
    for pattern in SPECIFICATIONS:
        for file in sorted(project_dir.glob(pattern)):
            owner = file.parents[1].name
            defaults = file.parents[1] / "defaults" / "main.yml"
            null = (
                {name for name, value in variables_of(defaults).items() if value is None} if defaults.is_file() else ()
            )
            for entry in (variables_of(file).get("argument_specs") or {}).values():
                for name, option in (entry.get("options") or {}).items():
                    found.setdefault(name, Variable.of(name, owner, option, nullable=name in null))
    return found


def misspelt(
    settings: Iterable[Setting], variables: Mapping[str, Variable], also: Collection[str] = ()
) -> tuple[Misspelt, ...]:
    """The settings whose names nothing reads: no role, no playbook, none of the names in `also`, no other setting.

    A setting that another one's template names is read by that one.
    """
    settings = tuple(settings)
    used = {name for setting in settings for name in _named_in(setting.value, setting.name)}
    return tuple(
        Misspelt(setting.name, nearest(setting.name, variables, also), setting.where)
        for setting in settings
        if setting.name not in variables and setting.name not in also and setting.name not in used
    )


def nearest(name: str, variables: Mapping[str, Variable], also: Collection[str] = ()) -> tuple[str, ...]:
    """The known names that somebody who wrote this one may have meant, the likeliest first; none when none is near."""
    plain = re.sub(r"\W+", "_", name).strip("_").lower()
    ordered = sorted([*variables, *also], key=lambda each: (_rank(variables.get(each)), each))
    if plain in ordered:
        return (plain,)
    # Without its role: max_train_steps.
    if whole := [f"{owner}_{plain}" for owner in _OWNERS if f"{owner}_{plain}" in variables]:
        return (whole[0],)
    # A part of some names: epochs; or of one that people set for every run: dataset.
    parts = [each for each in ordered if len(plain) > 2 and f"_{plain}_" in f"_{each}_"]
    for_runs = [each for each in parts if each in variables and variables[each].owner == "playbooks"]
    if for_runs:
        return tuple(for_runs[:_OFFERED])
    close = difflib.get_close_matches(plain, ordered, n=1, cutoff=0.75 if parts else 0.6)
    return tuple(close or parts[:_OFFERED])


def faults(
    settings: Iterable[Setting],
    variables: Mapping[str, Variable],
    also: Collection[str] = (),
    *,
    resolve: Callable[[Any], Any] | None = None,
) -> tuple[str, ...]:
    """What is wrong with the settings, a sentence for each: a name that nothing reads, or a value of a wrong type.

    `resolve` evaluates a template of -e and returns None where that cannot be done yet; other templates are judged
    where they are used.
    """
    settings = tuple(settings)
    wrong = [str(unknown) for unknown in misspelt(settings, variables, also)]
    for setting in settings:
        if variable := variables.get(setting.name):
            wrong += _wrong_value(setting, variable, resolve)
    return tuple(dict.fromkeys(wrong))


def of_roles(names: Iterable[str], variables: Mapping[str, Variable]) -> tuple[Misspelt, ...]:
    """The names that begin like a role's variable and are none, for playbooks with other variables of their own."""
    prefixes = tuple(f"{variable.owner}_" for variable in variables.values())
    return misspelt((Setting(name, None) for name in names if name.startswith(prefixes)), variables)


def missing(names: Collection[str], variables: Mapping[str, Variable]) -> tuple[str, ...]:
    """A sentence for each variable that a role requires and that is not among these names."""
    absent = [name for name, variable in variables.items() if variable.required and name not in names]
    return tuple(
        f"{name} is not set, and no role has a default for it: {_REMEDY.get(name, _TRAINING)}" for name in absent
    )


def is_template(value: Any) -> bool:
    """Whether Ansible evaluates something in this value."""
    return any(_TEMPLATE.search(text) for text in _texts(value))


def _wrong_value(setting: Setting, variable: Variable, resolve: Callable[[Any], Any] | None) -> Iterator[str]:
    value = setting.value
    if is_template(value):
        if setting.where != "-e" or resolve is None or (variable.type in _TEXTS and not variable.choices):
            return
        if (value := resolve(value)) is None:
            return
    if variable.takes(value):
        return
    place = "" if setting.where == "-e" else f", set {setting.where},"
    given = "" if variable.secret else f", not {_shown(value)}"
    yield f"{setting.name}{place} must be {variable.kind}{given}."


def _shown(value: Any) -> str:
    if value is None:
        return "nothing: leave the variable out"
    if isinstance(value, bool):
        return str(value).lower()
    return one_line(repr(str(value)) if isinstance(value, str) else value, 80)


def _is(kind: str, value: Any) -> bool:
    """Whether Ansible can make a value of this type of it, without taking one thing for another.

    Ansible itself takes true for 1, a list for the text of it, and `nan` for a number.
    """
    if value is None or (kind in ("int", "float") and isinstance(value, bool)):
        return False
    if kind in ("str", "path") and not isinstance(value, str | int | float):
        return False
    try:
        made = DEFAULT_TYPE_VALIDATORS[kind](value)
    # Decimals of more digits than can be converted overflow.
    except (TypeError, ValueError, OverflowError):
        return False
    return not isinstance(made, float) or math.isfinite(made)


def _rank(variable: Variable | None) -> int:
    return _OWNERS.index(variable.owner) if variable and variable.owner in _OWNERS else len(_OWNERS)


def _named_in(value: Any, own: str) -> Iterator[str]:
    """Words in the templates of a value, other than the variable's own name."""
    for text in _texts(value):
        for template in _TEMPLATE.findall(text):
            yield from (word for word in _WORD.findall(template) if word != own)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _texts(key)
            yield from _texts(part)
    elif isinstance(value, Sequence):
        for part in value:
            yield from _texts(part)
