"""Rules about data backends, buckets and batches."""

from __future__ import annotations

import math
from collections.abc import Iterator

from fluxlora.dataset import Picture
from fluxlora.plan.figures import Figures
from fluxlora.plan.rules.rule import Source, Weight, rule
from fluxlora.trainer.buckets import Backend, least_repeats

# Number of images that a message names; a large dataset may have thousands.
_SHOWN = 5
# The guide's own multi-resolution file enlarges 384 pixels to 512.
_LARGEST_ENLARGEMENT = 1.34


@rule(Weight.REFUSED, Source.TRAINER)
def a_data_backend_is_enabled(run: Figures) -> Iterator[str]:
    """At least one data backend of images is enabled."""
    if not run.entries:
        yield "No data backend of images is enabled: choose a resolution preset, 1024 or 512."


@rule(Weight.REFUSED, Source.DATALOADER)
def data_backends_share_nothing(run: Figures) -> Iterator[str]:
    """Each data backend has its own name, suffix and cache."""
    for key, why in (
        ("id", "SimpleTuner distinguishes backends by it"),
        ("cache_file_suffix", "with the same one a backend reads the other's list of images"),
        ("cache_dir_vae", "with the same one a backend trains on the other's cached images"),
    ):
        names = [entry[key] for entry in run.entries if entry.get(key)]
        for name in sorted({str(name) for name in names if names.count(name) > 1}):
            yield f"Two data backends have the {key} {name!r}: give each its own, {why}."


@rule(Weight.REFUSED, Source.OPTIONS)
def every_bucket_fills_a_step(run: Figures) -> Iterator[str]:
    """Every bucket has at least batch size x accumulation x GPUs samples; otherwise the trainer ends."""
    for bucketed in run.backends:
        for bucket in bucketed.unusable:
            repeats = least_repeats(len(bucket.files), run.batching)
            yield (
                f"Data backend {bucketed.backend.id} has {bucket.samples} samples of aspect {bucket.aspect}, and one "
                f"step takes {run.batching.effective} (batch x accumulation x GPUs), so SimpleTuner ends the run: "
                f"lower one of the three, add images, or set repeats to {repeats} on the backend."
            )


@rule(Weight.REFUSED, Source.TRAINER)
def every_data_backend_keeps_a_picture(run: Figures) -> Iterator[str]:
    """Every data backend has images to train on."""
    for bucketed in run.backends:
        if not bucketed.batches and not bucketed.unusable:
            pruned = sum(len(bucket.files) for bucket in bucketed.pruned)
            yield (
                f"Data backend {bucketed.backend.id} has no image to train on, so SimpleTuner ends the run: of the "
                f"images {len(bucketed.too_small)} are too small for it, and {pruned} are in buckets of fewer than "
                f"simpletuner_train_batch_size, {run.batching.batch_size}."
            )


@rule(Weight.LOSS, Source.TRAINER)
def every_bucket_fills_a_batch(run: Figures) -> Iterator[str]:
    """No bucket is smaller than a batch, because SimpleTuner leaves such buckets out without a message."""
    for bucketed in run.backends:
        for bucket in bucketed.pruned:
            repeats = least_repeats(len(bucket.files), run.batching)
            yield (
                f"Data backend {bucketed.backend.id} leaves out {len(bucket.files)} images of aspect {bucket.aspect}: "
                f"they are fewer than simpletuner_train_batch_size, {run.batching.batch_size}. Lower it, or set "
                f"repeats to {repeats} on the backend."
            )


@rule(Weight.LOSS, Source.TRAINER)
def every_picture_has_a_bucket(run: Figures) -> Iterator[str]:
    """Every image has a shape that SimpleTuner can process and that the backend allows."""
    for bucketed in run.backends:
        if bucketed.unshapely:
            picture, why = bucketed.unshapely[0]
            yield (
                f"Data backend {bucketed.backend.id} leaves out {len(bucketed.unshapely)} images because SimpleTuner "
                f"fails on them: {picture.file}, {picture.width}x{picture.height}: {why}. Crop them or choose another "
                "crop_style."
            )
        for bucket in bucketed.off_limits:
            yield (
                f"Data backend {bucketed.backend.id} leaves out {len(bucket.files)} images of aspect {bucket.aspect}, "
                "which its minimum_aspect_ratio and maximum_aspect_ratio do not allow."
            )


@rule(Weight.SPOILT, Source.TRAINER)
def one_resolution_means_one_size(run: Figures) -> Iterator[str]:
    """A resolution in megapixels gives squares and other shapes the same edge, so that no square exceeds its image."""
    for bucketed in run.backends:
        frame = bucketed.backend.frame
        if frame.edge != frame.scaled_edge and not frame.downsample:
            yield (
                f"Data backend {bucketed.backend.id} has a resolution of {frame.resolution:g} megapixels. SimpleTuner "
                f"reads it as {frame.edge} pixels for squares and as {frame.scaled_edge} otherwise: write it as "
                f"an edge, resolution_type pixel_area and resolution {frame.edge}."
            )


