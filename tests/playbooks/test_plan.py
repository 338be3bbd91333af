"""A plan spends nothing, and says before anything is rented what is wrong."""

from __future__ import annotations

import pytest


def test_plan_ends_with_steps_and_offers_and_has_rented_nothing(paper):
    done = paper.play("plan", "my-style", run_presets="512,lokr")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "steps" in done.stdout
    assert paper.rents() == 0


def test_check_mode_of_train_ends_with_the_plan_and_has_rented_nothing(paper):
    done = paper.play("train", "my-style", "--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert paper.rents() == 0


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"run_presets": "51"}, "512"),
        ({"run_presets": "512,1024"}, "512 and 1024"),
        ({"simpletuner_lora_rnk": "8"}, "simpletuner_lora_rank"),
        ({"dataset_path": "/nowhere"}, "/nowhere"),
    ],
    ids=["unknown preset", "two presets set one variable", "misspelt variable", "no dataset"],
)
def test_a_mistake_is_named_before_anything_is_rented(paper, settings, sentence):
    done = paper.play("train", "my-style", **settings)
    assert done.returncode != 0
    assert sentence in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert paper.rents() == 0


def test_group_variables_load_in_plays_and_presets_win_over_the_guide(paper):
    done = paper.play(
        "plan", "my-style", "-v", run_presets="lokr", run_rehearsal="false", simpletuner_train_batch_size="2"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lycoris" in done.stdout
