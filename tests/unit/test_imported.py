"""Files that followed the guide, as a run: what is kept, what is mended, what is refused."""

from __future__ import annotations

import contextlib
import json
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxlora.errors import InputError
from fluxlora.importer import Given, Imported, Kind, convert, read, write
from fluxlora.importer.texts import dump
from fluxlora.trainer import facts

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "tests/data/guide"
CASES = ROOT / "tests/data/cases"
PLAIN: dict[str, Any] = json.loads((GUIDE / "config.json").read_text(encoding="utf-8"))
SQUARES: list[dict[str, Any]] = json.loads((GUIDE / "multidatabackend.json").read_text(encoding="utf-8"))


def guides(*names: str, name: str | None = "my-style") -> Imported:
    return convert(read([GUIDE / file for file in ("config.json", *names)]), ROOT, name=name)


class AsAnsible(yaml.SafeLoader):
    """Tells the texts that Ansible would not template."""


class Unsafe(str):
    """Such a text."""


AsAnsible.add_constructor("!unsafe", lambda loader, node: Unsafe(node.value))

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
OPTIONS = st.sampled_from(sorted(facts("3.1.6").options)) | st.text(max_size=12)
BACKEND = st.dictionaries(st.sampled_from(sorted(SQUARES[0])) | st.just("dataset_type") | st.text(max_size=8), JSON)


@pytest.fixture
def imported(tmp_path: Path):
    """Imports the guide's config.json with changes, and files beside it."""

    def run(changes: dict[str, Any] | None = None, *others: Any, name: str | None = "my-style") -> Imported:
        contents = [{**PLAIN, **(changes or {})}, *others]
        files = [tmp_path / f"{number}.json" for number in range(len(contents))]
        for file, content in zip(files, contents, strict=True):
            file.write_text(json.dumps(content), encoding="utf-8")
        return convert(read(files), ROOT, name=name)

    return run


def keys(run: Imported, kind: Kind) -> set[str]:
    return {note.key for note in run.notes if note.kind is kind}


def why(run: Imported, key: str) -> str:
    return " ".join(note.why for note in run.notes if note.key == key)


@pytest.mark.parametrize(
    ("names", "presets"),
    [
        (["multidatabackend.json"], ("1024",)),
        (["multidatabackend_512.json"], ("512",)),
        (["multidatabackend_512_768_1024.json"], ("multires",)),
        (["multidatabackend_with_arb.json"], ("arb",)),
        (["lycoris_config.json", "multidatabackend_512.json"], ("512", "lokr")),
        ([], ("1024",)),
    ],
    ids=lambda value: "+".join(value) or "config alone",
)
def test_the_guides_files_are_presets_and_nothing_else(names, presets):
    run = guides(*names)
    assert (run.presets, run.variables) == (presets, {})


def test_every_key_of_the_guide_that_changes_is_named_with_its_kind():
    run = guides("multidatabackend_512.json", "lycoris_config.json")
    assert keys(run, Kind.RENAMED) == {"flux_schedule_auto_shift"}
    assert keys(run, Kind.DROPPED) == {"allow_tf32"}
    assert keys(run, Kind.ADDED) == {
        "num_train_epochs",
        "ignore_final_epochs",
        "model_flavour",
        "model_card_private",
        "checkpointing_use_tempdir",
    }
    assert keys(run, Kind.CORRECTED) == {
        "checkpoints_total_limit",
        "default_dataset",
        "hub_model_id",
        "learning_rate",
        "lora_type",
        "resolution",
        "tracker_run_name",
        "validation_resolution",
    }
    assert "resolution 384 → 512" in why(run, "default_dataset")
    assert "id default_dataset → square_512, cache_file_suffix square → square_512" in why(run, "default_dataset")


def test_a_run_without_a_name_is_called_what_the_adapter_is_called_on_the_hub(imported):
    assert guides(name=None).name == "flux-lora-training"
    assert imported({"--hub_model_id": "jane/her-style"}, name=None).name == "her-style"


def test_a_value_of_ones_own_becomes_its_variable_cast_as_the_trainer_reads_it(imported):
    run = imported({"--learning_rate": "2e-4", "--lora_rank": "64", "--push_to_hub": "false", "--seed": 42})
    assert run.variables == {
        "simpletuner_learning_rate": 0.0002,
        "simpletuner_lora_rank": 64,
        "simpletuner_push_to_hub": False,
    }


