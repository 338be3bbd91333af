"""The role simpletuner on a folder of this computer: what it refuses before it touches anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from conftest import PROJECT


def test_another_simpletuner_than_the_instance_has_is_refused_and_what_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "installed-4.10.1-0f3a").touch()
    groups = [str(PROJECT / "group_vars" / f"{name}.yml") for name in ("training", "preset_512")]
    play = {"hosts": "my-style", "gather_facts": False, "vars_files": groups, "roles": ["simpletuner"]}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    (tmp_path / "runs.yml").write_text("training:\n  hosts:\n    my-style:\n")
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "simpletuner_dir": str(tmp_path),
        "simpletuner_version": "3.1.6",
    }

    done = subprocess.run(
        ["ansible-playbook", "-i", str(tmp_path / "runs.yml"), str(tmp_path / "play.yml"), "-e", json.dumps(variables)],
        cwd=PROJECT,
        env={**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg")},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode != 0
    said = " ".join((done.stdout + done.stderr).split())
    assert "my-style has SimpleTuner 4.10.1 on its instance, but this call asks for 3.1.6." in said
    assert "-e simpletuner_version=4.10.1" in said
    assert sorted(each.name for each in tmp_path.iterdir()) == [".venv", "play.yml", "runs.yml"]
