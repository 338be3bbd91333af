"""Converts a LoKr of LyCORIS into forms that diffusers loads: exact copies, and a similar LoRA.

A LoKr changes a weight by the Kronecker product of two matrices, w1 and w2. Since 0.42.1 diffusers loads such a layer
if w1 is square and its edge, the factor, is the same in the whole file. Therefore a LoKr with several factors is copied
into one file for each. No torch and no model are needed.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluxlora.errors import FluxloraError
from fluxlora.onhost.adapter_copy import PEFT, Tensor, UnusableAdapter, read_header, write

# The layers of FLUX.1's blocks in diffusers' spelling; LyCORIS writes an underscore for each dot.
_LAYERS: Mapping[str, str] = {
    layer.replace(".", "_"): layer
    for layer in (
        "norm1.linear", "norm1_context.linear", "norm.linear", "proj_mlp", "proj_out",
        "attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0",
        "attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out",
        "ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2",
    )
}  # fmt: skip
_NAME = re.compile(r"lycoris_((?:single_)?transformer_blocks)_(\d{1,4})_(\w+)")
# The possible parts of a layer: each matrix as a whole, or as the product of two of low rank.
_FORMS = [
    w1 | w2 for w1 in ({"lokr_w1"}, {"lokr_w1_a", "lokr_w1_b"}) for w2 in ({"lokr_w2"}, {"lokr_w2_a", "lokr_w2_b"})
]
# Numpy's name for a type in the file; bfloat16 is the upper half of a float32.
_TYPES: Mapping[str, str] = {"BF16": "<u2", "F16": "<f2", "F32": "<f4"}

Matrix = NDArray[np.float32]


class LokrError(FluxloraError):
    """A LoKr cannot be converted."""

    code = "lokr_form"


@dataclass(frozen=True)
class Layer:
    """The tensors of one layer by their part (lokr_w1, lokr_w2_a, ...), under the layer's name in diffusers."""

    name: str
    parts: Mapping[str, Tensor]
    # Factor of the product: LyCORIS' alpha / rank, or 1 if both matrices are whole.
    scale: float

    @property
    def w1_shape(self) -> tuple[int, ...]:
        """Shape of the first matrix."""
        if "lokr_w1" in self.parts:
            return self.parts["lokr_w1"].shape
        return self.parts["lokr_w1_a"].shape[0], self.parts["lokr_w1_b"].shape[1]


