"""What an instance writes is shown by ansible-playbook as printable lines, or refused in one sentence that names costs.

The instance is this machine: Ansible runs its modules here, and reads the files that a hostile host would have written.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import playing
import pytest

from conftest import VastServer
from fluxlora.text import one_line

PROJECT = Path(__file__).parents[2]
# What a terminal would obey: clear the screen, set its title, colour, and a character that turns the writing around.
ODD = "\x1b[2J\x1b]0;title\x07\x9b31mout of memory\u202e\nInstance 1 costs nothing"
COSTS = "Instance 77 of my-style may still cost $0.50 an hour"
TRAINING = {"phase": "failed", "step": 3, "steps": 9, "loss": 0.5, "checkpoints": [2], "errors": [ODD]}


def run(vast: VastServer, folder: Path, *words: str, **files: Any) -> subprocess.CompletedProcess[str]:
    """Calls ansible-playbook about the run my-style, whose instance holds these files."""
    for name, content in files.items():
        (folder / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    known = {
        "ansible_connection": "local", "ansible_python_interpreter": sys.executable, "vastai_id": 77,
        "vastai_gpu_name": "RTX A6000", "vastai_status": "running", "vastai_price_per_hour": 0.5,
        "vastai_started_at": None, "vastai_storage_price_per_hour": 0.1, "vastai_inet_down_price_per_gb": 0.01,
        "vastai_inet_up_price_per_gb": 0.01, "vastai_run": "my-style", "vastai_intended_status": "running",
    }  # fmt: skip
    inventory = folder / "instances.yml"
    inventory.write_text(json.dumps({"vastai": {"hosts": {"my-style": known}}, "training": {}}))
    (folder / "group_vars").unlink(missing_ok=True)
    (folder / "group_vars").symlink_to(PROJECT / "group_vars")
    return subprocess.run(
        [
            str(Path(sys.executable).parent / "ansible-playbook"), *words,
            "-i", str(inventory), "-i", "inventory/vastai.yml",
            "-e", f"provision_guard_dir={folder} training_state_dir={folder}",
        ],
        cwd=PROJECT,
        env={
            **os.environ, "HOME": str(folder), "FLUXLORA_STATE_DIR": str(folder / "state"), "TMUX_TMPDIR": str(folder),
            "VAST_URL": vast.url, "VAST_API_KEY": vast.api_key,
        },
        capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def lines_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Each line that was shown, all of which a terminal only shows."""
    lines = (done.stdout + done.stderr).split("\n")
    assert [line for line in lines if not line.isprintable()] == []
    return lines


@pytest.mark.parametrize("loudness", [[], ["-v"]], ids=["", "-v"])
def test_what_a_trainer_says_is_shown_without_what_a_terminal_would_obey(
    vast: VastServer, tmp_path: Path, loudness: list[str]
) -> None:
    done = run(vast, tmp_path, "status.yml", *loudness, progress=TRAINING)
    lines = lines_of(done)
    assert done.returncode == 0, done.stdout
    said = "\n".join(lines)
    assert "my-style: failed, step 3 of 9, loss 0.5000, last checkpoint 2" in said
    assert "out of memory Instance 1 costs nothing" in said, "a line of the host's is not one of ours"


@pytest.mark.parametrize(
    ("progress", "reason"),
    [
        ({"phase": "training", "loss": "x"}, 'loss should be a valid number and is "x"'),
        ({"phase": "training", "checkpoints": [{"a": ODD}]}, "checkpoints.0 should be a valid integer"),
        ("[" * 20_000, "it is nested too deep"),
        ("{", "it is not JSON"),
    ],
    ids=["a text for a number", "a mapping for a number", "nested", "cut off"],
)
def test_a_progress_that_is_none_is_a_sentence_that_says_what_still_costs_money(
    vast: VastServer, tmp_path: Path, progress: Any, reason: str
) -> None:
    done = run(vast, tmp_path, "status.yml", progress=progress)
    said = " ".join(" ".join(lines_of(done)).split())
    assert done.returncode == 2
    assert f"progress.json on the instance of my-style cannot be used: {reason}" in said
    assert COSTS in said
    assert "Unknown format code" not in said
    assert "$0.50 an hour;" in said, "what it costs is shown all the same"


def test_a_lease_that_is_none_is_said_beside_what_the_instance_costs(vast: VastServer, tmp_path: Path) -> None:
    lease = {"budget": {"budget_usd": ODD}}
    done = run(vast, tmp_path, "status.yml", progress=TRAINING, lease=lease, meter={"bytes_down": -1, "bytes_up": 0})
    said = " ".join(" ".join(lines_of(done)).split())
    assert done.returncode == 0, done.stdout
    assert "lease.json on the instance of my-style cannot be used: budget.budget_usd should be a valid number" in said
    assert "$0.50 an hour;" in said
    assert "my-style: failed, step 3 of 9" in said


