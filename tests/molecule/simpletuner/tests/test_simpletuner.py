"""The role `simpletuner` with the CPU's lock."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from testinfra.host import Host

FOLDER = "/root/SimpleTuner"
CONFIGURATION = ["config.json", "multidatabackend.json", "lycoris_config.json"]
PYTHON = f"{FOLDER}/.venv/bin/python"
TOOLS = "/root/.local/share/fluxlora-poetry/bin"


@pytest.fixture(scope="module")
def versions(host: Host) -> dict[str, str]:
    listing = host.check_output(f"{TOOLS}/pip --python {PYTHON} list --format json")
    return {package["name"]: package["version"] for package in json.loads(listing)}


@pytest.mark.parametrize(
    ("package", "version"),
    [
        ("simpletuner", "3.1.6"),
        ("torch", "2.13.0+cpu"),
        ("diffusers", "0.35.2"),
        ("transformers", "4.57.3"),
        ("huggingface-hub", "0.36.0"),
        ("lycoris_lora", "3.4.0"),
    ],
)
def test_the_versions_are_those_that_work_together(versions: dict[str, str], package: str, version: str) -> None:
    assert versions[package] == version


def test_nothing_made_for_cuda_is_installed(versions: dict[str, str]) -> None:
    assert [name for name in versions if name.startswith(("nvidia-", "triton", "bitsandbytes"))] == []


def test_simpletuner_can_be_imported(host: Host) -> None:
    host.check_output(f"{PYTHON} -c 'import torch, diffusers, simpletuner, lycoris'")


def test_poetry_finds_the_environment_as_locked(host: Host) -> None:
    said = host.check_output(f"cd {FOLDER} && {TOOLS}/poetry install --dry-run --no-ansi")
    assert "Package operations: 0 installs, 0 updates, 0 removals" in said


def test_the_environment_stays_below_3_gb(host: Host) -> None:
    kilobytes = host.check_output(f"du -sk {FOLDER}/.venv").split()[0]
    assert int(kilobytes) * 1024 < 3e9


@pytest.mark.parametrize("name", CONFIGURATION)
def test_the_configuration_is_where_simpletuner_looks(host: Host, name: str) -> None:
    assert json.loads(host.file(f"{FOLDER}/config/{name}").content_string)


def test_what_is_rendered_on_this_computer_is_what_lies_there_byte_by_byte(host: Host, tmp_path: Path) -> None:
    run = ["--name", "simpletuner", "--presets", "512,lokr", "-e", "run_rehearsal=true"]
    project = os.environ["MOLECULE_PROJECT_DIRECTORY"]
    subprocess.run(["fluxlora", "render", *run, "-o", tmp_path], cwd=project, check=True, timeout=120)
    rendered = {name: (tmp_path / "config" / name).read_bytes() for name in CONFIGURATION}
    assert rendered == {name: host.file(f"{FOLDER}/config/{name}").content for name in CONFIGURATION}
