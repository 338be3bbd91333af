"""Whether a config.json fits a SimpleTuner: names, types and choices as that version's own parser judges them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from fluxlora.trainer.changes import change
from fluxlora.trainer.facts import Facts, Option, facts

_TRUE = ("1", "true", "yes", "y", "on")
_FALSE = ("0", "false", "no", "n", "off")
# Longer lists of choices are shown as what is near the wrong one.
_SHOWN = 12
_WANTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "flag": "true or false",
    "str": "a text",
}


@dataclass(frozen=True)
class Problem:
    """One thing that the trainer would refuse, or leave out without a word."""

    # unknown, renamed, removed, ignored, missing, type, choice or gpu.
    kind: str
    # Without dashes.
    option: str
    # A sentence that names the option, for people.
    message: str

    def __str__(self) -> str:
        return self.message


def check_config(line: str, config: Mapping[str, Any], *, gpu: bool = True) -> list[Problem]:
    """Every problem of a config.json, its keys with or without dashes, with a value of simpletuner_version.

    `gpu` is false where the trainer runs without one, which takes some choices away.
    """
    known = facts(line)
    problems = []
    given: set[str] = set()
    for key, value in config.items():
        name = str(key).strip().lstrip("-")
        given.add(name)
        # Neither null nor an empty text reaches the parser.
        if value is not None and value != "" and (found := _problem(line, known, name, value, gpu)):
            problems.append(found)
    problems += [
        Problem("missing", name, f"SimpleTuner {known.version} does not start without the option {name}.")
        for name, option in known.options.items()
        if option.required and name not in given and given.isdisjoint(option.aliases)
    ]
    return problems


def check_backends(line: str, backends: Iterable[Mapping[str, Any]]) -> list[Problem]:
    """Every problem of a multidatabackend.json's entries: keys that nothing reads, and choices that there are not."""
    known = facts(line)
    return [
        found
        for number, backend in enumerate(backends, 1)
        for key, value in backend.items()
        if (found := _backend_problem(known, str(backend.get("id", number)), str(key), value))
    ]


def _backend_problem(known: Facts, backend: str, key: str, value: Any) -> Problem | None:
    if key not in known.backend_keys:
        near = get_close_matches(key, known.backend_keys, n=1)
        advice = f"did you mean {near[0]}?" if near else "remove it."
        message = f"SimpleTuner {known.version} never reads the key {key} of the data backend {backend}: {advice}"
        return Problem("unknown", key, message)
    choices = known.backend_choices.get(key)
    if choices and value is not None and value not in choices:
        start = f"The data backend {backend} has the {key} {value!r}"
        return Problem("choice", key, f"{start}, and SimpleTuner {known.version} only {', '.join(choices)}.")
    return None


def _problem(line: str, known: Facts, name: str, value: Any, gpu: bool) -> Problem | None:
    if name in known.ignored:
        message = f"SimpleTuner {known.version} leaves {name} in config.json out without a word: remove it"
        return Problem("ignored", name, f"{message}, or set it in a data backend if it is one of theirs.")
    option = known.options.get(name)
    if option is None:
        return _unknown(line, known, name)
    if isinstance(value, Mapping):
        if name in known.mappings:
            return None
        return Problem(
            "type", name, f"The option {name} of SimpleTuner {known.version} wants {_wanted(option)}, no mapping."
        )
    for each in value if isinstance(value, list | tuple) and name not in known.mappings else [value]:
        if found := _value_problem(known, name, option, each, gpu):
            return found
    return None


def _unknown(line: str, known: Facts, name: str) -> Problem:
    start = f"SimpleTuner {known.version} has no option {name}"
    if moved := change(line, name):
        if moved.new is None:
            return Problem("removed", name, f"{start}: {moved.why}. Remove it.")
        along = " and ".join(f"{option}: {value}" for option, value in moved.also.items())
        wanted = f"write {moved.new}" + (f", with {along}" if along else "")
        return Problem("renamed", name, f"{start}: {moved.why}. Instead, {wanted}.")
    near = get_close_matches(name, known.options, n=1)
    return Problem("unknown", name, f"{start}: {f'did you mean {near[0]}?' if near else 'remove it.'}")


def _value_problem(known: Facts, name: str, option: Option, value: Any, gpu: bool) -> Problem | None:
    start = f"The option {name} of SimpleTuner {known.version}"
    try:
        values = list(_converted(option, value))
    except ValueError:
        return Problem("type", name, f"{start} wants {_wanted(option)}, not {value!r}.")
    for each in values:
        if option.choices and each not in option.choices:
            choices = [str(choice) for choice in option.choices]
            near = get_close_matches(str(each), choices) if len(choices) > _SHOWN else []
            offered = f"near it are {', '.join(near)}" if near else f"it has {', '.join(choices)}"
            return Problem("choice", name, f"{start} has no choice {each!r}: {offered}.")
        if not gpu and each in option.gpu:
            return Problem("gpu", name, f"{start} offers {each!r} on a GPU alone, and this run has none.")
    return None


def _converted(option: Option, value: Any) -> Iterator[Any]:
    """The values as the parser compares them with its choices; ValueError where it cannot read them."""
    text = str(value).strip()
    switch = isinstance(value, bool) or text.lower() in ("true", "false")
    if option.type == "flag" and not switch:
        raise ValueError(value)
    if option.type == "bool" and not switch and text.lower() not in (*_TRUE, *_FALSE):
        raise ValueError(value)
    # True stands in the command line as the bare name, which only a switch understands.
    if option.type not in ("flag", "bool", "any") and switch:
        raise ValueError(value)
    if option.type == "int":
        yield int(text)
    elif option.type == "float":
        yield float(text)
    elif option.type == "list":
        yield from (each.strip() for each in text.split(","))
    elif option.type == "str":
        yield text


def _wanted(option: Option) -> str:
    return _WANTED.get(option.type, "a text or true or false" if option.type == "any" else "names separated by commas")