@rule(Weight.HINT, Source.TRAINER)
def buckets_are_known(run: Figures) -> Iterator[str]:
    """With crop_aspect random each image's bucket is random, and a bucket that is too small ends the run."""
    for bucketed in run.backends:
        if bucketed.backend.frame.by_lot:
            yield (
                f"Data backend {bucketed.backend.id} has crop_aspect random: each image gets one of "
                f"{len(bucketed.backend.frame.aspects)} aspects at random, so the plan assumes evenly filled buckets; "
                "closest chooses the nearest aspect."
            )


@rule(Weight.LOSS, Source.TRAINER)
def several_gpus_start_at_once(run: Figures) -> Iterator[str]:
    """On several GPUs 3.1.6 fails at its first start: only one of its processes waits for the list of images."""
    if run.batching.gpus > 1 and run.version == "3.1.6":
        yield (
            f"SimpleTuner 3.1.6 on {run.batching.gpus} GPUs fails at its first start on a dataset, because only "
            "one of its processes waits until the images are listed: run the same command again, or set "
            "simpletuner_version to 4.10.1."
        )


@rule(Weight.LOSS, Source.TRAINER)
def several_gpus_share_every_bucket(run: Figures) -> Iterator[str]:
    """Every bucket has at least as many images as there are GPUs."""
    gpus = run.batching.gpus
    for bucketed in run.backends:
        few = [bucket for bucket in bucketed.buckets if len(bucket.files) < gpus]
        if few:
            yield (
                f"Data backend {bucketed.backend.id} has {len(few)} buckets of fewer images than the {gpus} GPUs, and "
                "some of them get none: add images or use fewer GPUs."
            )


@rule(Weight.SPOILT, Source.QUICK_START)
def pictures_are_not_blown_up(run: Figures) -> Iterator[str]:
    """No image is enlarged by more than a third, because FLUX learns the defects of an image first."""
    for bucketed in run.backends:
        backend = bucketed.backend
        small = [
            picture
            for picture in run.dataset.pictures
            if backend.fits(picture) and backend.target_edge > _LARGEST_ENLARGEMENT * _edge(picture, backend)
        ]
        if small:
            names = ", ".join(f"{one.file} ({one.width}x{one.height})" for one in small[:_SHOWN])
            more = f" and {len(small) - _SHOWN} more" if len(small) > _SHOWN else ""
            yield (
                f"Data backend {backend.id} enlarges {len(small)} images by more than a third to {backend.target_edge} "
                f"pixels, and the adapter learns their blur: {names}{more}. Replace them, or raise minimum_image_size "
                "on the backend."
            )


@rule(Weight.HINT, Source.GUIDE)
def buckets_divide_into_batches(run: Figures) -> Iterator[str]:
    """The samples of a bucket fill whole batches; otherwise some images are seen more often than others."""
    size = run.batching.batch_size
    uneven = {
        f"{bucket.samples} of aspect {bucket.aspect} in {bucketed.backend.id}": bucket.samples % size
        for bucketed in run.backends
        for bucket in bucketed.buckets
        if bucket.samples % size
    }
    if uneven:
        shown = ", ".join(list(uneven)[:_SHOWN])
        more = f" and {len(uneven) - _SHOWN} more" if len(uneven) > _SHOWN else ""
        yield (
            f"These samples are no multiple of simpletuner_train_batch_size, {size}, so the last batch of an epoch "
            f"repeats some: {shown}{more}. Add or remove images if it matters to you."
        )


@rule(Weight.HINT, Source.QUICK_START)
def shapes_are_learnt_too(run: Figures) -> Iterator[str]:
    """With images in their own aspect ratios, the adapter may work well only in those shapes."""
    for bucketed in run.backends:
        if not bucketed.backend.square and len(bucketed.buckets) > 1:
            yield (
                f"Data backend {bucketed.backend.id} trains on {len(bucketed.buckets)} shapes: the adapter may work "
                "well only in these; squares are the safe choice."
            )


@rule(Weight.HINT, Source.TRAINER)
def a_crop_that_is_read(run: Figures) -> Iterator[str]:
    """Options for cropping are only set on a data backend that crops."""
    for entry in run.entries:
        moot = [key for key in ("crop_aspect", "crop_aspect_buckets", "crop_style") if key in entry]
        if not entry.get("crop", False) and moot:
            yield (
                f"Data backend {entry.get('id')} has crop: false, so SimpleTuner does not read its {', '.join(moot)}: "
                "leave them out, or set crop to true."
            )


def _edge(picture: Picture, backend: Backend) -> float:
    """Return the edge that is scaled to the backend's: the shorter one for squares, else that of a square of equal
    area."""
    if backend.square:
        return min(picture.width, picture.height)
    return math.sqrt(picture.width * picture.height)
