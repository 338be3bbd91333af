"""What a run was given, kept and compared with what a later call is given."""

from __future__ import annotations

import stat

import pytest

from fluxlora.errors import InputError
from fluxlora.money.journal import Entry, Event
from fluxlora.runner.run_settings import Effect, Kept, compare, file_of, of_run, read, require, write

GIVEN = {"simpletuner_max_train_steps": "1500", "run_presets": "512,lokr", "dataset_path": "/pictures"}
RENTED = Entry(Event.RENTED, "my-style", 100.0, 7)


def names(differences):
    return [each.name for each in differences]


def test_what_belongs_to_the_call_and_what_is_secret_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {
        "simpletuner_seed": "7", "run_name": "a", "run_rehearsal": True, "run_settings": "new", "ansible_user": "me",
        "provision_destroy_unsaved": "true", "dataset_path": "pictures", "my_token": "x1y2z3",
        "simpletuner_extra_config": {"publishing_config": {"secret_key": "x1y2z3"}},
    }  # fmt: skip
    settings, secrets = of_run(given)
    assert settings == {
        "simpletuner_seed": "7",
        "dataset_path": str(tmp_path / "pictures"),
        "simpletuner_extra_config": {"publishing_config": {}},
    }
    assert secrets == ("my_token", "simpletuner_extra_config.publishing_config.secret_key")


def test_the_file_is_its_owners_alone_and_the_same_is_written_once(tmp_path):
    folder = tmp_path / "state" / "runs"
    assert (write(folder, "my-style", GIVEN, dry_run=True), folder.exists()) == (True, False)
    assert (write(folder, "my-style", GIVEN), write(folder, "my-style", GIVEN)) == (True, False)
    assert stat.S_IMODE(file_of(folder, "my-style").stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == ["my-style.yml"]
    assert dict(read(folder, "my-style").settings) == GIVEN
    assert read(folder, "another") == Kept()


@pytest.mark.parametrize("content", [b"a: [", b"- 1", b"\xff"])
def test_a_file_that_cannot_be_read_is_a_sentence_and_never_no_settings(tmp_path, content):
    file_of(tmp_path, "my-style").write_bytes(content)
    with pytest.raises(InputError) as refused:
        read(tmp_path, "my-style")
    assert refused.value.code == "settings_unreadable"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"simpletuner_max_train_steps": 1500, "run_presets": ["lokr", 512]},
        {"simpletuner_max_train_steps": "1500.0", "run_presets": "lokr+512"},
    ],
)
def test_the_same_in_another_spelling_and_what_is_left_out_is_no_difference(given):
    assert compare(GIVEN, given) == ()


def test_each_difference_has_both_values_and_says_from_when_on_it_counts():
    now = {
        "simpletuner_max_train_steps": "2000", "simpletuner_lora_rank": 4, "provision_budget_usd": 30,
        "provision_countries": ["DE"], "simpletuner_extra_config": {"--lora_alpha": 8},
    }  # fmt: skip
    found = compare(GIVEN, now)
    assert [(each.name, each.effect) for each in found] == [
        ("simpletuner_max_train_steps", Effect.NEXT_START),
        ("simpletuner_lora_rank", Effect.FIXED),
        ("provision_budget_usd", Effect.AT_ONCE),
        ("provision_countries", Effect.NEXT_INSTANCE),
        ("simpletuner_extra_config.lora_alpha", Effect.FIXED),
    ]
    assert str(found[0]).startswith("simpletuner_max_train_steps: 1500 is kept, 2000 was given now; ")
    assert "not set is kept" in str(found[1])


def test_settings_that_count_alone_differ_by_what_they_leave_out_too():
    assert names(compare(GIVEN, {"dataset_path": "/pictures"}, alone=True)) == [
        "simpletuner_max_train_steps",
        "run_presets",
    ]


@pytest.mark.parametrize(
    ("now", "accepted", "checkpoint", "code"),
    [
        ({"simpletuner_max_train_steps": 2000}, False, None, "settings_differ"),
        ({"simpletuner_max_train_steps": 2000}, True, 200, ""),
        ({"simpletuner_lora_rank": 4}, True, None, ""),
        ({"simpletuner_lora_rank": 4}, True, 200, "settings_fixed"),
        ({}, False, 200, ""),
    ],
)
def test_a_change_is_asked_about_and_one_that_fits_no_checkpoint_is_refused(now, accepted, checkpoint, code):
    refused = ""
    try:
        require("my-style", compare(GIVEN, now), accepted=accepted, checkpoint=checkpoint)
    except InputError as error:
        refused = error.code
    assert refused == code


@pytest.mark.parametrize(
    ("entries", "instance", "goes_on"),
    [
        ([], 0, False),
        ([], 7, True),
        ([RENTED], 0, True),
        ([RENTED, Entry(Event.FAILED, "my-style", 150.0, 7, {"used": True})], 0, True),
        ([RENTED, Entry(Event.DESTROYED, "my-style", 150.0, 7)], 0, False),
        ([RENTED, Entry(Event.DELIVERED, "my-style", 150.0, 7)], 0, False),
        ([RENTED, Entry(Event.DELIVERED, "my-style", 150.0, 7)], 7, True),
        ([RENTED, Entry(Event.DELIVERED, "my-style", 150.0, 7)], 8, False),
    ],
    ids=["never-rented", "rented-now", "rented", "taken-away", "thrown-away", "delivered", "not-yet-ended", "another"],
)
def test_kept_settings_count_while_their_training_goes_on_and_not_for_a_new_one(entries, instance, goes_on):
    assert Kept(GIVEN, at=90.0).goes_on(entries, instance) is goes_on
    assert not Kept().goes_on(entries, instance)
