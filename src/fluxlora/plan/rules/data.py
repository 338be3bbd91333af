"""Rules about data backends, buckets and batches."""

from __future__ import annotations

import math
from collections.abc import Iterator

from fluxlora.dataset import Picture
from fluxlora.plan.figures import Figures
from fluxlora.plan.rules.rule import Source, Weight, rule
from fluxlora.trainer.buckets import Backend, least_repeats

# Pictures that a message names; a large dataset may have thousands.
_SHOWN = 5
# The guide's own multi-resolution file enlarges 384 pixels to 512.
_LARGEST_ENLARGEMENT = 1.34


@rule(Weight.REFUSED, Source.TRAINER)
def a_data_backend_is_enabled(run: Figures) -> Iterator[str]:
    """There is something to train on."""
    if not run.entries:
        yield "No data backend of images is enabled: choose a resolution preset, 1024 or 512."


@rule(Weight.REFUSED, Source.DATALOADER)
def data_backends_share_nothing(run: Figures) -> Iterator[str]:
    """Each data backend has a name, a suffix and a cache of its own."""
    for key, why in (
        ("id", "SimpleTuner tells backends apart by it"),
        ("cache_file_suffix", "with the same one a backend reads the other's list of images"),
        ("cache_dir_vae", "with the same one a backend trains on the other's cached images"),
    ):
        names = [entry[key] for entry in run.entries if entry.get(key)]
        for name in sorted({str(name) for name in names if names.count(name) > 1}):
            yield f"Two data backends have the {key} {name!r}: give each its own, {why}."


@rule(Weight.REFUSED, Source.OPTIONS)
def every_bucket_fills_a_step(run: Figures) -> Iterator[str]:
    """Every bucket has batch size x accumulation x GPUs samples, or the trainer ends."""
    for each in run.backends:
        for bucket in each.unusable:
            repeats = least_repeats(len(bucket.files), run.batching)
            yield (
                f"Data backend {each.backend.id} has {bucket.samples} samples of aspect {bucket.aspect}, and one step "
                f"takes {run.batching.effective} (batch x accumulation x GPUs), so SimpleTuner ends the run: lower "
                f"one of the three, add images, or set repeats to {repeats} on the backend."
            )


@rule(Weight.REFUSED, Source.TRAINER)
def every_data_backend_keeps_a_picture(run: Figures) -> Iterator[str]:
    """No data backend loses all its pictures."""
    for each in run.backends:
        if not each.batches and not each.unusable:
            pruned = sum(len(bucket.files) for bucket in each.pruned)
            yield (
                f"Data backend {each.backend.id} is left without an image to train on, so SimpleTuner ends the run: of "
                f"the images {len(each.too_small)} are too small for it, and {pruned} in buckets of fewer than "
                f"simpletuner_train_batch_size, {run.batching.batch_size}."
            )


@rule(Weight.LOSS, Source.TRAINER)
def every_bucket_fills_a_batch(run: Figures) -> Iterator[str]:
    """Buckets smaller than a batch are left out without a word."""
    for each in run.backends:
        for bucket in each.pruned:
            repeats = least_repeats(len(bucket.files), run.batching)
            yield (
                f"Data backend {each.backend.id} leaves out {len(bucket.files)} images of aspect {bucket.aspect}: they "
                f"are fewer than simpletuner_train_batch_size, {run.batching.batch_size}. Lower it, or set repeats "
                f"to {repeats} on the backend."
            )


@rule(Weight.LOSS, Source.TRAINER)
def every_picture_has_a_bucket(run: Figures) -> Iterator[str]:
    """Pictures of a shape that SimpleTuner cannot reckon with, or is told not to take, are left out."""
    for each in run.backends:
        if each.unshapely:
            picture, why = each.unshapely[0]
            yield (
                f"Data backend {each.backend.id} leaves out {len(each.unshapely)} images, SimpleTuner fails on them: "
                f"of {picture.file}, {picture.width}x{picture.height}, {why}. Crop them or choose another crop_style."
            )
        for bucket in each.off_limits:
            yield (
                f"Data backend {each.backend.id} leaves out {len(bucket.files)} images of aspect {bucket.aspect}, "
                "which its minimum_aspect_ratio and maximum_aspect_ratio do not allow."
            )


