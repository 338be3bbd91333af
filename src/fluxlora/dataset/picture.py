"""The facts of one image file, which is read once and with little memory."""

from __future__ import annotations

import hashlib
import struct
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageFile, PngImagePlugin, UnidentifiedImageError

# Pillow's exceptions for damaged files.
BROKEN = (
    UnidentifiedImageError,
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    TypeError,
    KeyError,
    MemoryError,
    struct.error,
)
# As in SimpleTuner: some programs store whole workflows in a PNG.
PngImagePlugin.MAX_TEXT_CHUNK = 100 * 2**20
_ORIENTATION = 0x0112
# EXIF orientations that swap the edges.
_TURNED = frozenset({5, 6, 7, 8})
# A JPEG is decoded at an eighth of its edges, everything else at full size; of larger files only the structure is read.
_DECODED_PIXELS = 50_000_000
# Below this difference of grey between its lightest and darkest ninth an image is flat, and looks like any other flat
# one.
_FLAT = 12


@dataclass(frozen=True)
class Look:
    """The facts of one image file; sizes in pixels as stored."""

    # Pillow's name of the format; empty if it is not an image.
    format: str = ""
    width: int = 0
    height: int = 0
    orientation: int = 1
    mode: str = ""
    sixteen_bit: bool = False
    transparent: bool = False
    animated: bool = False
    # Hash of the whole file.
    digest: str = ""
    # 128 bits that are almost the same in a scaled or recompressed copy; empty for flat images.
    likeness: str = ""
    # One of unreadable, damaged, too_large; and Pillow's reason.
    problem: str = ""
    reason: str = ""

    @property
    def turned(self) -> bool:
        """Whether it is displayed with swapped edges."""
        return self.orientation in _TURNED


def inspect_picture(file: Path) -> Look:
    """Read an image file to its last pixel. Problems are part of the facts; nothing is raised."""
    try:
        with file.open("rb") as opened, warnings.catch_warnings():
            # Pillow warns at half of its limit; large photographs are accepted here.
            warnings.simplefilter("ignore")
            digest = hashlib.file_digest(opened, "blake2b").hexdigest()[:32]
            opened.seek(0)
            return _read(opened, digest)
    except OSError as reason:
        return Look(problem="unreadable", reason=reason.strerror or str(reason))


def _read(opened: IO[bytes], digest: str) -> Look:
    try:
        with Image.open(opened) as image:
            facts = Look(
                format=image.format or "",
                width=image.width,
                height=image.height,
                mode=image.mode,
                sixteen_bit=_sixteen_bit(image),
                # The second image of a phone's MPO is the same one for the other eye.
                animated=image.format != "MPO" and bool(getattr(image, "is_animated", False)),
                digest=digest,
            )
            return _decode(image, facts, opened)
    except Image.DecompressionBombError:
        return Look(digest=digest, problem="too_large")
    except BROKEN as reason:
        return Look(digest=digest, problem="unreadable", reason=_plain(reason))


def _decode(image: Image.Image, facts: Look, opened: IO[bytes]) -> Look:
    try:
        if image.format in ("JPEG", "MPO"):
            image.draft("L", (max(image.width // 8, 1), max(image.height // 8, 1)))
        elif image.width * image.height > _DECODED_PIXELS:
            image.verify()
            return replace(facts, orientation=_orientation(image), transparent=_may_be_transparent(image))
        image.load()
        if image.format == "PNG" and _cut_off(opened):
            return replace(facts, problem="damaged", reason="its last block of pixels is cut off")
        return replace(
            facts,
            orientation=_orientation(image),
            transparent=_is_transparent(image),
            likeness=_likeness(image),
        )
    except BROKEN as reason:
        return replace(facts, problem="damaged", reason=_plain(reason))


def _cut_off(opened: IO[bytes]) -> bool:
    """Return whether the last block of a PNG is cut off, which Pillow accepts and SimpleTuner does not decode."""
    at, end = 8, opened.seek(0, 2)
    while at + 8 <= end:
        opened.seek(at)
        length, kind = struct.unpack(">I4s", opened.read(8))
        if kind == b"IDAT" and at + 12 + length > end:
            return True
        at += 12 + length
    return False


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation. Call it after reading the pixels, because Pillow looks for EXIF data behind them
    in a PNG."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    value = image.getexif().get(_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _sixteen_bit(image: Image.Image) -> bool:
    """Return whether a PNG has 16 bits per channel. Pillow opens it with 8, but the decoder's mode shows it."""
    raw = image.tile[0].args if isinstance(image, ImageFile.ImageFile) and image.tile else ""
    first = raw[0] if isinstance(raw, tuple) and raw else raw
    return image.mode[:1] in ("I", "F") or ";16" in str(first)


def _may_be_transparent(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def _is_transparent(image: Image.Image) -> bool:
    """Return whether any pixel is transparent; a fully opaque alpha channel has no effect."""
    if not _may_be_transparent(image):
        return False
    alpha = image if "A" in image.getbands() else image.convert("RGBA")
    lowest = alpha.getchannel("A").getextrema()[0]
    return isinstance(lowest, int | float) and lowest < 255


def _likeness(image: Image.Image) -> str:
    """Return where the image gets lighter, from left to right and from top to bottom, on a grid of nine by nine."""
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return ""
    small = image.reduce(max(min(image.size) // 128, 1)) if image.mode in ("L", "RGB", "RGBA", "CMYK") else image
    grey = np.asarray(small.convert("L").resize((9, 9), Image.Resampling.BOX), dtype=np.int16)
    if int(grey.max()) - int(grey.min()) < _FLAT:
        return ""
    across, down = grey[:8, 1:] > grey[:8, :-1], grey[1:, :8] > grey[:-1, :8]
    return np.packbits(np.concatenate([across.ravel(), down.ravel()])).tobytes().hex()


def _plain(reason: BaseException) -> str:
    """Return Pillow's reason without the path or address in its message."""
    return type(reason).__name__ if isinstance(reason, UnidentifiedImageError) else str(reason) or type(reason).__name__
