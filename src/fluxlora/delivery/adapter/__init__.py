"""Reads a finished adapter: is the file whole, is every number finite, what was trained."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fluxlora.delivery.adapter.loaders import Form, loads_in
from fluxlora.errors import FluxloraError
from fluxlora.onhost.adapter_copy import PEFT, Tensor, UnusableAdapter, layers_of, read_header
from fluxlora.untrusted.schemas import MalformedError, parse
from fluxlora.vast.records import amount_of

Kind = Literal["lora", "lokr"]

# Numbers looked at in one go; bounds memory at 32 MB.
_CHUNK = 4 * 1024 * 1024
# Name in the file: the unsigned type of the same width, and the exponent bits, all set in NaN and infinity.
_FLOATS: Mapping[str, tuple[str, int]] = {
    "BF16": ("<u2", 0x7F80),
    "F16": ("<u2", 0x7C00),
    "F32": ("<u4", 0x7F80_0000),
    "F64": ("<u8", 0x7FF0_0000_0000_0000),
}
# The matrix that goes down to the rank, in the two spellings that 3.1.6 mixes in one file.
_LORA_DOWN = (".lora_A.weight", ".lora.down.weight", ".lora_down.weight")
_LORA_UP = (".lora_B.weight", ".lora.up.weight", ".lora_up.weight")
_LOKR_RANKED = (".lokr_w1_b", ".lokr_w2_b")


class AdapterError(FluxloraError):
    """A file is no adapter that can be used."""

    code = "bad_adapter"


@dataclass(frozen=True)
class Adapter:
    """What is in an adapter's file.

    `rank` is the largest, None where no matrix has one (a full LoKr). `alpha` is what the file itself says, None where
    it says nothing, or where the number means nothing because there is no rank.
    """

    path: str
    sha256: str
    size_bytes: int
    kind: Kind
    rank: int | None
    alpha: float | None
    dtypes: tuple[str, ...]
    tensors: int
    # False: what the training adds is zero throughout, the adapter changes nothing.
    learned: bool
    form: Form
    # The programs that load all of its layers.
    loads_in: tuple[str, ...]

    def as_facts(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def read(path: Path, *, sha256: str | None = None) -> Adapter:
    """Parse the whole file and look at every number.

    Raises AdapterError for what is missing, cut off, no safetensors, neither LoRA nor LoKr, not finite, without one
    half of a layer, or another file than the one whose `sha256` was given.
    """
    # A FIFO would be waited for, and a link leads to a file of somebody else's.
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise AdapterError(
            f"{path} is a link or no regular file.", hint="Move it away and fetch again.", code="broken_file"
        )
    tensors, metadata = _header(path)
    kind = _kind(tensors, path)
    digest = file_sha256(path)
    if sha256 and digest != sha256.lower():
        raise AdapterError(
            f"{path} is not the file on the instance: its SHA-256 is {digest}, not {sha256}.",
            hint="Fetch it again.",
            code="sha256_differs",
        )
    data = np.memmap(path, dtype=np.uint8, mode="r")
    for tensor in tensors:
        if not _finite(data, tensor):
            raise AdapterError(
                f"{path} holds numbers that are not finite, first in {tensor.name}: the training diverged.",
                hint="Take an earlier checkpoint, or train again at a lower learning rate.",
                code="not_finite",
            )
    form = _form(tensors, kind, path)
    return Adapter(
        path=str(path),
        sha256=digest,
        size_bytes=path.stat().st_size,
        kind=kind,
        rank=max(_ranks(tensors), default=None),
        alpha=_alpha(tensors, metadata, data),
        dtypes=tuple(sorted({tensor.dtype for tensor in tensors})),
        tensors=len(tensors),
        learned=not (results := _results(tensors, kind)) or any(_learned(data, tensor) for tensor in results),
        form=form,
        loads_in=loads_in(form),
    )


def form_of(path: Path) -> Form:
    """How the keys of a file are spelled; its numbers are not looked at. Raises AdapterError."""
    tensors, _ = _header(path)
    return _form(tensors, _kind(tensors, path), path)


def file_sha256(path: Path) -> str:
    """Of the file's bytes, in hexadecimal."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _header(path: Path) -> tuple[Sequence[Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open  # loads a shared library, which plans do not need

    try:
        # The library checks the file as loaders will.
        with safe_open(path, framework="numpy"):
            return read_header(path)
    except FileNotFoundError as error:
        raise AdapterError(f"There is no file {path}.", code="no_adapter") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise AdapterError(
            f"{path} is cut off or no safetensors file: {error}.",
            hint="Fetch it again; a checkpoint that was being written is whole a minute later.",
            code="broken_file",
        ) from error


