"""Plans from variables as Ansible merges them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxlora.dataset import Dataset, Finding, Picture, Severity, Wanted, scan
from fluxlora.offers.requirements import Requirements
from fluxlora.plan import plan
from fluxlora.plan.check import check
from fluxlora.plan.figures import Figures
from fluxlora.plan.needs import Needs
from fluxlora.settings.presets import variables_of

PROJECT = Path(__file__).parents[2]


def variables(*groups: str, **changes: Any) -> dict[str, Any]:
    """The project's own numbers, one group over the other."""
    merged: dict[str, Any] = {}
    for group in ("training", *(groups or ("preset_1024",))):
        merged |= variables_of(PROJECT / "group_vars" / f"{group}.yml")
    return merged | {f"simpletuner_{name}": value for name, value in changes.items()}


def dataset(images: int = 22, size: tuple[int, int] = (1280, 1024), findings: tuple[Finding, ...] = ()) -> Dataset:
    pictures = tuple(Picture(f"{number}.jpg", *size, captions=2) for number in range(images))
    return Dataset(Path("/data"), pictures, findings, size_bytes=images * 1_000_000)


def made(*groups: str, data: Dataset | None = None, **changes: Any) -> plan.Plan:
    return plan.make(variables(*groups, **changes), run="my-style", presets=["1024"], dataset=data or dataset())


def backends(*changes: dict[str, Any]) -> list[dict[str, Any]]:
    (entry,) = variables()["simpletuner_datasets"]
    return [entry | change for change in changes]


def test_the_guides_numbers_make_a_sound_plan() -> None:
    found = made()
    assert found.errors == ()
    assert (found.steps, found.steps_per_epoch, found.epochs, found.checkpoints) == (5000, 6, 834, 25)


def test_a_link_that_leaves_the_dataset_ends_check_and_plan_and_its_target_is_named(tmp_path: Path) -> None:
    folder, private = tmp_path / "dataset", tmp_path / "private"
    folder.mkdir()
    private.write_text("of the user")
    (folder / "a.png").symlink_to(private)
    sentence = f"a.png: It is a link to {private}, outside the folder"
    checked = check(folder, variables(), Wanted())
    # The plan has a second: without the link there is nothing to train on.
    assert checked.errors == 2
    assert any(line.startswith(f"error      {sentence}") for line in checked.lines())
    assert any(error.startswith(sentence) for error in made(data=scan(folder)).errors)


def test_the_plan_says_which_sizes_are_trained_what_is_left_out_and_what_the_caches_take() -> None:
    data = dataset(images=8, size=(1600, 1000))
    small = Picture("small.jpg", 300, 300, captions=2)
    facts = made("preset_arb", data=Dataset(data.path, (*data.pictures, small), (), data.size_bytes)).as_facts()
    square, whole = facts["backends"]
    assert (square["images"], list(square["left_out"])) == (0, ["too small"])
    assert whole["buckets"] == [{"aspect": 1.54, "sizes": ["1280x832"], "images": 8, "samples": 32, "batches": 8}]
    assert whole["left_out"] == {"too small": ["small.jpg"]}
    assert (facts["captions_embedded"], facts["caches_gb"]) == (18, 0.084)
    assert any("8 of 1280x832), 1 left out (1 too small), 32 samples in 8 batches" in line for line in facts["lines"])


def test_a_secret_in_what_others_read_is_refused_by_its_dotted_key_and_never_shown() -> None:
    publishing = {"provider": "s3", "secret_key": "x1y2z3"}
    given = variables(extra_config={"publishing_config": publishing, "seed": "hf_" + "aB3" * 8})
    given["provision_env"] = {"HF_TOKEN": "x1y2z3", "TZ": "UTC"}
    config = {"--publishing_config": publishing, "--seed": "hf_" + "aB3" * 8, "--model_family": "flux"}
    found = plan.make(given, run="my-style", presets=["1024"], dataset=dataset(), config=config)
    assert [error.split()[0] for error in found.errors if "looks like a secret" in error] == [
        *("simpletuner_extra_config.publishing_config.secret_key", "simpletuner_extra_config.seed"),
        "provision_env.HF_TOKEN",
    ]
    assert [line for line in found.lines() if "x1y2z3" in line or "aB3" in line] == []


def test_what_is_nested_too_deep_is_refused_in_a_sentence() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"x": deep}
    assert any("is nested too deep" in error for error in made(extra_config=deep).errors)


def test_what_an_offer_must_have_follows_from_the_plan() -> None:
    need = made().requirements
    assert isinstance(need, Requirements)
    assert (need.compute_cap, need.cuda_version, need.num_gpus) == (800, 12.8, 1)
    assert 30 < need.gpu_ram_gb <= 40
    assert need.work.download_gb > 34
    assert (need.work.steps, need.work.batch_size, need.work.validations) == (5000, 4, 52)


def test_two_gpus_see_twice_the_pictures_a_step_and_are_asked_of_the_offers() -> None:
    found = plan.make(variables() | {"provision_num_gpus": "2"}, run="my-style", presets=["1024"], dataset=dataset())
    assert (found.errors, found.steps_per_epoch, found.requirements.num_gpus) == ((), 3, 2)
    many = plan.make(variables() | {"provision_num_gpus": 8}, run="my-style", presets=["1024"], dataset=dataset())
    assert any("one step takes 32" in error for error in many.errors)


def test_a_smaller_resolution_takes_a_quarter_of_the_time_and_less_memory() -> None:
    large, small = made(), made("preset_512")
    assert large.hours > 3 * small.hours
    assert (
        Needs(Figures.of(variables(), dataset())).gpu_ram_gb
        > Needs(Figures.of(variables("preset_512"), dataset())).gpu_ram_gb
    )


