"""Each rule: what makes it speak, and what keeps it silent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fluxlora.dataset import Dataset, Picture
from fluxlora.plan import rules
from fluxlora.plan.figures import Figures
from fluxlora.plan.rules import RULES, Weight
from fluxlora.settings.presets import variables_of

PROJECT = Path(__file__).parents[2]


def pictures(*sizes: tuple[int, int], each: int = 22) -> Dataset:
    made = [
        Picture(f"{width}x{height}-{n}.jpg", width, height, captions=2) for width, height in sizes for n in range(each)
    ]
    return Dataset(Path("/data"), tuple(made), (), size_bytes=len(made) * 1_000_000)


LARGE = pictures((1280, 1024))


def figures(*presets: str, data: Dataset = LARGE, others: Mapping[str, Any] | None = None, **options: Any) -> Figures:
    """The project's own numbers, the presets over them, then SimpleTuner's options as given."""
    merged = variables_of(PROJECT / "group_vars/training.yml")
    for name in presets or ("1024",):
        merged |= variables_of(PROJECT / f"group_vars/preset_{name}.yml")
    given = {f"simpletuner_{name}": value for name, value in options.items()}
    return Figures.of(merged | given | dict(others or {}), data)


def backends(*changes: dict[str, Any]) -> list[dict[str, Any]]:
    (entry,) = variables_of(PROJECT / "group_vars/preset_1024.yml")["simpletuner_datasets"]
    return [entry | change for change in changes]


_HALF = {"resolution_type": "area", "minimum_image_size": 0.1, "maximum_image_size": 0, "target_downsample_size": 0}
# Rule: a run about which it speaks, words that it says, and a run that is all right.
CASES: dict[str, tuple[Figures, str, Figures]] = {
    "lycoris_has_its_configuration": (
        figures(lora_type="lycoris"),
        "preset lokr sets both",
        figures("1024", "lokr"),
    ),
    "one_shift_of_the_noise_schedule": (
        figures(flow_schedule_shift=3),
        "set simpletuner_flow_schedule_shift to 0",
        figures(flow_schedule_auto_shift=False, flow_schedule_shift=3),
    ),
    "lora_learning_rate": (
        figures(learning_rate=1e-3),
        "take 1e-4",
        figures("1024", "aggressive"),
    ),
    "learning_rate_of_a_high_rank": (
        figures("1024", "rank64", "aggressive"),
        "at simpletuner_lora_rank 64",
        figures("1024", "rank64"),
    ),
    "lokr_learning_rate": (
        figures("1024", "lokr", learning_rate="1e-4"),
        "take 0.001",
        figures("1024", "lokr"),
    ),
    "lokr_on_a_small_batch": (
        figures("1024", "lokr", train_batch_size=1),
        "so that it sees 4",
        figures("1024", "lokr", "24gb"),
    ),
    "four_bits_and_lion": (
        figures(base_model_precision="nf4-bnb", optimizer="bnb-lion8bit"),
        "take adamw_bf16",
        figures(base_model_precision="nf4-bnb"),
    ),
    "so_high_a_rank": (
        figures("1024", "rank128"),
        "simpletuner_lora_rank is 128",
        figures("1024", "rank4"),
    ),
    "targets_that_travel": (
        figures(),
        "preset attention",
        figures("1024", "attention"),
    ),
    "what_loads_a_lokr": (
        figures("1024", "lokr"),
        "in diffusers from 0.42.1 on",
        figures(),
    ),
    "an_experimental_target": (
        figures("1024", "context"),
        "nobody knows",
        figures("1024", "mmdit"),
    ),
    "some_captions_are_left_out": (
        figures(),
        "recommends 0.1",
        figures(caption_dropout_probability=0.1),
    ),
    "guidance_that_others_can_follow": (
        figures(flux_guidance_value=3.5),
        "1 keeps it compatible",
        figures(),
    ),
    "drawn_with_what_it_was_trained_on": (
        figures("1024", "24gb"),
        "int8-quanto: load the model",
        figures("1024", "48gb"),
    ),
    "a_data_backend_is_enabled": (
        figures(datasets=backends({"disabled": True})),
        "choose a resolution preset",
        figures(),
    ),
    "data_backends_share_nothing": (
        figures(datasets=backends({}, {"id": "b", "cache_file_suffix": "b"})),
        "the cache_dir_vae",
        figures("multires"),
    ),
    "every_bucket_fills_a_step": (
        figures(train_batch_size=16, gradient_accumulation_steps=2),
        "one step takes 32",
        figures(train_batch_size=11, gradient_accumulation_steps=2),
    ),
    "every_data_backend_keeps_a_picture": (
        figures(data=pictures((800, 600))),
        "left without an image",
        figures(data=pictures((800, 600), (1024, 1024))),
    ),
    "every_bucket_fills_a_batch": (
        figures("arb", data=pictures((1024, 1024), (1600, 1000), each=1), train_batch_size=5),
        "leaves out 1 images of aspect 1.",
        figures("arb", data=pictures((1024, 1024), (1600, 1000), each=1)),
    ),
    "every_picture_has_a_bucket": (
        figures(datasets=backends({"maximum_aspect_ratio": 0.9, "crop": False})),
        "images of aspect 1.2",
        figures(datasets=backends({"maximum_aspect_ratio": 1.5, "crop": False})),
    ),
    "one_resolution_means_one_size": (
        figures(datasets=backends({**_HALF, "resolution": 0.5})),
        "768 pixels in squares and for 704",
        figures(datasets=backends({**_HALF, "resolution": 1.0})),
    ),
    "buckets_are_known": (
        figures(datasets=backends({"crop_aspect": "random", "crop_aspect_buckets": [1.0, 1.5]})),
        "2 aspects by lot",
        figures(datasets=backends({"crop_aspect": "closest", "crop_aspect_buckets": [1.0, 1.5]})),
    ),
    "several_gpus_start_at_once": (
        figures(others={"provision_num_gpus": 2}),
        "ends at its first start",
        figures(version="4.10.1", others={"provision_num_gpus": 2}),
    ),
    "several_gpus_share_every_bucket": (
        figures(
            data=pictures((1024, 1024), each=1), others={"provision_num_gpus": 2}, datasets=backends({"repeats": 7})
        ),
        "fewer images than the 2 GPUs",
        figures(
            data=pictures((1024, 1024), each=2), others={"provision_num_gpus": 2}, datasets=backends({"repeats": 3})
        ),
    ),
    "pictures_are_not_blown_up": (
        figures("arb", data=pictures((700, 500), (1600, 1024))),
        "700x500-0.jpg (700x500)",
        figures("multires", data=pictures((384, 512), (1600, 1024))),
    ),
    "buckets_divide_into_batches": (
        figures(data=pictures((1024, 1024), each=22)),
        "22 of aspect 1.0 in square_1024",
        figures(data=pictures((1024, 1024), each=24)),
    ),
    "shapes_are_learnt_too": (
        figures("arb", data=pictures((1024, 1024), (1600, 1024))),
        "squares are the safe choice",
        figures("multires", data=pictures((1024, 1024), (1600, 1024))),
    ),
    "a_crop_that_is_read": (
        figures(datasets=backends({"crop": False})),
        "crop_aspect, crop_style",
        figures("arb"),
    ),
    "steps_or_epochs": (
        figures(num_train_epochs=1),
        "SimpleTuner refuses both",
        figures(max_train_steps=0, num_train_epochs=10),
    ),
    "epochs_last_as_long_as_the_steps": (
        figures(gradient_accumulation_steps=4, ignore_final_epochs=False),
        "An epoch has 6 batches, so 1.5 steps of simpletuner_gradient_accumulation_steps 4; SimpleTuner counts 2, and "
        "its epochs are over after 3750 of 5000 steps",
        figures(gradient_accumulation_steps=4),
    ),
    "checkpoints_are_pushed_only_where_that_is_wanted": (
        figures(push_checkpoints_to_hub=False),
        "pushes every checkpoint's adapter all the same: turn simpletuner_push_to_hub off too",
        figures(push_checkpoints_to_hub=False, version="4.10.1"),
    ),
    "a_checkpoint_before_the_end": (
        figures(checkpointing_steps=9000),
        "nothing to resume from",
        figures(),
    ),
    "what_an_interruption_costs": (
        figures("80gb", "1024", checkpointing_steps=500, others={"provision_max_price_per_hour": 2}),
        "up to about 2.2 hours, up to $4.47 at $2 an hour. Set it to 300",
        figures("80gb", "1024"),
    ),
    "checkpoints_are_worth_their_bytes": (
        figures("1024", "rank128", checkpointing_steps=200),
        "25 checkpoints send about 218 GB",
        figures("1024", "rank128"),
    ),
    "warm_up_ends_before_the_run": (
        figures(lr_warmup_steps=100, max_train_steps=150),
        "hardly reached",
        figures(lr_warmup_steps=100, max_train_steps=250),
    ),
    "seen_often_enough": (
        figures(),
        "seen about 909 times",
        figures(max_train_steps=2500),
    ),
    "the_card_has_room": (
        figures("1024", "24gb", "rank128"),
        "needs about 24 GB",
        figures("1024", "24gb", "rank64"),
    ),
    "alpha_that_lets_something_through": (
        figures(lora_alpha=0),
        "leave it empty",
        figures(lora_alpha=None),
    ),
    "alpha_is_part_of_the_strength": (
        figures(lora_rank=16, lora_alpha="32"),
        "trained at 2 times its strength",
        figures(lora_rank=16, lora_alpha=16),
    ),
    "the_host_has_memory": (
        figures("1024", "24gb", others={"provision_cpu_ram_gb": "32"}),
        "about 50 GB of the host's memory",
        figures("1024", "48gb", others={"provision_cpu_ram_gb": "32"}),
    ),
    "fp8_has_its_hardware": (
        figures(base_model_precision="fp8-quanto", others={"provision_gpu_names": ["RTX 4090", "RTX 3090"]}),
        "provision_gpu_names has RTX 3090",
        figures(base_model_precision="fp8-quanto", others={"provision_gpu_names": ["RTX 4090"]}),
    ),
    "int8_before_fp8": (
        figures(base_model_precision="fp8-quanto"),
        "int8-quanto is faster",
        figures(base_model_precision="int8-quanto"),
    ),
    "memory_is_saved": (
        figures(gradient_checkpointing=False),
        "turn it on",
        figures(),
    ),
    "the_disk_is_large_enough": (
        figures(others={"provision_disk_gb": "40"}),
        "or more",
        figures(others={"provision_disk_gb": 220}),
    ),
    "a_push_has_a_repository": (
        figures(hub_model_id=""),
        "name the repository",
        figures(hub_model_id="", push_to_hub=False),
    ),
    "the_validation_prompt_is_ones_own": (
        figures(),
        "trigger word",
        figures(validation_prompt="a photo of sksbadz"),
    ),
    "pictures_on_the_way_are_few": (
        figures(validation_steps=2),
        "raise simpletuner_validation_steps",
        figures(),
    ),
    "inference_steps_that_show_something": (
        figures(validation_num_inference_steps=8),
        "with 15 to 28",
        figures("1024", validation_num_inference_steps=2, pixel_divisor=8),
    ),
}


def said(name: str, looked_at: Figures) -> Iterator[str]:
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
        ("lora_learning_rate", figures(learning_rate=1e-5), "learns next to nothing"),
        ("lokr_learning_rate", figures("1024", "lokr", learning_rate=5e-3), "far above the 0.001"),
        ("the_card_has_room", figures(others={"provision_gpu_ram_gb": 24}), "provision_gpu_ram_gb is 24"),
        (
            "fp8_has_its_hardware",
            figures(base_model_precision="fp8-quanto", others={"provision_compute_cap": "860"}),
            "provision_compute_cap is 860",
        ),
        (
            "epochs_last_as_long_as_the_steps",
            figures(max_train_steps=0, num_train_epochs=10, gradient_accumulation_steps=4, version="4.10.1"),
            "over after 15 of 20 steps: set simpletuner_max_train_steps to 15 and simpletuner_num_train_epochs to 0",
        ),
        ("lokr_learning_rate", figures("1024", "lokr", optimizer="optimi-lion", learning_rate=5e-5), "take 0.0002"),
        (
            "what_an_interruption_costs",
            figures("80gb", "1024", checkpointing_steps=500),
            "about 2.2 hours. Set it to 300",
        ),
    ],
)
def test_a_rule_with_two_sides_watches_both(name: str, looked_at: Figures, words: str) -> None:
    (message,) = said(name, looked_at)
    assert words in message


def test_a_lokr_is_not_judged_by_the_rules_of_a_lora() -> None:
    lokr = figures("1024", "lokr", lora_rank=128, flux_lora_target="context+ffs")
    ours = ("lora_learning_rate", "learning_rate_of_a_high_rank", "so_high_a_rank", "targets_that_travel")
    assert [list(said(name, lokr)) for name in (*ours, "an_experimental_target")] == [[]] * 5


def test_nothing_is_said_twice() -> None:
    verdicts = rules.judge(figures(datasets=backends({}, {}), checkpointing_steps=9000))
    assert len(verdicts) == len(set(verdicts)) > 3


def test_neither_epochs_nor_steps_is_refused() -> None:
    (message,) = said("steps_or_epochs", figures(max_train_steps=0))
    assert "are both 0" in message


def test_every_weight_has_a_meaning() -> None:
    assert all(weight.meaning.endswith(".") for weight in Weight)