@dataclass(frozen=True)
class Copy:
    """A file that was written from a LoKr."""

    path: str
    layers: int
    # The factor of a LoKr; None for a LoRA.
    factor: int | None = None
    # The rank of a LoRA; None for a LoKr.
    rank: int | None = None
    # Norm of the missing part of the change of all weights, divided by the norm of that change; 0 for an exact copy.
    difference: float = 0.0

    def as_facts(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def layers_of(source: Path) -> tuple[list[Layer], dict[str, str]]:
    """Return the layers of a LoKr and the file's metadata.

    Raises LokrError for a file with anything but LoKr layers of FLUX.1's blocks, as SimpleTuner writes them.
    """
    try:
        tensors, metadata = read_header(source)
    except (UnusableAdapter, OSError) as error:
        raise LokrError(f"{source} cannot be read: {error}.", code="broken_file") from error
    found: dict[str, dict[str, Tensor]] = {}
    for tensor in tensors:
        layer, _, part = tensor.name.partition(".")
        found.setdefault(layer, {})[part] = tensor
    if not found:
        raise LokrError(f"{source} has no layer.")
    return [_layer(name, parts, source) for name, parts in found.items()], metadata


def diffusers_name(layer: str) -> str | None:
    """Return `transformer.transformer_blocks.0.attn.to_q` for `lycoris_transformer_blocks_0_attn_to_q`; None for
    others."""
    match = _NAME.fullmatch(layer)
    if match is None or match[3] not in _LAYERS:
        return None
    return f"transformer.{match[1]}.{match[2]}.{_LAYERS[match[3]]}"


def copy_for_diffusers(source: Path, folder: Path, name: str) -> list[Copy]:
    """Write NAME-diffusers.safetensors, or NAME-diffusers-FACTOR.safetensors for each factor, into `folder`.

    Numbers are copied exactly; only if LyCORIS scales a low rank, w1 is scaled in float32 instead. Raises LokrError
    if a layer has no factor that diffusers accepts, or for a file that `layers_of` refuses.
    """
    layers, metadata = layers_of(source)
    by_factor: dict[int, list[Layer]] = {}
    for layer in layers:
        edge, other = layer.w1_shape
        if edge != other:
            raise LokrError(
                f"{layer.name} has a first matrix of {edge} x {other}: diffusers loads square ones only, so this LoKr "
                "has no copy for it.",
                code="lokr_not_square",
            )
        by_factor.setdefault(edge, []).append(layer)
    copies = []
    for factor, some in sorted(by_factor.items(), reverse=True):
        target = folder / f"{name}-diffusers{f'-{factor}' if len(by_factor) > 1 else ''}.safetensors"
        write(source, target, _renamed(some), _described(metadata))
        _date(target, source)
        copies.append(Copy(str(target), len(some), factor=factor))
    return copies


def extract_lora(source: Path, folder: Path, name: str, rank: int) -> list[Copy]:
    """Write NAME-lora-RANK.safetensors into `folder`, the nearest LoRA of that rank, and return it with its
    difference.

    The singular values of a Kronecker product are the products of its matrices' own, so the best approximation
    (Eckart and Young) needs no singular value decomposition of the large weight. Numbers are float16. Raises
    LokrError for a rank below 1 and for a file that `layers_of` refuses.
    """
    from safetensors.numpy import save_file

    if rank < 1:
        raise LokrError(f"A LoRA has a rank of at least 1, not {rank}.", hint="16 to 128 are usual.", code="bad_rank")
    layers, metadata = layers_of(source)
    tensors: dict[str, NDArray[np.float16]] = {}
    kept = whole = 0.0
    for layer in layers:
        w1, w2 = _matrix(source, layer, "lokr_w1") * np.float32(layer.scale), _matrix(source, layer, "lokr_w2")
        down, up, values = _nearest(w1, w2, rank)
        tensors[f"{layer.name}.lora_A.weight"] = np.ascontiguousarray(down, np.float16)
        tensors[f"{layer.name}.lora_B.weight"] = np.ascontiguousarray(up, np.float16)
        squares = values.astype(np.float64) ** 2
        kept, whole = kept + float(squares[:rank].sum()), whole + float(squares.sum())
    target = folder / f"{name}-lora-{rank}.safetensors"
    fresh = target.with_name(f".{target.name}.new")
    difference = math.sqrt(max(1 - kept / whole, 0.0)) if whole else 0.0
    comment = {"ss_training_comment": f"Extracted from a LoKr; {difference:.0%} of its change is missing."}
    save_file(tensors, fresh, metadata=_described(metadata) | comment)
    _date(fresh, source)
    fresh.replace(target)
    return [Copy(str(target), len(layers), rank=rank, difference=difference)]


def _layer(name: str, parts: Mapping[str, Tensor], source: Path) -> Layer:
    renamed = diffusers_name(name)
    matrices = {part: tensor for part, tensor in parts.items() if part != "alpha"}
    if renamed is None or set(matrices) not in _FORMS:
        raise LokrError(f"{source} has {_printable(name)}, which is not a LoKr layer of FLUX.1's blocks.")
    if any(len(tensor.shape) != 2 or tensor.dtype not in _TYPES for tensor in matrices.values()):
        raise LokrError(f"{source} has {_printable(name)} in another shape or type than a LoKr.")
    ranked = matrices.get("lokr_w2_b") or matrices.get("lokr_w1_b")
    if ranked is None or "alpha" not in parts:
        return Layer(renamed, matrices, 1.0)
    return Layer(renamed, matrices, float(_numbers(source, parts["alpha"])[0]) / ranked.shape[0])


def _date(target: Path, source: Path) -> None:
    """Return the time of the source, which its forms get, too."""
    modified = source.stat().st_mtime_ns
    os.utime(target, ns=(modified, modified))


def _renamed(layers: Sequence[Layer]) -> list[tuple[str, Tensor, float, str]]:
    """Yield new name, tensor, factor and new type, for the writer of copies."""
    plan = []
    for layer in layers:
        scaled = "lokr_w1" if "lokr_w1" in layer.parts else "lokr_w1_a"
        for part, tensor in layer.parts.items():
            scale = layer.scale if part == scaled else 1.0
            plan.append((f"{layer.name}.{part}", tensor, scale, tensor.dtype if scale == 1.0 else "F32"))
    # The widest numbers come first, so that all are aligned in the file.
    return sorted(plan, key=lambda entry: (entry[3] != "F32", entry[0]))


def _nearest(w1: Matrix, w2: Matrix, rank: int) -> tuple[Matrix, Matrix, Matrix]:
    """Return lora_A, lora_B and all singular values of the Kronecker product, the largest first."""
    left1, values1, right1 = np.linalg.svd(w1, full_matrices=False)
    left2, values2, right2 = np.linalg.svd(w2, full_matrices=False)
    products = np.outer(values1, values2)
    order = np.argsort(-products, axis=None, kind="stable")
    first, second = np.unravel_index(order[:rank], products.shape)
    roots = np.sqrt(products[first, second])
    up = (left1[:, None, first] * left2[None, :, second]).reshape(-1, len(roots)) * roots
    down = (right1[first, :, None] * right2[second, None, :]).reshape(len(roots), -1) * roots[:, None]
    return down, up, products.ravel()[order]


def _matrix(source: Path, layer: Layer, name: str) -> Matrix:
    if name in layer.parts:
        return _numbers(source, layer.parts[name])
    product: Matrix = _numbers(source, layer.parts[f"{name}_a"]) @ _numbers(source, layer.parts[f"{name}_b"])
    return product


def _numbers(source: Path, tensor: Tensor) -> Matrix:
    with source.open("rb") as file:
        file.seek(tensor.begin)
        raw = np.frombuffer(file.read(tensor.end - tensor.begin), _TYPES[tensor.dtype])
    numbers = (raw.astype("<u4") << 16).view("<f4") if tensor.dtype == "BF16" else raw.astype("<f4")
    return numbers.reshape(tensor.shape or (1,))


def _described(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return a copy's metadata, without keys that peft would read as its own configuration."""
    return {"format": "pt"} | {key: value for key, value in metadata.items() if key != PEFT}


def _printable(name: str) -> str:
    return name.encode("unicode_escape").decode("ascii")[:120]
