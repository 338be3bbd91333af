"""The variables that a user may set, and mistakes in the ones that are set: unknown names and impossible values."""

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

# The specifications in the project. A variable in two of them belongs to the first.
SPECIFICATIONS = ("playbooks/meta/argument_specs.yml", "roles/*/meta/argument_specs.yml")
# Of two variables that are equally similar to a misspelt one, the one that users set.
_OWNERS = ("playbooks", "simpletuner", "provision", "plan", "dataset", "artifacts", "training")
# Variables that only the inventory of vast.ai may set, for an instance.
INSTANCE_VARIABLES = frozenset(
    {
        "vastai_id", "vastai_label", "vastai_run", "vastai_presets", "vastai_status", "vastai_intended_status",
        "vastai_status_message", "vastai_gpu_name", "vastai_num_gpus", "vastai_gpu_ram_mb", "vastai_cpu_ram_mb",
        "vastai_cpu_cores", "vastai_disk_gb", "vastai_price_per_hour", "vastai_storage_price_per_hour",
        "vastai_inet_down_price_per_gb", "vastai_inet_up_price_per_gb", "vastai_is_bid", "vastai_geolocation",
        "vastai_machine_id", "vastai_host_id", "vastai_started_at", "vastai_ends_at", "vastai_reliability",
        "vastai_cuda_max_good", "vastai_compute_cap", "vastai_driver_version", "vastai_image", "vastai_ssh_direct",
    }
)  # fmt: skip

# How many of several names with a common word are suggested.
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
    "a resolution preset sets it, 1024 or 512 for example.",
)
# Types that accept any text.
_TEXTS = ("path", "raw", "str")
_TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_WORD = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True)
class Variable:
    """A variable and its possible values, with the names of Ansible's argument specifications."""

    name: str
    # The role, or `playbooks`.
    owner: str
    type: str = "str"
    # Type of a list's elements; empty for any.
    elements: str = ""
    choices: tuple[Any, ...] = ()
    # Whether its value is never printed or stored.
    secret: bool = False
    # Whether its role has no default for it.
    required: bool = False
    # Whether its role's default is null, which means the trainer's own value.
    nullable: bool = False

    @classmethod
    def of(cls, name: str, owner: str, option: Mapping[str, Any], *, nullable: bool = False) -> Variable:
        """Return the variable that an option of a specification describes."""
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
        """Return its values in words: a whole number, one of present or absent."""
        if self.choices:
            return f"one of {', '.join(map(str, self.choices[:-1]))} or {self.choices[-1]}"
        if self.type == "list" and self.elements in _KINDS:
            return f"a list, each element {_KINDS[self.elements]}"
        return _KINDS.get(self.type, f"of type {self.type}")

    def takes(self, value: Any) -> bool:
        """Return whether a value is possible; text counts as what Ansible converts it to."""
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
    """A variable that is set, its value, and the place: `-e`, `for the group training` or `for my-style`."""

    name: str
    value: Any
    where: str = "-e"


@dataclass(frozen=True)
class Misspelt:
    """A name that nothing reads, and the most similar known names, the most similar first."""

    name: str
    nearest: tuple[str, ...] = ()
    where: str = "-e"

    def __str__(self) -> str:
        place = "" if self.where == "-e" else f", set {self.where},"
        if self.nearest:
            return f"The variable {one_line(self.name)}{place} is unknown: did you mean {' or '.join(self.nearest)}?"
        extra = " An option of SimpleTuner without a variable goes into simpletuner_extra_config."
        return (
            f"The variable {one_line(self.name)}{place} is unknown: no role and no playbook reads one with a similar "
            f"name.{extra if self.name.startswith('simpletuner_') else ''}"
        )


def known(project_dir: Path) -> dict[str, Variable]:
    """Return every variable that a role or a playbook of the project reads, by name. Raises InputError for a broken
    file."""
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
    """Return the settings whose names nothing reads: no role, no playbook, none of the names in `also`, no other
    setting.

    A setting counts as read if the template of another one names it.
    """
    settings = tuple(settings)
    used = {name for setting in settings for name in _named_in(setting.value, setting.name)}
    return tuple(
        Misspelt(setting.name, nearest(setting.name, variables, also), setting.where)
        for setting in settings
        if setting.name not in variables and setting.name not in also and setting.name not in used
    )


def nearest(name: str, variables: Mapping[str, Variable], also: Collection[str] = ()) -> tuple[str, ...]:
    """Return the known names that this one may be meant to be, the likeliest first; empty if none is similar."""
    plain = re.sub(r"\W+", "_", name).strip("_").lower()
    ordered = sorted([*variables, *also], key=lambda name: (_rank(variables.get(name)), name))
    if plain in ordered:
        return (plain,)
    # Without its role: max_train_steps.
    if whole := [f"{owner}_{plain}" for owner in _OWNERS if f"{owner}_{plain}" in variables]:
        return (whole[0],)
    # A part of some names, such as epochs; or of one that users set for every run, such as dataset.
    parts = [name for name in ordered if len(plain) > 2 and f"_{plain}_" in f"_{name}_"]
    for_runs = [name for name in parts if name in variables and variables[name].owner == "playbooks"]
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
    """Return a sentence for each mistake in the settings: a name that nothing reads, or a value of a wrong type.

    `resolve` evaluates a template of -e and returns None if that is not possible yet. Other templates are checked
    where they are used.
    """
    settings = tuple(settings)
    wrong = [str(unknown) for unknown in misspelt(settings, variables, also)]
    for setting in settings:
        if variable := variables.get(setting.name):
            wrong += _wrong_value(setting, variable, resolve)
    return tuple(dict.fromkeys(wrong))


def of_roles(names: Iterable[str], variables: Mapping[str, Variable]) -> tuple[Misspelt, ...]:
    """Return the names that begin like a role's variable but are none, for playbooks that have other variables, too."""
    prefixes = tuple(f"{variable.owner}_" for variable in variables.values())
    return misspelt((Setting(name, None) for name in names if name.startswith(prefixes)), variables)


def missing(names: Collection[str], variables: Mapping[str, Variable]) -> tuple[str, ...]:
    """Return a sentence for each variable that a role requires and that is not among these names."""
    absent = [name for name, variable in variables.items() if variable.required and name not in names]
    return tuple(
        f"{name} is not set, and no role has a default for it: {_REMEDY.get(name, _TRAINING)}" for name in absent
    )


def is_template(value: Any) -> bool:
    """Return whether Ansible evaluates something in this value."""
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
    """Return whether Ansible can convert a value to this type without a change of meaning.

    Ansible itself accepts true as 1, a list as text, and `nan` as a number.
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
    """Return the words in the templates of a value, other than the variable's own name."""
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
