"""Small pictures of every kind, made in memory."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
from PIL import Image


def noise(seed: int = 0, size: tuple[int, int] = (64, 48), channels: int = 3) -> Image.Image:
    """A picture that looks like no other, coarse enough to survive compression."""
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 9, channels), np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    memory = BytesIO()
    image.save(memory, kind, **options)  # type: ignore[arg-type]
    return memory.getvalue()


def exif(orientation: int) -> Image.Exif:
    data = Image.Exif()
    data[0x0112] = orientation
    return data


def png16(channels: int, kind: int) -> bytes:
    """Pillow cannot write one with colours."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = np.random.default_rng(1).integers(0, 65536, (48, 64 * channels)).astype(">u2")
    content = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", 64, 48, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def frames(kind: str) -> bytes:
    return saved(noise(), kind, save_all=True, append_images=[noise(1)])


JPEG, PNG, WEBP = saved(noise(), "JPEG"), saved(noise(), "PNG"), saved(noise(), "WEBP")
PROGRESSIVE = saved(noise(), "JPEG", progressive=True)
HALF_CLEAR = Image.merge("RGBA", [*noise().split(), Image.linear_gradient("L").resize((64, 48))])
CLEAR_PALETTE = saved(noise().convert("P"), "PNG", transparency=noise().convert("P").getpixel((0, 0)))
ORIENTED = saved(noise(), "JPEG", exif=exif(6))
