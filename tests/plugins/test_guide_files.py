"""What the presets render, against the guide's published files: the only differences are those of guide.py."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from fluxlora.settings import guide
from fluxlora.settings.guide import ABSENT, BACKEND_FILES, Departure, as_read
from fluxlora.settings.presets import variables, variables_of
from fluxlora.settings.variables import known as known_variables

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "tests/data/guide"


def differences(published: dict[str, Any], ours: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    pairs = {key.lstrip("-"): (published.get(key, ABSENT), ours.get(key, ABSENT)) for key in [*published, *ours]}
    return {key: pair for key, pair in pairs.items() if as_read(pair[0]) != as_read(pair[1])}


def allowed(departures: Iterable[Departure]) -> dict[str, tuple[Any, Any]]:
    return {each.key: (each.guide, each.ours) for each in departures}


def published(name: str) -> Any:
    return json.loads((GUIDE / name).read_text(encoding="utf-8"))


RUNS: dict[str, dict[str, Any]] = {
    "1024": {},
    "512": {},
    "multires": {},
    "arb": {},
    "1024+lokr": {},
    "512+lokr": {},
    "multires+lokr": {},
    "arb+lokr": {},
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
        "simpletuner_config_dir": f"{folder}/{{{{ inventory_hostname }}}}",
        "simpletuner_templates_dir": f"{ROOT}/templates",
    }
    command = [Path(sys.executable).parent / "ansible-playbook", "-i", "runs.yml", "-e", json.dumps(variables)]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    done = subprocess.run(
        [*command, "render.yml"], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr

    def read(run: str, name: str) -> Any:
        text = (folder / run / name).read_text(encoding="utf-8")
        return json.loads(text.replace(f'"{run}"', f'"{guide.RUN}"'))

    return read


@pytest.mark.parametrize("run", [*BACKEND_FILES, *(f"{preset}+lokr" for preset in BACKEND_FILES)])
def test_config_differs_from_the_guides_only_where_a_reason_is_given(files, run):
    departures = [*guide.CONFIG, *(each for preset in run.split("+") for each in guide.PRESETS[preset])]

    assert differences(published("config.json"), files(run, "config.json")) == allowed(departures)


@pytest.mark.parametrize(("preset", "name"), BACKEND_FILES.items())
def test_data_backends_differ_from_the_guides_only_where_a_reason_is_given(files, preset, name):
    *pictures, captions = files(preset, "multidatabackend.json")
    *guides_pictures, guides_captions = published(name)

    assert captions == guides_captions
    assert [differences(*pair) for pair in zip(guides_pictures, pictures, strict=True)] == [
        allowed(departures) for departures in guide.BACKENDS[preset]
    ]


def test_lycoris_config_is_the_guides(files):
    assert files("1024+lokr", "lycoris_config.json") == published("lycoris_config.json")


def test_every_departure_has_its_reason():
    lists = [
        guide.CONFIG,
        *guide.PRESETS.values(),
        *(each for backends in guide.BACKENDS.values() for each in backends),
    ]
    assert [each.key for departures in lists for each in departures if not each.reason.endswith(".")] == []


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


def test_every_option_that_is_written_has_the_variable_that_bears_its_name():
    template = (ROOT / "templates/config.json.j2").read_text(encoding="utf-8")
    lines = re.findall(r"'--(\w+)':\s+(.*)", template)
    assert len(lines) > 40
    assert [
        option
        for option, value in lines
        if (variable := guide.variable(option)) and not re.search(rf"\b{variable}\b", value)
    ] == []


def places(variable: str) -> list[str]:
    """The files of group variables that set it for a run with one resolution preset."""
    files = {"training": variables_of(ROOT / "group_vars/training.yml")}
    files |= {f"preset {preset}": variables(preset, ROOT) for preset in guide.PRESETS}
    return [name for name, values in files.items() if variable in values]


def test_every_key_of_the_guides_config_has_its_variable_and_its_one_place_or_a_reason_why_not():
    gone = {each.key for each in guide.CONFIG if each.ours == ABSENT}
    keys = {key.lstrip("-") for key in published("config.json")} - gone - {"data_backend_config"}
    known = known_variables(ROOT)
    resolutions = [f"preset {preset}" for preset in BACKEND_FILES]

    assert [key for key in keys if guide.variable(key) not in known] == []
    # lokr replaces two values of the guide, and the resolution presets bring two: Ansible's groups, not a second place.
    found = {key: [place for place in places(str(guide.variable(key))) if place != "preset lokr"] for key in keys}
    assert {key: where for key, where in found.items() if where not in (["training"], resolutions)} == {}


@pytest.mark.parametrize("preset", BACKEND_FILES)
def test_every_key_of_the_guides_data_backends_stands_in_its_preset_or_has_a_reason_why_not(preset):
    *pictures, captions = published(BACKEND_FILES[preset])
    entries = variables(preset, ROOT)["simpletuner_datasets"]
    for entry, mine, departures in zip(pictures, entries, guide.BACKENDS[preset], strict=True):
        assert set(entry) - {each.key for each in departures if each.ours == ABSENT} <= set(mine)
    assert set(captions) == set(variables_of(ROOT / "group_vars/training.yml")["simpletuner_text_embeds"])


def test_every_key_of_the_guides_lycoris_config_stands_in_the_preset_lokr():
    assert variables("lokr", ROOT)["simpletuner_lycoris"] == published("lycoris_config.json")
