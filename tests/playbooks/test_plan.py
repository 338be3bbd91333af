"""A plan spends nothing, and says before anything is rented what is wrong."""

from __future__ import annotations

import re

import pytest


def test_plan_ends_with_steps_and_offers_and_has_rented_nothing(paper):
    done = paper.play("plan", "my-style", run_presets="512,lokr")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "steps" in done.stdout
    assert " 220 GB of disk (" in done.stdout, "the disk that is rented, beside the one that is used"
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
        ({"simpletuner_lr_scheduler": "cosinus"}, "cosine"),
    ],
    ids=["unknown preset", "two presets set one variable", "misspelt variable", "no dataset", "wrong choice"],
)
def test_a_mistake_is_named_before_anything_is_rented(paper, settings, sentence):
    done = paper.play("train", "my-style", **settings)
    assert done.returncode != 0
    assert sentence in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert paper.rents() == 0


def test_offers_shows_the_market_alone_and_says_of_each_other_offer_why_not(paper):
    settings = {"run_presets": "512", "run_rehearsal": "false", "provision_show_refused": "true"}
    done = paper.play("offers", "my-style", **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\$\d+\.\d\d +\$\d+\.\d\d to \$\d+\.\d\d", done.stdout)
    assert re.search(r"passed over: [A-Z].+ at \$\d+\.\d+/h, offer \d+, has .+ needed", done.stdout)
    assert "trains on" not in done.stdout
    assert paper.rents() == 0


def test_a_card_preset_decides_which_offers_are_looked_at(paper):
    done = paper.play("plan", "my-style", "-v", run_presets="512,24gb", run_rehearsal="false")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 GPU with 23 GB, 64 GB of memory" in done.stdout
    assert "int8-quanto" in done.stdout


def test_a_run_that_does_not_fit_on_its_card_is_refused_with_what_to_do(paper):
    done = paper.play("plan", "my-style", run_presets="24gb,rank128", run_rehearsal="false")
    assert done.returncode != 0
    assert "or choose larger cards" in done.stdout


def test_group_variables_load_in_plays_and_presets_win_over_the_guide(paper):
    done = paper.play(
        "plan", "my-style", "-v", run_presets="lokr", run_rehearsal="false", simpletuner_train_batch_size="2"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lycoris" in done.stdout
