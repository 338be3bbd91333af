"""What is delivered of a run's folder, and what its header and its report say."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from fluxlora import dataset
from fluxlora.delivery.adapter import header, summary
from fluxlora.delivery.adapter.deliver import deliver
from fluxlora.onhost import adapter_copy
from fluxlora.onhost.adapter_copy import ADAPTER, FACTS

LAYERS = ("transformer.transformer_blocks.0.attn.to_q", "transformer.proj_out")
CONFIG = {
    "--pretrained_model_name_or_path": "black-forest-labs/FLUX.1-dev", "--model_flavour": "dev",
    "--lora_type": "standard",
    "--lora_rank": 4, "--lora_alpha": 8.0, "--flux_lora_target": "all+ffs", "--learning_rate": 1e-4, "--seed": 42,
    "--max_train_steps": 12, "--resolution": 512, "--resolution_type": "pixel_area", "--optimizer": "adamw_bf16",
    "--validation_prompt": "a secret wish", "--hub_model_id": "jane/private", "--output_dir": "/root/output",
    "--data_backend_config": "config/multidatabackend.json",
}  # fmt: skip


def tensors(mixed: bool = False) -> dict[str, np.ndarray]:
    made = np.random.default_rng(0)
    endings = [(".lora.down.weight", ".lora.up.weight") if mixed else (".lora_A.weight", ".lora_B.weight")]
    endings += [(".lora_A.weight", ".lora_B.weight")]
    return {
        layer + ending: made.normal(size=(4, 4)).astype(np.float32)
        for layer, pair in zip(LAYERS, endings, strict=True)
        for ending in pair
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished run of 12 steps at alpha 8 and rank 4, with two checkpoints, the facts beside them."""
    home = tmp_path / "my-style"
    for step in (4, 12):
        (home / f"checkpoint-{step}").mkdir(parents=True)
        (home / f"checkpoint-{step}" / "training_state.json").write_text("{}")
        said = {adapter_copy.PEFT: json.dumps({"transformer.r": 4, "transformer.lora_alpha": 8.0})}
        save_file(tensors(mixed=True), home / f"checkpoint-{step}" / ADAPTER, metadata=said)
    save_file(tensors(), home / ADAPTER)
    (home / FACTS).write_text(json.dumps({"run": "my-style", "alpha": 8.0, "header": {"modelspec.title": "my-style"}}))
    return home


def metadata(file: Path) -> dict[str, str]:
    with safe_open(file, framework="numpy") as opened:
        return dict(opened.metadata())


def test_the_adapter_and_each_checkpoint_are_copied_at_the_trained_strength(folder: Path) -> None:
    found = deliver(folder, "my-style", finished=True, step=12)
    names = ["my-style.safetensors", "my-style-step00000012.safetensors", "my-style-step00000004.safetensors"]
    assert [made.path for made in found.copies] == names
    assert (found.problems, found.changed) == ((), True)
    first = found.copies[0]
    assert (first.kind, first.rank, first.alpha, first.scale, first.layers) == ("lora", 4, 8.0, 2.0, 2)
    for name in names:
        loaded, original = load_file(folder / name), tensors()
        assert set(loaded) == set(original)
        for layer in LAYERS:
            assert np.array_equal(loaded[f"{layer}.lora_B.weight"], 2 * original[f"{layer}.lora_B.weight"])


def test_the_steps_are_in_the_headers(folder: Path) -> None:
    deliver(folder, "my-style", finished=True, step=13)
    steps = {file.name: metadata(file)["ss_steps"] for file in folder.glob("*step*.safetensors")}
    assert steps == {"my-style-step00000012.safetensors": "12", "my-style-step00000004.safetensors": "4"}
    assert metadata(folder / "my-style.safetensors")["ss_steps"] == "13"


def test_a_second_call_changes_nothing(folder: Path) -> None:
    deliver(folder, "my-style", finished=True, step=12)
    before = {file.name: file.stat().st_ino for file in folder.glob("*.safetensors")}
    again = deliver(folder, "my-style", finished=True, step=12)
    assert again.changed is False
    assert len(again.copies) == 3
    assert {file.name: file.stat().st_ino for file in folder.glob("*.safetensors")} == before


