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
    "lokr_learning_rate": (
        draft("1024", "lokr", learning_rate="1e-4"),
        "take 1e-3",
        draft("1024", "lokr"),
    ),
    "lora_learning_rate": (
        draft(learning_rate=1e-3),
        "take 1e-4",
        draft(learning_rate=3e-4),
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
    "pictures_are_large_enough": (
        draft(data=pictures((1500, 700), (1024, 1024), each=7)),
        "1500x700-0.jpg is 1500x700",
        draft("512", data=pictures((1500, 700), (1024, 1024), each=7)),
    ),
    "every_bucket_fills_a_batch": (
        draft("arb", data=pictures((1024, 1024), (1600, 1000), each=1), train_batch_size=5),
        "leaves out 1 images of aspect 1.",
        draft("arb", data=pictures((1024, 1024), (1600, 1000), each=1)),
    ),
    "steps_or_epochs": (
        draft(num_train_epochs=1),
        "SimpleTuner refuses both",
        draft(max_train_steps=0, num_train_epochs=10),
    ),
    "a_checkpoint_before_the_end": (
        draft(checkpointing_steps=9000),
        "nothing to resume from",
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


def test_nothing_is_said_twice() -> None:
    verdicts = rules.judge(draft(datasets=backends({}, {}), checkpointing_steps=9000))
    assert len(verdicts) == len(set(verdicts)) > 3


def test_neither_epochs_nor_steps_is_refused() -> None:
    (message,) = said("steps_or_epochs", draft(max_train_steps=0))
    assert "are both 0" in message


def test_more_pictures_than_a_message_names_are_counted() -> None:
    (message,) = said("pictures_are_large_enough", draft(data=pictures((1500, 700), (1024, 1024), each=7)))
    assert "leaves out 7 images" in message
    assert "and 2 more" in message


def test_every_weight_has_a_meaning() -> None:
    assert all(weight.meaning.endswith(".") for weight in Weight)
