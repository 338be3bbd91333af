"""Rules about data backends, buckets and batches."""

from __future__ import annotations

import math
from collections.abc import Iterator

from fluxlora.draft import Draft
from fluxlora.rules.rule import Source, Weight, rule

# Pictures that a message names; a large dataset may have thousands.
_SHOWN = 5


@rule(Weight.REFUSED, Source.TRAINER)
def a_data_backend_is_enabled(draft: Draft) -> Iterator[str]:
    """There is something to train on."""
    if not draft.entries:
        yield "No data backend of images is enabled: choose a resolution preset, 1024 or 512."


@rule(Weight.REFUSED, Source.DATALOADER)
def data_backends_share_nothing(draft: Draft) -> Iterator[str]:
    """Each data backend has a name, a suffix and a cache of its own."""
    for key, why in (
        ("id", "SimpleTuner tells backends apart by it"),
        ("cache_file_suffix", "with the same one a backend reads the other's list of images"),
        ("cache_dir_vae", "with the same one a backend trains on the other's cached images"),
    ):
        names = [entry[key] for entry in draft.entries if entry.get(key)]
        for name in sorted({str(name) for name in names if names.count(name) > 1}):
            yield f"Two data backends have the {key} {name!r}: give each its own, {why}."


@rule(Weight.REFUSED, Source.OPTIONS)
def every_bucket_fills_a_step(draft: Draft) -> Iterator[str]:
    """Every bucket has batch size x accumulation x GPUs samples, or the trainer ends."""
    for each in draft.backends:
        for bucket in each.unusable:
            repeats = math.ceil(draft.batching.effective / len(bucket.files)) - 1
            yield (
                f"Data backend {each.backend.id} has {bucket.samples} samples of aspect {bucket.aspect}, and one step "
                f"takes {draft.batching.effective} (batch x accumulation x GPUs), so SimpleTuner ends the run: lower "
                f"one of the three, add images, or set repeats to {repeats} on the backend."
            )


@rule(Weight.REFUSED, Source.TRAINER)
def every_data_backend_keeps_a_picture(draft: Draft) -> Iterator[str]:
    """No data backend loses all its pictures."""
    for each in draft.backends:
        if not each.batches and not each.unusable:
            pruned = sum(len(bucket.files) for bucket in each.pruned)
            yield (
                f"Data backend {each.backend.id} is left without an image to train on, so SimpleTuner ends the run: of "
                f"the images {len(each.too_small)} are too small for it, and {pruned} in buckets of fewer than "
                f"simpletuner_train_batch_size, {draft.batching.batch_size}."
            )


@rule(Weight.LOSS, Source.TRAINER)
def pictures_are_large_enough(draft: Draft) -> Iterator[str]:
    """Pictures smaller than a data backend's minimum are left out without a word."""
    for each in draft.backends:
        if each.too_small:
            shown = "; ".join(f"{one.file} is {each.backend.too_small(one)}" for one in each.too_small[:_SHOWN])
            more = f"; and {len(each.too_small) - _SHOWN} more" if len(each.too_small) > _SHOWN else ""
            yield (
                f"Data backend {each.backend.id} leaves out {len(each.too_small)} images without a word: {shown}{more}"
                ". Enlarge them or choose a preset of a smaller resolution."
            )


@rule(Weight.LOSS, Source.TRAINER)
def every_bucket_fills_a_batch(draft: Draft) -> Iterator[str]:
    """Buckets smaller than a batch are left out without a word."""
    for each in draft.backends:
        for bucket in each.pruned:
            yield (
                f"Data backend {each.backend.id} leaves out {len(bucket.files)} images of aspect {bucket.aspect}: they "
                f"are fewer than simpletuner_train_batch_size, {draft.batching.batch_size}. Lower it, or set repeats "
                "on the backend."
            )