def test_an_alpha_becomes_the_variable_that_the_plan_and_the_copy_go_by(imported):
    assert imported({"--lora_alpha": "32"}).variables == {"simpletuner_lora_alpha": 32.0}


def test_keys_with_and_without_dashes_are_one_and_the_later_counts(imported):
    run = imported({"seed": 7})
    assert run.variables == {"simpletuner_seed": 7}
    assert "said twice" in why(run, "seed")


def test_an_option_without_a_variable_is_kept_under_extra_config_and_unknown_ones_are_named(imported):
    run = imported({"--snr_gamma": 5, "--leraning_rate": "1e-4"})
    assert run.variables == {"simpletuner_extra_config": {"snr_gamma": 5.0}}
    assert "did you mean learning_rate?" in why(run, "leraning_rate")


def test_a_newer_name_of_an_option_reaches_the_variable_of_the_old_one(imported):
    changes = {"--checkpointing_steps": None, "--checkpoint_step_interval": 50}
    run = imported(changes)
    assert run.variables == {"simpletuner_checkpointing_steps": 50}
    assert keys(run, Kind.RENAMED) >= {"checkpoint_step_interval"}


def test_for_another_simpletuner_its_own_options_count():
    run = convert(read([GUIDE / "config.json"]), ROOT, name="my-style", version="4.10.1")
    assert keys(run, Kind.DROPPED) == {"allow_tf32", "validation_torch_compile"}
    assert run.variables == {"simpletuner_version": "4.10.1"}


def test_what_the_file_does_not_say_stays_simpletuners_default(imported):
    run = imported({"--max_grad_norm": None, "--flux_schedule_auto_shift": None})
    assert run.variables == {
        "simpletuner_flow_schedule_auto_shift": False,
        "simpletuner_flow_schedule_shift": 3.0,
        "simpletuner_max_grad_norm": 2.0,
    }
    assert "SimpleTuner's default" in why(run, "max_grad_norm")


def test_steps_win_over_epochs_and_epochs_alone_are_kept(imported):
    both = imported({"--num_train_epochs": 10})
    assert (both.variables, "refuses" in why(both, "num_train_epochs")) == ({}, True)
    alone = imported({"--num_train_epochs": 10, "--max_train_steps": 0})
    assert alone.variables == {"simpletuner_max_train_steps": 0, "simpletuner_num_train_epochs": 10}


def test_a_rate_that_was_chosen_for_a_lokr_is_kept(imported):
    run = imported({"--lora_type": "lycoris"}, json.loads((GUIDE / "lycoris_config.json").read_text()))
    assert (run.presets, run.variables) == (("1024", "lokr"), {"simpletuner_learning_rate": 0.0001})


def test_lycoris_settings_of_ones_own_are_kept(imported):
    lokr = {"algo": "lokr", "linear_dim": 1000, "factor": 4}
    assert imported({}, lokr).variables == {"simpletuner_lycoris": lokr}
    loha = {"algo": "loha", "linear_dim": 8}
    run = imported({}, loha)
    assert run.presets == ("1024",)
    assert run.variables == {"simpletuner_lora_type": "lycoris", "simpletuner_lycoris": loha}


def test_data_backends_of_ones_own_are_kept_with_names_and_places_of_ours(imported):
    mine = {**SQUARES[0], "crop_style": "random", "id": "faces", "instance_data_dir": "/home/jane/faces"}
    run = imported({}, [mine, SQUARES[1]])
    (backend,) = run.variables["simpletuner_datasets"]
    assert backend == mine | {
        "cache_file_suffix": "faces",
        "cache_dir_vae": "{{ simpletuner_dir }}/cache/vae/flux/faces",
        "instance_data_dir": "{{ simpletuner_dir }}/dataset",
    }
    assert keys(run, Kind.CORRECTED) >= {"faces.cache_file_suffix", "faces.cache_dir_vae", "faces.instance_data_dir"}


def test_the_guides_slip_is_corrected_in_data_backends_of_ones_own_too(imported):
    small = json.loads((GUIDE / "multidatabackend_512.json").read_text(encoding="utf-8"))
    run = imported({}, [{**small[0], "repeats": 10}, small[1]])
    assert run.variables["simpletuner_datasets"][0]["resolution"] == 512
    assert "A slip in the guide's 512 file" in why(run, "default_dataset.resolution")


