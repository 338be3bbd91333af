"""Which image is in which bucket, and how many batches an epoch has, calculated as in SimpleTuner.

Source: metadata/backends/base.py and discovery.py, data_backend/factory.py and training/trainer.py of SimpleTuner 3.1.6
and 4.10.1. tests/trainers/test_buckets.py compares the results with both and finds no difference.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fluxlora.dataset import Picture
from fluxlora.errors import InputError
from fluxlora.trainer import shapes
from fluxlora.trainer.shapes import Frame, Seen, Shape, Size, Unshapely

# The release whose arithmetic is used if none is named.
DEFAULT_VERSION = "3.1.6"
# The options that a data backend uses for keys that it does not set.
DEFAULTS = (
    "resolution", "resolution_type", "minimum_image_size", "maximum_image_size", "target_downsample_size",
    "aspect_bucket_rounding",
)  # fmt: skip
_CROP_ASPECTS = ("square", "preserve", "random", "closest")
_CROP_STYLES = ("center", "centre", "corner", "random", "face")


@dataclass(frozen=True)
class Backend:
    """The part of a data backend that decides about images."""

    id: str
    frame: Frame
    # Megapixels, or an edge in pixels. None if the backend has none; then no bucket is pruned, either.
    minimum: float | None
    # None: not set, so SimpleTuner may raise it if oversubscription is allowed.
    repeats: int | None
    minimum_aspect: float = 0
    maximum_aspect: float = math.inf
    version: str = DEFAULT_VERSION

    @classmethod
    def of(
        cls, entry: Mapping[str, Any], options: Mapping[str, Any] | None = None, version: str = DEFAULT_VERSION
    ) -> Backend:
        """Read a data backend's mapping, and missing keys from the trainer's options.

        Raises InputError naming the backend and the key.
        """
        read = _Entry(entry, options or {})
        kind = read.choice("resolution_type", "pixel_area", ("pixel_area", "pixel", "area"))
        crop_aspect = read.choice("crop_aspect", "square", _CROP_ASPECTS)
        aspects = read.aspects() if crop_aspect in ("random", "closest") else ()
        maximum, downsample = read.size("maximum_image_size", kind), read.size("target_downsample_size", kind)
        read.check_large(kind, maximum, downsample)
        minimum = read.size("minimum_image_size", kind)
        if kind != "pixel" and minimum > 5:
            raise read.wrong("minimum_image_size", "at most 5 megapixels, or SimpleTuner leaves out every image")
        return cls(
            id=read.id,
            frame=Frame(
                resolution=read.resolution(kind),
                pixel=kind == "pixel",
                crop=bool(entry.get("crop", False)),
                crop_aspect=crop_aspect,
                crop_style=read.choice("crop_style", "random", _CROP_STYLES),
                aspects=aspects,
                downsample=downsample if maximum else None,
                rounding=read.rounding(),
            ),
            minimum=minimum or None,
            repeats=int(read.number("repeats")) if "repeats" in entry else None,
            minimum_aspect=read.number("minimum_aspect_ratio"),
            maximum_aspect=read.number("maximum_aspect_ratio") or math.inf,
            version=version if version in ("3.1.6", "4.10.1") else DEFAULT_VERSION,
        )

    @property
    def square(self) -> bool:
        """Whether images are cut to squares."""

        return self.frame.square

    @property
    def target_edge(self) -> int:
        """Edge of a square, in pixels; other shapes have about the same area."""
        return self.frame.edge

    @property
    def minimum_area(self) -> float:
        """Smallest accepted area in pixels; 0 for no limit."""

        return 0 if self.minimum is None or self.frame.pixel else self.minimum * 1_000_000

    @property
    def minimum_edge(self) -> int:
        """Smallest accepted edge in pixels, if the crop is square or the resolution is an edge; otherwise 0."""
        if self.minimum is None:
            return 0
        if self.frame.pixel:
            return math.ceil(self.minimum)
        return math.floor(math.sqrt(self.minimum_area)) if self.square else 0

    def seen(self, picture: Picture) -> Seen:
        """Return the sizes that the trainer uses: 3.1.6 turns an image by its EXIF, and still uses some of the
        old values."""
        size = (picture.width, picture.height)
        stored = size[::-1] if picture.turned and self.version == "3.1.6" else size
        return Seen(size, stored)

    def fits(self, picture: Picture) -> bool:
        """Return whether an image is large enough, by its area and, if the crop is square, by its edges."""
        return (
            min(picture.width, picture.height) >= self.minimum_edge
            and picture.width * picture.height >= self.minimum_area
        )

    def too_small(self, picture: Picture) -> str:
        """Return the size of an image that does not fit, and the size that it needs."""
        if min(picture.width, picture.height) < self.minimum_edge:
            return f"{picture.width}x{picture.height}, both edges must be at least {self.minimum_edge} pixels"
        return f"{picture.width}x{picture.height}, it must have at least {self.minimum_area / 1e6:.2f} megapixels"

    def size(self, picture: Picture) -> Size:
        """Return the size in pixels at which an image would be trained if it were the only one."""
        return shapes.shapes(self.seen(picture), self.frame, {}, self.version)[0].target


@dataclass(frozen=True)
class Batching:
    """How samples become steps."""

    batch_size: int
    accumulation: int = 1
    gpus: int = 1
    oversubscription: bool = False
    # False with disable_bucket_pruning.
    pruning: bool = True

    @property
    def effective(self) -> int:
        """Samples that every bucket must have; otherwise the trainer ends the run."""
        return self.batch_size * self.accumulation * self.gpus


@dataclass(frozen=True)
class Bucket:
    """Images of one shape; `samples` includes the repeats."""

    aspect: float
    files: tuple[str, ...]
    samples: int
    batches: int
    # In pixels. Several if it depends on the order of the trainer's threads.
    sizes: tuple[Size, ...] = ()


@dataclass(frozen=True)
class BackendBuckets:
    """The buckets into which one data backend puts the images."""

    backend: Backend
    buckets: tuple[Bucket, ...]
    # Left out by the trainer without a message: too small, of no usable shape (with the reason), outside the limits of
    # aspect, or in a bucket smaller than a batch.
    too_small: tuple[Picture, ...]
    pruned: tuple[Bucket, ...]
    # Buckets that are large enough to be kept and too small for one step: the trainer ends the run.
    unusable: tuple[Bucket, ...]
    unshapely: tuple[tuple[Picture, str], ...] = ()
    off_limits: tuple[Bucket, ...] = ()
    # By file, the shape of each kept image; several if it is random.
    shapes: Mapping[str, tuple[Shape, ...]] = field(default_factory=dict)

    @property
    def batches(self) -> int:
        """Batches that one epoch takes from this backend."""
        return sum(bucket.batches for bucket in self.buckets)

    @property
    def samples(self) -> int:
        """Samples of one epoch, including the repeats."""
        return sum(bucket.samples for bucket in self.buckets)

    @property
    def images(self) -> int:
        """Images that are trained."""

        return sum(len(bucket.files) for bucket in self.buckets)

    @property
    def left_out(self) -> dict[str, list[str]]:
        """The files that are not trained, by reason."""
        reasons = {
            "too small": [picture.file for picture in self.too_small],
            "of no usable shape": [picture.file for picture, _ in self.unshapely],
            "in buckets smaller than a batch": [file for bucket in self.pruned for file in bucket.files],
            "beyond the limits of aspect": [file for bucket in self.off_limits for file in bucket.files],
        }
        return {reason: files for reason, files in reasons.items() if files}


def assign_buckets(pictures: Sequence[Picture], backend: Backend, batching: Batching) -> BackendBuckets:
    """Put each image into the same bucket as SimpleTuner; if SimpleTuner chooses at random, spread them evenly."""
    fitting = [picture for picture in pictures if backend.fits(picture)]
    shaped, unshapely = _shape(fitting, backend)
    groups = _by_aspect(shaped, by_lot=backend.frame.by_lot)
    pruned = {aspect for aspect, files in groups.items() if _is_pruned(len(files), backend, batching)}
    off = {aspect for aspect in groups if not backend.minimum_aspect <= aspect <= backend.maximum_aspect} - pruned
    kept = {aspect: files for aspect, files in groups.items() if aspect not in pruned | off}
    short = {aspect for aspect, files in kept.items() if len(files) * _times(backend) < batching.effective}
    raised = batching.oversubscription and _may_raise_repeats(backend)

    def bucket(aspect: float) -> Bucket:
        files = groups[aspect]
        times = _times(backend)
        if raised and aspect in short and backend.version != "3.1.6":
            samples, batches = _padded(len(files), batching)
        else:
            if raised and short and backend.version == "3.1.6":
                times = max(least_repeats(len(kept[name]), batching) for name in short) + 1
            samples = len(files) * times
            batches = math.ceil(math.ceil(len(files) / batching.gpus) * times / batching.batch_size)
        sizes = dict.fromkeys(shape.target for file in files for shape in shaped[file] if shape.aspect == aspect)
        return Bucket(aspect, tuple(files), samples, batches, tuple(sizes))

    return BackendBuckets(
        backend=backend,
        buckets=tuple(bucket(aspect) for aspect in sorted(kept) if raised or aspect not in short),
        too_small=tuple(picture for picture in pictures if not backend.fits(picture)),
        pruned=tuple(bucket(aspect) for aspect in sorted(pruned)),
        unusable=() if raised else tuple(bucket(aspect) for aspect in sorted(short)),
        unshapely=unshapely,
        off_limits=tuple(bucket(aspect) for aspect in sorted(off)),
        shapes=shaped,
    )


def steps_per_epoch(backends: Iterable[BackendBuckets], batching: Batching) -> int:
    """Return the optimizer steps that the trainer counts for an epoch; 0 if nothing can be trained."""
    return math.ceil(sum(bucketed.batches for bucketed in backends) / batching.accumulation)


def least_repeats(images: int, batching: Batching) -> int:
    """Return the smallest `repeats` with which a bucket of this many images fills a step."""
    return max(math.ceil(batching.effective / images) - 1, 0)


def _shape(
    pictures: Iterable[Picture], backend: Backend
) -> tuple[dict[str, tuple[Shape, ...]], tuple[tuple[Picture, str], ...]]:
    seen = [(picture, backend.seen(picture)) for picture in pictures]
    sizes = shapes.shared_sizes((image for _, image in seen), backend.frame)
    found: dict[str, tuple[Shape, ...]] = {}
    failed: list[tuple[Picture, str]] = []
    for picture, image in seen:
        try:
            found[picture.file] = shapes.shapes(image, backend.frame, sizes, backend.version)
        except Unshapely as reason:
            failed.append((picture, str(reason)))
    return found, tuple(failed)


def _by_aspect(shaped: Mapping[str, Sequence[Shape]], *, by_lot: bool) -> dict[float, list[str]]:
    groups: dict[float, list[str]] = {}
    for number, (file, possible) in enumerate(shaped.items()):
        aspects = list(dict.fromkeys(shape.aspect for shape in possible))
        groups.setdefault(aspects[number % len(aspects) if by_lot else 0], []).append(file)
    return groups


def _is_pruned(images: int, backend: Backend, batching: Batching) -> bool:
    """Return whether a bucket is dropped: only if it is smaller than a batch and minimum_image_size is set."""
    return batching.pruning and backend.minimum is not None and images * _times(backend) < batching.batch_size


def _times(backend: Backend) -> int:
    """Return how often each image is seen in an epoch."""
    return (backend.repeats or 0) + 1


def _may_raise_repeats(backend: Backend) -> bool:
    """Return whether the trainer may raise repeats: 3.1.6 only if it is not set, 4.10.1 also if it is 0."""
    return backend.repeats is None if backend.version == "3.1.6" else not backend.repeats


def _padded(images: int, batching: Batching) -> tuple[int, int]:
    """Return samples and batches of a bucket that 4.10.1 fills up to whole steps."""
    steps = math.ceil(images * (least_repeats(images, batching) + 1) / batching.effective)
    return steps * batching.effective, steps * batching.accumulation


class _Entry:
    """A data backend's mapping, read with the trainer's own defaults and checks."""

    def __init__(self, entry: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        self.entry, self.options = entry, options
        self.id = str(entry.get("id") or "without an id")

    def wrong(self, key: str, wanted: str) -> InputError:
        """Return the error for a key with an unusable value."""

        value = self.entry.get(key, self.options.get(key))
        return InputError(f"Data backend {self.id}: {key} must be {wanted}, not {value!r}.")

    def choice(self, key: str, default: str, choices: Sequence[str]) -> str:
        """Return the value of a key, which must be one of the choices."""

        value = self.entry.get(key, self.options.get(key) or default)
        if value not in choices:
            raise self.wrong(key, f"one of {', '.join(choices)}")
        return str(value)

    def number(self, key: str, source: Mapping[str, Any] | None = None) -> float:
        """Return a number of 0 or more; 0 if the key is not set."""

        value = (self.entry if source is None else source).get(key) or 0
        if source is self.options and isinstance(value, str) and value.replace(".", "", 1).isdecimal():
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise self.wrong(key, "a number")
        return float(value)

    def size(self, key: str, kind: str) -> float:
        """Return a size; only a value of the backend itself is converted to megapixels."""
        if key not in self.entry:
            return self.number(key, self.options)
        value = self.number(key)
        return value * value / 1_000_000 if kind == "pixel_area" else value

    def rounding(self) -> int:
        """Return the decimals of an aspect ratio."""

        given = self.options.get("aspect_bucket_rounding") is not None
        return int(self.number("aspect_bucket_rounding", self.options)) if given else 2

    def resolution(self, kind: str) -> float:
        """Return the resolution in pixels or megapixels, by `resolution_type`."""

        source = self.entry if "resolution" in self.entry else self.options
        value = self.number("resolution", source)
        if not value or (kind in ("pixel_area", "pixel") and value != int(value)):
            raise self.wrong("resolution", "a whole number of pixels" if kind != "area" else "a number of megapixels")
        return value * value / 1000**2 if kind == "pixel_area" else value

    def aspects(self) -> tuple[float, ...]:
        """Return the aspects of crop_aspect_buckets."""

        values = self.entry.get("crop_aspect_buckets")
        listed = [value.get("aspect") if isinstance(value, Mapping) else value for value in values or ()]
        aspects = tuple(aspect for aspect in listed if isinstance(aspect, float) and aspect > 0)
        if not aspects or len(aspects) < len(listed):
            raise self.wrong("crop_aspect_buckets", "a list of numbers with a decimal point, such as 1.0")
        return aspects

    def check_large(self, kind: str, maximum: float, downsample: float) -> None:
        """Raise InputError for sizes of large images that the trainer refuses."""

        if maximum and not downsample:
            raise self.wrong("target_downsample_size", "set, because maximum_image_size is set")
        for key, value in (("maximum_image_size", maximum), ("target_downsample_size", downsample)):
            if value and kind == "pixel" and value < 512:
                raise self.wrong(key, "at least 512 pixels with resolution_type pixel")
            if kind != "pixel" and value >= 20:
                raise self.wrong(key, "less than 20 megapixels")
