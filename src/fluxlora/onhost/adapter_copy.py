#!/usr/bin/env python3
"""Writes the copy of an adapter for loaders: with one spelling of its keys, its trained strength, and a header.

SimpleTuner 3.1.6 spells the attention layers of a checkpoint `.lora.down/.lora.up` and the others `.lora_A/.lora_B`,
and diffusers loads only one of the two. The final file does not store alpha, so loaders use alpha = rank. The copy has
`transformer.LAYER.lora_A.weight` and `.lora_B.weight` everywhere, no alpha, and alpha / rank multiplied into lora_B. So
the result is the same in loaders that know alpha, that do not, and that refuse unknown keys.

Standard library and numpy only, python 3.9 or newer: this file is also copied to the instance and runs there alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import struct
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

ADAPTER = "pytorch_lora_weights.safetensors"
# What the header says about the run; written before the training starts, beside the trainer's output.
FACTS = "adapter.json"
# Limit of the safetensors library: every reader refuses a longer header.
HEADER_LIMIT = 100_000_000
# Bytes that are read at once; even, so that no number is split.
CHUNK = 16 * 1024 * 1024
# Bytes of one number, by type.
_SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip
# The parts of a layer with their spellings by trainers and loaders; the first spelling is the copy's.
_PARTS: dict[str, tuple[str, ...]] = {
    "down": (".lora_A.weight", ".lora.down.weight", ".lora_down.weight"),
    "up": (".lora_B.weight", ".lora.up.weight", ".lora_up.weight"),
    "bias": (".lora_B.bias", ".lora.up.bias", ".lora_up.bias"),
    "magnitude": (".lora_magnitude_vector", ".lora_magnitude_vector.weight"),
    "alpha": (".alpha",),
}
_LARGEST_ALPHA = 1_000_000
_PREFIX = "transformer."
# SimpleTuner's option lora_format: comfyui writes diffusers' layer names behind ComfyUI's prefix.
_OTHER_PREFIXES = ("diffusion_model.",)
# Digests of the bytes after the header, by ModelSpec and by sd-scripts.
HASHES = ("modelspec.hash_sha256", "sshs_model_hash")
# peft's description of the adapter in the metadata of a checkpoint.
PEFT = "lora_adapter_metadata"


class UnusableAdapter(ValueError):
    """A file is not an adapter that loaders can use."""

    def __init__(self, message: str, code: str = "bad_adapter") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Tensor:
    """A tensor's place in the file; offsets in bytes from the beginning of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Layer:
    """The tensors of one layer by their part (down, up, bias, magnitude, alpha), and its name with `transformer.`."""

    name: str
    parts: Mapping[str, Tensor]
    # The spellings of its keys.
    spellings: frozenset[int]

    @property
    def rank(self) -> int:
        """Rank of the layer."""
        return self.parts["down"].shape[0]


@dataclass(frozen=True)
class Copied:
    """The content of a copy."""

    # Largest rank; None if the adapter is not a LoRA.
    rank: int | None
    # The trained alpha; None if neither the file nor the caller has it, and then alpha is the rank.
    alpha: float | None
    # The factor of lora_B; None if it differs between layers.
    scale: float | None
    layers: int
    # Sentences about values that differ between file and caller, or that both lack.
    notes: tuple[str, ...] = field(default=())


