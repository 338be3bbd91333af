"""Settings that nothing reads and calls that match no run, by real calls of every playbook."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
ANSIBLE = Path(sys.executable).parent
# Beside the playbooks lie the files of the collection and of the image, which are mappings.
VERBS = sorted(file.name for file in PROJECT.glob("[!.]*.yml") if isinstance(yaml.safe_load(file.read_text()), list))


def call(playbook: str, *words: str, inventory: Path | None = None, **environment: str) -> tuple[int, str]:
    """A call without a key and without a network: its exit status and all that it printed."""
    where = inventory or PROJECT / "inventory" / "runs.yml"
    home = {"HOME": "/nonexistent", "FLUXLORA_STATE_DIR": "/nonexistent", "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(
        [str(ANSIBLE / "ansible-playbook"), "-i", str(where), playbook, *words],
        cwd=PROJECT, env={**os.environ, **home, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), **environment},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_there_is_a_playbook_for_every_verb() -> None:
    assert len(VERBS) >= 14


@pytest.mark.parametrize("playbook", [*VERBS, "playbooks/train.yml", "examples/register_key.yml"])
def test_a_setting_that_nothing_reads_ends_every_playbook_before_its_first_play(playbook: str) -> None:
    code, said = call(playbook, "-e", "run_name=my-style", "-e", "max_train_steps=1000")
    assert code == 1, said
    assert "max_train_steps is unknown: did you mean simpletuner_max_train_steps?" in said
    assert "PLAY [" not in said


def test_a_variable_that_an_example_declares_is_its_own(tmp_path: Path) -> None:
    code, said = call("examples/register_key.yml", "-e", f"key_file={tmp_path}/none", VAST_API_KEY="none")
    assert code != 0
    assert "is unknown" not in said
    assert "PLAY [Let my ssh key" in said


def test_every_way_of_giving_a_setting_is_looked_at_and_every_fault_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text("provison_budget_usd: 1\nsimpletuner_learning_rate: fast\n")
    given = ("-e", f"@{tmp_path}/mine.yml", "-e", '{"run_preset": 512, "simpletuner_max_train_steps": "{{ 3 / 2 }}"}')
    # Whose own list of callbacks, and whose own folder of them, do not switch it off.
    own = {"ANSIBLE_CALLBACKS_ENABLED": "costs", "ANSIBLE_CALLBACK_PLUGINS": str(tmp_path)}
    code, said = call("check.yml", "-e", "run_name=my-style", *given, **own)
    assert code == 1
    assert "provison_budget_usd is unknown: did you mean provision_budget_usd?" in said
    assert "run_preset is unknown: did you mean run_presets?" in said
    assert "simpletuner_learning_rate must be a number, not 'fast'." in said
    assert "simpletuner_max_train_steps must be a whole number, not 1.5." in said
    assert "PLAY [" not in said


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """Two runs of a user, with variables of theirs in every place that Ansible knows."""
    hosts = {"cats": {"run_presets": "512"}, "dogs": {"lora_rnk": 8}}
    file = tmp_path / "runs.yml"
    file.write_text(
        json.dumps({"training": {"hosts": hosts, "vars": {"my_pictures": "/p"}}, "pets": {"hosts": {"cats": {}}}})
    )
    for name, text in {
        "group_vars/training.yml": "dataset_path: '{{ my_pictures }}/cats'\n",
        "group_vars/pets.yml": "plan_card_gb: big\n",
        "group_vars/preset_512.yml": "simpletuner_train_batch_sise: 2\n",
        "group_vars/preset_1024.yml": "simpletuner_nothing_at_all: 2\n",
        "host_vars/cats.yml": "ansible_usr: me\nansible_user: me\nansible_ssh_retries: 3\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return file


def test_variables_of_the_run_its_groups_and_its_presets_are_looked_at_and_no_others(
    inventory: Path,
) -> None:
    code, said = call("check.yml", "-e", "run_name=cats", inventory=inventory)
    assert code == 1
    for sentence in (
        "The variable ansible_usr, set for cats, is unknown: did you mean ansible_user?",
        "plan_card_gb, set for the group pets, must be a whole number, not 'big'.",
        "simpletuner_train_batch_sise, set for the group preset_512, is unknown",
    ):
        assert sentence in said
    assert "lora_rnk" not in said
    assert "simpletuner_nothing_at_all" not in said
    assert "my_pictures" not in said
    assert "ansible_ssh_retries" not in said


def test_variables_of_another_run_do_not_stop_this_one(inventory: Path) -> None:
    (inventory.parent / "host_vars/cats.yml").unlink()
    code, said = call("presets.yml", inventory=inventory)
    assert code == 0, said
    code, said = call("check.yml", "-e", "run_name=birds", inventory=inventory)
    assert "lora_rnk" not in said
    assert "set for the group pets" not in said


@pytest.mark.parametrize("playbook", ["train.yml", "check.yml", "playbooks/plan.yml"])
def test_a_verb_that_matches_no_run_fails_before_its_first_play(playbook: str) -> None:
    code, said = call(playbook)
    assert code == 1
    assert "There is no run to" in said
    assert "PLAY [" not in said


@pytest.mark.parametrize("limit", ["nobody", "cats", "localhost,dogs"])
def test_a_limit_that_leaves_nothing_to_do_fails_before_the_first_play(inventory: Path, limit: str) -> None:
    for name in ("group_vars/pets.yml", "group_vars/preset_512.yml", "host_vars/cats.yml"):
        (inventory.parent / name).unlink()
    code, said = call("check.yml", "-e", "run_name=cats", "--limit", limit, inventory=inventory)
    assert code == 1
    assert "PLAY [" not in said
    assert "limit" in said


def test_a_limit_that_leaves_the_run_and_localhost_is_none(inventory: Path) -> None:
    for name in ("group_vars/pets.yml", "group_vars/preset_512.yml", "host_vars/cats.yml"):
        (inventory.parent / name).unlink()
    state = f"fluxlora_state_dir={inventory.parent}/state"
    limited = ("-e", "run_name=cats", "-e", state, "--limit", "localhost,cats")
    _, said = call("check.yml", *limited, inventory=inventory)
    assert "TASK [plan : Check the settings of every role]" in said


def test_a_playbook_of_somebody_else_has_variables_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "own.yml").write_text(
        "- {hosts: localhost, gather_facts: false, tasks: [{debug: {msg: '{{ color }}'}}]}\n"
    )
    code, said = call(str(tmp_path / "own.yml"), "-e", "color=red")
    assert code == 0, said
