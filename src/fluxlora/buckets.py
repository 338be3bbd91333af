"""Which picture goes into which bucket, and how many batches an epoch has, as SimpleTuner 3.1.6 counts them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fluxlora.dataset import Picture
from fluxlora.errors import InputError

# SimpleTuner aligns FLUX's edges to this many pixels, whatever is configured.
ALIGNMENT_PIXELS = 64


@dataclass(frozen=True)
class Backend:
    """The part of a data backend that decides about sizes; areas in pixels."""

    id: str
    square: bool
    target_edge: int
    minimum_area: float
    minimum_edge: int
    # None: not set, so SimpleTuner may raise it where oversubscription is allowed.
    repeats: int | None

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Backend:
        """Read a data backend's mapping. Raises InputError naming the backend and the key."""
        name = str(entry.get("id") or "without an id")
        kind = entry.get("resolution_type", "pixel_area")
        if kind not in ("pixel_area", "pixel", "area"):
            raise InputError(f"Data backend {name}: resolution_type {kind!r} is none of pixel_area, pixel and area.")

        def area(key: str) -> float:
            value = _number(entry, key, name)
            return value * 1_000_000 if kind == "area" else value * value

        for key in ("maximum_image_size", "target_downsample_size"):
            _number(entry, key, name)
        square = bool(entry.get("crop", False)) and entry.get("crop_aspect", "square") == "square"
        minimum = area("minimum_image_size")
        both_edges = square or kind == "pixel"
        return cls(
            id=name,
            square=square,
            target_edge=_aligned(math.isqrt(round(area("resolution")))),
            minimum_area=0 if kind == "pixel" else minimum,
            minimum_edge=math.isqrt(math.floor(minimum)) if both_edges else 0,
            repeats=int(_number(entry, "repeats", name)) if "repeats" in entry else None,
        )

    def fits(self, picture: Picture) -> bool:
        """Both edges count where the crop is square, the area always."""
        return (
            min(picture.width, picture.height) >= self.minimum_edge
            and picture.width * picture.height >= self.minimum_area
        )

    def too_small(self, picture: Picture) -> str:
        """What a picture that does not fit would have to be."""
        if self.minimum_edge:
            return f"{picture.width}x{picture.height}, both edges must be at least {self.minimum_edge} pixels"
        return f"{picture.width}x{picture.height}, it must have at least {self.minimum_area / 1e6:.2f} megapixels"

    def size(self, picture: Picture) -> tuple[int, int]:
        """The size it is trained at, in pixels."""
        if self.square:
            return self.target_edge, self.target_edge
        aspect = round(picture.width / picture.height, 2) or 0.01
        return _aligned(self.target_edge * math.sqrt(aspect)), _aligned(self.target_edge / math.sqrt(aspect))


@dataclass(frozen=True)
class Batching:
    """How samples become steps."""

    batch_size: int
    accumulation: int = 1
    gpus: int = 1
    oversubscription: bool = False

    @property
    def effective(self) -> int:
        """Samples that every bucket must have, or the trainer ends the run."""
        return self.batch_size * self.accumulation * self.gpus


@dataclass(frozen=True)
class Bucket:
    """Pictures of one shape; `samples` counts the repeats in."""

    aspect: float
    files: tuple[str, ...]
    samples: int
    batches: int


@dataclass(frozen=True)
class Sorted:
    """What one data backend makes of the pictures."""

    backend: Backend
    buckets: tuple[Bucket, ...]
    # Left out by the trainer without a word: too small, or in a bucket smaller than a batch.
    too_small: tuple[Picture, ...]
    pruned: tuple[Bucket, ...]
    # Large enough to be kept and too small for one step: the trainer ends the run.
    unusable: tuple[Bucket, ...]

    @property
    def batches(self) -> int:
        """Batches that one epoch takes from this backend."""
        return sum(bucket.batches for bucket in self.buckets)

    @property
    def samples(self) -> int:
        """Samples of one epoch, repeats counted in."""
        return sum(bucket.samples for bucket in self.buckets)


def sort(pictures: Sequence[Picture], backend: Backend, batching: Batching) -> Sorted:
    """Put each picture where SimpleTuner puts it."""
    shapes: dict[float, list[str]] = {}
    for picture in pictures:
        if backend.fits(picture):
            width, height = backend.size(picture)
            shapes.setdefault(round(width / height, 2), []).append(picture.file)
    factor = _factor(shapes.values(), backend, batching)
    every = [_bucket(aspect, files, factor, batching) for aspect, files in sorted(shapes.items())]
    kept = [bucket for bucket in every if bucket.samples >= batching.batch_size]
    return Sorted(
        backend=backend,
        buckets=tuple(bucket for bucket in kept if bucket.samples >= batching.effective),
        too_small=tuple(picture for picture in pictures if not backend.fits(picture)),
        pruned=tuple(bucket for bucket in every if bucket.samples < batching.batch_size),
        unusable=tuple(bucket for bucket in kept if bucket.samples < batching.effective),
    )


def steps_per_epoch(sorted_backends: Iterable[Sorted], batching: Batching) -> int:
    """Optimizer steps that see every sample once; 0 where nothing can be trained."""
    return math.ceil(sum(each.batches for each in sorted_backends) / batching.accumulation)


def _factor(shapes: Iterable[list[str]], backend: Backend, batching: Batching) -> int:
    """How often each picture is seen in an epoch; oversubscription raises it for what the pruning left."""
    factor = (backend.repeats or 0) + 1
    if not batching.oversubscription or backend.repeats is not None:
        return factor
    kept = [len(files) for files in shapes if len(files) >= batching.batch_size]
    return max([factor, *(math.ceil(batching.effective / count) for count in kept)])


def _bucket(aspect: float, files: Sequence[str], factor: int, batching: Batching) -> Bucket:
    per_gpu = math.ceil(len(files) / batching.gpus) * factor
    return Bucket(aspect, tuple(files), len(files) * factor, math.ceil(per_gpu / batching.batch_size))


def _aligned(edge: float) -> int:
    """To the nearest multiple, halves to the even one, and never nothing."""
    return max(round(edge / ALIGNMENT_PIXELS) * ALIGNMENT_PIXELS, ALIGNMENT_PIXELS)


def _number(entry: Mapping[str, Any], key: str, name: str) -> float:
    value = entry.get(key) or 0
    if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise InputError(f"Data backend {name}: {key} must be a number, not {value!r}.")
    return float(value)
