"""Settings that a call was given, by real calls of ansible-playbook."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from test_plan_modules import Play, play

from fluxlora.money.journal import Event, Journal

__all__ = ["play"]
PROJECT = Path(__file__).parents[2]
ANSIBLE = Path(sys.executable).parent
READ_GIVEN = """
- hosts: localhost
  gather_facts: false
  vars: {from_the_play: 1}
  tasks:
    - given_settings:
      register: given
    - ansible.builtin.copy:
        content: "{{ given | to_json }}"
        dest: "{{ playbook_dir }}/read.json"
        mode: "0600"
"""


def given_settings(folder: Path, *words: str) -> dict[str, Any]:
    (folder / "play.yml").write_text(READ_GIVEN)
    (folder / "hosts.yml").write_text("all: {vars: {from_the_inventory: 1}}\n")
    done = subprocess.run(
        [str(ANSIBLE / "ansible-playbook"), "-i", str(folder / "hosts.yml"), "play.yml", *words],
        cwd=folder, env={**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "HOME": str(folder)},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    read: dict[str, Any] = json.loads((folder / "read.json").read_text())
    return read


def test_what_every_way_of_giving_a_setting_gave_is_returned_merged_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text("simpletuner_lora_rank: 8\nrun_presets: [512, lokr]\n")
    words = ("-e", "run_name=a b=x", "-e", "@mine.yml", "-e", '{"simpletuner_lora_rank": 4, "c": {"d": [1, null]}}')
    found = given_settings(tmp_path, *words)
    expected = {"run_name": "a", "b": "x", "simpletuner_lora_rank": 4, "run_presets": [512, "lokr"]}
    assert found["settings"] == expected | {"c": {"d": [1, None]}}
    assert (found["withheld"], found["changed"]) == ([], False)


def test_a_setting_that_is_a_template_is_returned_as_it_was_given(tmp_path: Path) -> None:
    assert given_settings(tmp_path, "-e", '{"a": "{{ 1 + 1 }}"}')["settings"] == {"a": "{{ 1 + 1 }}"}


def test_a_secret_is_withheld_and_named(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k\n")
    vault = [str(ANSIBLE / "ansible-vault"), "encrypt_string", "--vault-password-file", "key", "--name", "a", "hidden"]
    kept = subprocess.run(vault, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60).stdout
    (tmp_path / "mine.yml").write_text(kept + "weights_token: hidden\ntraining_tokens: {X: hidden}\nb: 1\n")
    found = given_settings(tmp_path, "-e", "@mine.yml", "--vault-password-file", "key")
    assert found["withheld"] == ["a", "training_tokens", "weights_token"]
    assert found["settings"] == {"b": 1}


def test_a_runs_settings_are_kept_compared_and_changed_only_when_that_is_accepted(play: Play, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    call = {"run": "my-style", "folder": str(tmp_path / "runs"), "journal": str(journal.path)}
    first = {**call, "given": {"simpletuner_max_train_steps": "1500"}}
    keep = {"state": "present"}
    kept = play("run_settings", {**first, **keep, "check_mode": True}, {**first, **keep}, {**first, **keep})
    assert [result["changed"] for result in kept] == [True, True, False]

    journal.write(Event.RENTED, "my-style", 7)
    other = {**call, "given": {"simpletuner_max_train_steps": "2000"}}
    asking = {**other, "asks": True}
    results = play(
        "run_settings", call, other, asking, {**asking, "accept": "changed"}, {**asking, "accept": "new"},
        {**asking, "accept": "changed", **keep}, call,
    )  # fmt: skip
    assert [result.get("code") for result in results] == [None, None, "settings_differ", None, None, None, None]
    difference = {"setting": "simpletuner_max_train_steps", "kept": "1500", "now": "2000"}
    assert [results[n]["differences"][0].items() >= difference.items() for n in (1, 2, 3)] == [True] * 3
    assert "run_settings=changed" in results[2]["hint"]
    assert [results[n]["settings"] for n in (0, 4, 6)] == [
        {"simpletuner_max_train_steps": "1500"},
        {},
        {"simpletuner_max_train_steps": "2000"},
    ]

    journal.write(Event.DELIVERED, "my-style", 7)
    (delivered,) = play("run_settings", asking)
    assert (delivered["goes_on"], delivered["file"], delivered["differences"]) == (False, "", [])


def test_another_computer_says_that_it_knows_the_presets_alone(play: Play, tmp_path: Path) -> None:
    call = {"run": "my-style", "folder": str(tmp_path / "runs"), "journal": str(tmp_path / "journal.jsonl")}
    (elsewhere,) = play("run_settings", {**call, "instance_id": 7, "asks": True})
    assert "has to be given again" in elsewhere["lines"][0]
