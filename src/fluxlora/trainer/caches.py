"""The files that SimpleTuner caches for the training: their names and sizes.

Source: caching/vae.py and text_embeds.py of SimpleTuner 3.1.6 and 4.10.1. tests/trainers/test_buckets.py compares the
results with a whole training of each. Sizes are those of FLUX; `compress_disk_cache` is on by default.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import md5

from fluxlora.trainer.buckets import BackendBuckets
from fluxlora.trainer.shapes import Size

# FLUX's VAE turns 8 x 8 pixels into 16 numbers of four bytes.
_CHANNELS, _PIXELS, _BYTES = 16, 8, 4
# Measured with both releases: the share that remains after gzip, and the other bytes of a file. Correct within 3 %.
_PACKED, _BESIDE = 0.925, 720
# For each caption 512 tokens x 4096, and 768 for the whole, in two bytes; also positions and a mask.
EMBED_BYTES = 512 * 4096 * 2 + 768 * 2 + 512 * 3 * 4 + 512 * 8
# Embedded in any case, because it replaces captions that are dropped.
NO_CAPTION = ""


def latent_shape(size: Size) -> tuple[int, int, int]:
    """Return channels, height and width of the latent of an image of this size in pixels."""

    return _CHANNELS, size[1] // _PIXELS, size[0] // _PIXELS


def latent_bytes(size: Size) -> int:
    """Return the bytes of the latent of one image that is trained at this size."""
    channels, high, wide = latent_shape(size)
    return round(channels * high * wide * _BYTES * _PACKED) + _BESIDE


def latents_bytes(made: BackendBuckets) -> int:
    """Return the bytes of all latents of a data backend. If an image's shape is random, the first one counts."""
    return sum(latent_bytes(made.shapes[file][0].target) for bucket in made.buckets for file in bucket.files)


def captions(text: str, version: str) -> tuple[str, ...]:
    """Return the captions of one file: one for each line. 3.1.6 keeps the spaces around them."""
    lines = [line for line in text.split("\n") if line] if "\n" in text else [text]
    return tuple(lines) if version == "3.1.6" else tuple(line.strip() for line in lines if line.strip())


def embed_file(caption: str) -> str:
    """Return the file of a caption in the text cache. Equal captions of all images and data backends share it."""
    return f"{md5(caption.encode(), usedforsecurity=False).hexdigest()}-flux.pt"


def embeds(all_captions: Iterable[str]) -> frozenset[str]:
    """Return the files of all captions, including those of images that are left out."""
    return frozenset(embed_file(caption) for caption in [*all_captions, NO_CAPTION])
