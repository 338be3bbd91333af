"""What the presets render, against the guide's published files: the only differences are those listed here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "tests/data/guide"
MISSING = "missing"

# key -> (the guide's value, ours): each with its reason in group_vars/training.yml or in the preset.
CONFIG_1024 = {
    "--num_train_epochs": (MISSING, 0),
    "--model_flavour": (MISSING, "dev"),
    "--flux_schedule_auto_shift": ("true", MISSING),
    "--flow_schedule_auto_shift": (MISSING, True),
    "--flow_schedule_shift": (MISSING, 0.0),
    "--allow_tf32": ("true", MISSING),
    "--hub_model_id": ("flux-lora-training", "my-style"),
    "--tracker_run_name": ("flux-lora-training", "my-style"),
    "--model_card_private": (MISSING, True),
    "--checkpoints_total_limit": (2, 5),
    "--webhook_config": (MISSING, "/root/.fluxlora/webhook.json"),
}
CONFIG_512 = {**CONFIG_1024, "--validation_resolution": ("1024x1024", "512x512"), "--resolution": (1024, 512)}
LOKR = {
    "--lora_type": ("standard", "lycoris"),
    "--learning_rate": ("1e-4", 0.001),
    "--lycoris_config": (MISSING, "config/lycoris_config.json"),
}


def backend(edge: int, guide_resolution: int) -> dict[str, tuple[Any, Any]]:
    """Names of their own, so that no cache of one size is read at another; 512 where the guide's file says 384."""
    name = f"square_{edge}"
    changed = {} if guide_resolution == edge else {"resolution": (guide_resolution, edge)}
    return changed | {
        "id": ("default_dataset", name),
        "cache_file_suffix": ("square", name),
        "cache_dir_vae": (
            "/root/SimpleTuner/cache/vae/flux/default_dataset",
            f"/root/SimpleTuner/cache/vae/flux/{name}",
        ),
    }


def as_read(value: Any) -> Any:
    """A value as the trainer reads it: it takes "true" and "1e-4" as true and 0.0001."""
    if not isinstance(value, str):
        return value
    if value in ("true", "false"):
        return value == "true"
    try:
        return float(value)
    except ValueError:
        return value


def differences(guide: dict[str, Any], ours: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    pairs = {key: (guide.get(key, MISSING), ours.get(key, MISSING)) for key in [*guide, *ours]}
    return {key: pair for key, pair in pairs.items() if as_read(pair[0]) != as_read(pair[1])}


def guide(name: str) -> Any:
    return json.loads((GUIDE / name).read_text(encoding="utf-8"))


RUNS: dict[str, dict[str, Any]] = {
    "1024": {},
    "512": {},
    "1024+lokr": {},
    "512+lokr": {},
    "1024+rehearsal": {},
    "512+lokr+rehearsal": {},
    "1024+extra": {"simpletuner_extra_config": {"seed": 7, "--lora_alpha": 8, "validation_seed": None}},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory):
    """The files of every run above, written by the role itself; what is read is what would lie on the instance."""
    folder = tmp_path_factory.mktemp("runs")
    inventory = yaml.safe_load((ROOT / "inventory/runs.yml").read_text(encoding="utf-8"))
    inventory["training"]["hosts"] = RUNS
    for run in RUNS:
        for part in run.split("+"):
            group = part if part == "rehearsal" else f"preset_{part}"
            inventory[group] = inventory.get(group) or {}
            inventory[group]["hosts"] = inventory[group].get("hosts") or {}
            inventory[group]["hosts"][run] = {}
    play = {
        "hosts": "training",
        "connection": "local",
        "gather_facts": False,
        "tasks": [{"ansible.builtin.include_role": {"name": "simpletuner", "tasks_from": "configure"}}],
    }
    (folder / "group_vars").symlink_to(ROOT / "group_vars")
    (folder / "runs.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
    (folder / "render.yml").write_text(yaml.safe_dump([play]), encoding="utf-8")
    variables = {
        "ansible_python_interpreter": sys.executable,
        "simpletuner_dir": f"{folder}/{{{{ inventory_hostname }}}}",
        "simpletuner_templates_dir": f"{ROOT}/templates",
    }
    command = [Path(sys.executable).parent / "ansible-playbook", "-i", "runs.yml", "-e", json.dumps(variables)]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    done = subprocess.run(
        [*command, "render.yml"], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr

    def read(run: str, name: str) -> Any:
        text = (folder / run / "config" / name).read_text(encoding="utf-8")
        return json.loads(text.replace(f"{folder}/{run}", "/root/SimpleTuner").replace(f'"{run}"', '"my-style"'))

    return read


@pytest.mark.parametrize(
    ("run", "allowed"),
    [
        ("1024", CONFIG_1024),
        ("512", CONFIG_512),
        ("1024+lokr", CONFIG_1024 | LOKR),
        ("512+lokr", CONFIG_512 | LOKR),
    ],
)
def test_config_differs_from_the_guides_only_where_a_reason_is_given(files, run, allowed):
    ours = files(run, "config.json")

    assert differences(guide("config.json"), ours) == allowed


@pytest.mark.parametrize(
    ("preset", "published", "edge", "guide_resolution"),
    [("1024", "multidatabackend.json", 1024, 1024), ("512", "multidatabackend_512.json", 512, 384)],
)
def test_data_backends_differ_from_the_guides_only_in_their_names_and_the_guides_slip(
    files, preset, published, edge, guide_resolution
):
    pictures, captions = files(preset, "multidatabackend.json")

    guide_pictures, guide_captions = guide(published)
    assert differences(guide_pictures, pictures) == backend(edge, guide_resolution)
    assert captions == guide_captions


def test_lycoris_config_is_the_guides(files):
    assert files("1024+lokr", "lycoris_config.json") == guide("lycoris_config.json")


def test_resolutions_share_no_name_and_no_cache(files):
    large, small = (files(preset, "multidatabackend.json")[0] for preset in ("1024", "512"))

    assert all(large[key] != small[key] for key in ("id", "cache_file_suffix", "cache_dir_vae"))


def test_the_rehearsal_divides_every_edge_and_keeps_the_names(files):
    full = files("1024", "multidatabackend.json")[0]
    small = files("1024+rehearsal", "multidatabackend.json")[0]

    edges = ("resolution", "minimum_image_size", "maximum_image_size", "target_downsample_size")
    assert differences(full, small) == dict.fromkeys(edges, (1024, 128))


def test_the_rehearsal_wins_over_the_guide_and_a_preset_over_the_guide(files):
    config = files("512+lokr+rehearsal", "config.json")

    assert (config["--max_train_steps"], config["--learning_rate"], config["--validation_resolution"]) == (
        12,
        0.001,
        "64x64",
    )


def test_extra_config_wins_with_and_without_dashes_and_null_leaves_an_option_out(files):
    config = files("1024+extra", "config.json")

    assert (config["--seed"], config["--lora_alpha"], "--validation_seed" in config) == (7, 8, False)