def test_a_rehearsal_is_planned_at_its_divided_edges() -> None:
    found = made("preset_1024", "rehearsal", data=dataset(size=(128, 130)))
    assert found.errors == ()
    assert found.backends[0].backend.target_edge == 128
    assert (found.steps, found.checkpoints) == (12, 3)


@pytest.mark.parametrize("value", ["1e-4", "0.0001", 1e-4])
def test_text_that_is_a_number_is_one(value: object) -> None:
    assert "learning rate 0.0001" in made(learning_rate=value).adapter


@pytest.mark.parametrize(("alpha", "named"), [(None, 16), ("32", 32), (8, 8)])
def test_the_plan_names_alpha_which_is_the_rank_where_nothing_is_said(alpha: Any, named: int) -> None:
    assert f"LoRA of rank 16, alpha {named}, on " in made(lora_rank=16, lora_alpha=alpha).adapter


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_train_steps", "many"),
        ("max_train_steps", 10.5),
        ("max_train_steps", -1),
        ("train_batch_size", 0),
        ("train_batch_size", True),
        ("learning_rate", "nan"),
        ("lora_rank", [16]),
        ("pixel_divisor", "x"),
    ],
)
def test_what_is_no_number_is_an_error_that_names_the_variable(option: str, value: object) -> None:
    assert any(f"simpletuner_{option} must be" in error for error in made(**{option: value}).errors)


def test_group_variables_that_were_not_loaded_are_said() -> None:
    found = plan.make({}, run="my-style", presets=[], dataset=dataset())
    assert any("group_vars/training.yml" in error for error in found.errors)
    assert any("simpletuner_datasets" in error for error in found.errors)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"num_train_epochs": 1}, "SimpleTuner refuses both"),
        ({"datasets": "none"}, "must be a list"),
        ({"datasets": backends({"resolution": "big"})}, "resolution must be a number"),
    ],
)
def test_what_cannot_work_is_an_error_in_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    assert any(sentence in error for error in made(**changes).errors), made(**changes).errors


def test_epochs_alone_decide_the_steps() -> None:
    found = made(max_train_steps=0, num_train_epochs=10)
    assert (found.errors, found.steps, found.epochs) == ((), 60, 10)


def test_a_disk_that_will_be_full_is_refused_with_one_that_will_do() -> None:
    small = plan.make(variables() | {"provision_disk_gb": "40"}, run="my-style", presets=["1024"], dataset=dataset())
    (error,) = small.errors
    assert "provision_disk_gb is 40" in error
    assert "or more" in error
    enough = variables() | {"provision_disk_gb": 220}
    assert plan.make(enough, run="my-style", presets=[], dataset=dataset()).requirements.disk_gb == 220


@pytest.mark.parametrize(
    ("groups", "changes", "sentence"),
    [
        ((), {"validation_prompt": "A happy pizza."}, "still the guide's"),
        (("preset_1024", "preset_lokr"), {"learning_rate": "1e-4"}, "a LoKr hardly learns"),
    ],
)
def test_what_works_though_hardly_as_wanted_is_a_warning(
    groups: tuple[str, ...], changes: dict[str, Any], sentence: str
) -> None:
    found = made(*groups, **changes)
    assert found.errors == ()
    assert any(sentence in warning for warning in found.warnings)


def test_a_preset_lokr_with_a_prompt_of_ones_own_has_no_warnings() -> None:
    found = made("preset_1024", "preset_lokr", validation_prompt="a photo of sksbadz")
    assert (found.errors, found.warnings) == ((), ())
    assert found.adapter.startswith("lycoris (lokr)")


def test_warnings_come_by_weight_the_spoilt_adapter_before_the_lost_picture() -> None:
    data = dataset(8)
    small = Picture("small.jpg", 1500, 700, captions=1)
    found = made(data=Dataset(data.path, (*data.pictures, small), (), data.size_bytes), learning_rate=1e-3)
    places = [
        next(place for place, warning in enumerate(found.warnings) if words in warning)
        for words in ("tends to diverge", "leaves it out")
    ]
    assert places == sorted(places)


def test_findings_about_files_become_errors_and_warnings_and_many_of_a_kind_are_counted() -> None:
    wrong = [Finding(f"{n}.txt", "It is empty.", "Write.", Severity.ERROR, "empty_caption") for n in range(9)]
    odd = Finding("b.JPG", "It is passed over.", "Rename.", Severity.WARNING, "upper_case_suffix")
    found = made(data=dataset(findings=(*wrong, odd)))
    assert len([error for error in found.errors if "It is empty." in error]) == 5
    assert "... and 4 more of this kind (empty_caption)." in found.errors
    assert any(warning.startswith("b.JPG") for warning in found.warnings)


def test_options_given_over_everything_else_count() -> None:
    found = made(extra_config={"--base_model_precision": "int8-quanto", "train_batch_size": 1, "seed": None})
    assert found.requirements.gpu_ram_gb < 24
    assert found.requirements.cpu_ram_gb == 64
    assert found.steps_per_epoch == 22


def test_the_facts_are_json_and_the_lines_say_what_will_happen() -> None:
    import json

    facts = json.loads(json.dumps(made().as_facts()))
    assert facts["requirements"]["hours"] == facts["hours"]
    text = "\n".join(facts["lines"])
    for word in ("22 images", "44 captions", "5000", "834 epochs", "hours", "disk"):
        assert word in text


_MERGED = variables()


@given(
    st.dictionaries(
        st.sampled_from(sorted(_MERGED)),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers(), max_size=2),
        max_size=4,
    )
)
def test_no_value_of_any_variable_ends_in_a_traceback(odd: dict[str, Any]) -> None:
    found = plan.make(_MERGED | odd, run="my-style", presets=[], dataset=dataset())
    assert found.lines()
