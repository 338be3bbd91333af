"""The data backends: a resolution preset where one says the same, else the backends themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluxlora.errors import InputError
from fluxlora.importer.notes import Kind, Note, Notes, elsewhere, shown
from fluxlora.importer.texts import Template
from fluxlora.settings import presets
from fluxlora.settings.guide import ABSENT, BACKENDS, Departure, as_read

# How a backend is called and where it lies; neither changes what is trained.
_NAMES = frozenset({"id", "cache_file_suffix", "cache_dir_vae", "instance_data_dir", "cache_dir"})
# What is as good as left out.
_DEFAULTS: Mapping[str, Any] = {
    "type": "local",
    "dataset_type": "image",
    "disabled": False,
    "skip_file_discovery": "",
    "metadata_backend": "discovery",
}
# Where the dataset lies on the instance, in the guide and here.
_DATASET = "/root/SimpleTuner/dataset"
# The guide's slip, wherever it is met.
_SLIP = next(each for each in BACKENDS["512"][0] if each.key == "resolution")
_PLACE = "A name and a place of its own on the instance."


@dataclass(frozen=True)
class Chosen:
    """A resolution preset, and the variables that say what it does not."""

    preset: str
    variables: Mapping[str, Any]


def choose(entries: Sequence[Mapping[str, Any]], project: Path, embeds: Mapping[str, Any], notes: Notes) -> Chosen:
    """What the data backends come to; `embeds` is our own backend of captions."""
    images, others = _sorted(entries)
    _refuse_other_machines(images)
    captions = [_cached_here(entry, embeds, notes) for entry in others]
    variables: dict[str, Any] = {}
    if not captions:
        notes.added("text_embeds", embeds["id"], "Without a data backend that caches captions SimpleTuner ends.")
    elif _meaning(captions[0]) != _meaning(embeds):
        variables["simpletuner_text_embeds"] = {**captions[0], "cache_dir": Template(embeds["cache_dir"])}
    for preset, departures in BACKENDS.items():
        ours = presets.variables(preset, project)[presets.DATASETS]
        published = [_as_the_guide(*pair) for pair in zip(ours, departures, strict=True)]
        for known in (published, ours):
            if sorted(map(_meaning, images)) == sorted(map(_meaning, known)):
                _say(images, dict(zip(map(_meaning, known), departures, strict=True)), notes)
                return Chosen(preset, variables)
    named = [_named(entry, number, notes) for number, entry in enumerate(images, start=1)]
    return Chosen(presets.DEFAULT, {presets.DATASETS: [*named, *captions[1:]], **variables})


def _sorted(entries: Iterable[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    images: list[Mapping[str, Any]] = []
    captions: list[Mapping[str, Any]] = []
    for entry in entries:
        kind = entry.get("dataset_type", "image")
        if kind not in ("image", "text_embeds"):
            raise InputError(
                f"The data backend {shown(entry.get('id'))} is of dataset_type {shown(kind)}: fluxlora trains on "
                "images and their captions alone."
            )
        (images if kind == "image" else captions).append(entry)
    if not images:
        raise InputError("None of the data backends has images, so there is nothing to train on.")
    return images, sorted(captions, key=lambda entry: not as_read(entry.get("default", False)))


def _refuse_other_machines(images: Iterable[Mapping[str, Any]]) -> None:
    for entry in images:
        if (kind := entry.get("type", "local")) != "local":
            raise InputError(
                f"The data backend {shown(entry.get('id'))} is of type {shown(kind)}: fluxlora sends a folder of this "
                "computer, so download the images and name their folder."
            )
    folders = sorted({str(entry.get("instance_data_dir")) for entry in images if entry.get("instance_data_dir")})
    if len(folders) > 1:
        raise InputError(
            f"The data backends read {len(folders)} folders, {' and '.join(map(shown, folders))}: fluxlora sends one. "
            "Put the images into one folder, and name it for every backend."
        )


def _cached_here(entry: Mapping[str, Any], embeds: Mapping[str, Any], notes: Notes) -> Mapping[str, Any]:
    """A backend of captions that lies on the instance; another storage would want keys that the instance has not."""
    if (kind := entry.get("type", "local")) == "local":
        return entry
    reason = "The captions are cached on the instance, which has no key of another storage."
    notes.corrected(f"{_name(entry)}.type", kind, "local", reason)
    for key in entry:
        if key not in embeds:
            notes.dropped(f"{_name(entry)}.{key}", "it belongs to another storage.")
    return {**{key: value for key, value in entry.items() if key in embeds}, "type": "local"}


def _meaning(entry: Mapping[str, Any]) -> str:
    """What an entry makes SimpleTuner do, comparable: no names, no defaults, 1024 and 1024.0 alike."""
    read = {key: as_read(value) for key, value in entry.items() if key not in _NAMES}
    if read.get("metadata_backend") == "json":
        read["metadata_backend"] = "discovery"
    said = {key: value for key, value in read.items() if _DEFAULTS.get(key, ABSENT) != value}
    numbers = {k: float(v) if isinstance(v, int) and not isinstance(v, bool) else v for k, v in said.items()}
    return json.dumps(numbers, sort_keys=True, default=str)


def _as_the_guide(ours: Mapping[str, Any], departures: Iterable[Departure]) -> dict[str, Any]:
    published = {**ours, **{each.key: each.guide for each in departures}}
    return {key: value for key, value in published.items() if value != ABSENT}


def _say(images: Iterable[Mapping[str, Any]], departures: Mapping[str, Sequence[Departure]], notes: Notes) -> None:
    """What the preset does otherwise than each backend, once for each reason."""
    for entry in images:
        changes: dict[str, list[str]] = {}
        for each in departures[_meaning(entry)]:
            before = entry.get(each.key, ABSENT)
            if as_read(before) != as_read(each.ours):
                changes.setdefault(each.reason, []).append(f"{each.key} {shown(before)} → {shown(each.ours)}")
        for reason, keys in changes.items():
            notes.append(Note(Kind.CORRECTED, _name(entry), f"{', '.join(keys)}. {reason}"))
        if entry.get("instance_data_dir", _DATASET) != _DATASET:
            notes.dropped(f"{_name(entry)}.instance_data_dir", "fluxlora sends the folder that you name to train on.")


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry.get("id", "a data backend"))


def _named(entry: Mapping[str, Any], number: int, notes: Notes) -> dict[str, Any]:
    """A backend that no preset knows, with names that make paths and with places of ours."""
    name = _name(entry) if re.fullmatch(r"[\w.-]+", _name(entry)) else f"images_{number}"
    ours: dict[str, Any] = {
        "id": name,
        "cache_file_suffix": name,
        "cache_dir_vae": Template(f"{{{{ simpletuner_dir }}}}/cache/vae/flux/{name}"),
        "instance_data_dir": Template("{{ simpletuner_dir }}/dataset"),
    }
    for key, value in ours.items():
        if entry.get(key) != value.replace("{{ simpletuner_dir }}", "/root/SimpleTuner"):
            notes.corrected(f"{name}.{key}", entry.get(key, ABSENT), value, _PLACE)
    if (as_read(entry.get("resolution")), as_read(entry.get("target_downsample_size"))) == (_SLIP.guide, _SLIP.ours):
        notes.corrected(f"{name}.resolution", _SLIP.guide, _SLIP.ours, _SLIP.reason)
        ours["resolution"] = _SLIP.ours
    for key, value in entry.items():
        if key not in ours and elsewhere(value):
            notes.path(f"{name}.{key}", value)
    return {**{key: value for key, value in entry.items() if not elsewhere(value)}, **ours}
