"""The files SimpleTuner keeps between the images and the training: which ones, and how large.

Read in caching/vae.py and text_embeds.py of SimpleTuner 3.1.6 and 4.10.1, and compared with a whole training of each by
tests/trainers/test_buckets.py. Sizes are those of FLUX; `compress_disk_cache` is on unless somebody turns it off.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import md5

from fluxlora.trainer.buckets import BackendBuckets
from fluxlora.trainer.shapes import Size

# FLUX's VAE makes 16 numbers of four bytes of every 8 x 8 pixels.
_CHANNELS, _PIXELS, _BYTES = 16, 8, 4
# Measured over both versions: what gzip leaves of such numbers, and what a file has beside them. Right within 3 %.
_PACKED, _BESIDE = 0.925, 720
# Of each caption 512 tokens by 4096, and 768 for the whole, in two bytes; positions and mask with them.
EMBED_BYTES = 512 * 4096 * 2 + 768 * 2 + 512 * 3 * 4 + 512 * 8
# Embedded whatever the captions are: it stands in for those that are dropped.
NO_CAPTION = ""


def latent_shape(size: Size) -> tuple[int, int, int]:
    return _CHANNELS, size[1] // _PIXELS, size[0] // _PIXELS


def latent_bytes(size: Size) -> int:
    """Of one picture that is trained at this size."""
    channels, high, wide = latent_shape(size)
    return round(channels * high * wide * _BYTES * _PACKED) + _BESIDE


def latents_bytes(made: BackendBuckets) -> int:
    """Of all that a data backend keeps. Where chance chooses a shape, its first one counts."""
    return sum(latent_bytes(made.shapes[file][0].target) for bucket in made.buckets for file in bucket.files)


def captions(text: str, version: str) -> tuple[str, ...]:
    """The captions of one file: its lines, or all of it where it has only one. 3.1.6 keeps the spaces around them."""
    lines = [line for line in text.split("\n") if line] if "\n" in text else [text]
    return tuple(lines) if version == "3.1.6" else tuple(line.strip() for line in lines if line.strip())


def embed_file(caption: str) -> str:
    """In the text cache. Equal captions share it, whichever pictures and data backends they belong to."""
    return f"{md5(caption.encode(), usedforsecurity=False).hexdigest()}-flux.pt"


def embeds(all_captions: Iterable[str]) -> frozenset[str]:
    """The files of all captions, of pictures that are left out, too."""
    return frozenset(embed_file(caption) for caption in [*all_captions, NO_CAPTION])