def read_header(path: Path) -> tuple[tuple[Tensor, ...], dict[str, str]]:
    """Return the tensors of a safetensors file in the order of their places, and its metadata.

    Raises UnusableAdapter for a file that is cut off, malformed, or whose tensors leave gaps or overlap; OSError.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(HEADER_LIMIT, size - 8):
            raise UnusableAdapter(f"{path} is cut off or not a safetensors file", "broken_file")
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError) as error:
            raise UnusableAdapter(f"{path} has no readable header", "broken_file") from error
    if not isinstance(header, dict):
        raise UnusableAdapter(f"{path} has no readable header", "broken_file")
    metadata = header.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise UnusableAdapter(f"{path} has metadata that are not text", "broken_file")
    tensors = sorted((_tensor(path, name, entry, 8 + length) for name, entry in header.items()), key=_place)
    expected = 8 + length
    for tensor in tensors:
        if tensor.begin != expected:
            raise UnusableAdapter(f"{path} has a gap or an overlap before {_short(tensor.name)}", "broken_file")
        expected = tensor.end
    if expected != size:
        raise UnusableAdapter(f"{path} is cut off, or longer than its tensors", "broken_file")
    return tuple(tensors), metadata


def layers_of(tensors: Sequence[Tensor], path: Path) -> list[Layer]:
    """Return the layers of a LoRA, each with both of its matrices.

    Raises UnusableAdapter if a half is missing or does not fit the other, if a layer occurs twice, or for keys that
    do not belong to a LoRA by SimpleTuner.
    """
    found: dict[str, dict[str, Tensor]] = {}
    spellings: dict[str, set[int]] = {}
    for tensor in tensors:
        name, part, spelling = _split(tensor.name, path)
        if part in found.setdefault(name, {}):
            raise UnusableAdapter(f"{path} has {_short(name)} twice, in two spellings", "bad_layers")
        found[name][part] = tensor
        if part in ("down", "up"):
            spellings.setdefault(name, set()).add(spelling)
    layers = [Layer(name, parts, frozenset(spellings.get(name, ()))) for name, parts in found.items()]
    for layer in layers:
        _check(layer, path)
    if not layers:
        raise UnusableAdapter(f"{path} has no layer of a LoRA", "no_adapter")
    return layers


def is_lora(tensors: Sequence[Tensor]) -> bool:
    """Return whether some tensor is a half of a LoRA's layer."""
    return any(tensor.name.endswith(_PARTS["down"] + _PARTS["up"]) for tensor in tensors)


def copy(source: Path, target: Path, header: Mapping[str, str], *, alpha: float | None = None) -> Copied:
    """Write the copy of `source` in one step, with `header` as its metadata; `source` is not changed.

    `alpha` is the run's configured value, for a file without its own. A LyCORIS adapter keeps its keys. If alpha is
    the rank, numbers are copied exactly; if alpha / rank is a power of two, they stay exact; for another ratio the
    copy is in float32, so that no visible rounding occurs. The copy gets the time of `source`. Raises
    UnusableAdapter or OSError.
    """
    plan, copied = _planned(source, alpha)
    write(source, target, plan, whole_header(header, copied))
    modified = source.stat().st_mtime_ns
    os.utime(target, ns=(modified, modified))
    return copied


def describe(source: Path, *, alpha: float | None = None) -> Copied:
    """Return the content of a copy of `source`. Raises UnusableAdapter or OSError."""
    return _planned(source, alpha)[1]


def whole_header(header: Mapping[str, str], copied: Copied) -> dict[str, str]:
    """Return the metadata of a copy, without the digests of its tensors."""
    return {"format": "pt", **header, **_network(copied)}


def facts(folder: Path) -> dict[str, Any]:
    """Return the facts beside the trainer's output; empty if they are missing or malformed."""
    try:
        found = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def header_of(known: Mapping[str, Any], source: Path, step: int | None) -> dict[str, str]:
    """Return the facts' header, with the training's step and the file's time.

    Values that are not text, or are too long, are left out, because the facts come from a rented host.
    """
    given = known.get("header")
    header = {
        name: value
        for name, value in (given.items() if isinstance(given, dict) else ())
        if isinstance(name, str) and isinstance(value, str) and len(name) <= 64 and len(value) <= 4096
    }
    modified = source.stat().st_mtime
    header["modelspec.date"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(modified))
    header["ss_training_finished_at"] = str(float(int(modified)))
    if step is not None:
        header["ss_steps"] = str(step)
    return header