def test_a_checkpoint_that_was_trained_again_is_copied_again(folder: Path) -> None:
    deliver(folder, "my-style", finished=True, step=12)
    source = folder / "checkpoint-4" / ADAPTER
    os.utime(source, (source.stat().st_mtime + 60,) * 2)
    assert deliver(folder, "my-style", finished=True, step=12).changed is True
    assert (folder / "my-style-step00000004.safetensors").stat().st_mtime == source.stat().st_mtime


def test_a_dry_run_writes_nothing_and_says_that_it_would(folder: Path) -> None:
    found = deliver(folder, "my-style", finished=True, step=12, dry_run=True)
    assert (found.changed, found.copies) == (True, ())
    assert [file.name for file in folder.glob("*.safetensors")] == [ADAPTER]


def test_a_run_that_ended_early_has_its_checkpoints_copied_and_no_final_one(folder: Path) -> None:
    found = deliver(folder, "my-style", finished=False)
    assert [made.step for made in found.copies] == [12, 4]
    assert not (folder / "my-style.safetensors").exists()


def test_a_checkpoint_that_is_not_whole_is_left_alone(folder: Path) -> None:
    (folder / "checkpoint-12" / "training_state.json").unlink()
    assert [made.step for made in deliver(folder, "my-style", finished=False).copies] == [4]


def test_the_alpha_of_a_run_without_facts_is_read_from_the_trainers_configuration(folder: Path) -> None:
    (folder / FACTS).unlink()
    (folder / "config").mkdir()
    (folder / "config" / "config.json").write_text(json.dumps({"--lora_rank": 4, "--lora_alpha": 8}))
    found = deliver(folder, "my-style", finished=True, step=12)
    assert (found.copies[0].alpha, found.copies[0].scale, found.problems) == (8.0, 2.0, ())
    assert metadata(folder / "my-style.safetensors")["modelspec.title"] == "my-style"


def test_where_file_and_configuration_disagree_it_is_said(folder: Path) -> None:
    (folder / FACTS).write_text(json.dumps({"run": "my-style", "alpha": 4.0, "header": {}}))
    (problem,) = deliver(folder, "my-style", finished=False).problems
    assert problem == "pytorch_lora_weights.safetensors was trained at alpha 8, by its own data; 4 is configured."


def test_what_cannot_be_copied_is_a_problem_and_no_failure(folder: Path) -> None:
    save_file({f"{LAYERS[0]}.lora_A.weight": np.ones((4, 4), np.float32)}, folder / "checkpoint-12" / ADAPTER)
    found = deliver(folder, "my-style", finished=False)
    assert [made.step for made in found.copies] == [4]
    assert "checkpoint 12" in found.problems[0]
    assert "half the layer is missing" in found.problems[0]


def test_numbers_that_are_not_finite_leave_no_copy(folder: Path) -> None:
    spoilt = tensors()
    spoilt[f"{LAYERS[0]}.lora_A.weight"][0, 0] = np.nan
    save_file(spoilt, folder / ADAPTER)
    found = deliver(folder, "my-style", finished=True, step=12)
    assert not (folder / "my-style.safetensors").exists()
    assert "not finite" in found.problems[0]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    path = tmp_path / "dataset"
    path.mkdir()
    for number, words in enumerate(["sksmacro on a leaf", "a tree"]):
        Image.new("RGB", (64, 64), (number * 90, 20, 200)).save(path / f"{number}.png")
        (path / f"{number}.txt").write_text(words)
    return path


def described(path: Path, config: dict[str, Any] = CONFIG, **more: Any) -> dict[str, Any]:
    given = {"run": "my-style", "presets": ["512"], "trigger_word": "sksmacro", "version": "3.1.6"} | more
    return header.facts(config, dataset=dataset.scan(path), **given)


def test_the_header_names_model_rank_alpha_trigger_word_dataset_and_settings(folder: Path, pictures: Path) -> None:
    facts = described(pictures)
    (folder / FACTS).write_text(json.dumps(facts))
    deliver(folder, "my-style", finished=True, step=12)
    found = metadata(folder / "my-style.safetensors")
    expected = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "flux-1-dev/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.title": "my-style",
        "modelspec.resolution": "512x512",
        "modelspec.trigger_phrase": "sksmacro",
        "ss_output_name": "my-style",
        "ss_base_model_version": "flux1",
        "ss_sd_model_name": "black-forest-labs/FLUX.1-dev",
        "ss_network_module": "networks.lora_flux",
        "ss_network_dim": "4",
        "ss_network_alpha": "8",
        "ss_steps": "12",
        "ss_max_train_steps": "12",
        "ss_learning_rate": "0.0001",
        "ss_num_train_images": "2",
        "ss_tag_frequency": '{"my-style": {"sksmacro": 1}}',
        "fluxlora.dataset_sha256": header.dataset_sha256(dataset.scan(pictures)),
    }
    assert {name: found.get(name) for name in expected} == expected
    assert json.loads(found["fluxlora.settings.merged"])["flux_lora_target"] == "all+ffs"