def _kind(tensors: Iterable[Tensor], path: Path) -> Kind:
    names = [tensor.name for tensor in tensors]
    if any(".lokr_" in name for name in names):
        return "lokr"
    if any(name.endswith(_LORA_DOWN) for name in names):
        return "lora"
    example = f", for example {names[0]}" if names else ""
    raise AdapterError(f"{path} holds {len(names)} tensors and none of a LoRA or LoKr{example}.", code="no_adapter")


def _form(tensors: Sequence[Tensor], kind: Kind, path: Path) -> Form:
    """How the keys are spelled. Raises AdapterError for a layer that is there in part only."""
    if kind == "lokr":
        return "lokr"
    # SingLoRA has one matrix for each layer. In any other LoRA a missing half is a fault.
    if not any(tensor.name.endswith(_LORA_UP) for tensor in tensors):
        return "other"
    try:
        layers = layers_of(tensors, path)
    except UnusableAdapter as error:
        if error.code == "unknown_form":
            return "other"
        raise AdapterError(
            f"{error}.", hint="Fetch it again, or take an earlier checkpoint.", code="incomplete"
        ) from error
    if any("magnitude" in layer.parts for layer in layers):
        return "dora"
    spellings = set().union(*(layer.spellings for layer in layers))
    alphas = any("alpha" in layer.parts for layer in layers)
    return "lora" if spellings == {0} and not alphas else "mixed"


def _ranks(tensors: Iterable[Tensor]) -> Iterator[int]:
    for tensor in tensors:
        if tensor.name.endswith((*_LORA_DOWN, *_LOKR_RANKED)) and tensor.shape:
            yield tensor.shape[0]


def _alpha(tensors: Sequence[Tensor], metadata: Mapping[str, str], data: NDArray[np.uint8]) -> float | None:
    """From the alpha tensors of layers with a rank, else from what peft writes; None where unsaid or not one."""
    ranked = {
        tensor.name.rpartition(".lo")[0] for tensor in tensors if tensor.name.endswith((*_LORA_DOWN, *_LOKR_RANKED))
    }
    found = {
        _value(data, tensor)
        for tensor in tensors
        if tensor.name.endswith(".alpha") and tensor.name.removesuffix(".alpha") in ranked and tensor.dtype in _FLOATS
    }
    try:
        described = parse(metadata.get(PEFT) or "{}", "The description by peft")
    except MalformedError:
        described = {}
    for key, value in described.items() if isinstance(described, dict) else ():
        if key.endswith("lora_alpha") and (alpha := amount_of(value)) is not None:
            found.add(alpha)
    return found.pop() if len(found) == 1 else None


def _bits(data: NDArray[np.uint8], tensor: Tensor) -> Iterator[NDArray[Any]]:
    """The tensor's numbers as unsigned integers, a chunk at a time; nothing for integer tensors."""
    if tensor.dtype not in _FLOATS:
        return
    unsigned = np.dtype(_FLOATS[tensor.dtype][0])
    step = _CHUNK * unsigned.itemsize
    for begin in range(tensor.begin, tensor.end, step):
        # Tensors need not be aligned in the file, so the bytes are copied.
        yield np.frombuffer(data[begin : min(begin + step, tensor.end)].tobytes(), dtype=unsigned)


def _finite(data: NDArray[np.uint8], tensor: Tensor) -> bool:
    exponent = _FLOATS[tensor.dtype][1] if tensor.dtype in _FLOATS else 0
    return not any(bool(np.any((bits & exponent) == exponent)) for bits in _bits(data, tensor))


def _learned(data: NDArray[np.uint8], tensor: Tensor) -> bool:
    """Some number is neither 0 nor -0."""
    return any(bool(np.any((bits << 1).astype(bits.dtype))) for bits in _bits(data, tensor))


def _results(tensors: Iterable[Tensor], kind: Kind) -> list[Tensor]:
    """The tensors that start at zero, so that they show whether anything was learned; SingLoRA has none."""
    if kind == "lora":
        return [tensor for tensor in tensors if tensor.name.endswith(_LORA_UP)]
    return [tensor for tensor in tensors if ".lokr_w2" in tensor.name]


def _value(data: NDArray[np.uint8], tensor: Tensor) -> float:
    raw = data[tensor.begin : tensor.end].tobytes()
    if tensor.dtype == "BF16":
        # bfloat16 is the upper half of a float32.
        return float(np.frombuffer(b"\0\0" + raw[:2], dtype="<f4")[0])
    return float(np.frombuffer(raw, dtype={"F16": "<f2", "F32": "<f4", "F64": "<f8"}[tensor.dtype])[0])
