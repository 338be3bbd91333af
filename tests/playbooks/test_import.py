"""Runs that were imported: found by their name, accepted by the plan, and rehearsed scaled down."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from conftest import PROJECT, Bench

GUIDE = PROJECT / "tests" / "data" / "guide"
BACKENDS = {
    "1024": "multidatabackend.json",
    "512": "multidatabackend_512.json",
    "multires": "multidatabackend_512_768_1024.json",
    "arb": "multidatabackend_with_arb.json",
}


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """The project's inventory, with host variables of its own."""
    (tmp_path / "vastai.yml").write_bytes((PROJECT / "inventory/vastai.yml").read_bytes())
    (tmp_path / "runs.yml").write_bytes((PROJECT / "inventory/runs.yml").read_bytes())
    (tmp_path / "group_vars").symlink_to(PROJECT / "group_vars")
    (tmp_path / "host_vars").mkdir()
    return tmp_path


def command(bench: Bench, inventory: Path, verb: str, **settings: str) -> subprocess.CompletedProcess[str]:
    files = [f"--inventory={inventory}/{name}.yml" for name in ("runs", "vastai")]
    return bench.play(verb, None, *files, **settings)


def test_the_guides_files_are_imported_and_the_plan_accepts_every_one(paper, inventory):
    runs = yaml.safe_load((inventory / "runs.yml").read_text())
    runs["training"]["hosts"] = {f"by-hand-{preset}": None for preset in BACKENDS}
    (inventory / "runs.yml").write_text(yaml.safe_dump(runs))

    for preset, backends in BACKENDS.items():
        wanted = {"run_name": f"by-hand-{preset}", "import_dir": f"{inventory}/host_vars"}
        imported = command(paper, inventory, "import", **wanted, import_files=f"{GUIDE}/config.json,{GUIDE}/{backends}")
        assert imported.returncode == 0, imported.stdout + imported.stderr
        assert "dropped allow_tf32" in imported.stdout

    # All four together cost more than the credit that a stand-in's account begins with.
    paper.post("/rehearsal/account", deposit=200)
    plan = command(paper, inventory, "plan", run_rehearsal="false")
    assert plan.returncode == 0, plan.stdout + plan.stderr
    assert [preset for preset in BACKENDS if f"run        by-hand-{preset}, presets {preset}" not in plan.stdout] == []


def test_a_run_in_no_inventory_has_its_host_variables_and_is_rehearsed_with_few_steps(paper, inventory):
    (inventory / "host_vars" / "long.yml").write_text("run_presets: '512'\nsimpletuner_max_train_steps: 9000\n")

    real = command(paper, inventory, "plan", run_name="long", run_rehearsal="false")
    rehearsed = command(paper, inventory, "plan", run_name="long", run_rehearsal="true")

    assert "steps      9000" in real.stdout, real.stdout + real.stderr
    assert "steps      12" in rehearsed.stdout, rehearsed.stdout + rehearsed.stderr
