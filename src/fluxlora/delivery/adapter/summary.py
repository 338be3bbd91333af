"""The adapter in a run's report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def file_to_load(manifest: Mapping[str, Any]) -> str:
    """The finished adapter's path in the run's folder: the copy that programs load, else the trainer's own file."""
    return str((_copy(manifest) or manifest["adapter"])["path"])


def lines(manifest: Mapping[str, Any]) -> list[str]:
    """What there is of a run's adapter: the copy that programs load, what loads it, and the trainer's own file."""
    made, copies, final = manifest["adapter"], manifest.get("copies") or [], _copy(manifest)
    found = _final(made, final, manifest) if made else _unfinished(manifest, copies)
    return [*found, *(f"also       {_form(copy)}" for copy in copies if copy.get("made_of"))]


def _copy(manifest: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return next((copy for copy in manifest.get("copies") or [] if copy["step"] is None), None)


def _final(made: Mapping[str, Any], copy: Mapping[str, Any] | None, manifest: Mapping[str, Any]) -> list[str]:
    nothing = [] if made["learned"] else ["warning    the adapter holds only zeros: nothing was learned"]
    own = (
        f"{made['path']}, {made['kind']}"
        + (f" of rank {made['rank']}" if made["rank"] else "")
        + f", {made['tensors']} tensors, {made['size_bytes'] / 1e6:.1f} MB"
    )
    if copy is None:
        return [f"adapter    {own}", f"sha256     {made['sha256']}", *nothing]
    digests = {file["path"]: file["sha256"] for file in manifest["files"]}
    return [
        f"adapter    {_described(copy)}",
        f"loads in   {_loaders(copy)}",
        *([f"trigger    {copy['trigger_word']}"] if copy["trigger_word"] else []),
        f"sha256     {digests.get(copy['path'], 'unknown')}",
        f"original   {own}",
        *nothing,
    ]


def _unfinished(manifest: Mapping[str, Any], copies: list[Mapping[str, Any]]) -> list[str]:
    steps = ", ".join(map(str, manifest["checkpoints"])) or "none"
    newest = [f"checkpoint {_described(copies[0])}", f"loads in   {_loaders(copies[0])}"] if copies else []
    return [f"adapter    not finished; the checkpoints are {steps}", *newest]


def _described(copy: Mapping[str, Any]) -> str:
    kind = {"lora": "LoRA", "lokr": "LoKr"}.get(copy["kind"], copy["kind"])
    rank = f" of rank {copy['rank']}" if copy["rank"] else ""
    alpha = f", alpha {copy['alpha']:g}" if copy["alpha"] is not None else ""
    strength = f" ({copy['scale']:g} times as strong, in its weights)" if copy["scale"] not in (None, 1.0) else ""
    size = f"{copy['layers']} layers, {copy['size_bytes'] / 1e6:.1f} MB"
    return f"{copy['path']}, {kind}{rank}{alpha}{strength}, {size}"


def _form(copy: Mapping[str, Any]) -> str:
    """A file that was made of a LoKr for other programs."""
    difference = f", leaves out {copy['difference']:.0%} of the LoKr's change" if copy["kind"] == "lora" else ""
    return f"{_described(copy)}{difference}; loads in {_loaders(copy)}"


def _loaders(copy: Mapping[str, Any]) -> str:
    return ", ".join(copy["loads_in"]) or "unknown"
