"""Puts an import together: presets, variables, and a note for every key that changed."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluxlora import guide, presets
from fluxlora.errors import InputError
from fluxlora.imported import backends, config
from fluxlora.imported.given import Given
from fluxlora.imported.notes import Note, Notes, shown
from fluxlora.imported.texts import dump
from fluxlora.labels import Label

_WIDTH = 118


@dataclass(frozen=True)
class Imported:
    """A run, as its host variables say it."""

    name: str
    presets: tuple[str, ...]
    # What the presets and the guide's numbers do not say already.
    variables: Mapping[str, Any]
    notes: tuple[Note, ...]

    def text(self) -> str:
        """The file of host variables. Text of somebody's file that looks like a template is marked as none."""
        said = [
            textwrap.fill(str(note), _WIDTH, initial_indent="# - ", subsequent_indent="#   ") for note in self.notes
        ]
        opening = "# Imported by `fluxlora import`" + (", which changed:" if said else ".")
        variables = {"run_presets": ",".join(self.presets), **self.variables}
        return "\n".join(["---", opening, *said, dump(variables, _WIDTH)])

    def path(self, folder: Path) -> Path:
        """Where Ansible finds the host variables."""
        return folder / f"{self.name}.yml"

    def lines(self, folder: Path) -> list[str]:
        """What became of the files, as a person reads it."""
        own = f", and {len(self.variables)} variables of its own" if self.variables else ", and nothing else"
        return [
            *map(str, self.notes),
            f"{self.path(folder)} says it: presets {' + '.join(self.presets)}{own}.",
            f"Plan it:    fluxlora plan DATASET --name {self.name}",
            f"Try it out: fluxlora train DATASET --name {self.name} --rehearse",
        ]

    def as_facts(self, folder: Path) -> dict[str, Any]:
        """For JSON."""
        return {
            "run": self.name,
            "path": str(self.path(folder)),
            "presets": list(self.presets),
            "variables": dict(self.variables),
            "notes": [{"kind": str(note.kind), "key": shown(note.key), "why": note.why} for note in self.notes],
            "lines": self.lines(folder),
        }


def write(run: Imported, folder: Path, *, dry_run: bool = False) -> bool:
    """Write the host variables; whether that changes anything. Raises InputError over a file with other content."""
    file, text = run.path(folder), run.text()
    try:
        if os.path.lexists(file):
            if file.read_text(encoding="utf-8", errors="replace") == text:
                return False
            raise InputError(
                f"{file} is already there and says something else.",
                hint="Move it away, or import under another name with --name.",
                code="already_there",
            )
        if not dry_run:
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error.strerror}.") from error
    return True


def convert(given: Given, project: Path, *, name: str | None = None, version: str | None = None) -> Imported:
    """The run that the files describe, for a value of simpletuner_version or the usual one.

    Raises InputError for what fluxlora cannot train.
    """
    notes = Notes()
    known = presets.known_variables(project)
    training = presets.variables_of(project / "group_vars" / "training.yml")
    line = version or str(training["simpletuner_version"])
    values = config.options(given.config, line, known, notes)
    config.defaults(values, line, training, notes)
    name = _name(values, name)

    # Who wrote lycoris chose the rate for it; else it is a LoRA's.
    own_rate = values.get("lora_type") == "lycoris"
    adapter, settings = _adapter(given, values, project, notes)
    chosen = _backends(given, values, project, training, notes)
    taken = (chosen.preset, *adapter)
    departures = [*guide.CONFIG, *(each for preset in taken for each in guide.PRESETS[preset])]
    departures = [each for each in departures if not (own_rate and each.key == "learning_rate")]
    config.settle(values, line, name, departures, notes)
    base = training | {key: value for preset in taken for key, value in presets.variables(preset, project).items()}
    chosen_line = {"simpletuner_version": line} if line != training["simpletuner_version"] else {}
    variables = {**chosen_line, **config.variables(values, line, base, known), **chosen.variables, **settings}
    return Imported(name, taken, variables, tuple(notes))


def _name(values: Mapping[str, Any], name: str | None) -> str:
    """The one that was asked for, else what the adapter is called on the Hub, else in the tracker."""
    if name:
        return Label(name).run
    for option in ("hub_model_id", "tracker_run_name"):
        try:
            return Label(str(values[option]).rpartition("/")[2]).run
        except (KeyError, InputError):
            continue
    return "imported"


def _adapter(
    given: Given, values: dict[str, Any], project: Path, notes: Notes
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The adapter's preset, and LyCORIS' settings where they are not the preset's."""
    if given.lycoris is None:
        if values.get("lora_type") != "lycoris":
            return (), {}
        notes.added("lycoris_config", "the guide's", "lora_type is lycoris, and no lycoris_config.json was named.")
        return ("lokr",), {}
    if given.lycoris["algo"] == "lokr":
        ours = presets.variables("lokr", project)["simpletuner_lycoris"]
        return ("lokr",), {} if given.lycoris == ours else {"simpletuner_lycoris": dict(given.lycoris)}
    if values.get("lora_type") != "lycoris":
        notes.corrected("lora_type", values.get("lora_type", "absent"), "lycoris", "A lycoris_config.json was named.")
        values["lora_type"] = "lycoris"
    return (), {"simpletuner_lycoris": dict(given.lycoris)}


def _backends(
    given: Given, values: Mapping[str, Any], project: Path, training: Mapping[str, Any], notes: Notes
) -> backends.Chosen:
    if given.backends is not None:
        return backends.choose(given.backends, project, training["simpletuner_text_embeds"], notes)
    preset = str(values.get("resolution", presets.DEFAULT))
    preset = preset if preset in guide.BACKENDS else presets.DEFAULT
    notes.added("multidatabackend.json", f"preset {preset}", "No file of data backends was named.")
    return backends.Chosen(preset, {})
