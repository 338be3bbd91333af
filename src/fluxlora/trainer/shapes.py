"""The shape SimpleTuner gives to one image: which aspect, at what size, cut out of what.

What is here was read in SimpleTuner 3.1.6 and 4.10.1, multiaspect/image.py and image_manipulation/training_sample.py
and cropping.py, and tests/trainers/test_buckets.py compares it with what both decide. Python's own rounding and the
order of the floating point operations are part of it: at the edges they decide.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Size = tuple[int, int]
# The sizes that share a rounded aspect at one resolution.
Sizes = Mapping[tuple[float, float], tuple[Size, ...]]

# SimpleTuner aligns FLUX's edges to this many pixels, whatever is configured.
ALIGNMENT_PIXELS = 64
# Where `resolution` is megapixels, these mean an edge, and so does whatever is less than 0.05 beside them; the first
# one counts.
_ROUND_MEGAPIXELS = ((0.25, 512), (0.5, 768), (1.0, 1024), (2.0, 1536), (4.0, 2048))


class Unshapely(ValueError):
    """SimpleTuner's arithmetic fails on the image, which it then leaves out."""


@dataclass(frozen=True)
class Frame:
    """How a data backend shapes its images. `resolution` and `downsample` are pixels or megapixels, see `pixel`."""

    resolution: float
    pixel: bool
    crop: bool
    crop_aspect: str
    crop_style: str
    # Of crop_aspect closest and random.
    aspects: tuple[float, ...]
    # target_downsample_size where maximum_image_size is set too; alone neither does anything.
    downsample: float | None
    # Decimals of an aspect.
    rounding: int

    @property
    def square(self) -> bool:
        return self.crop and self.crop_aspect == "square"

    @property
    def by_lot(self) -> bool:
        """Each image gets one of the aspects at random, so nobody can say which."""
        return self.crop and self.crop_aspect == "random"

    @property
    def edge(self) -> int:
        """Of a square, in pixels."""
        return int(self.resolution) if self.pixel else _aligned(math.sqrt(self.area))

    @property
    def scaled_edge(self) -> int:
        """The same, as it counts when an image is scaled: the round megapixels are taken at their word there."""
        return self.edge if self.pixel else _area_edge(self.resolution)

    @property
    def area(self) -> float:
        """Of a square, in square pixels; only where the resolution is megapixels."""
        for megapixels, edge in _ROUND_MEGAPIXELS:
            if abs(self.resolution - megapixels) < 0.05:
                return edge**2
        return self.resolution * 1e6

    def aspect(self, size: Size) -> float:
        return round(size[0] / size[1], self.rounding)


@dataclass(frozen=True)
class Seen:
    """An image's size as the trainer sees it, and before EXIF turned it."""

    size: Size
    stored: Size


@dataclass(frozen=True)
class Shape:
    """Where an image ends up: scaled to `intermediate`, cut to `target`, `crop` from the corner."""

    aspect: float
    target: Size
    intermediate: Size
    # As the trainer writes it down. None: drawn at random.
    crop: Size | None


def shared_sizes(images: Iterable[Seen], frame: Frame) -> Sizes:
    """By resolution and rounded aspect, the sizes that images ask for.

    Where several share one, the first image that a thread of the trainer happens to look at decides for all.
    """
    found: dict[tuple[float, float], dict[Size, None]] = {}
    if not frame.pixel:
        for image in images:
            for megapixels, aspect in _asked(image, frame):
                if aspect and not (aspect == 1.0 and image.size[0] == image.size[1]):
                    size = _area_size(aspect, megapixels)
                    found.setdefault((megapixels, frame.aspect(size)), {})[size] = None
    return {key: tuple(sizes) for key, sizes in found.items()}


def shapes(image: Seen, frame: Frame, sizes: Sizes, version: str) -> tuple[Shape, ...]:
    """The shape of an image, or those that chance chooses from. Raises Unshapely."""
    if frame.crop_style == "face" and version == "3.1.6" and (frame.crop or _cut(image, frame, sizes)):
        raise Unshapely("its crop_style face does not work")
    return tuple(
        dict.fromkeys(
            shape for aspect in _aspects(image.size, frame) for shape in _shapes(image, aspect, frame, sizes, version)
        )
    )


def _cut(image: Seen, frame: Frame, sizes: Sizes) -> bool:
    found = (each for aspect in _aspects(image.size, frame) for each in _fitted(image.size, aspect, frame, sizes))
    return any(target != intermediate for _, target, intermediate in found)


def _aspects(size: Size, frame: Frame) -> tuple[float, ...]:
    """The aspect that the crop is to have, or those that it may have."""
    own = frame.aspect(size)
    if frame.square:
        return (1.0,)
    if frame.by_lot:
        return frame.aspects
    if frame.crop and frame.crop_aspect == "closest":
        return (min(frame.aspects, key=lambda aspect: abs(aspect - own)),)
    return (own,)


def _asked(image: Seen, frame: Frame) -> Iterable[tuple[float, float]]:
    for aspect in _aspects(image.size, frame):
        yield frame.resolution, aspect
    if frame.crop and frame.downsample:
        yield frame.downsample, frame.aspect(image.stored)


