"""Which picture goes into which bucket, and how many batches an epoch has, as SimpleTuner counts them.

What is here was read in SimpleTuner 3.1.6 and 4.10.1, metadata/backends/base.py and discovery.py,
data_backend/factory.py and training/trainer.py; tests/trainers/test_buckets.py asks both and finds no difference.
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

# The version whose arithmetic counts where none is named. The checkout of an older tag is counted like it, too.
DEFAULT_VERSION = "3.1.6"
# The options that a data backend falls back on.
DEFAULTS = (
    "resolution", "resolution_type", "minimum_image_size", "maximum_image_size", "target_downsample_size",
    "aspect_bucket_rounding",
)  # fmt: skip
_CROP_ASPECTS = ("square", "preserve", "random", "closest")
_CROP_STYLES = ("center", "centre", "corner", "random", "face")


@dataclass(frozen=True)
class Backend:
    """The part of a data backend that decides about pictures."""

    id: str
    frame: Frame
    # Megapixels, or an edge in pixels; None where the backend has none, and then nothing is pruned either.
    minimum: float | None
    # None: not set, so SimpleTuner may raise it where oversubscription is allowed.
    repeats: int | None
    minimum_aspect: float = 0
    maximum_aspect: float = math.inf
    version: str = DEFAULT_VERSION

    @classmethod
    def of(
        cls, entry: Mapping[str, Any], options: Mapping[str, Any] | None = None, version: str = DEFAULT_VERSION
    ) -> Backend:
        """Read a data backend's mapping, and from the trainer's options what it does not say.

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
        return self.frame.square

    @property
    def target_edge(self) -> int:
        """Of a square, in pixels; other shapes have about its area."""
        return self.frame.edge

    @property
    def minimum_area(self) -> float:
        return 0 if self.minimum is None or self.frame.pixel else self.minimum * 1_000_000

    @property
    def minimum_edge(self) -> int:
        """Both edges count where the crop is square or the resolution an edge."""
        if self.minimum is None:
            return 0
        if self.frame.pixel:
            return math.ceil(self.minimum)
        return math.floor(math.sqrt(self.minimum_area)) if self.square else 0

    def seen(self, picture: Picture) -> Seen:
        """SimpleTuner 3.1.6 turns an image as its EXIF asks, and goes on reckoning with some of what it was before."""
        size = (picture.width, picture.height)
        stored = size[::-1] if picture.turned and self.version == "3.1.6" else size
        return Seen(size, stored)

    def fits(self, picture: Picture) -> bool:
        """The area always counts, the edges where the crop is square."""
        return (
            min(picture.width, picture.height) >= self.minimum_edge
            and picture.width * picture.height >= self.minimum_area
        )

    def too_small(self, picture: Picture) -> str:
        """What a picture that does not fit would have to be."""
        if min(picture.width, picture.height) < self.minimum_edge:
            return f"{picture.width}x{picture.height}, both edges must be at least {self.minimum_edge} pixels"
        return f"{picture.width}x{picture.height}, it must have at least {self.minimum_area / 1e6:.2f} megapixels"

    def size(self, picture: Picture) -> Size:
        """The size it is trained at, in pixels, taken alone."""
        return shapes.shapes(self.seen(picture), self.frame, {}, self.version)[0].target


@dataclass(frozen=True)
class Batching:
    """How samples become steps."""

    batch_size: int
    accumulation: int = 1
    gpus: int = 1
    oversubscription: bool = False
    # disable_bucket_pruning turns it off.
    pruning: bool = True

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
    # In pixels. Several where the trainer's threads race for which it is.
    sizes: tuple[Size, ...] = ()


@dataclass(frozen=True)
class BackendBuckets:
    """What one data backend makes of the pictures."""

    backend: Backend
    buckets: tuple[Bucket, ...]
    # Left out by the trainer without a word: too small, of no usable shape (with why), outside the limits of aspect,
    # or in a bucket smaller than a batch.
    too_small: tuple[Picture, ...]
    pruned: tuple[Bucket, ...]
    # Large enough to be kept and too small for one step: the trainer ends the run.
    unusable: tuple[Bucket, ...]
    unshapely: tuple[tuple[Picture, str], ...] = ()
    off_limits: tuple[Bucket, ...] = ()
    # By file, what each kept picture becomes; several where chance decides.
    shapes: Mapping[str, tuple[Shape, ...]] = field(default_factory=dict)

    @property
    def batches(self) -> int:
        """Batches that one epoch takes from this backend."""
        return sum(bucket.batches for bucket in self.buckets)

    @property
    def samples(self) -> int:
        """Samples of one epoch, repeats counted in."""
        return sum(bucket.samples for bucket in self.buckets)

    @property
    def images(self) -> int:
        return sum(len(bucket.files) for bucket in self.buckets)

    @property
    def left_out(self) -> dict[str, list[str]]:
        """The files that are not trained on, by why."""
        reasons = {
            "too small": [picture.file for picture in self.too_small],
            "of no usable shape": [picture.file for picture, _ in self.unshapely],
            "in buckets smaller than a batch": [file for bucket in self.pruned for file in bucket.files],
            "beyond the limits of aspect": [file for bucket in self.off_limits for file in bucket.files],
        }
        return {reason: files for reason, files in reasons.items() if files}


