"""Each rule: what makes it speak, and what keeps it silent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fluxlora import rules
from fluxlora.dataset import Dataset, Picture
from fluxlora.draft import Draft
from fluxlora.presets import variables_of
from fluxlora.rules import RULES, Weight

PROJECT = Path(__file__).parents[2]


def pictures(*sizes: tuple[int, int], each: int = 22) -> Dataset:
    made = [
        Picture(f"{width}x{height}-{n}.jpg", width, height, captions=2) for width, height in sizes for n in range(each)
    ]
    return Dataset(Path("/data"), tuple(made), (), size_bytes=len(made) * 1_000_000)


LARGE = pictures((1280, 1024))


def draft(*presets: str, data: Dataset = LARGE, others: Mapping[str, Any] | None = None, **options: Any) -> Draft:
    """The project's own numbers, the presets over them, then SimpleTuner's options as given."""
    merged = variables_of(PROJECT / "group_vars/training.yml")
    for name in presets or ("1024",):
        merged |= variables_of(PROJECT / f"group_vars/preset_{name}.yml")
    given = {f"simpletuner_{name}": value for name, value in options.items()}
    return Draft.of(merged | given | dict(others or {}), data)


def backends(*changes: dict[str, Any]) -> list[dict[str, Any]]:
    (entry,) = variables_of(PROJECT / "group_vars/preset_1024.yml")["simpletuner_datasets"]
    return [entry | change for change in changes]


_HALF = {"resolution_type": "area", "minimum_image_size": 0.1, "maximum_image_size": 0, "target_downsample_size": 0}
# Rule: a draft that makes it speak, words that it says, and a draft that is all right.
CASES: dict[str, tuple[Draft, str, Draft]] = {
    "lycoris_has_its_configuration": (
        draft(lora_type="lycoris"),
        "preset lokr sets both",
        draft("1024", "lokr"),
    ),
    "one_shift_of_the_noise_schedule": (
        draft(flow_schedule_shift=3),
        "set simpletuner_flow_schedule_shift to 0",
        draft(flow_schedule_auto_shift=False, flow_schedule_shift=3),
    ),
    "lora_learning_rate": (
        draft(learning_rate=1e-3),
        "take 1e-4",
        draft("1024", "aggressive"),
    ),
    "learning_rate_of_a_high_rank": (
        draft("1024", "rank64", "aggressive"),
        "at simpletuner_lora_rank 64",
        draft("1024", "rank64"),
    ),
    "lokr_learning_rate": (
        draft("1024", "lokr", learning_rate="1e-4"),
        "take 0.001",
        draft("1024", "lokr"),
    ),
    "lokr_on_a_small_batch": (
        draft("1024", "lokr", train_batch_size=1),
        "so that it sees 4",
        draft("1024", "lokr", "24gb"),
    ),
    "four_bits_and_lion": (
        draft(base_model_precision="nf4-bnb", optimizer="bnb-lion8bit"),
        "take adamw_bf16",
        draft(base_model_precision="nf4-bnb"),
    ),
    "so_high_a_rank": (
        draft("1024", "rank128"),
        "simpletuner_lora_rank is 128",
        draft("1024", "rank4"),
    ),
    "targets_that_travel": (
        draft(),
        "preset attention",
        draft("1024", "attention"),
    ),
    "an_experimental_target": (
        draft("1024", "context"),
        "nobody knows",
        draft("1024", "mmdit"),
    ),
    "some_captions_are_left_out": (
        draft(),
        "recommends 0.1",
        draft(caption_dropout_probability=0.1),
    ),
    "guidance_that_others_can_follow": (
        draft(flux_guidance_value=3.5),
        "1 keeps it compatible",
        draft(),
    ),
    "drawn_with_what_it_was_trained_on": (
        draft("1024", "24gb"),
        "int8-quanto: load the model",
        draft("1024", "48gb"),
    ),
    "a_data_backend_is_enabled": (
        draft(datasets=backends({"disabled": True})),
        "choose a resolution preset",
        draft(),
    ),
    "data_backends_share_nothing": (
        draft(datasets=backends({}, {"id": "b", "cache_file_suffix": "b"})),
        "the cache_dir_vae",
        draft("multires"),
    ),
    "every_bucket_fills_a_step": (
        draft(train_batch_size=16, gradient_accumulation_steps=2),
        "one step takes 32",
        draft(train_batch_size=11, gradient_accumulation_steps=2),
    ),
    "every_data_backend_keeps_a_picture": (
        draft(data=pictures((800, 600))),
        "left without an image",
        draft(data=pictures((800, 600), (1024, 1024))),
    ),
    "every_bucket_fills_a_batch": (
        draft("arb", data=pictures((1024, 1024), (1600, 1000), each=1), train_batch_size=5),
        "leaves out 1 images of aspect 1.",
        draft("arb", data=pictures((1024, 1024), (1600, 1000), each=1)),
    ),
    "every_picture_has_a_bucket": (
        draft(datasets=backends({"maximum_aspect_ratio": 0.9, "crop": False})),
        "images of aspect 1.2",
        draft(datasets=backends({"maximum_aspect_ratio": 1.5, "crop": False})),
    ),
    "one_resolution_means_one_size": (
        draft(datasets=backends({**_HALF, "resolution": 0.5})),
        "768 pixels in squares and for 704",
        draft(datasets=backends({**_HALF, "resolution": 1.0})),
    ),
    "buckets_are_known": (
        draft(datasets=backends({"crop_aspect": "random", "crop_aspect_buckets": [1.0, 1.5]})),
        "2 aspects by lot",
        draft(datasets=backends({"crop_aspect": "closest", "crop_aspect_buckets": [1.0, 1.5]})),
    ),
    "several_gpus_start_at_once": (
        draft(others={"provision_num_gpus": 2}),
        "ends at its first start",
        draft(version="4.10.1", others={"provision_num_gpus": 2}),
    ),
    "several_gpus_share_every_bucket": (
        draft(data=pictures((1024, 1024), each=1), others={"provision_num_gpus": 2}, datasets=backends({"repeats": 7})),
        "fewer images than the 2 GPUs",
        draft(data=pictures((1024, 1024), each=2), others={"provision_num_gpus": 2}, datasets=backends({"repeats": 3})),
    ),
    "pictures_are_not_blown_up": (
        draft("arb", data=pictures((700, 500), (1600, 1024))),
        "700x500-0.jpg (700x500)",
        draft("multires", data=pictures((384, 512), (1600, 1024))),
    ),
    "buckets_divide_into_batches": (
        draft(data=pictures((1024, 1024), each=22)),
        "22 of aspect 1.0 in square_1024",
        draft(data=pictures((1024, 1024), each=24)),
    ),
    "shapes_are_learnt_too": (
        draft("arb", data=pictures((1024, 1024), (1600, 1024))),
        "squares are the safe choice",
        draft("multires", data=pictures((1024, 1024), (1600, 1024))),
    ),
    "a_crop_that_is_read": (
        draft(datasets=backends({"crop": False})),
        "crop_aspect, crop_style",
        draft("arb"),
    ),
    "steps_or_epochs": (
        draft(num_train_epochs=1),
        "SimpleTuner refuses both",
        draft(max_train_steps=0, num_train_epochs=10),
    ),
    "epochs_last_as_long_as_the_steps": (
        draft(gradient_accumulation_steps=4, ignore_final_epochs=False),
        "An epoch has 6 batches, so 1.5 steps of simpletuner_gradient_accumulation_steps 4; SimpleTuner counts 2, and "
        "its epochs are over after 3750 of 5000 steps",
        draft(gradient_accumulation_steps=4),
    ),
    "checkpoints_are_pushed_only_where_that_is_wanted": (
        draft(push_checkpoints_to_hub=False),
        "pushes every checkpoint's adapter all the same: turn simpletuner_push_to_hub off too",
        draft(push_checkpoints_to_hub=False, version="4.10.1"),
    ),
    "a_checkpoint_before_the_end": (
        draft(checkpointing_steps=9000),
        "nothing to resume from",
        draft(),
    ),
    "what_an_interruption_costs": (
        draft("80gb", "1024", checkpointing_steps=500, others={"provision_max_price_per_hour": 2}),
        "up to about 2.2 hours, up to $4.47 at $2 an hour. Set it to 300",
        draft("80gb", "1024"),
    ),
    "checkpoints_are_worth_their_bytes": (
        draft("1024", "rank128", checkpointing_steps=200),
        "25 checkpoints send about 218 GB",
        draft("1024", "rank128"),
    ),
    "warm_up_ends_before_the_run": (
        draft(lr_warmup_steps=100, max_train_steps=150),
        "hardly reached",
        draft(lr_warmup_steps=100, max_train_steps=250),
    ),
    "seen_often_enough": (
        draft(),
        "seen about 909 times",
        draft(max_train_steps=2500),
    ),
    "the_card_has_room": (
        draft("1024", "24gb", "rank128"),
        "needs about 24 GB",
        draft("1024", "24gb", "rank64"),
    ),
    "the_host_has_memory": (
        draft("1024", "24gb", others={"provision_cpu_ram_gb": "32"}),
        "about 50 GB of the host's memory",
        draft("1024", "48gb", others={"provision_cpu_ram_gb": "32"}),
    ),
    "fp8_has_its_hardware": (
        draft(base_model_precision="fp8-quanto", others={"provision_gpu_names": ["RTX 4090", "RTX 3090"]}),
        "provision_gpu_names has RTX 3090",
        draft(base_model_precision="fp8-quanto", others={"provision_gpu_names": ["RTX 4090"]}),
    ),
    "int8_before_fp8": (
        draft(base_model_precision="fp8-quanto"),
        "int8-quanto is faster",
        draft(base_model_precision="int8-quanto"),
    ),
    "memory_is_saved": (
        draft(gradient_checkpointing=False),
        "turn it on",
        draft(),
    ),
    "the_disk_is_large_enough": (
        draft(others={"provision_disk_gb": "40"}),
        "or more",
        draft(others={"provision_disk_gb": 220}),
    ),
    "a_push_has_a_repository": (
        draft(hub_model_id=""),
        "name the repository",
        draft(hub_model_id="", push_to_hub=False),
    ),
    "the_validation_prompt_is_ones_own": (
        draft(),
        "trigger word",
        draft(validation_prompt="a photo of sksbadz"),
    ),
    "pictures_on_the_way_are_few": (
        draft(validation_steps=2),
        "raise simpletuner_validation_steps",
        draft(),
    ),
    "inference_steps_that_show_something": (
        draft(validation_num_inference_steps=8),
        "with 15 to 28",
        draft("1024", validation_num_inference_steps=2, pixel_divisor=8),
    ),
}


def said(name: str, looked_at: Draft) -> Iterator[str]:
    (one,) = [each for each in RULES if each.name == name]
    return (verdict.message for verdict in one.judge(looked_at))


def test_every_rule_is_tried_here() -> None:
    assert sorted(CASES) == sorted(each.name for each in RULES)


@pytest.mark.parametrize("name", CASES)
def test_a_rule_speaks_where_it_should_and_cites_its_source(name: str) -> None:
    wrong, words, _ = CASES[name]
    (one,) = [each for each in RULES if each.name == name]
    messages = list(said(name, wrong))
    assert any(words in message for message in messages), messages
    assert all(message.endswith(f" ({one.source.cited}).") for message in messages)


@pytest.mark.parametrize("name", CASES)
def test_a_rule_is_silent_where_all_is_well(name: str) -> None:
    _, _, right = CASES[name]
    assert list(said(name, right)) == []


def test_a_rule_says_in_one_sentence_what_it_watches_over() -> None:
    for each in RULES:
        assert re.fullmatch(r"[A-Z][^\n]+\.", each.purpose), each.name


@pytest.mark.parametrize(
    ("name", "looked_at", "words"),
    [
        ("lora_learning_rate", draft(learning_rate=1e-5), "learns next to nothing"),
        ("lokr_learning_rate", draft("1024", "lokr", learning_rate=5e-3), "far above the 0.001"),
        ("the_card_has_room", draft(others={"provision_gpu_ram_gb": 24}), "provision_gpu_ram_gb is 24"),
        (
            "fp8_has_its_hardware",
            draft(base_model_precision="fp8-quanto", others={"provision_compute_cap": "860"}),
            "provision_compute_cap is 860",
        ),
        (
            "epochs_last_as_long_as_the_steps",
            draft(max_train_steps=0, num_train_epochs=10, gradient_accumulation_steps=4, version="4.10.1"),
            "over after 15 of 20 steps: set simpletuner_max_train_steps to 15 and simpletuner_num_train_epochs to 0",
        ),
        ("lokr_learning_rate", draft("1024", "lokr", optimizer="optimi-lion", learning_rate=5e-5), "take 0.0002"),
        (
            "what_an_interruption_costs",
            draft("80gb", "1024", checkpointing_steps=500),
            "about 2.2 hours. Set it to 300",
        ),
    ],
)
def test_a_rule_with_two_sides_watches_both(name: str, looked_at: Draft, words: str) -> None:
    (message,) = said(name, looked_at)
    assert words in message


def test_a_lokr_is_not_judged_by_the_rules_of_a_lora() -> None:
    lokr = draft("1024", "lokr", lora_rank=128, flux_lora_target="context+ffs")
    ours = ("lora_learning_rate", "learning_rate_of_a_high_rank", "so_high_a_rank", "targets_that_travel")
    assert [list(said(name, lokr)) for name in (*ours, "an_experimental_target")] == [[]] * 5


def test_nothing_is_said_twice() -> None:
    verdicts = rules.judge(draft(datasets=backends({}, {}), checkpointing_steps=9000))
    assert len(verdicts) == len(set(verdicts)) > 3


def test_neither_epochs_nor_steps_is_refused() -> None:
    (message,) = said("steps_or_epochs", draft(max_train_steps=0))
    assert "are both 0" in message


def test_every_weight_has_a_meaning() -> None:
    assert all(weight.meaning.endswith(".") for weight in Weight)
