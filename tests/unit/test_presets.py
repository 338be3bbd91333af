"""Presets: names, conflicts, the default, misspelt variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from fluxlora import presets
from fluxlora.errors import InputError

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "group_vars").mkdir()
    for name, text in {
        "1024": "simpletuner_datasets: [{id: square_1024}]\nsimpletuner_resolution: 1024\n",
        "512": "simpletuner_datasets: [{id: square_512}]\nsimpletuner_resolution: 512\n",
        "lokr": "simpletuner_lora_type: lycoris\n",
        "empty": "---\n",
    }.items():
        (tmp_path / f"group_vars/preset_{name}.yml").write_text(text)
    for role, options in {"simpletuner": "simpletuner_lora_rank", "dataset": "dataset_delete"}.items():
        specs = tmp_path / f"roles/{role}/meta/argument_specs.yml"
        specs.parent.mkdir(parents=True)
        specs.write_text(f"argument_specs: {{main: {{options: {{{options}: {{type: str}}}}}}}}\n")
    (tmp_path / "roles/unfinished").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("512,lokr", ("512", "lokr")),
        ("512+lokr", ("512", "lokr")),
        (" 512 , lokr,", ("512", "lokr")),
        (["512", "lokr", "512"], ("512", "lokr")),
        (512, ("512",)),
        ([512], ("512",)),
        ("", ()),
    ],
)
def test_presets_are_read_from_text_lists_and_numbers(given: object, names: tuple[str, ...]) -> None:
    assert presets.parse(given) == names


def test_a_run_without_a_resolution_preset_gets_1024_first(project: Path) -> None:
    assert presets.resolve("lokr", project) == ("1024", "lokr")
    assert presets.resolve("", project) == ("1024",)


def test_a_run_with_a_resolution_preset_gets_no_other(project: Path) -> None:
    assert presets.resolve("lokr,512", project) == ("lokr", "512")


def test_an_unknown_preset_is_refused_with_the_nearest_one(project: Path) -> None:
    with pytest.raises(InputError, match="'lork', did you mean 'lokr'") as refused:
        presets.resolve("512,lork", project)
    assert refused.value.code == "unknown_preset"
    assert "1024, 512, empty, lokr" in refused.value.hint


def test_two_presets_that_set_one_variable_are_refused_by_name(project: Path) -> None:
    with pytest.raises(InputError, match=r"1024 and 512 .* simpletuner_datasets, simpletuner_resolution") as refused:
        presets.resolve("1024,512", project)
    assert refused.value.code == "preset_conflict"


def test_adding_a_preset_is_adding_a_file(project: Path) -> None:
    (project / "group_vars/preset_tiny.yml").write_text("simpletuner_lora_rank: 1\n")
    assert presets.available(project) == ("1024", "512", "empty", "lokr", "tiny")
    assert presets.resolve("512,tiny", project) == ("512", "tiny")


@pytest.mark.parametrize("text", ["[1, 2]\n", "a: b: c\n", "secret: !vault x\n"])
def test_a_preset_file_that_is_no_mapping_is_named(project: Path, text: str) -> None:
    (project / "group_vars/preset_odd.yml").write_text(text)
    with pytest.raises(InputError, match=r"preset_odd\.yml") as refused:
        presets.resolve("odd", project)
    assert refused.value.code == "bad_yaml"


def test_a_misspelt_variable_is_found_with_the_nearest_known_one(project: Path) -> None:
    (found,) = presets.misspelt(["simpletuner_lora_rnk", "simpletuner_lora_rank"], project)
    assert (found.name, found.nearest) == ("simpletuner_lora_rnk", "simpletuner_lora_rank")
    assert "did you mean simpletuner_lora_rank?" in str(found)


def test_a_variable_like_none_that_is_known_is_unknown_all_the_same(project: Path) -> None:
    (found,) = presets.misspelt(["dataset_xyzzy_plugh_frobnicate"], project)
    assert found.nearest is None
    assert "unknown" in str(found)


def test_variables_of_others_and_of_the_user_are_left_alone(project: Path) -> None:
    names = [
        "ansible_host",
        "vastai_id",
        "my_own",
        "run_name",
        "dataset_path",
        "__simpletuner_register",
        "unfinished_x",
    ]
    assert presets.misspelt(names, project) == ()


def test_the_projects_own_presets_stand_beside_lokr_and_not_beside_each_other() -> None:
    assert presets.resolve("512,lokr", PROJECT) == ("512", "lokr")
    with pytest.raises(InputError, match="512 and 1024"):
        presets.resolve("512,1024", PROJECT)


def test_no_two_data_backends_of_any_preset_share_a_name_a_suffix_or_a_cache() -> None:
    settings = [presets.variables(name, PROJECT) for name in presets.available(PROJECT)]
    entries = [entry for each in settings for entry in each.get(presets.DATASETS, [])]
    assert len(entries) >= 7
    for key in ("id", "cache_file_suffix", "cache_dir_vae"):
        assert len({entry[key] for entry in entries}) == len(entries), key


def test_every_role_variable_in_the_projects_group_variables_is_known() -> None:
    files = [file for file in (PROJECT / "group_vars").glob("*.yml") if file.stem != "all"]
    names = {name for file in files for name in presets.variables_of(file)}
    assert presets.misspelt(names, PROJECT) == ()