def test_secrets_and_paths_in_a_data_backend_stay_where_they_are(imported):
    more = {"aws_secret_access_key": "hush", "parquet_path": "/home/jane/list.parquet"}
    run = imported({}, [{**SQUARES[0], **more}])
    assert keys(run, Kind.DROPPED) >= {"default_dataset.aws_secret_access_key", "default_dataset.parquet_path"}
    assert not {"aws_secret_access_key", "parquet_path"} & set(run.variables["simpletuner_datasets"][0])
    assert "hush" not in run.text()


def test_secrets_and_paths_of_another_machine_stay_where_they_are(imported):
    run = imported({
        "--hub_token": "hf_secret", "--output_dir": "/home/jane/out", "--pretrained_vae_model_name_or_path": "/vae",
        "--webhook_config": "https://discord.com/api/webhooks/secret", "--pretrained_model_name_or_path": "/flux",
    })  # fmt: skip
    assert run.variables == {}
    assert keys(run, Kind.DROPPED) >= {
        *("hub_token", "output_dir", "webhook_config", "pretrained_vae_model_name_or_path"),
        "pretrained_model_name_or_path",
    }
    assert "secret" not in run.text().replace("a secret has no place", "")


@pytest.mark.parametrize(
    ("case", "dropped"),
    [
        (
            "nested-secrets",
            {"publishing_config.access_key", "publishing_config.secret_key", "subj.huggingface.auth_token"},
        ),
        ("aws-text-embeds", {"text-embeds.aws_access_key_id", "text-embeds.aws_secret_access_key"}),
    ],
)
def test_a_secret_at_any_depth_is_dropped_and_named_by_its_dotted_key(case, dropped):
    run = convert(read([CASES / case / name for name in ("config.json", "multidatabackend.json")]), ROOT)
    secrets = {note.key for note in run.notes if "a secret has no place" in note.why}
    assert (secrets, "EXAMPLE" in run.text()) == (dropped, False)


def test_captions_that_lay_on_another_storage_are_cached_on_the_instance():
    case = CASES / "aws-text-embeds"
    run = convert(read([case / name for name in ("config.json", "multidatabackend.json")]), ROOT)
    assert run.variables.get("simpletuner_text_embeds", {}).get("type", "local") == "local"
    assert "aws" not in dump(run.variables, 100)
    assert "no key of another storage" in why(run, "text-embeds.type")


def test_a_token_under_a_harmless_name_in_json_or_in_a_url_stays_where_it_is(imported):
    token = "hf_" + "aB3" * 8
    lokr = {"algo": "lokr", "linear_dim": 8, "note": token}
    run = imported(
        {"--validation_prompt": token, "--seed": token, "--webhook_config": json.dumps([{"auth_token": "x1y2z3"}])},
        lokr,
        [{**SQUARES[0], "metadata": ["https://jane:x1y2z3@example.org/list"]}],
    )
    assert keys(run, Kind.DROPPED) >= {
        *("validation_prompt", "seed", "webhook_config.0.auth_token"),
        *("lycoris_config.json.note", "default_dataset.metadata.0"),
    }
    assert (token in run.text(), "x1y2z3" in run.text()) == (False, False)