def test_no_prompt_path_or_repository_of_the_users_is_in_the_header(pictures: Path) -> None:
    local = CONFIG | {"--pretrained_model_name_or_path": "/home/jane/models/FLUX.1-dev"}
    said = json.dumps(described(pictures, local))
    assert "FLUX.1-dev" in said
    assert not [word for word in ("jane", "secret wish", "/root", "multidatabackend") if word in said]


def test_a_lokr_has_no_alpha_and_its_own_arguments(pictures: Path) -> None:
    facts = described(pictures, lycoris={"algo": "lokr", "linear_dim": 10000, "factor": 16, "apply_preset": {}})
    assert facts["alpha"] is None
    assert facts["header"]["ss_network_module"] == "lycoris.kohya"
    assert json.loads(facts["header"]["ss_network_args"]) == {"algo": "lokr", "linear_dim": 10000, "factor": 16}


def test_the_dataset_is_known_by_what_it_holds_and_not_by_its_names(pictures: Path) -> None:
    digest = header.dataset_sha256(dataset.scan(pictures))
    for suffix in (".png", ".txt"):
        (pictures / f"0{suffix}").rename(pictures / f"renamed{suffix}")
    assert header.dataset_sha256(dataset.scan(pictures)) == digest
    (pictures / "1.txt").write_text("another tree")
    assert header.dataset_sha256(dataset.scan(pictures)) != digest


def manifest(found: Any, **changes: Any) -> dict[str, Any]:
    made = {
        "path": ADAPTER,
        "kind": "lora",
        "rank": 4,
        "tensors": 4,
        "size_bytes": 500,
        "sha256": "ab",
        "learned": True,
    }
    facts = json.loads(json.dumps(found.as_facts()))
    return {
        "adapter": made, "copies": facts["copies"], "checkpoints": [4, 12],
        "files": [{"path": "my-style.safetensors", "sha256": "cd"}],
    } | changes  # fmt: skip


def test_the_report_names_the_copy_its_alpha_what_loads_it_and_the_original(folder: Path) -> None:
    described = manifest(deliver(folder, "my-style", finished=True, step=12))
    lines = summary.lines(described)
    assert summary.file_to_load(described) == "my-style.safetensors"
    assert lines[0].startswith(
        "adapter    my-style.safetensors, LoRA of rank 4, alpha 8 (2 times as strong, in its weights)"
    )
    assert lines[1] == "loads in   diffusers, ComfyUI"
    assert lines[2] == "sha256     cd"
    assert lines[3].startswith(f"original   {ADAPTER}")


def test_the_report_of_a_run_that_ended_early_names_the_newest_checkpoints_copy(folder: Path) -> None:
    lines = summary.lines(manifest(deliver(folder, "my-style", finished=False), adapter=None))
    assert lines[0] == "adapter    not finished; the checkpoints are 4, 12"
    assert lines[1].startswith("checkpoint my-style-step00000012.safetensors, LoRA of rank 4, alpha 8")
    assert lines[2] == "loads in   diffusers, ComfyUI"


def test_the_report_of_an_adapter_without_a_copy_names_the_trainers_file(folder: Path) -> None:
    save_file({f"{LAYERS[0]}.lora_A.weight": np.ones((4, 4), np.float32)}, folder / ADAPTER)
    found = deliver(folder, "my-style", finished=True)
    assert found.problems[0].startswith("There is no copy of the adapter")
    described = manifest(found, copies=[])
    lines = summary.lines(described)
    assert summary.file_to_load(described) == ADAPTER
    assert lines[:2] == [f"adapter    {ADAPTER}, lora of rank 4, 4 tensors, 0.0 MB", "sha256     ab"]


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"header": {"modelspec.title": 7}, "alpha": "x"}'])
def test_facts_that_a_host_has_spoilt_are_left_out(folder: Path, text: str) -> None:
    (folder / FACTS).write_text(text)
    found = deliver(folder, "my-style", finished=True, step=12)
    assert found.copies[0].path == "my-style.safetensors"