def alpha_of(known: Mapping[str, Any]) -> float | None:
    """Return the run's configured alpha; None if the facts do not have it."""
    value = known.get("alpha")
    # Other values are malformed; they come from a rented host.
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else 0
    return float(number) if 0 < number <= _LARGEST_ALPHA else None


def copy_name(run: str, step: int | None = None) -> str:
    """Return the name of a run's copy; `step` is a checkpoint's, None for the finished adapter."""
    return f"{run}.safetensors" if step is None else f"{run}-step{step:08d}.safetensors"


def _place(tensor: Tensor) -> tuple[int, int]:
    return tensor.begin, tensor.end


def _short(name: str) -> str:
    """Return a name from a file, printable on one line."""
    return name.encode("unicode_escape").decode("ascii")[:120]


def _tensor(path: Path, name: str, entry: Any, start: int) -> Tensor:
    described = entry if isinstance(entry, dict) else {}
    dtype = str(described.get("dtype"))
    shape, places = _wholes(described.get("shape")), _wholes(described.get("data_offsets"))
    if dtype not in _SIZES or shape is None or places is None or len(places) != 2 or places[0] > places[1]:
        raise UnusableAdapter(f"{path} describes {_short(name)} in an unknown way", "broken_file")
    if math.prod(shape) * _SIZES[dtype] != places[1] - places[0]:
        raise UnusableAdapter(f"{path} has another number of bytes for {_short(name)} than its shape", "broken_file")
    return Tensor(name, dtype, shape, start + places[0], start + places[1])


def _wholes(value: Any) -> tuple[int, ...] | None:
    """Return a list's whole numbers; None for anything else."""
    if isinstance(value, list) and all(type(number) is int and number >= 0 for number in value):
        return tuple(value)
    return None


def _split(name: str, path: Path) -> tuple[str, str, int]:
    """Return a key's layer with the copy's prefix, its part, and its spelling."""
    for part, endings in _PARTS.items():
        for spelling, ending in enumerate(endings):
            if name.endswith(ending):
                layer = name[: -len(ending)]
                for other in _OTHER_PREFIXES:
                    if layer.startswith(other):
                        layer = _PREFIX + layer[len(other) :]
                if layer.startswith(_PREFIX):
                    return layer, part, spelling
    raise UnusableAdapter(f"{path} has {_short(name)}, which is not part of a LoRA by SimpleTuner", "unknown_form")


def _check(layer: Layer, path: Path) -> None:
    down, up = layer.parts.get("down"), layer.parts.get("up")
    name = _short(layer.name)
    if down is None or up is None:
        half = "lora_A" if down is None else "lora_B"
        raise UnusableAdapter(f"{path} has no {half} for {name}: half the layer is missing", "bad_layers")
    if len(down.shape) < 2 or len(up.shape) < 2 or down.shape[0] != up.shape[1] or not down.shape[0]:
        shapes = f"{list(down.shape)} and {list(up.shape)}"
        raise UnusableAdapter(f"{path} has {shapes} for {name}, which do not fit together", "bad_layers")
    for part in ("down", "up", "bias"):
        if part in layer.parts and layer.parts[part].dtype not in ("BF16", "F16", "F32"):
            dtype = layer.parts[part].dtype
            raise UnusableAdapter(f"{path} has {name} as {dtype}, which no loader accepts", "unknown_form")


def _alphas(
    layers: Sequence[Layer], metadata: Mapping[str, str], configured: float | None, path: Path
) -> tuple[dict[str, float | None], list[str]]:
    """Return the alpha of each layer: from its own key, or from the metadata, otherwise the configured one."""
    described = _peft(metadata)
    said = described.get("lora_alpha")
    pattern = described.get("alpha_pattern")
    pattern = pattern if isinstance(pattern, dict) else {}
    alphas: dict[str, float | None] = {}
    for layer in layers:
        short = layer.name[len(_PREFIX) :]
        exceptions = [value for name, value in pattern.items() if short == name or short.endswith(f".{name}")]
        own = _number(path, layer.parts["alpha"]) if "alpha" in layer.parts else (exceptions or [said])[0]
        own = alpha_of({"alpha": own})
        alphas[layer.name] = configured if own is None else own
    notes = []
    found = _only(alphas.values())
    if configured is not None and found is not None and found != configured:
        notes.append(f"{path.name} was trained at alpha {found:g}, by its own data; {configured:g} is configured")
    if None in alphas.values():
        notes.append(f"{path.name} has no alpha, and no configuration was found: its rank is used")
    return alphas, notes


