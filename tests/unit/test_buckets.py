"""Bucket arithmetic against figures that SimpleTuner 3.1.6's own code gives."""

from __future__ import annotations

import pytest

from fluxlora.buckets import Backend, Batching, sort, steps_per_epoch
from fluxlora.dataset import Picture
from fluxlora.errors import InputError

SQUARE = {
    "id": "square", "crop": True, "crop_aspect": "square", "resolution": 1024, "minimum_image_size": 1024,
    "resolution_type": "pixel_area",
}  # fmt: skip
ARB = {"id": "arb", "crop": False, "resolution": 1.0, "minimum_image_size": 0.1, "resolution_type": "area"}


def pictures(*sizes: tuple[int, int]) -> list[Picture]:
    return [Picture(f"{number}.png", *size, captions=1) for number, size in enumerate(sizes)]


def test_both_edges_must_reach_the_minimum_where_the_crop_is_square() -> None:
    made = sort(pictures((1024, 1024), (1000, 1100), (1500, 700), (4000, 1023)), Backend.of(SQUARE), Batching(1))
    assert [picture.file for picture in made.too_small] == ["1.png", "2.png", "3.png"]
    assert [bucket.files for bucket in made.buckets] == [("0.png",)]
    assert "both edges must be at least 1024" in made.backend.too_small(made.too_small[0])


def test_only_the_area_counts_where_nothing_is_cropped() -> None:
    made = sort(pictures((1500, 70), (400, 200)), Backend.of(ARB), Batching(1))
    assert [picture.file for picture in made.too_small] == ["1.png"]


@pytest.mark.parametrize(("images", "batch", "steps"), [(8, 4, 2), (9, 4, 3), (22, 4, 6), (4, 4, 1), (12, 1, 12)])
def test_an_epoch_rounds_its_last_batch_up(images: int, batch: int, steps: int) -> None:
    made = sort(pictures(*[(1024, 1024)] * images), Backend.of(SQUARE), Batching(batch))
    assert steps_per_epoch([made], Batching(batch)) == steps


def test_repeats_are_seen_in_addition_to_the_first_time() -> None:
    made = sort(pictures((1024, 1024), (1024, 1024)), Backend.of(SQUARE | {"repeats": 3}), Batching(4))
    assert (made.samples, made.batches) == (8, 2)


def test_accumulation_takes_several_batches_for_a_step() -> None:
    batching = Batching(2, accumulation=2)
    made = sort(pictures(*[(1024, 1024)] * 10), Backend.of(SQUARE), batching)
    assert steps_per_epoch([made], batching) == 3


def test_a_bucket_smaller_than_a_batch_is_left_out() -> None:
    made = sort(pictures(*[(1024, 1024)] * 9, (1536, 1024), (1536, 1024)), Backend.of(ARB), Batching(4))
    assert [(bucket.aspect, len(bucket.files)) for bucket in made.buckets] == [(1.0, 9)]
    assert [(bucket.aspect, len(bucket.files)) for bucket in made.pruned] == [(1.54, 2)]


def test_a_bucket_between_batch_and_effective_batch_is_unusable() -> None:
    made = sort(pictures(*[(1024, 1024)] * 5), Backend.of(SQUARE), Batching(4, gpus=2))
    assert [bucket.samples for bucket in made.unusable] == [5]
    assert made.batches == 0


def test_oversubscription_raises_repeats_unless_they_are_set() -> None:
    batching = Batching(4, gpus=2, oversubscription=True)
    five = pictures(*[(1024, 1024)] * 5)
    assert sort(five, Backend.of(SQUARE), batching).samples == 10
    assert sort(five, Backend.of(SQUARE | {"repeats": 0}), batching).unusable


def test_several_gpus_share_the_batches() -> None:
    made = sort(pictures(*[(1024, 1024)] * 16), Backend.of(SQUARE), Batching(2, gpus=2))
    assert made.batches == 4


@pytest.mark.parametrize(
    ("size", "trained"),
    [
        ((1024, 1024), (1024, 1024)),
        ((1536, 1024), (1280, 832)),
        ((1024, 1536), (832, 1280)),
        ((3000, 1000), (1792, 576)),
    ],
)
def test_edges_are_the_nearest_multiples_of_64_at_the_wanted_area(
    size: tuple[int, int], trained: tuple[int, int]
) -> None:
    assert Backend.of(ARB).size(pictures(size)[0]) == trained


@pytest.mark.parametrize(("key", "value"), [("resolution", "big"), ("minimum_image_size", -1), ("repeats", [1])])
def test_a_number_that_is_none_names_the_backend_and_the_key(key: str, value: object) -> None:
    with pytest.raises(InputError, match=f"square: {key}"):
        Backend.of(SQUARE | {key: value})


def test_an_unknown_resolution_type_is_refused() -> None:
    with pytest.raises(InputError, match="resolution_type"):
        Backend.of(SQUARE | {"resolution_type": "acres"})
