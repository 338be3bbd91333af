"""Datasets and data backends to ask a trainer about: made at random, and full of sizes at which a rule just holds."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

Entry = dict[str, Any]
ASPECTS = [0.33, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75]
_ORIENTATION = 0x0112


def images(folder: Path, edges: list[int], count: int, chance: random.Random) -> None:
    """Pictures about these edges, of one colour each, with a caption of one to three lines."""
    folder.mkdir(parents=True)
    for number, (width, height) in enumerate(itertools.islice(_sizes(edges, chance), count)):
        suffix = chance.choice([".png", ".jpg", ".webp"])
        file = folder / f"{number:04}{suffix}"
        exif = Image.Exif()
        if chance.random() < 0.4:
            exif[_ORIENTATION] = chance.randint(1, 8)
        mode = "RGBA" if suffix != ".jpg" and chance.random() < 0.2 else "RGB"
        colour = tuple(chance.randrange(256) for _ in mode)
        Image.new(mode, (width, height), colour).save(file, exif=exif.tobytes(), compress_level=1, method=0)
        lines = [f"picture {number}, line {line}" for line in range(chance.randint(1, 3))]
        file.with_suffix(".txt").write_text("\n".join(lines))


def _sizes(edges: list[int], chance: random.Random) -> Iterator[tuple[int, int]]:
    """First the corners of every edge's rule, then anything, long and narrow ones among them."""
    for edge in edges:
        yield from itertools.product((edge - 1, edge, edge + 1), repeat=2)
    while True:
        edge = chance.choice(edges)
        if chance.random() < 0.7:
            width, height = (round(edge * chance.uniform(0.6, 2.2)) for _ in range(2))
        else:
            aspect = chance.choice([1.0, 0.5, 2.0, chance.uniform(0.03, 0.3), chance.uniform(3, 30)])
            width, height = round(edge * aspect**0.5), round(edge / aspect**0.5)
        yield max(width, 8), max(height, 8)


def backend(chance: random.Random, edges: list[int], name: str) -> Entry:
    """A data backend with settings at random, none of which SimpleTuner refuses."""
    edge = chance.choice(edges)
    kind = chance.choice(["pixel_area", "area", "area", "pixel"])
    megapixels = chance.choice([edge**2 / 1e6, round(edge**2 / 1e6, 2) or 0.01, 0.25, 0.3])
    entry: Entry = {
        "id": name,
        "resolution_type": kind,
        "resolution": megapixels if kind == "area" else edge,
        "crop": chance.random() < 0.7,
        "crop_aspect": chance.choice(
            ["square", "square", "square", "preserve", "preserve", "closest", "closest", "random"]
        ),
        "crop_aspect_buckets": ASPECTS,
    }
    if chance.random() < 0.8:
        entry["crop_style"] = chance.choice(["center", "center", "centre", "corner", "random"])
    if chance.random() < 0.8:
        smaller = chance.choice([edge, edge // 2, edge - 1])
        entry["minimum_image_size"] = smaller**2 / 1e6 if kind == "area" else smaller
    if chance.random() < 0.6:
        larger = chance.choice([edge, edge, edge * 2])
        size = larger**2 / 1e6 if kind == "area" else max(larger, 512) if kind == "pixel" else larger
        entry |= {"maximum_image_size": size, "target_downsample_size": size}
    if chance.random() < 0.4:
        entry["repeats"] = chance.randint(0, 5)
    if chance.random() < 0.2:
        entry |= {"minimum_aspect_ratio": 0.5, "maximum_aspect_ratio": 2.0}
    return entry


def options(chance: random.Random) -> Entry:
    """What is set for all backends."""
    return {
        "train_batch_size": chance.choice([1, 1, 2, 3, 4]),
        "gradient_accumulation_steps": chance.choice([1, 1, 2, 3]),
        "aspect_bucket_rounding": chance.choice([2, 2, 2, 1, 3]),
        "allow_dataset_oversubscription": chance.random() < 0.5,
        "disable_bucket_pruning": chance.random() < 0.2,
    }


def question(folder: Path, data: Path, entries: list[Entry], settings: Mapping[str, Any], gpus: int = 1) -> Entry:
    """For scan.py; what encodes images and captions is left out."""
    written = []
    for entry in entries:
        name = f"{folder.name}-{entry['id']}"
        rest = {"type": "local", "caption_strategy": "textfile", "metadata_backend": "discovery"}
        places = {"instance_data_dir": str(data), "cache_dir_vae": str(folder / f"vae-{entry['id']}")}
        skipped = {"cache_file_suffix": name, "skip_file_discovery": "vae,text", "disabled": False}
        written.append({**entry, **rest, **places, **skipped})
    return {"folder": str(folder), "gpus": gpus, "options": dict(settings), "backends": written}
