"""Puts an import together: presets, variables, and a note for every key that changed."""

from __future__ import annotations

import os
import stat
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluxlora.errors import InputError
from fluxlora.importer import backends, config
from fluxlora.importer.given import Given
from fluxlora.importer.notes import Note, Notes, shown
from fluxlora.importer.texts import dump
from fluxlora.settings import guide, presets
from fluxlora.settings.credentials import without_secrets
from fluxlora.settings.variables import known as known_variables
from fluxlora.vast.labels import Label

_WIDTH = 118
_IGNORED = "# Written by `fluxlora import`: the files that it writes stay out of git, all others do not."


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
    """Write the host variables, readable by their owner alone and ignored by git; whether that changes anything.

    Raises InputError over a file with other content.
    """
    file, text = run.path(folder), run.text()
    try:
        if os.path.lexists(file):
            if file.read_text(encoding="utf-8", errors="replace") == text:
                return _closed(folder, file, dry_run=dry_run)
            raise InputError(
                f"{file} is already there and says something else.",
                hint="Move it away, or import under another name with --name.",
                code="already_there",
            )
        if not dry_run:
            folder.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as new:
                new.write(text)
            _closed(folder, file)
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error.strerror}.") from error
    return True


def _closed(folder: Path, file: Path, *, dry_run: bool = False) -> bool:
    """Keep a file that we wrote to its owner and out of git; whether that changes anything.

    What somebody else keeps in the folder stays in git: only the names of ours are listed, in a file that
    ignores itself.
    """
    ignored, line = folder / ".gitignore", f"/{file.name}"
    text = ignored.read_bytes().decode(errors="replace") if ignored.exists() else None
    listed = text is not None and line in text.splitlines()
    open_to_others = file.exists() and stat.S_IMODE(file.stat().st_mode) != 0o600
    if open_to_others and not dry_run:
        file.chmod(0o600)
    if not listed and not dry_run:
        opening = f"{_IGNORED}\n/.gitignore\n" if text is None else "" if text.endswith("\n") or not text else "\n"
        with ignored.open("a", encoding="utf-8") as appended:
            appended.write(f"{opening}{line}\n")
    return open_to_others or not listed


def convert(given: Given, project: Path, *, name: str | None = None, version: str | None = None) -> Imported:
    """The run that the files describe, for a value of simpletuner_version or the usual one.

    Raises InputError for what fluxlora cannot train.
    """
    notes = Notes()
    given = _without_secrets(given, notes)
    known = frozenset(known_variables(project))
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


def _without_secrets(given: Given, notes: Notes) -> Given:
    """The files without their credentials, before anything of them is shown or written."""
    config = without_secrets(given.config)
    backends = [without_secrets(entry, str(entry.get("id", "a data backend"))) for entry in given.backends or ()]
    lycoris = without_secrets(given.lycoris or {}, "lycoris_config.json")
    for part in (config, *backends, lycoris):
        for key in part.dropped:
            notes.secret(key.strip().lstrip("-"))
    return Given(
        config.value,
        None if given.backends is None else [part.value for part in backends],
        None if given.lycoris is None else lycoris.value,
    )


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