@rule(Weight.SPOILT, Source.TRAINER)
def one_resolution_means_one_size(run: Figures) -> Iterator[str]:
    """Round megapixels mean one edge for squares and another for the rest, so squares are cut beyond the image."""
    for each in run.backends:
        frame = each.backend.frame
        if frame.edge != frame.scaled_edge and not frame.downsample:
            yield (
                f"Data backend {each.backend.id} has a resolution of {frame.resolution:g} megapixels. SimpleTuner "
                f"takes it for {frame.edge} pixels in squares and for {frame.scaled_edge} otherwise: write it as "
                f"an edge, resolution_type pixel_area and resolution {frame.edge}."
            )


@rule(Weight.HINT, Source.TRAINER)
def buckets_are_known(run: Figures) -> Iterator[str]:
    """With crop_aspect random each picture's bucket is drawn by lot, and one that is too small ends the run."""
    for each in run.backends:
        if each.backend.frame.by_lot:
            yield (
                f"Data backend {each.backend.id} has crop_aspect random: each image gets one of "
                f"{len(each.backend.frame.aspects)} aspects by lot, so its buckets and steps are those of an even "
                "draw; closest chooses the nearest."
            )


@rule(Weight.LOSS, Source.TRAINER)
def several_gpus_start_at_once(run: Figures) -> Iterator[str]:
    """On several GPUs 3.1.6 ends at its first start: only its first process sees the images it is listing."""
    if run.batching.gpus > 1 and run.version == "3.1.6":
        yield (
            f"SimpleTuner 3.1.6 on {run.batching.gpus} GPUs ends at its first start on a dataset, for only one of "
            "its processes waits until the images are listed: run the same command again, or set simpletuner_version "
            "to 4.10.1."
        )


@rule(Weight.LOSS, Source.TRAINER)
def several_gpus_share_every_bucket(run: Figures) -> Iterator[str]:
    """A bucket of fewer pictures than GPUs leaves one of them without."""
    gpus = run.batching.gpus
    for each in run.backends:
        few = [bucket for bucket in each.buckets if len(bucket.files) < gpus]
        if few:
            yield (
                f"Data backend {each.backend.id} has {len(few)} buckets of fewer images than the {gpus} GPUs, and some "
                "of them get none: add images or use fewer GPUs."
            )


@rule(Weight.SPOILT, Source.QUICK_START)
def pictures_are_not_blown_up(run: Figures) -> Iterator[str]:
    """FLUX learns what is wrong with a picture first, so none is enlarged by more than a third."""
    for each in run.backends:
        backend = each.backend
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
                f"pixels, and the adapter learns the blur: {names}{more}. Replace them, or raise minimum_image_size on "
                "the backend."
            )


@rule(Weight.HINT, Source.GUIDE)
def buckets_divide_into_batches(run: Figures) -> Iterator[str]:
    """A bucket's samples divide by the batch size, or some pictures are seen more often than others."""
    size = run.batching.batch_size
    uneven = {
        f"{bucket.samples} of aspect {bucket.aspect} in {each.backend.id}": bucket.samples % size
        for each in run.backends
        for bucket in each.buckets
        if bucket.samples % size
    }
    if uneven:
        shown = ", ".join(list(uneven)[:_SHOWN])
        more = f" and {len(uneven) - _SHOWN} more" if len(uneven) > _SHOWN else ""
        yield (
            f"These samples do not divide by simpletuner_train_batch_size, {size}, so the last batch of an epoch "
            f"repeats some: {shown}{more}. Add or take away images if it matters to you."
        )


@rule(Weight.HINT, Source.QUICK_START)
def shapes_are_learnt_too(run: Figures) -> Iterator[str]:
    """Pictures in their own aspect ratios may tie what is learnt to those shapes."""
    for each in run.backends:
        if not each.backend.square and len(each.buckets) > 1:
            yield (
                f"Data backend {each.backend.id} trains on {len(each.buckets)} shapes: FLUX may tie what it learns to "
                "these; squares are the safe choice."
            )


@rule(Weight.HINT, Source.TRAINER)
def a_crop_that_is_read(run: Figures) -> Iterator[str]:
    """What a data backend says of cropping counts only where it crops."""
    for entry in run.entries:
        moot = [key for key in ("crop_aspect", "crop_aspect_buckets", "crop_style") if key in entry]
        if not entry.get("crop", False) and moot:
            yield (
                f"Data backend {entry.get('id')} has crop: false, so SimpleTuner does not read its {', '.join(moot)}: "
                "leave them out, or set crop to true."
            )


def _edge(picture: Picture, backend: Backend) -> float:
    """What is scaled to the backend's edge: the shorter edge of a square's crop, else the edge of the same area."""
    if backend.square:
        return min(picture.width, picture.height)
    return math.sqrt(picture.width * picture.height)
