"""Whose project it is: what is worked in, whichever clone the command was installed from."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import DATASET, PROJECT

PARTS = ("group_vars", "inventory", "playbooks", "plugins", "roles", "src", "templates")
# Of the environment that all tests run in, and so of the clone that these are in: never of the one worked in here.
PROGRAMS = Path(sys.executable).parent
CONFIG = {"model_family": "flux", "learning_rate": 1.0e-4, "max_train_steps": 700, "lora_rank": 16}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second clone of this project, without an environment of its own."""
    folder = tmp_path_factory.mktemp("second") / "clone"
    folder.mkdir()
    for part in PARTS:
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "host_vars")
        shutil.copytree(PROJECT / part, folder / part, symlinks=True, ignore=ignored)
    for file in [PROJECT / "ansible.cfg", PROJECT / "requirements.lock", *PROJECT.glob("*.yml")]:
        shutil.copy(file, folder)
    (folder / "my pictures").mkdir()
    return folder


@pytest.fixture
def files(tmp_path: Path) -> Path:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(CONFIG))
    return file


def written(folder: Path) -> set[str]:
    """What runs, imports and plans leave in a project."""
    kept = (folder / ".fluxlora", folder / "artifacts", folder / "inventory/host_vars")
    return {str(file.relative_to(folder)) for top in kept for file in top.rglob("*") if file.is_file()}


@pytest.fixture(autouse=True)
def nothing_of_it_is_written_where_the_command_comes_from(clone: Path) -> Iterator[None]:
    before, before_here = written(clone), written(PROJECT)
    yield
    # Other tests may write here meanwhile, but nothing that goes by these names.
    assert (written(clone) - before) & (written(PROJECT) - before_here) == set()


def call(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    ours = {"ANSIBLE_CONFIG", "FLUXLORA_STATE_DIR", "FLUXLORA_PROJECT", "VAST_API_KEY"}
    own = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.run(
        [str(PROGRAMS / words[0]), *words[1:]], cwd=folder, env={**own, **environment}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_an_import_goes_to_the_clone_worked_in_from_each_of_its_folders(clone, files):
    done = call(clone / "my pictures", "fluxlora", "import", str(files), "--name", "further-down")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "inventory/host_vars/further-down.yml" in written(clone)
    assert f"{clone}/inventory/host_vars/further-down.yml says it" in done.stdout


def test_a_check_goes_by_the_clone_worked_in_its_presets_its_package_and_what_it_remembers(clone):
    shutil.copytree(DATASET, clone / "my pictures/flowers")
    (clone / "group_vars/preset_own.yml").write_text("---\n# Mine.\nsimpletuner_lora_rank: 8\n")
    with (clone / "src/fluxlora/settings/presets.py").open("a") as package:
        package.write('Path(__file__).with_name("used").touch()\n')
    done = call(clone / "my pictures", "fluxlora", "check", "flowers", "-p", "own")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (clone / "src/fluxlora/settings/used").exists()
    assert any(name.startswith(".fluxlora/datasets/") for name in written(clone))


def test_a_playbook_of_a_clone_writes_into_it_with_another_clones_ansible(clone, files, tmp_path):
    settings = ("-e", f"import_files={files}")
    within = call(clone, "ansible-playbook", "-i", "inventory/runs.yml", "import.yml", *settings, "-e", "run_name=a")
    assert within.returncode == 0, within.stdout + within.stderr
    playbook = ("ansible-playbook", "-i", str(clone / "inventory/runs.yml"), str(clone / "import.yml"))
    config = {"ANSIBLE_CONFIG": str(clone / "ansible.cfg")}
    outside = call(tmp_path, *playbook, *settings, "-e", "run_name=b", **config)
    assert outside.returncode == 0, outside.stdout + outside.stderr
    assert {"inventory/host_vars/a.yml", "inventory/host_vars/b.yml"} <= written(clone)


def test_outside_of_every_project_the_one_is_used_that_is_named_and_else_none(clone, files, tmp_path):
    refused = call(tmp_path, "fluxlora", "import", str(files), "--name", "nowhere")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"{tmp_path} is not in a fluxlora project" in refused.stderr
    assert f"export FLUXLORA_PROJECT={PROJECT}" in refused.stderr

    named = call(tmp_path, "fluxlora", "import", str(files), "--name", "named", FLUXLORA_PROJECT=str(clone))
    assert named.returncode == 0, named.stdout + named.stderr
    assert "inventory/host_vars/named.yml" in written(clone)