def test_text_of_a_host_is_one_printable_line_in_the_header(folder: Path) -> None:
    said = {"modelspec.trigger_phrase": "sks\x1b[2J\nmacro", "modelspec.title": "my-style"}
    (folder / FACTS).write_text(json.dumps({"run": "my-style", "alpha": 8.0, "header": said}))
    found = deliver(folder, "my-style", finished=True, step=12)
    assert metadata(folder / "my-style.safetensors")["modelspec.trigger_phrase"] == "sks macro"
    assert found.copies[0].trigger_word == "sks macro"


def lokr(factors: dict[str, int]) -> dict[str, np.ndarray]:
    """A LoKr as LyCORIS writes it, with a layer of each factor."""
    made = np.random.default_rng(0)
    return {
        f"lycoris_transformer_blocks_0_{layer}.{part}": made.normal(size=(edge, edge)).astype(np.float32)
        for layer, factor in factors.items()
        for part, edge in (("lokr_w1", factor), ("lokr_w2", 4))
    }


@pytest.fixture
def lokr_folder(tmp_path: Path) -> Path:
    home = tmp_path / "my-style"
    home.mkdir()
    save_file(lokr({"attn_to_q": 4, "ff_net_2": 2}), home / ADAPTER)
    return home


def test_a_lokr_comes_with_a_copy_for_diffusers_for_each_factor(lokr_folder: Path) -> None:
    found = deliver(lokr_folder, "my-style", finished=True)
    assert [(made.path, made.kind, made.layers, made.made_of) for made in found.copies] == [
        ("my-style.safetensors", "lokr", 2, ""),
        ("my-style-diffusers-4.safetensors", "lokr", 1, "my-style.safetensors"),
        ("my-style-diffusers-2.safetensors", "lokr", 1, "my-style.safetensors"),
    ]
    assert found.copies[0].loads_in == ("ComfyUI", "LyCORIS")
    assert "diffusers since 0.42.1" in found.copies[1].loads_in[0]
    assert found.problems == ()


def test_a_lora_of_a_lokr_is_made_where_it_is_asked_for(lokr_folder: Path) -> None:
    made = deliver(lokr_folder, "my-style", finished=True, lora_rank=3).copies[-1]
    assert (made.path, made.kind, made.rank) == ("my-style-lora-3.safetensors", "lora", 3)
    assert made.loads_in == ("diffusers", "ComfyUI")
    assert 0 < made.difference < 1


def test_forms_of_a_lokr_that_are_there_are_no_change(lokr_folder: Path) -> None:
    assert deliver(lokr_folder, "my-style", finished=True, lora_rank=3).changed
    again = deliver(lokr_folder, "my-style", finished=True, lora_rank=3)
    assert (again.changed, len(again.copies)) == (False, 4)
    assert deliver(lokr_folder, "my-style", finished=True, lora_rank=2).changed


def test_the_report_names_the_forms_of_a_lokr_and_what_a_lora_leaves_out(lokr_folder: Path) -> None:
    found = deliver(lokr_folder, "my-style", finished=True, lora_rank=3)
    made = {"path": ADAPTER, "kind": "lokr", "rank": None, "tensors": 4, "size_bytes": 9, "sha256": "", "learned": True}
    told = summary.lines({"adapter": made, "copies": found.as_facts()["copies"], "files": [], "checkpoints": []})
    assert "loads in   ComfyUI, LyCORIS" in told
    also = [line for line in told if line.startswith("also")]
    assert len(also) == 3
    assert f"without {found.copies[-1].difference:.0%} of the LoKr's change; loads in diffusers, ComfyUI" in also[-1]


def test_a_lokr_that_diffusers_cannot_take_is_delivered_with_a_warning(lokr_folder: Path) -> None:
    narrow = lokr({"attn_to_q": 4}) | {
        "lycoris_transformer_blocks_0_norm1_linear.lokr_w1": np.ones((12, 4), np.float32),
        "lycoris_transformer_blocks_0_norm1_linear.lokr_w2": np.ones((4, 4), np.float32),
    }
    save_file(narrow, lokr_folder / ADAPTER)
    found = deliver(lokr_folder, "my-style", finished=True)
    assert [made.path for made in found.copies] == ["my-style.safetensors"]
    assert "12 x 4" in found.problems[0]