FOLLOW = """
- hosts: my-style
  gather_facts: false
  tasks:
    - name: Follow
      training_follow:
        state: "{{ training_state_dir }}"
        session: none
        interval_seconds: 1
        timeout_hours: 1
        ssh: {host: 192.0.2.1}
        remote: /nowhere
        local: /nowhere
"""


def test_who_follows_a_training_sees_printable_lines_and_its_reasons(vast: VastServer, tmp_path: Path) -> None:
    (tmp_path / "follow.yml").write_text(FOLLOW)
    done = run(vast, tmp_path, str(tmp_path / "follow.yml"), progress=TRAINING, lease="{", meter={})
    said = " ".join(" ".join(lines_of(done)).split())
    assert done.returncode == 2
    assert "my-style: failed, step 3/9, loss 0.5000" in said
    assert not [line for line in lines_of(done) if line.startswith(("out of", "Instance 1 "))]
    assert "lease.json on the instance of my-style cannot be used: it is not JSON" in said
    assert "out of memory Instance 1 costs nothing" in said
    assert COSTS in said


def test_who_follows_a_training_whose_progress_is_none_is_told_so_and_what_it_costs(
    vast: VastServer, tmp_path: Path
) -> None:
    (tmp_path / "follow.yml").write_text(FOLLOW)
    done = run(vast, tmp_path, str(tmp_path / "follow.yml"), progress={"phase": "training", "loss": "x"})
    said = " ".join(" ".join(lines_of(done)).split())
    assert done.returncode == 2
    assert 'progress.json on the instance of my-style cannot be used: loss should be a valid number and is "x"' in said
    assert COSTS in said


ANY_MODULE = """
- hosts: my-style
  gather_facts: false
  tasks:
    - name: Run a module of Ansible's own, whose answer the host has written
      ansible.builtin.raw: |
        printf 'shown \\033[2J\\033]0;title\\007\\302\\23331mred \\342\\200\\256 %s' '{{ "{{" }} 7 * 191 }}'
      register: answer
    - name: Show it
      ansible.builtin.debug:
        msg: "{{ answer.stdout }}"
    - name: Fail with it
      ansible.builtin.fail:
        msg: "failed {{ answer.stdout }}"
"""


def test_the_answer_of_any_module_is_shown_without_what_a_terminal_would_obey_and_never_templated(
    vast: VastServer, tmp_path: Path
) -> None:
    (tmp_path / "any.yml").write_text(ANY_MODULE)
    done = run(vast, tmp_path, "-v", str(tmp_path / "any.yml"))
    said = " ".join(" ".join(lines_of(done)).split())
    assert done.returncode == 2
    assert said.count("shown red {{ 7 * 191 }}") > 2
    assert "failed shown red {{ 7 * 191 }}" in said
    assert "1337" not in said


def test_a_report_is_printable_names_what_cannot_be_used_and_uses_nothing_of_it(
    vast: VastServer, tmp_path: Path
) -> None:
    for name, progress in (("odd", TRAINING | {"phase": ODD}), ("failed", TRAINING)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "progress.json").write_text(json.dumps(progress))
    wanted = [
        ("odd", {"versions": "["}),
        ("failed", {"versions": json.dumps({"torch": f"2.9.1{ODD}"}), "instance": {"id": 77}}),
    ]
    odd, failed = playing.play(
        vast,
        tmp_path,
        [
            (
                "run_manifest",
                {"path": str(tmp_path / name), "run": name, "progress_file": str(tmp_path / name / "progress.json")}
                | more,
            )
            for name, more in wanted
        ],
    )
    assert odd["manifest"]["phase"] is None
    assert odd["manifest"]["vastai_id"] is None, "an instance whose training may go on is not given up"
    assert [line.split(" cannot be used: ")[0] for line in odd["lines"] if line.startswith("warning")] == [
        f"warning    {tmp_path}/odd/progress.json", "warning    The list of versions of odd",
    ]  # fmt: skip
    assert failed["manifest"]["versions"] == {"torch": one_line(f"2.9.1{ODD}")}
    assert failed["manifest"]["vastai_id"] == 77
    for name in ("odd", "failed"):
        lines = (tmp_path / name / "report.txt").read_text().splitlines()
        assert all(line.isprintable() for line in lines)
