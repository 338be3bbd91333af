"""The modules for presets, plan, adapter, transfer and manifest, through ansible-playbook."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from fluxlora.settings.presets import variables_of

PROJECT = Path(__file__).parents[2]
Results = list[dict[str, Any]]
Play = Callable[..., Results]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Runs one module several times, whatever becomes of each; `check_mode` among the arguments is the task's."""

    def run(module: str, *calls: dict[str, Any], **environment: str) -> Results:
        tasks: list[dict[str, Any]] = [
            {
                "name": f"Call {number}",
                module: {name: value for name, value in call.items() if name != "check_mode"},
                "check_mode": call.get("check_mode", False),
                "register": f"result_{number}",
                "ignore_errors": True,
            }
            for number, call in enumerate(calls)
        ]
        told = ", ".join(f"result_{number}" for number in range(len(calls)))
        content = {"content": "{{ [" + told + "] | to_json }}", "dest": str(tmp_path / "told"), "mode": "0600"}
        tasks.append({"name": "Tell", "ansible.builtin.copy": content})
        (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
        (tmp_path / "nobody.yml").write_text("nobody:\n")
        program = Path(sys.executable).parent / "ansible-playbook"
        done = subprocess.run(
            [program, "-vvv", "-i", tmp_path / "nobody.yml", tmp_path / "play.yml"],
            # Ansible runs a module in the playbook's folder, which lies outside of the project here.
            env={
                **os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "FLUXLORA_PROJECT": str(PROJECT),
                **environment,
            },
            cwd=PROJECT, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        for secret in environment.values():
            assert not secret.startswith("hf_") or secret not in done.stdout + done.stderr
        results: Results = json.loads((tmp_path / "told").read_text())
        return results

    return run


def codes(results: Results) -> list[str]:
    return [result.get("code", "ok") for result in results]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(8):
        Image.new("RGB", (1100, 1030), "teal").save(folder / f"{number}.jpg")
        (folder / f"{number}.txt").write_text("a photo of sksbadz\n")
    return folder


def test_presets_are_resolved_or_refused(play: Play) -> None:
    wishes = ("512,lokr", ["lokr"], 512, "51", "512,1024")
    results = play("training_presets", *({"presets": wish} for wish in wishes))
    assert codes(results) == ["ok", "ok", "ok", "unknown_preset", "preset_conflict"]
    assert [result["presets"] for result in results[:3]] == [["512", "lokr"], ["1024", "lokr"], ["512"]]
    assert not any(result["changed"] for result in results)


def test_presets_are_read_with_their_reasons_and_tried_together(play: Play) -> None:
    wishes = ([], "512+lokr", {"presets": "512,lokr", "check_mode": True}, "512,1024", "51")
    calls = (wish if isinstance(wish, dict) else {"presets": wish} for wish in wishes)
    everything, two, checked, conflict, unknown = play("training_preset_info", *calls)
    assert codes([everything, two, checked, conflict, unknown]) == ["ok", "ok", "ok", "ok", "unknown_preset"]
    assert len(everything["presets"]) == len(everything["lines"]) > 10
    assert two == checked
    assert (two["together"], conflict["together"]) == (["512", "lokr"], [])
    assert "cannot be combined" in conflict["lines"][-1]
    (rate,) = [each for each in two["presets"][1]["settings"] if each["variable"] == "simpletuner_learning_rate"]
    assert (rate["value"], "Ten times" in rate["reason"]) == (0.001, True)


def test_a_plan_is_made_or_refused_and_is_the_same_in_check_mode(play: Play, photos: Path) -> None:
    groups = ("training", "preset_1024")
    merged = {k: v for group in groups for k, v in variables_of(PROJECT / f"group_vars/{group}.yml").items()}
    # What Ansible has templated before the module sees it.
    merged = json.loads(json.dumps(merged).replace("{{", "").replace("}}", ""))
    wish = {"run": "my-style", "presets": ["1024"], "variables": merged, "dataset_path": str(photos)}
    results = play(
        "training_plan",
        wish,
        wish | {"check_mode": True},
        wish | {"variables": merged | {"simpletuner_train_batch_size": "99"}},
        wish | {"names": ["doctor_puhs_to", "ansible_host"]},
        wish | {"dataset_path": "/nowhere"},
    )
    sound, checked, large, misspelt, _ = results
    assert codes(results) == ["ok", "ok", "plan_refused", "plan_refused", "no_dataset"]
    assert sound["plan"] == checked["plan"]
    assert (sound["plan"]["steps"], sound["plan"]["steps_per_epoch"]) == (5000, 2)
    (error,) = large["errors"]
    assert "8 are in buckets of fewer than simpletuner_train_batch_size, 99" in error
    assert misspelt["errors"] == ["The variable doctor_puhs_to is unknown: did you mean doctor_push_to?"]


def test_a_dataset_is_checked_the_same_in_check_mode_and_findings_are_no_failure(play: Play, photos: Path) -> None:
    (photos / "0.txt").unlink()
    entry = {"id": "square", "crop": True, "resolution": 1024, "minimum_image_size": 1024}
    variables = {
        "simpletuner_datasets": [entry],
        "simpletuner_train_batch_size": 1,
        "simpletuner_max_train_steps": 10,
    }
    wish = {"path": str(photos), "variables": variables, "trigger_word": "skswrong"}
    results = play(
        "dataset_check",
        wish,
        wish | {"check_mode": True},
        wish | {"variables": variables | {"simpletuner_datasets": "1024"}},
        wish | {"path": "/nowhere"},
    )
    found, checked, refused, _ = results
    assert codes(results) == ["ok", "ok", "ok", "no_dataset"]
    assert (found["findings"], found["changed"]) == (checked["findings"], False)
    assert (found["images"], found["errors"], refused["errors"]) == (7, 1, 3)
    assert {finding["code"] for finding in found["findings"]} == {"no_caption", "no_trigger", "duplicate"}


def test_a_corrected_copy_is_refused_announced_written_and_left_alone(play: Play, photos: Path, tmp_path: Path) -> None:
    (photos / "0.txt").write_bytes(b"a caf\xe9 of sksbadz")
    wish = {"path": str(photos), "copy": str(tmp_path / "copy")}
    results = play(
        "dataset_copy",
        wish | {"path": "/nowhere"},
        wish | {"copy": str(photos / "copy")},
        wish | {"check_mode": True},
        wish,
        wish,
        wish | {"path": str(tmp_path / "copy")} | {"copy": str(photos)},
    )
    assert codes(results) == ["no_dataset", "copy_in_source", "ok", "ok", "ok", "foreign_folder"]
    assert [result["changed"] for result in results[2:5]] == [True, True, False]
    assert results[3]["pictures"] == 1
    assert (tmp_path / "copy" / "0.txt").read_text() == "a caf\u00e9 of sksbadz\na photo of sksbadz\n"


def test_an_adapter_is_described_or_refused(play: Play, tmp_path: Path) -> None:
    sound, spoilt = tmp_path / "sound.safetensors", tmp_path / "spoilt.safetensors"
    save_file({"x.lora_A.weight": np.ones((4, 8), np.float32)}, sound)
    save_file({"x.lora_A.weight": np.full((4, 8), np.nan, np.float32)}, spoilt)
    results = play(
        "adapter_info",
        {"path": str(sound)},
        {"path": str(sound), "sha256": "0" * 64},
        {"path": str(spoilt)},
        {"path": str(tmp_path / "nowhere")},
    )
    assert codes(results) == ["ok", "sha256_differs", "not_finite", "no_adapter"]
    assert (results[0]["adapter"]["kind"], results[0]["adapter"]["rank"]) == ("lora", 4)


def test_a_folder_that_cannot_be_carried_is_said_to_be_unreachable(play: Play, tmp_path: Path) -> None:
    wish = {
        "direction": "pull",
        "remote": "/x",
        "local": str(tmp_path / "home"),
        "ssh": {"host": "127.0.0.1", "port": 1},
    }
    results = play(
        "folder_transfer",
        wish,
        wish | {"check_mode": True},
        wish | {"direction": "push", "local": str(tmp_path / "nowhere")},
    )
    assert codes(results) == ["unreachable", "unreachable", "no_such_folder"]
    assert all(result["failed"] for result in results)


def test_a_manifest_is_written_once_and_only_in_earnest(play: Play, photos: Path, tmp_path: Path) -> None:
    wish = {"path": str(photos), "run": "my-style", "presets": ["512"], "instance": {"id": 7, "price_per_hour": 0.5}}
    results = play(
        "run_manifest",
        wish | {"path": str(tmp_path / "nowhere")},
        wish | {"check_mode": True},
        wish,
        wish,
    )
    assert codes(results) == ["no_artifacts", "ok", "ok", "ok"]
    assert [result["changed"] for result in results[1:]] == [True, True, False]
    assert json.loads((photos / "manifest.json").read_text())["instance"]["id"] == 7


def test_the_copies_that_programs_load_are_written_once_and_only_in_earnest(play: Play, tmp_path: Path) -> None:
    layer = "transformer.proj_out"
    halves = {
        f"{layer}.lora_A.weight": np.ones((4, 8), np.float32),
        f"{layer}.lora_B.weight": np.ones((8, 4), np.float32),
    }
    save_file(halves, tmp_path / "pytorch_lora_weights.safetensors")
    wish = {"path": str(tmp_path), "run": "my-style", "finished": True}
    results = play("adapter_copies", {"path": str(tmp_path)}, wish | {"check_mode": True}, wish, wish)
    assert "missing required arguments: run" in results[0]["msg"]
    assert [result.get("changed") for result in results[1:]] == [True, True, False]
    assert [made["path"] for made in results[3]["copies"]] == ["my-style.safetensors"]
    assert "has no alpha" in results[3]["problems"][0]
