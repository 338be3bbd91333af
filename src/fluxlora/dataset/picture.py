"""What one image file is: read once, in little memory, and without a rule."""

from __future__ import annotations

import hashlib
import struct
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageFile, PngImagePlugin, UnidentifiedImageError

# What Pillow raises at files that are not what they seem.
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
# As SimpleTuner sets it: some programs keep whole workflows in a PNG.
PngImagePlugin.MAX_TEXT_CHUNK = 100 * 2**20
_ORIENTATION = 0x0112
# EXIF orientations that lie on their side.
_TURNED = frozenset({5, 6, 7, 8})
# A JPEG is decoded at an eighth of its edges, anything else whole; of what is larger only the structure is read.
_DECODED_PIXELS = 50_000_000
# Below this difference of grey between its lightest and darkest ninth a picture is flat, and looks like any other.
_FLAT = 12


@dataclass(frozen=True)
class Look:
    """The facts of one image file; sizes in pixels as stored."""

    # Pillow's name of what the content is, none where it is no image.
    format: str = ""
    width: int = 0
    height: int = 0
    orientation: int = 1
    mode: str = ""
    sixteen_bit: bool = False
    transparent: bool = False
    animated: bool = False
    # Of the whole file.
    digest: str = ""
    # 128 bits that a scaled or recompressed copy has too, give or take a few; none for flat pictures.
    likeness: str = ""
    # One of unreadable, damaged, too_large; and why, in Pillow's words.
    problem: str = ""
    reason: str = ""

    @property
    def turned(self) -> bool:
        """Whether it is displayed with its edges swapped."""
        return self.orientation in _TURNED


def look(file: Path) -> Look:
    """Read an image file to its last pixel. What is wrong with it is a fact like any other; nothing is raised."""
    try:
        with file.open("rb") as opened, warnings.catch_warnings():
            # Pillow warns at half of what it refuses; large photographs are welcome here.
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
                # The second picture of a phone's MPO is the same one for the other eye.
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
    """Pillow does without the checksum of a PNG's last pixels; SimpleTuner leaves such a block out, and has none."""
    at, end = 8, opened.seek(0, 2)
    while at + 8 <= end:
        opened.seek(at)
        length, kind = struct.unpack(">I4s", opened.read(8))
        if kind == b"IDAT" and at + 12 + length > end:
            return True
        at += 12 + length
    return False


def _orientation(image: Image.Image) -> int:
    """To be asked when the pixels have been read: Pillow reads a whole PNG to look for EXIF data behind them."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    value = image.getexif().get(_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _sixteen_bit(image: Image.Image) -> bool:
    """Pillow opens a 16 bit colour PNG as one of 8; its decoder's own mode still tells."""
    raw = image.tile[0].args if isinstance(image, ImageFile.ImageFile) and image.tile else ""
    first = raw[0] if isinstance(raw, tuple) and raw else raw
    return image.mode[:1] in ("I", "F") or ";16" in str(first)


def _may_be_transparent(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def _is_transparent(image: Image.Image) -> bool:
    """An alpha channel that is opaque everywhere changes nothing."""
    if not _may_be_transparent(image):
        return False
    alpha = image if "A" in image.getbands() else image.convert("RGBA")
    lowest = alpha.getchannel("A").getextrema()[0]
    return isinstance(lowest, int | float) and lowest < 255


def _likeness(image: Image.Image) -> str:
    """Where it gets lighter, from left to right and from top to bottom, on a grid of nine by nine."""
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return ""
    small = image.reduce(max(min(image.size) // 128, 1)) if image.mode in ("L", "RGB", "RGBA", "CMYK") else image
    grey = np.asarray(small.convert("L").resize((9, 9), Image.Resampling.BOX), dtype=np.int16)
    if int(grey.max()) - int(grey.min()) < _FLAT:
        return ""
    across, down = grey[:8, 1:] > grey[:8, :-1], grey[1:, :8] > grey[:-1, :8]
    return np.packbits(np.concatenate([across.ravel(), down.ravel()])).tobytes().hex()


def _plain(reason: BaseException) -> str:
    """Pillow's reason without the path or address that its messages carry."""
    return type(reason).__name__ if isinstance(reason, UnidentifiedImageError) else str(reason) or type(reason).__name__