def assign_buckets(pictures: Sequence[Picture], backend: Backend, batching: Batching) -> BackendBuckets:
    """Put each picture where SimpleTuner puts it; where it draws lots, as evenly as lots fall on average."""
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
                times = max(least_repeats(len(kept[each]), batching) for each in short) + 1
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


def steps_per_epoch(sorted_backends: Iterable[BackendBuckets], batching: Batching) -> int:
    """Optimizer steps that the trainer counts for an epoch; 0 where nothing can be trained."""
    return math.ceil(sum(each.batches for each in sorted_backends) / batching.accumulation)


def least_repeats(images: int, batching: Batching) -> int:
    """The smallest `repeats` with which a bucket of so many images fills a step."""
    return max(math.ceil(batching.effective / images) - 1, 0)


def _shape(
    pictures: Iterable[Picture], backend: Backend
) -> tuple[dict[str, tuple[Shape, ...]], tuple[tuple[Picture, str], ...]]:
    seen = [(picture, backend.seen(picture)) for picture in pictures]
    sizes = shapes.shared_sizes((each for _, each in seen), backend.frame)
    found: dict[str, tuple[Shape, ...]] = {}
    failed: list[tuple[Picture, str]] = []
    for picture, each in seen:
        try:
            found[picture.file] = shapes.shapes(each, backend.frame, sizes, backend.version)
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
    """Buckets smaller than a batch go only where there is a minimum_image_size: the check for it drops them."""
    return batching.pruning and backend.minimum is not None and images * _times(backend) < batching.batch_size


def _times(backend: Backend) -> int:
    """How often each picture is seen in an epoch."""
    return (backend.repeats or 0) + 1


def _may_raise_repeats(backend: Backend) -> bool:
    """3.1.6 leaves alone what is written in the backend, be it 0; 4.10.1 only what is more than 0."""
    return backend.repeats is None if backend.version == "3.1.6" else not backend.repeats


def _padded(images: int, batching: Batching) -> tuple[int, int]:
    """Samples and batches of a bucket that 4.10.1 fills up to whole steps."""
    steps = math.ceil(images * (least_repeats(images, batching) + 1) / batching.effective)
    return steps * batching.effective, steps * batching.accumulation


class _Entry:
    """A data backend's mapping, read with the trainer's own defaults and checks."""

    def __init__(self, entry: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        self.entry, self.options = entry, options
        self.id = str(entry.get("id") or "without an id")

    def wrong(self, key: str, wanted: str) -> InputError:
        value = self.entry.get(key, self.options.get(key))
        return InputError(f"Data backend {self.id}: {key} must be {wanted}, not {value!r}.")

    def choice(self, key: str, default: str, choices: Sequence[str]) -> str:
        value = self.entry.get(key, self.options.get(key) or default)
        if value not in choices:
            raise self.wrong(key, f"one of {', '.join(choices)}")
        return str(value)

    def number(self, key: str, source: Mapping[str, Any] | None = None) -> float:
        value = (self.entry if source is None else source).get(key) or 0
        if source is self.options and isinstance(value, str) and value.replace(".", "", 1).isdecimal():
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise self.wrong(key, "a number")
        return float(value)

    def size(self, key: str, kind: str) -> float:
        """Only what stands in the backend is converted to megapixels."""
        if key not in self.entry:
            return self.number(key, self.options)
        value = self.number(key)
        return value * value / 1_000_000 if kind == "pixel_area" else value

    def rounding(self) -> int:
        given = self.options.get("aspect_bucket_rounding") is not None
        return int(self.number("aspect_bucket_rounding", self.options)) if given else 2

    def resolution(self, kind: str) -> float:
        source = self.entry if "resolution" in self.entry else self.options
        value = self.number("resolution", source)
        if not value or (kind in ("pixel_area", "pixel") and value != int(value)):
            raise self.wrong("resolution", "a whole number of pixels" if kind != "area" else "a number of megapixels")
        return value * value / 1000**2 if kind == "pixel_area" else value

    def aspects(self) -> tuple[float, ...]:
        values = self.entry.get("crop_aspect_buckets")
        listed = [each.get("aspect") if isinstance(each, Mapping) else each for each in values or ()]
        aspects = tuple(each for each in listed if isinstance(each, float) and each > 0)
        if not aspects or len(aspects) < len(listed):
            raise self.wrong("crop_aspect_buckets", "a list of numbers with a decimal point, as 1.0")
        return aspects

    def check_large(self, kind: str, maximum: float, downsample: float) -> None:
        if maximum and not downsample:
            raise self.wrong("target_downsample_size", "set where maximum_image_size is")
        for key, value in (("maximum_image_size", maximum), ("target_downsample_size", downsample)):
            if value and kind == "pixel" and value < 512:
                raise self.wrong(key, "at least 512 pixels where resolution_type is pixel")
            if kind != "pixel" and value >= 20:
                raise self.wrong(key, "less than 20 megapixels")
