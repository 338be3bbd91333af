"""Bucket arithmetic against figures that SimpleTuner's own code gave; tests/trainers/test_buckets.py asks for more."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxlora.dataset import Picture
from fluxlora.errors import InputError
from fluxlora.trainer.buckets import Backend, BackendBuckets, Batching, assign_buckets, least_repeats, steps_per_epoch

SQUARE = {
    "id": "square", "crop": True, "crop_aspect": "square", "resolution": 1024, "minimum_image_size": 1024,
    "resolution_type": "pixel_area",
}  # fmt: skip
WHOLE = {"id": "whole", "crop": False, "crop_style": "center", "resolution_type": "pixel_area"}
PLAIN_SQUARE = {"id": "square", "crop": True, "crop_aspect": "square", "crop_style": "center"}
LARGE = [(1000, 1000), (1500, 1000), (700, 1400)]
ARB = {"id": "arb", "crop": False, "resolution": 1.0, "minimum_image_size": 0.1, "resolution_type": "area"}


def pictures(*sizes: tuple[int, int]) -> list[Picture]:
    return [Picture(f"{number}.png", *size, captions=1) for number, size in enumerate(sizes)]


def test_both_edges_must_reach_the_minimum_where_the_crop_is_square() -> None:
    made = assign_buckets(
        pictures((1024, 1024), (1000, 1100), (1500, 700), (4000, 1023)), Backend.of(SQUARE), Batching(1)
    )
    assert [picture.file for picture in made.too_small] == ["1.png", "2.png", "3.png"]
    assert [bucket.files for bucket in made.buckets] == [("0.png",)]
    assert "both edges must be at least 1024" in made.backend.too_small(made.too_small[0])


def test_only_the_area_counts_where_nothing_is_cropped() -> None:
    made = assign_buckets(pictures((1500, 70), (400, 200)), Backend.of(ARB), Batching(1))
    assert [picture.file for picture in made.too_small] == ["1.png"]


@pytest.mark.parametrize(("images", "batch", "steps"), [(8, 4, 2), (9, 4, 3), (22, 4, 6), (4, 4, 1), (12, 1, 12)])
def test_an_epoch_rounds_its_last_batch_up(images: int, batch: int, steps: int) -> None:
    made = assign_buckets(pictures(*[(1024, 1024)] * images), Backend.of(SQUARE), Batching(batch))
    assert steps_per_epoch([made], Batching(batch)) == steps


def test_repeats_are_seen_in_addition_to_the_first_time() -> None:
    made = assign_buckets(pictures((1024, 1024), (1024, 1024)), Backend.of(SQUARE | {"repeats": 3}), Batching(4))
    assert (made.samples, made.batches) == (8, 2)


def test_accumulation_takes_several_batches_for_a_step() -> None:
    batching = Batching(2, accumulation=2)
    made = assign_buckets(pictures(*[(1024, 1024)] * 10), Backend.of(SQUARE), batching)
    assert steps_per_epoch([made], batching) == 3


def test_a_bucket_smaller_than_a_batch_is_left_out() -> None:
    made = assign_buckets(pictures(*[(1024, 1024)] * 9, (1536, 1024), (1536, 1024)), Backend.of(ARB), Batching(4))
    assert [(bucket.aspect, len(bucket.files)) for bucket in made.buckets] == [(1.0, 9)]
    assert [(bucket.aspect, len(bucket.files)) for bucket in made.pruned] == [(1.54, 2)]


def test_a_bucket_between_batch_and_effective_batch_is_unusable() -> None:
    made = assign_buckets(pictures(*[(1024, 1024)] * 5), Backend.of(SQUARE), Batching(4, gpus=2))
    assert [bucket.samples for bucket in made.unusable] == [5]
    assert made.batches == 0


def test_oversubscription_raises_repeats_unless_they_are_set() -> None:
    batching = Batching(4, gpus=2, oversubscription=True)
    five = pictures(*[(1024, 1024)] * 5)
    assert assign_buckets(five, Backend.of(SQUARE), batching).samples == 10
    assert assign_buckets(five, Backend.of(SQUARE | {"repeats": 0}), batching).unusable


def test_several_gpus_share_the_batches() -> None:
    made = assign_buckets(pictures(*[(1024, 1024)] * 16), Backend.of(SQUARE), Batching(2, gpus=2))
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


def made(
    sizes: list[tuple[int, int]],
    entry: dict[str, Any],
    batching: Batching | None = None,
    version: str = "3.1.6",
    **options: Any,
) -> BackendBuckets:
    return assign_buckets(pictures(*sizes), Backend.of(entry, options, version), batching or Batching(1))


def shapes(found: BackendBuckets) -> list[tuple[Any, ...]]:
    """Aspect, target, intermediate size and crop of each picture."""
    return [
        (each.aspect, each.target, each.intermediate, each.crop)
        for (each,) in (found.shapes[file] for file in found.shapes)
    ]


def test_half_a_megapixel_means_768_pixels_for_squares_and_704_for_everything_else() -> None:
    half = {"resolution_type": "area", "resolution": 0.5}
    assert shapes(made(LARGE, PLAIN_SQUARE | half)) == [
        (1.0, (768, 768), (768, 768), (0, 0)),
        (1.0, (768, 768), (1056, 704), (144, -32)),
        (1.0, (768, 768), (768, 768), (0, 0)),
    ]
    assert shapes(made(LARGE, WHOLE | half)) == [
        (1.0, (768, 768), (768, 768), (0, 0)),
        (1.44, (832, 576), (864, 576), (0, 16)),
        (0.5, (512, 1024), (512, 1024), (0, 0)),
    ]


def test_squares_of_480_pixels_are_trained_at_512() -> None:
    found = made(LARGE, PLAIN_SQUARE | {"resolution_type": "pixel_area", "resolution": 480})
    assert [bucket.sizes for bucket in found.buckets] == [((512, 512),)]


def test_the_largest_size_decides_out_of_what_a_square_is_cut() -> None:
    sizes = {"resolution": 512, "maximum_image_size": 768, "target_downsample_size": 768}
    found = made(LARGE, PLAIN_SQUARE | {"resolution_type": "pixel_area"} | sizes)
    assert [crop for _, _, _, crop in shapes(found)] == [(128, 128), (224, 64), (16, 288)]


def test_top_comes_before_left_but_where_3_1_6_cuts_out_of_the_middle() -> None:
    entry = PLAIN_SQUARE | {"resolution_type": "pixel_area", "resolution": 512}
    assert [crop for _, _, _, crop in shapes(made([(1500, 1000)], entry))] == [(128, 0)]
    assert [crop for _, _, _, crop in shapes(made([(1500, 1000)], entry, version="4.10.1"))] == [(0, 128)]


def test_the_closest_aspect_is_chosen_and_aligned() -> None:
    entry = {"id": "b", "crop": True, "crop_aspect": "closest", "crop_aspect_buckets": [0.75, 1.0, 1.25]}
    found = made(LARGE, entry | {"crop_style": "center", "resolution_type": "pixel_area", "resolution": 512})
    assert shapes(found) == [
        (1.0, (512, 512), (512, 512), (0, 0)),
        (1.29, (576, 448), (672, 448), (48, 0)),
        (0.78, (448, 576), (448, 896), (0, 160)),
    ]


def test_a_resolution_in_pixels_is_the_shorter_edge_and_squares_are_not_aligned() -> None:
    found = made(LARGE, WHOLE | {"resolution_type": "pixel", "resolution": 512})
    assert [target for _, target, _, _ in shapes(found)] == [(512, 512), (768, 512), (512, 1024)]
    found = made(LARGE, PLAIN_SQUARE | {"resolution_type": "pixel", "resolution": 500})
    assert [(target, crop) for _, target, _, crop in shapes(found)] == [
        ((500, 500), (6, 6)),
        ((500, 500), (134, 6)),
        ((500, 500), (6, 262)),
    ]


def test_small_buckets_are_only_left_out_where_there_is_a_minimum() -> None:
    entry = WHOLE | {"resolution": 512}
    assert len(made(LARGE, entry, Batching(2)).unusable) == 3
    assert len(made(LARGE, entry | {"minimum_image_size": 64}, Batching(2)).pruned) == 3
    kept = made(LARGE, entry | {"minimum_image_size": 64}, Batching(2, pruning=False))
    assert (len(kept.unusable), kept.pruned) == (3, ())


def test_aspects_outside_the_limits_are_left_out() -> None:
    found = made(LARGE, WHOLE | {"resolution": 512, "maximum_aspect_ratio": 1.2})
    assert ([bucket.aspect for bucket in found.buckets], found.off_limits[0].files) == ([0.55, 1.0], ("1.png",))


def test_an_aspect_that_rounds_to_nothing_leaves_its_picture_out() -> None:
    found = made([(64, 700), (3, 1000)], WHOLE | {"resolution": 256})
    assert [picture.file for picture, _ in found.unshapely] == ["1.png"]
    assert found.images == 1


def test_pictures_that_share_a_rounded_aspect_may_be_trained_at_either_ones_size() -> None:
    found = made([(190, 1000), (200, 1000)], WHOLE | {"resolution": 1024})
    assert [(bucket.aspect, bucket.sizes) for bucket in found.buckets] == [(0.19, ((448, 2368), (448, 2304)))]


def test_aspects_are_rounded_as_the_option_says() -> None:
    found = made([(310, 200), (290, 200), (270, 200)], WHOLE | {"resolution": 128}, aspect_bucket_rounding=1)
    assert [(bucket.aspect, bucket.sizes) for bucket in found.buckets] == [(1.0, ((128, 128),)), (1.5, ((192, 128),))]


def test_3_1_6_loses_every_picture_to_a_crop_style_of_face() -> None:
    found = made(LARGE, PLAIN_SQUARE | {"crop_style": "face", "resolution_type": "pixel_area", "resolution": 512})
    assert (len(found.unshapely), found.buckets) == (3, ())
    assert "face" in found.unshapely[0][1]


def test_4_10_1_fills_up_each_bucket_that_is_short_and_3_1_6_repeats_all() -> None:
    sizes = [(128, 128)] * 9 + [(256, 128)] * 2
    entry, batching = WHOLE | {"resolution": 128}, Batching(2, accumulation=3, oversubscription=True)
    assert [bucket.samples for bucket in made(sizes, entry, batching).buckets] == [27, 6]
    assert [bucket.samples for bucket in made(sizes, entry, batching, "4.10.1").buckets] == [9, 6]


def test_repeats_of_0_are_a_decision_in_3_1_6_and_none_in_4_10_1() -> None:
    entry, batching = (
        PLAIN_SQUARE | {"resolution_type": "pixel_area", "resolution": 64, "repeats": 0},
        Batching(4, 2, oversubscription=True),
    )
    assert made([(64, 64)] * 5, entry, batching).unusable
    assert made([(64, 64)] * 5, entry, batching, "4.10.1").samples == 16


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"minimum_image_size": 2300}, "at most 5 megapixels"),
        ({"maximum_image_size": 1024}, "set where maximum_image_size is"),
        ({"maximum_image_size": 4500, "target_downsample_size": 4500}, "less than 20 megapixels"),
        ({"resolution_type": "pixel", "maximum_image_size": 256, "target_downsample_size": 512}, "at least 512 pixels"),
        ({"crop_aspect": "closest", "crop_aspect_buckets": [1, 1.5]}, "decimal point"),
        ({"crop_aspect": "closest"}, "decimal point"),
        ({"resolution": 1024.5}, "whole number of pixels"),
        ({"crop_style": "middle"}, "one of center"),
    ],
)
def test_what_simpletuner_refuses_or_fails_on_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=f"square: .*{sentence}"):
        Backend.of(SQUARE | change)


@given(images=st.integers(1, 60), batch=st.integers(1, 8), accumulation=st.integers(1, 4), gpus=st.integers(1, 4))
def test_the_advised_repeats_are_the_smallest_that_make_a_bucket_usable(
    images: int, batch: int, accumulation: int, gpus: int
) -> None:
    batching = Batching(batch, accumulation, gpus)
    repeats = least_repeats(images, batching)
    sizes = [(1024, 1024)] * images
    assert made(sizes, SQUARE | {"repeats": repeats}, batching).buckets
    assert repeats == 0 or not made(sizes, SQUARE | {"repeats": repeats - 1}, batching).buckets
