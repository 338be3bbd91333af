"""What `ansible-playbook train.yml --list-tasks` shows: the guide's steps in the guide's order, a tag for each."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
# The plays and the tags that choose them; `always` chooses what every later step builds on.
STEPS = {
    "Enter the runs": {"always"},
    "Load the settings of the runs": {"always"},
    "Check the dataset and plan the training": {"always", "plan"},
    "Look at the market and check the accounts": {"accounts"},
    "Download what earlier instances have left on the Hub": {"hub"},
    "Rent an instance": {"rent"},
    "Prepare the instance": {"prepare"},
    "Install python, CUDA and SimpleTuner": {"install"},
    "Sync the dataset": {"dataset"},
    "Download the weights": {"weights"},
    "Train": {"train"},
    "Download the artifacts": {"artifacts"},
    "Destroy the instance": {"destroy"},
}
# Of each role that works on an instance a task that only its own files name.
REAL = {
    "Prepare the instance": "guard : Write the lease",
    "Install python, CUDA and SimpleTuner": "simpletuner : Install SimpleTuner as locked",
    "Sync the dataset": "dataset : Copy the dataset to the instance",
    "Download the weights": "weights : Download the model",
    "Train": "training : Follow the training to its end",
    "Download the artifacts": "artifacts : Read the adapter, and compare it with the one on the instance",
    "Destroy the instance": "provision : Destroy it, and see it gone from the list",
    "Rent an instance": "provision : Rent one instance and wait for ssh",
}


@pytest.fixture(scope="module")
def listed() -> str:
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "ansible-playbook"),
            "-i",
            "inventory/runs.yml",
            "train.yml",
            "--list-tasks",
        ],
        cwd=PROJECT,
        env={**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


def plays(listed: str) -> dict[str, tuple[set[str], list[str]]]:
    """The tags and the tasks of each play."""
    found = {}
    for part in listed.split("\n  play #")[1:]:
        head, *lines = part.splitlines()
        name, tags = re.fullmatch(r"\d+ \(.*?\): (.*)\tTAGS: \[(.*)\]", head).groups()
        tasks = [line.strip().partition("\t")[0] for line in lines if "\tTAGS: [" in line]
        found[name] = ({tag.strip() for tag in tags.split(",")}, tasks)
    return found


def test_the_plays_are_the_guides_steps_in_its_order_with_a_tag_for_each(listed: str) -> None:
    assert len(STEPS) <= 14
    assert [(name, tags) for name, (tags, _) in plays(listed).items()] == list(STEPS.items())


def test_the_roles_real_tasks_stand_under_their_steps(listed: str) -> None:
    found = plays(listed)
    assert {name: task for name, task in REAL.items() if task not in found[name][1]} == {}
    assert all(len(tasks) > 1 for _, tasks in found.values())
