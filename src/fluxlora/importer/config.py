"""Converts the options of a config.json to present names and, if there is one, to a variable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from fluxlora.errors import InputError
from fluxlora.importer.notes import Notes, elsewhere, shown
from fluxlora.settings.guide import ABSENT, CONFIG, RUN, Departure, as_read, variable
from fluxlora.trainer import Option, change, check_config, facts

# Options that depend on the instance, and the guide's values that mean the same.
_OURS: Mapping[str, str] = {
    "data_backend_config": "config/multidatabackend.json",
    "lycoris_config": "config/lycoris_config.json",
    "output_dir": "/root/SimpleTuner/output/models",
    "webhook_config": "",
    "resume_from_checkpoint": "latest",
}
# If these are missing, fluxlora's value is used: they decide where a run is stored and that it reaches its end, not
# what it learns.
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
    """Return the options by the names that the release knows and the variables have, with converted values."""
    values: dict[str, Any] = {}
    along: dict[str, Any] = {}
    for key, value in config.items():
        name = key.strip().lstrip("-")
        # SimpleTuner removes these before it checks the name.
        if value is None or value == "":
            continue
        for option, meant in _renamed(name, value, line, along, notes):
            spelt = _spelt(option, line, known)
            if spelt != option:
                notes.renamed(name, f"{spelt}, by which fluxlora writes the same option.")
            if wrong := [problem for problem in check_config(line, {option: meant}) if problem.option == option]:
                notes.dropped(name, str(wrong[0]))
                continue
            if spelt in values:
                notes.dropped(name, f"set twice; the later value {shown(meant)} counts.")
            try:
                values[spelt] = _cast(facts(line).options[option], meant)
            except (TypeError, ValueError):
                notes.dropped(name, f"{shown(meant)} is not a possible value.")
    if not values:
        raise InputError("None of the options in the config.json is one of SimpleTuner's: is it the right file?")
    return values | along


def _renamed(name: str, value: Any, line: str, along: dict[str, Any], notes: Notes) -> Iterator[tuple[str, Any]]:
    known = facts(line)
    moved = change(line, name)
    if name in known.ignored:
        notes.dropped(name, f"SimpleTuner {known.version} ignores it in a config.json without a message.")
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
    """Return the name that a variable has, of all names that the parser accepts for an option."""
    options = facts(line).options
    same = [name for name, value in options.items() if value is options[option]]
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
    """Set SimpleTuner's default, and not the guide's value, for options that the file does not have."""
    settled = {departure.key for departure in CONFIG if departure.guide == ABSENT} | _KEPT_APART | set(_OURS)
    for option, fact in facts(line).options.items():
        ours = base.get(variable(option) or "")
        # SimpleTuner replaces an empty text by its default, which is not known.
        if fact.default is None or ours in (None, "") or option in values or option in settled:
            continue
        if as_read(ours) != as_read(fact.default):
            values[option] = fact.default
            notes.added(
                option, fact.default, f"SimpleTuner's default, because the file does not set it; the guide has {ours}."
            )


def apply_corrections(
    values: dict[str, Any], line: str, name: str, departures: Iterable[Departure], notes: Notes
) -> None:
    """Correct the guide's mistakes and values of another machine; the run is called `name`."""
    if (family := values.get("model_family", "flux")) != "flux":
        raise InputError(f"model_family is {shown(family)!r}: fluxlora trains only FLUX.1.")
    _schedule(values, line, notes)
    _length(values, notes)
    for option, same in _OURS.items():
        if option in values and values[option] != same:
            notes.dropped(option, "fluxlora has its own place for it on the instance.")
        values.pop(option, None)
    for option, value in list(values.items()):
        if elsewhere(value) and option != "validation_prompt":
            notes.path(option, value)
            del values[option]
    if values.get("hub_model_id") == name:
        del values["hub_model_id"]
    for departure in departures:
        if departure.key in values and as_read(values[departure.key]) == as_read(departure.guide):
            ours = name if departure.ours == RUN else departure.ours
            if ours != values[departure.key]:
                notes.corrected(departure.key, values[departure.key], ours, departure.reason)
            del values[departure.key]
        elif departure.guide == ABSENT and departure.key not in values and departure.key not in _OURS:
            notes.added(departure.key, departure.ours, departure.reason)


def _schedule(values: dict[str, Any], line: str, notes: Notes) -> None:
    """Use only one of the fixed and the automatic shift; the fixed one is the default."""
    fixed = facts(line).options["flow_schedule_shift"].default
    if values.setdefault("flow_schedule_auto_shift", False):
        if "flow_schedule_shift" not in values:
            notes.added("flow_schedule_shift", 0, "A fixed shift, which excludes the automatic one, is on by default.")
        values.setdefault("flow_schedule_shift", 0.0)
    elif "flow_schedule_shift" not in values:
        notes.added("flow_schedule_shift", fixed, "SimpleTuner's default without an automatic shift.")
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
    """Return the values that differ from a run's defaults; options without a variable are in
    simpletuner_extra_config."""
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
