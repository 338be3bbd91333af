"""A config.json against the facts of each supported SimpleTuner."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fluxlora.errors import InputError
from fluxlora.settings.presets import variables_of
from fluxlora.trainer import CHANGES, Problem, change, check_backends, check_config, compare, facts
from fluxlora.trainer.versions import RELEASES

GUIDE = Path(__file__).parents[1] / "data" / "guide" / "config.json"
# What every version starts with, and nothing more.
LEAST = {
    "--model_family": "flux",
    "--model_type": "lora",
    "--optimizer": "adamw_bf16",
    "--output_dir": "output",
    "--data_backend_config": "config/multidatabackend.json",
}

each_line = pytest.mark.parametrize("line", RELEASES)
newest_and_default = pytest.mark.parametrize("line", ["3.1.6", "4.10.1"])


def problems(line: str, **options: Any) -> list[Problem]:
    return check_config(line, LEAST | options)


def kinds(line: str, **options: Any) -> list[tuple[str, str]]:
    return [(problem.kind, problem.option) for problem in problems(line, **options)]


@each_line
def test_the_facts_are_those_of_the_release_that_speaks_for_the_line(line: str) -> None:
    assert facts(line).version == line


def test_a_line_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(InputError, match=r"no SimpleTuner '1\.1'") as refused:
        facts("1.1")
    assert "3.1.6, 4.10.1" in refused.value.hint


@each_line
def test_what_the_trainer_starts_with_has_no_problem(line: str) -> None:
    assert kinds(line) == []


@each_line
def test_dashes_before_a_name_are_the_same_as_none(line: str) -> None:
    assert check_config(line, {name.lstrip("-"): value for name, value in LEAST.items()}) == []


@each_line
def test_an_unknown_option_is_answered_with_the_nearest(line: str) -> None:
    [problem] = problems(line, lora_rnak=16)
    assert (problem.kind, problem.option) == ("unknown", "lora_rnak")
    assert "lora_rank" in problem.message


@each_line
def test_the_guides_renamed_option_is_told_its_new_name_and_what_goes_with_it(line: str) -> None:
    [problem] = problems(line, flux_schedule_auto_shift=True)
    assert problem.kind == "renamed"
    assert "write flow_schedule_auto_shift, with flow_schedule_shift: 0" in problem.message


@each_line
def test_the_guides_removed_option_is_told_why(line: str) -> None:
    [problem] = problems(line, allow_tf32=True)
    assert problem.kind == "removed"
    assert "disable_tf32" in problem.message


def test_an_option_is_removed_only_where_the_version_does_not_know_it() -> None:
    assert kinds("3.1.6", validation_torch_compile=True) == []
    assert kinds("4.10.1", validation_torch_compile=True) == [("removed", "validation_torch_compile")]


@each_line
def test_the_guides_own_file_has_just_the_problems_that_its_page_lists(line: str) -> None:
    found = {problem.option for problem in check_config(line, json.loads(GUIDE.read_text()))}
    late = {"validation_torch_compile"} if line == "4.10.1" else set()
    assert found == {"flux_schedule_auto_shift", "allow_tf32"} | late


@newest_and_default
def test_an_alias_is_as_good_as_the_name(line: str) -> None:
    assert kinds(line, checkpointing_steps=200, validation_step_interval=100) == []


@newest_and_default
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_train_steps", 12.5),
        ("max_train_steps", "1e3"),
        ("max_train_steps", True),
        ("learning_rate", "fast"),
        ("learning_rate", {"value": 1e-4}),
        ("gradient_checkpointing", "maybe"),
        ("gradient_checkpointing", 2),
        ("output_dir", True),
    ],
)
def test_a_value_that_the_parser_cannot_read_is_refused(line: str, option: str, value: Any) -> None:
    assert kinds(line, **{option: value}) == [("type", option)]


@newest_and_default
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_train_steps", "1000"),
        ("learning_rate", "1e-4"),
        ("learning_rate", 1),
        ("gradient_checkpointing", "Yes"),
        ("gradient_checkpointing", 0),
        ("aspect_bucket_rounding", "2"),
        ("aspect_bucket_alignment", 64),
        ("validation_negative_prompt", ""),
        ("tracker_run_name", None),
        ("webhook_config", {"webhook_type": "raw"}),
    ],
)
def test_a_value_that_the_parser_reads_or_never_sees_is_fine(line: str, option: str, value: Any) -> None:
    assert kinds(line, **{option: value}) == []


@each_line
def test_a_wrong_choice_is_answered_with_the_choices(line: str) -> None:
    [problem] = problems(line, lora_type="lokr")
    assert (problem.kind, problem.option) == ("choice", "lora_type")
    assert "lycoris, standard" in problem.message


@each_line
def test_among_many_choices_only_those_near_the_wrong_one_are_shown(line: str) -> None:
    [problem] = problems(line, optimizer="adamw8bit")
    assert "bnb-adamw8bit" in problem.message
    assert "prodigy" not in problem.message


def test_one_line_takes_a_list_of_trackers_and_the_other_a_single_one() -> None:
    assert kinds("4.10.1", report_to="wandb,tensorboard") == []
    assert kinds("3.1.6", report_to="wandb,tensorboard") == [("choice", "report_to")]


@pytest.mark.parametrize(("choice", "needs"), [("fp8-quanto", 0), ("nf4-bnb", 0), ("fp8-torchao", 8)])
def test_a_choice_that_needs_a_gpu_is_known_as_such(choice: str, needs: int) -> None:
    assert facts("3.1.6").options["base_model_precision"].gpu[choice] == needs
    config = LEAST | {"base_model_precision": choice}
    assert check_config("3.1.6", config, gpu=True) == []
    assert [problem.kind for problem in check_config("3.1.6", config, gpu=False)] == ["gpu"]


@newest_and_default
def test_a_name_that_the_reader_drops_in_silence_is_refused(line: str) -> None:
    assert kinds(line, repeats=10) == [("ignored", "repeats")]


@newest_and_default
@pytest.mark.parametrize("option", LEAST)
def test_an_option_without_which_it_does_not_start_is_missed(line: str, option: str) -> None:
    config = {name: value for name, value in LEAST.items() if name != option}
    assert [(each.kind, f"--{each.option}") for each in check_config(line, config)] == [("missing", option)]


@each_line
def test_every_problem_is_one_sentence_or_two(line: str) -> None:
    found = problems(line, lora_rnak=1, allow_tf32=True, seed="x", lora_type="x", flux_schedule_shift=3)
    assert len(found) == 5
    assert all(re.fullmatch(r"[A-Z].*[.?]", str(problem)) for problem in found)


def test_no_name_stands_twice_in_the_table_of_changes() -> None:
    names = [each.old for each in CHANGES]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("each", CHANGES, ids=lambda each: each.old)
def test_every_change_is_one_for_some_line(each: Any) -> None:
    assert [line for line in RELEASES if change(line, each.old)]


@each_line
def test_what_the_table_tells_to_write_instead_is_accepted(line: str) -> None:
    for each in CHANGES:
        if moved := change(line, each.old):
            assert kinds(line, **moved.also) == []


def test_a_problem_says_which_variable_to_mend() -> None:
    variables = {"simpletuner_lora_type": "lokr", "simpletuner_extra_config": {"--lora_rnak": 4}}
    errors = compare(variables, LEAST | {"--lora_type": "lokr", "--lora_rnak": 4}).errors
    assert [error.split(": ")[0] for error in errors] == ["simpletuner_lora_type", "simpletuner_extra_config"]


def test_what_is_left_out_of_the_file_is_refused_where_it_was_wanted() -> None:
    wanted = {"simpletuner_version": "4.10.1", "simpletuner_validation_torch_compile": True}
    [error] = compare(wanted, LEAST).errors
    assert error.startswith("simpletuner_validation_torch_compile: ")
    assert compare(wanted | {"simpletuner_validation_torch_compile": False}, LEAST).errors == ()


def test_a_switch_without_a_successor_is_refused_where_it_would_stand_otherwise() -> None:
    [error] = compare({"simpletuner_version": "4.10.1", "simpletuner_ignore_final_epochs": False}, LEAST).errors
    assert error.endswith("Set it to true.")


@pytest.mark.parametrize("line", ["3.1.6", "4.10.1"])
def test_the_projects_own_settings_fit_every_release(line: str) -> None:
    ours = variables_of(Path(__file__).parents[2] / "group_vars" / "training.yml") | {"simpletuner_version": line}
    assert compare(ours, LEAST).errors == ()


def test_a_choice_of_a_gpu_is_refused_in_a_rehearsal() -> None:
    config = LEAST | {"--base_model_precision": "nf4-bnb"}
    assert compare({}, config).errors == ()
    assert len(compare({"simpletuner_torch_build": "cpu"}, config).errors) == 1


def test_a_version_that_there_is_not_is_one_error() -> None:
    [error] = compare({"simpletuner_version": "3.1.7"}, LEAST).errors
    assert error.startswith("simpletuner_version: There is no SimpleTuner '3.1.7' here.")


GUIDES_BACKENDS = sorted(GUIDE.parent.glob("multidatabackend*.json"))


@each_line
@pytest.mark.parametrize("file", GUIDES_BACKENDS, ids=lambda file: file.stem)
def test_every_key_of_the_guides_data_backends_is_read(line: str, file: Path) -> None:
    assert check_backends(line, json.loads(file.read_text())) == []


@each_line
def test_a_key_that_no_code_reads_is_answered_with_the_nearest(line: str) -> None:
    [problem] = check_backends(line, [{"id": "mine", "crop_sytle": "center"}])
    assert (problem.kind, problem.option) == ("unknown", "crop_sytle")
    assert "of the data backend mine: did you mean crop_style?" in problem.message


@newest_and_default
@pytest.mark.parametrize(
    ("key", "value"), [("crop_aspect", "round"), ("crop_style", "middle"), ("resolution_type", "px")]
)
def test_a_data_backends_wrong_choice_is_answered_with_the_choices(line: str, key: str, value: str) -> None:
    [problem] = check_backends(line, [{"id": "mine", key: value}])
    assert (problem.kind, problem.option) == ("choice", key)


def test_a_key_that_came_later_is_unknown_to_the_older_line() -> None:
    backends = [{"id": "mine", "caption_file_extensions": [".txt"], "max_num_samples": 9}]
    assert [problem.option for problem in check_backends("3.1.6", backends)] == ["max_num_samples"]
    assert check_backends("4.10.1", backends) == []


def test_a_problem_of_a_data_backend_says_where_they_are_set() -> None:
    [error] = compare({}, LEAST, [{"id": "mine", "crop_sytle": "center"}]).errors
    assert error.startswith("simpletuner_datasets: ")
