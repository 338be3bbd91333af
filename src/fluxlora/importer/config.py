"""The options of a config.json: by the names of today, as our variables where there is one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from fluxlora.errors import InputError
from fluxlora.importer.notes import Notes, elsewhere, shown
from fluxlora.settings.guide import ABSENT, CONFIG, RUN, Departure, as_read, variable
from fluxlora.trainer import Option, change, check_config, facts

# What the instance decides, and the values of the guide that come to the same.
_OURS: Mapping[str, str] = {
    "data_backend_config": "config/multidatabackend.json",
    "lycoris_config": "config/lycoris_config.json",
    "output_dir": "/root/SimpleTuner/output/models",
    "webhook_config": "",
    "resume_from_checkpoint": "latest",
}
# Not in the file is as good as ours: these say where a run is kept and that it reaches its end, not what it learns.
_KEPT_APART = frozenset(
    {
        "hub_model_id",
        "tracker_project_name",
        "tracker_run_name",
        "checkpoints_total_limit",
        "resume_from_checkpoint",
        "checkpointing_use_tempdir",
        "ignore_final_epochs",
    }
)


def options(config: Mapping[str, Any], line: str, known: frozenset[str], notes: Notes) -> dict[str, Any]:
    """The options by the names that the line knows and our variables bear, their values cast."""
    values: dict[str, Any] = {}
    along: dict[str, Any] = {}
    for key, value in config.items():
        name = key.strip().lstrip("-")
        # SimpleTuner leaves these out before it looks at the name.
        if value is None or value == "":
            continue
        for option, meant in _renamed(name, value, line, along, notes):
            spelt = _spelt(option, line, known)
            if spelt != option:
                notes.renamed(name, f"{spelt}, by which fluxlora writes the same option.")
            if wrong := [each for each in check_config(line, {option: meant}) if each.option == option]:
                notes.dropped(name, str(wrong[0]))
                continue
            if spelt in values:
                notes.dropped(name, f"said twice; {shown(meant)}, which comes later, counts.")
            try:
                values[spelt] = _cast(facts(line).options[option], meant)
            except (TypeError, ValueError):
                notes.dropped(name, f"{shown(meant)} is no value for it.")
    if not values:
        raise InputError("None of the options in the config.json is one of SimpleTuner's: is it the right file?")
    return values | along


def _renamed(name: str, value: Any, line: str, along: dict[str, Any], notes: Notes) -> Iterator[tuple[str, Any]]:
    known = facts(line)
    moved = change(line, name)
    if name in known.ignored:
        notes.dropped(name, f"SimpleTuner {known.version} leaves it out of a config.json without a word.")
    elif known.knows(name):
        yield name, value
    elif moved is None:
        near = get_close_matches(name, known.options, n=1)
        advice = f"; did you mean {near[0]}?" if near else "."
        notes.dropped(name, f"SimpleTuner {known.version} has no such option{advice}")
    elif moved.new is None:
        notes.dropped(name, f"SimpleTuner {known.version} has no such option: {moved.why}.")
    else:
        notes.renamed(name, f"{moved.new}, as {moved.why}.")
        if as_read(value) is not False:
            along.update(moved.also)
        yield moved.new, value


def _spelt(option: str, line: str, known: frozenset[str]) -> str:
    """Of the names that the parser takes for one option, the one that a variable of ours bears."""
    options = facts(line).options
    same = [name for name, each in options.items() if each is options[option]]
    return next((name for name in [option, *same] if variable(name) in known), option)


def _cast(option: Option, value: Any) -> Any:
    if option.type in ("bool", "flag"):
        return str(value).strip().lower() in ("true", "1", "yes", "y", "on")
    if option.type == "int":
        return int(str(value))
    if option.type == "float":
        return float(value)
    return value if isinstance(value, bool | Mapping | list) else str(value)


def defaults(values: dict[str, Any], line: str, base: Mapping[str, Any], notes: Notes) -> None:
    """Where the file says nothing, SimpleTuner's default was trained with, and not the guide's value."""
    settled = {each.key for each in CONFIG if each.guide == ABSENT} | _KEPT_APART | set(_OURS)
    for option, fact in facts(line).options.items():
        ours = base.get(variable(option) or "")
        # Nobody says what an empty text means but SimpleTuner's default.
        if fact.default is None or ours in (None, "") or option in values or option in settled:
            continue
        if as_read(ours) != as_read(fact.default):
            values[option] = fact.default
            notes.added(option, fact.default, f"SimpleTuner's default, as the file says nothing; the guide has {ours}.")


def settle(values: dict[str, Any], line: str, name: str, departures: Iterable[Departure], notes: Notes) -> None:
    """Correct what the guide gets wrong and what belongs to another machine; the run is called `name`."""
    if (family := values.get("model_family", "flux")) != "flux":
        raise InputError(f"model_family is {shown(family)!r}: fluxlora trains FLUX.1 and nothing else.")
    _schedule(values, line, notes)
    _length(values, notes)
    for option, same in _OURS.items():
        if option in values and values[option] != same:
            notes.dropped(option, "fluxlora has a place of its own for it on the instance.")
        values.pop(option, None)
    for option, value in list(values.items()):
        if elsewhere(value) and option != "validation_prompt":
            notes.path(option, value)
            del values[option]
    if values.get("hub_model_id") == name:
        del values["hub_model_id"]
    for each in departures:
        if each.key in values and as_read(values[each.key]) == as_read(each.guide):
            ours = name if each.ours == RUN else each.ours
            if ours != values[each.key]:
                notes.corrected(each.key, values[each.key], ours, each.reason)
            del values[each.key]
        elif each.guide == ABSENT and each.key not in values and each.key not in _OURS:
            notes.added(each.key, each.ours, each.reason)


def _schedule(values: dict[str, Any], line: str, notes: Notes) -> None:
    """A fixed shift and the automatic one exclude each other; the fixed one is on where neither is said."""
    fixed = facts(line).options["flow_schedule_shift"].default
    if values.setdefault("flow_schedule_auto_shift", False):
        if "flow_schedule_shift" not in values:
            notes.added("flow_schedule_shift", 0, "A fixed shift, which excludes the automatic one, is on unless told.")
        values.setdefault("flow_schedule_shift", 0.0)
    elif "flow_schedule_shift" not in values:
        notes.added("flow_schedule_shift", fixed, "SimpleTuner's default, where no automatic shift is asked for.")
        values["flow_schedule_shift"] = fixed


def _length(values: dict[str, Any], notes: Notes) -> None:
    steps, epochs = (max(0, values.get(option) or 0) for option in ("max_train_steps", "num_train_epochs"))
    if steps and epochs:
        notes.corrected("num_train_epochs", epochs, 0, "SimpleTuner refuses it beside max_train_steps.")
    if not steps:
        # SimpleTuner's default is one epoch.
        values.update(max_train_steps=0, num_train_epochs=epochs or 1)
    elif "num_train_epochs" in values:
        values["num_train_epochs"] = 0


def variables(values: Mapping[str, Any], line: str, base: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """What differs from what a run has anyway; options without a variable under simpletuner_extra_config."""
    named: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for option, value in values.items():
        name = variable(option)
        if name in known:
            if as_read(base.get(name)) != as_read(value):
                named[name] = value
        elif as_read(facts(line).options[option].default) != as_read(value):
            extra[option] = value
    return named | ({"simpletuner_extra_config": extra} if extra else {})