def _shapes(image: Seen, aspect: float, frame: Frame, sizes: Sizes, version: str) -> Iterable[Shape]:
    for final, target, intermediate in _fitted(image.size, aspect, frame, sizes):
        if not frame.crop:
            crop = (0, 0) if target == intermediate else _corner(intermediate, target, frame.crop_style)
            yield Shape(final, target, intermediate, crop)
        else:
            for current in _scaled(image, target, intermediate, frame, sizes):
                yield Shape(final, target, intermediate, _crop(current, target, frame.crop_style, version))


def _fitted(size: Size, aspect: float, frame: Frame, sizes: Sizes) -> Iterable[tuple[float, Size, Size]]:
    """Aspect, target and intermediate size."""
    square = (frame.edge, frame.edge)
    for target, intermediate in _scalings(size, aspect, frame.resolution, frame, sizes):
        final = 1.0 if frame.square else frame.aspect(target)
        if final == 1.0 and intermediate[0] < frame.edge:
            intermediate = square
        yield final, square if final == 1.0 else target, intermediate


def _scalings(size: Size, aspect: float, resolution: float, frame: Frame, sizes: Sizes) -> Iterable[tuple[Size, Size]]:
    if aspect == 0:
        raise Unshapely(f"its aspect is 0 when rounded to {frame.rounding} decimals")
    if frame.pixel:
        return [_by_edge(size, aspect, int(resolution))]
    if aspect == 1.0 and size[0] == size[1]:
        edge = _area_edge(resolution)
        return [((edge, edge), (edge, edge))]
    wanted = _area_size(aspect, resolution)
    adjusted = frame.aspect(wanted)
    if adjusted == 0:
        raise Unshapely(f"its aspect is 0 when rounded to {frame.rounding} decimals")
    return [(target, _around(size, wanted, target)) for target in sizes.get((resolution, adjusted), (wanted,))]


def _by_edge(size: Size, aspect: float, edge: int) -> tuple[Size, Size]:
    """resolution_type pixel: the shorter edge is given."""
    width, height = size
    wanted = (edge, int(edge / aspect)) if width < height else (int(edge * aspect), edge)
    target = _aligned(wanted[0]), _aligned(wanted[1])
    own = width / height
    if own >= 1.0:
        high = max(target[1], wanted[1])
        wide = int(high * own)
        if wide < target[0]:
            wide, high = target[0], int(target[0] / own)
    else:
        wide = max(target[0], wanted[0])
        high = int(wide / own)
        if high < target[1]:
            wide, high = int(target[1] * own), target[1]
    return target, (wide, high)


def _area_edge(megapixels: float) -> int:
    return _aligned(int(math.sqrt(megapixels * 1e6)))


def _area_size(aspect: float, megapixels: float) -> Size:
    edge = _area_edge(megapixels)
    return _aligned(edge * math.sqrt(aspect)), _aligned(edge / math.sqrt(aspect))


def _around(size: Size, wanted: Size, target: Size) -> Size:
    """The size of the image's own aspect from which the target is cut."""
    own = size[0] / size[1]
    if wanted[0] < wanted[1]:
        wide, high = wanted[0], int(wanted[0] / own)
    else:
        wide, high = int(wanted[1] * own), wanted[1]
    if target[0] > wide:
        more = target[0] - wide
        return wide + more, high + int(more / own)
    if target[1] > high:
        more = target[1] - high
        return wide + int(more * own), high + more
    return wide, high


def _scaled(image: Seen, target: Size, intermediate: Size, frame: Frame, sizes: Sizes) -> Iterable[Size]:
    """The size that the crop is cut out of: not always the intermediate one that is written down."""
    if frame.downsample and _rescales(image.stored, target, frame):
        for _, size in _scalings(image.size, frame.aspect(image.stored), frame.downsample, frame, sizes):
            yield _covering(size, target)
    else:
        yield intermediate


def _rescales(stored: Size, target: Size, frame: Frame) -> bool:
    if frame.pixel:
        return stored != (frame.edge, frame.edge)
    return stored[0] * stored[1] != frame.area or stored[0] < target[0] or stored[1] < target[1]


def _covering(size: Size, target: Size) -> Size:
    if size[0] < target[0]:
        return target[0], int(size[1] * (target[0] / size[0]))
    if size[1] < target[1]:
        return int(size[0] * (target[1] / size[1])), target[1]
    return size


def _crop(current: Size, target: Size, style: str, version: str) -> Size | None:
    if version == "3.1.6" and style in ("center", "random"):
        # Left before top, unlike everywhere else; of a random crop it writes down the middle, wherever it was cut.
        return (current[0] - target[0]) // 2, (current[1] - target[1]) // 2
    return _corner(current, target, style)


def _corner(current: Size, target: Size, style: str) -> Size | None:
    """Top and left of the cut."""
    room = max(0, current[1] - target[1]), max(0, current[0] - target[0])
    if style == "corner" or room == (0, 0):
        return 0, 0
    return (room[0] // 2, room[1] // 2) if style in ("center", "centre") else None


def _aligned(edge: float) -> int:
    """To the nearest multiple, halves to the even one, and never nothing."""
    return max(round(edge / ALIGNMENT_PIXELS) * ALIGNMENT_PIXELS, ALIGNMENT_PIXELS)