def test_braces_in_somebodys_file_are_no_template_and_a_key_ends_no_comment(imported):
    prompt = "{{ lookup('pipe', 'touch /tmp/owned') }}"
    backend = {**SQUARES[0], "id": prompt, "crop_style": "{% raw %}"}
    text = imported({"--validation_prompt": prompt, "a\nrun_presets: evil": 1}, [backend]).text()
    variables = yaml.load(text, Loader=AsAnsible)  # a SafeLoader
    (images,) = variables["simpletuner_datasets"]
    assert (variables["run_presets"], images["id"]) == ("1024", "images_1")
    foreign = [variables["simpletuner_validation_prompt"], images["crop_style"]]
    assert [(type(each), each) for each in foreign] == [(Unsafe, prompt), (Unsafe, "{% raw %}")]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b'{"--seed": 1,}', "is no JSON, line 1, column 1"),
        (b"", "is no JSON, line 1"),
        (b"\x89PNG\r\n\x1a\n\xff\x00", "is no text in UTF-8"),
        (b"[1, 2]", "is a list, and not of data backends"),
        (b"[]", "is a list, and not of data backends"),
        (b'"--seed"', "holds str"),
        (b"{}", "is empty"),
        (b'{"--seed": NaN}', "holds a number that is none: NaN"),
        (b'{"--seed": ' + b"9" * 5000 + b"}", "holds a number that is none"),
        (b"[" * 100_000, "is nested too deep"),
        (b" " * 1_000_001, "is larger than a megabyte"),
        (b'{"--sede": 1}', "None of the options in the config.json is one of SimpleTuner's"),
        (b'{"--model_family": "sdxl"}', "model_family is 'sdxl'"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value,
)
def test_a_file_that_is_none_ends_in_a_sentence(tmp_path, content, sentence):
    file = tmp_path / "config.json"
    file.write_bytes(content)
    with pytest.raises(InputError) as refused:
        convert(read([file]), ROOT)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["nowhere.json"], "nowhere.json is not there"),
        (["."], "is a folder"),
        (["config.toml"], "only SimpleTuner's config.json is"),
        (["config.env"], "only SimpleTuner's config.json is"),
        (["multidatabackend.json"], "None of the files is a config.json"),
        (["config.json", "config.json"], "both look like a config.json"),
    ],
)
def test_files_that_are_no_import_end_in_a_sentence(names, sentence):
    with pytest.raises(InputError) as refused:
        read([GUIDE / name for name in names])
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ([{**SQUARES[0], "type": "aws"}], "is of type aws"),
        ([{**SQUARES[0], "dataset_type": "conditioning"}], "is of dataset_type conditioning"),
        ([SQUARES[0], {**SQUARES[0], "instance_data_dir": "/more"}], "read 2 folders"),
        ([SQUARES[1]], "None of the data backends has images"),
    ],
)
def test_data_backends_that_cannot_be_sent_are_refused(imported, entries, sentence):
    with pytest.raises(InputError) as refused:
        imported({}, entries)
    assert sentence in str(refused.value)


def test_only_the_same_content_is_written_twice(tmp_path):
    run = guides("multidatabackend.json")
    assert (write(run, tmp_path, dry_run=True), list(tmp_path.iterdir())) == (True, [])
    assert (write(run, tmp_path), write(run, tmp_path)) == (True, False)
    with pytest.raises(InputError) as refused:
        write(guides("multidatabackend_512.json"), tmp_path)
    assert refused.value.code == "already_there"
    assert (tmp_path / "my-style.yml").read_text(encoding="utf-8") == run.text()


def test_a_file_that_is_written_is_its_owners_alone_and_out_of_git_and_others_stay_in_it(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "mine.yml").write_text("run_presets: 512\n")
    for name in ("my-style", "my-cat"):
        assert write(guides("multidatabackend.json", name=name), tmp_path)
    assert stat.S_IMODE((tmp_path / "my-style.yml").stat().st_mode) == 0o600
    shown = subprocess.run(
        ["git", "-C", str(tmp_path), "status", "--porcelain"], capture_output=True, text=True, check=True
    )
    assert shown.stdout == "?? mine.yml\n"


def test_a_file_of_an_earlier_import_is_closed_to_others_by_the_next(tmp_path):
    run = guides("multidatabackend.json")
    (tmp_path / "my-style.yml").write_text(run.text(), encoding="utf-8")
    (tmp_path / ".gitignore").write_text("*.bak")
    assert (write(run, tmp_path), write(run, tmp_path)) == (True, False)
    assert stat.S_IMODE((tmp_path / "my-style.yml").stat().st_mode) == 0o600
    assert (tmp_path / ".gitignore").read_text() == "*.bak\n/my-style.yml\n"


@settings(max_examples=40)  # each reads the project's files
@given(
    changes=st.dictionaries(OPTIONS, JSON, max_size=8),
    backends=st.none() | st.lists(BACKEND, min_size=1, max_size=3),
    lycoris=st.none() | st.builds(lambda entries, algo: {**entries, "algo": algo}, BACKEND, st.text()),
)
def test_whatever_the_files_hold_ends_in_a_run_that_can_be_read_or_in_a_sentence(changes, backends, lycoris):
    with contextlib.suppress(InputError):
        run = convert(Given({**PLAIN, **changes}, backends, lycoris), ROOT)
        assert yaml.load(run.text(), Loader=AsAnsible)["run_presets"] == ",".join(run.presets)