def _peft(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return peft's description of the transformer."""
    try:
        described = json.loads(metadata.get(PEFT) or "{}")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(described, dict):
        return {}
    return {name[len(_PREFIX) :]: value for name, value in described.items() if name.startswith(_PREFIX)}


def _scale(layer: Layer, alpha: float | None, metadata: Mapping[str, str]) -> float:
    if alpha is None:
        return 1.0
    # rsLoRA divides by the square root.
    return alpha / (math.sqrt(layer.rank) if _peft(metadata).get("use_rslora") is True else layer.rank)


def _only(values: Any) -> Any:
    """Return the common value; None if they differ."""
    different = set(values)
    return different.pop() if len(different) == 1 else None


def _plan(layers: Sequence[Layer], scales: Mapping[str, float]) -> list[tuple[str, Tensor, float, str]]:
    types = {layer.parts[part].dtype for layer in layers for part in ("down", "up")}
    exact = all(math.frexp(scale)[0] == 0.5 for scale in scales.values()) and "F16" not in types
    plan = []
    for layer in layers:
        for part, tensor in layer.parts.items():
            if part != "alpha":
                scaled = part in ("up", "bias")
                kept = exact or set(scales.values()) == {1.0} or part == "magnitude"
                name = layer.name + _PARTS[part][0]
                plan.append((name, tensor, scales[layer.name] if scaled else 1.0, tensor.dtype if kept else "F32"))
    # The widest numbers come first, so that all are aligned in the file, as the library does.
    return sorted(plan, key=lambda entry: (-_SIZES[entry[3]], entry[0]))


def _planned(source: Path, alpha: float | None) -> tuple[list[tuple[str, Tensor, float, str]], Copied]:
    """Yield new name, tensor, factor and new type, in the copy's order."""
    tensors, metadata = read_header(source)
    if not is_lora(tensors):
        kept = [(tensor.name, tensor, 1.0, tensor.dtype) for tensor in tensors]
        return kept, Copied(None, None, 1.0, len({tensor.name.split(".")[0] for tensor in tensors}))
    layers = layers_of(tensors, source)
    alphas, notes = _alphas(layers, metadata, alpha, source)
    scales = {layer.name: _scale(layer, alphas[layer.name], metadata) for layer in layers}
    return _plan(layers, scales), Copied(
        rank=max(layer.rank for layer in layers),
        alpha=_only(alphas.values()),
        scale=_only(scales.values()),
        layers=len(layers),
        notes=tuple(notes),
    )


def _network(copied: Copied) -> dict[str, str]:
    """Return the keys that depend on the file's own tensors."""
    if copied.rank is None:
        return {}
    known = {"ss_network_dim": str(copied.rank)}
    if copied.alpha is not None:
        known["ss_network_alpha"] = f"{copied.alpha:g}"
    if copied.scale not in (None, 1.0):
        known["ss_training_comment"] = (
            f"Trained at alpha / rank = {copied.scale:g}, which is multiplied into the weights: use it at strength 1."
        )
    return known


def write(
    source: Path, target: Path, plan: Sequence[tuple[str, Tensor, float, str]], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file in one step."""
    entries, offset = {}, 0
    for name, tensor, _, dtype in plan:
        size = math.prod(tensor.shape) * _SIZES[dtype]
        entries[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [offset, offset + size]}
        offset += size
    fresh = target.with_name(f".{target.name}.new")
    fresh.unlink(missing_ok=True)
    try:
        with source.open("rb") as original, fresh.open("xb") as file:
            # The digest is only known at the end, and always has the same length.
            file.write(_header(entries, metadata, "0" * 64))
            digest = hashlib.sha256()
            for name, tensor, scale, dtype in plan:
                for chunk in _numbers(original, tensor, scale, dtype, name):
                    digest.update(chunk)
                    file.write(chunk)
            file.seek(0)
            file.write(_header(entries, metadata, digest.hexdigest()))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)


def _header(entries: Mapping[str, Any], metadata: Mapping[str, str], digest: str) -> bytes:
    """Return the bytes before the tensors."""
    hashes = {HASHES[0]: f"0x{digest}", HASHES[1]: digest}
    text = json.dumps({"__metadata__": {**metadata, **hashes}, **entries}).encode("ascii")
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _numbers(file: BinaryIO, tensor: Tensor, scale: float, dtype: str, name: str) -> Iterator[bytes]:
    file.seek(tensor.begin)
    left = tensor.end - tensor.begin
    while left:
        chunk = file.read(min(CHUNK, left))
        if not chunk:
            raise UnusableAdapter(f"{file.name} became shorter while it was read", "broken_file")
        left -= len(chunk)
        yield chunk if scale == 1.0 and dtype == tensor.dtype else _scaled(chunk, tensor.dtype, scale, dtype, name)


def _scaled(chunk: bytes, dtype: str, scale: float, wanted: str, name: str) -> bytes:
    import numpy as np

    if dtype == "BF16":
        # bfloat16 is the upper half of a float32.
        numbers = (np.frombuffer(chunk, "<u2").astype("<u4") << 16).view("<f4")
    else:
        numbers = np.frombuffer(chunk, {"F16": "<f2", "F32": "<f4"}[dtype]).astype("<f4")
    with np.errstate(over="ignore"):
        numbers = numbers * np.float32(scale)
    if not np.isfinite(numbers).all():
        raise UnusableAdapter(f"{_short(name)} is not finite at its trained strength", "not_finite")
    if wanted == "F32":
        return bytes(numbers.astype("<f4").tobytes())
    # A power of two changes only the exponent, so the lower half of each number is still zero.
    return bytes((numbers.view("<u4") >> 16).astype("<u2").tobytes())


def _number(path: Path, tensor: Tensor) -> float | None:
    """Return the tensor's only number; None if it has another count of numbers or is not a float."""
    if tensor.end - tensor.begin != _SIZES[tensor.dtype]:
        return None
    with path.open("rb") as file:
        file.seek(tensor.begin)
        raw = file.read(tensor.end - tensor.begin)
    if tensor.dtype == "BF16":
        return float(struct.unpack("<f", b"\0\0" + raw)[0])
    formats = {"F16": "<e", "F32": "<f", "F64": "<d"}
    return float(struct.unpack(formats[tensor.dtype], raw)[0]) if tensor.dtype in formats else None


def main() -> int:
    """Write the copy of the finished adapter, or of a checkpoint, into the trainer's output folder; print its name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder that the trainer writes to")
    parser.add_argument(
        "--checkpoint", type=int, help="step of a checkpoint; without it the finished adapter is copied"
    )
    parser.add_argument("--step", type=int, help="step at which the adapter was finished")
    args = parser.parse_args()
    known = facts(args.output)
    source = (
        args.output / ADAPTER if args.checkpoint is None else args.output / f"checkpoint-{args.checkpoint}" / ADAPTER
    )
    step = args.step if args.checkpoint is None else args.checkpoint
    target = args.output / copy_name(str(known.get("run") or "adapter"), args.checkpoint)
    try:
        copied = copy(source, target, header_of(known, source, step), alpha=alpha_of(known))
    except (UnusableAdapter, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(target.name, *copied.notes, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
