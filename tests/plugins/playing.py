"""Modules through ansible-playbook, as anybody's playbook calls them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from conftest import VastServer

PROJECT = Path(__file__).parents[2]
Results = list[dict[str, Any]]


def play(vast: VastServer, folder: Path, tasks: list[tuple[str, dict[str, Any]]], **environment: str) -> Results:
    """Runs modules one after the other, whatever becomes of each; their results."""
    steps: list[dict[str, Any]] = [
        {
            "name": f"Task {number}",
            module: {name: value for name, value in wish.items() if name not in ("check_mode", "environment")},
            "check_mode": wish.get("check_mode", False),
            "environment": wish.get("environment", {}),
            "register": f"result_{number}",
            "ignore_errors": True,
        }
        for number, (module, wish) in enumerate(tasks)
    ]
    told = ", ".join(f"result_{number}" for number in range(len(tasks)))
    steps.append(
        {
            "name": "Tell",
            "ansible.builtin.copy": {
                "content": "{{ [" + told + "] | to_json }}", "dest": str(folder / "told"), "mode": "0600",
            },
        }
    )  # fmt: skip
    playbook = folder / "play.yml"
    playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": steps}]))
    (folder / "nobody.yml").write_text("nobody:\n")
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(folder / "nobody.yml"), str(playbook)],
        env={
            **os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "HOME": str(folder),
            "VAST_URL": vast.url, "VAST_API_KEY": vast.api_key, **environment,
        },
        capture_output=True, text=True, timeout=100 + 10 * len(tasks), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert vast.api_key not in done.stdout + done.stderr
    results: Results = json.loads((folder / "told").read_text())
    return results
