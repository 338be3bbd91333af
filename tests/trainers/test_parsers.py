"""Each SimpleTuner's own parser, over the facts in this project, every preset combination, and mistakes."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from environments import PROJECT, trainer

from fluxlora.errors import InputError
from fluxlora.settings import presets
from fluxlora.trainer import check_config
from fluxlora.trainer.versions import RELEASES

# The three trainers are imported anew again and again, which a busy machine takes minutes for.
pytestmark = pytest.mark.timeout(1500)

HERE = Path(__file__).parent
MISTAKES: Mapping[str, tuple[str, Any]] = {
    "misspelt": ("lora_rnak", 16),
    "renamed": ("flux_schedule_auto_shift", True),
    "removed": ("allow_tf32", True),
    "no whole number": ("max_train_steps", 12.5),
    "a word for a number": ("learning_rate", "fast"),
    "no switch": ("gradient_checkpointing", "maybe"),
    "true for a number": ("lora_rank", True),
    "a wrong choice": ("lora_type", "lokr"),
    "a wrong optimizer": ("optimizer", "adamw8bit"),
    "a wrong precision": ("base_model_precision", "fp8"),
    "a wrong target": ("flux_lora_target", "everything"),
    "decimals out of range": ("aspect_bucket_rounding", 12),
}
# Not the guide's, yet a parser of either version takes them.
ODDITIES: Mapping[str, tuple[str, Any]] = {
    "a number as text": ("max_train_steps", "100"),
    "an older name": ("save_total_limit", 3),
    "an alias": ("checkpoint_step_interval", 100),
    "a switch as text": ("gradient_checkpointing", "yes"),
    "nothing": ("tracker_run_name", None),
    "an empty text": ("validation_prompt", ""),
    "a GPU's precision": ("base_model_precision", "fp8-quanto"),
    "a GPU's optimizer": ("optimizer", "bnb-adamw8bit"),
    "a webhook as a mapping": ("webhook_config", {"webhook_type": "raw", "callback_url": "http://127.0.0.1:9"}),
}
BY_VERSION: Mapping[str, Mapping[str, tuple[str, Any]]] = {
    "3.1.6": {"two trackers": ("report_to", "wandb,tensorboard")},
    "4.10.1": {"removed since": ("validation_torch_compile", True)},
}


@cache
def combinations() -> tuple[tuple[str, ...], ...]:
    """Every combination of presets that the project allows: of each kind one or none."""
    kinds: dict[str, list[str | None]] = {}
    for name in presets.available(PROJECT):
        kinds.setdefault(presets.describe(name, PROJECT).kind, [None]).append(name)
    chosen = (tuple(filter(None, one)) for one in itertools.product(*kinds.values()))
    return tuple(one for one in chosen if allowed(one))


def allowed(chosen: Sequence[str]) -> bool:
    """Conflicts are between two presets, so every two of them are asked about, once."""
    return all(two_allowed(*pair) for pair in itertools.combinations(chosen, 2))


@cache
def two_allowed(one: str, other: str) -> bool:
    try:
        presets.resolve((one, other), PROJECT)
    except InputError:
        return False
    return True


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, tuple[str, ...]], dict[str, Any]]:
    """The config.json of the default and of every preset, by version, and of every two presets, from one Ansible."""
    asked = [(version, one) for version in RELEASES for one in combinations() if len(one) <= 1]
    asked += [("3.1.6", one) for one in combinations() if len(one) == 2]
    folder = tmp_path_factory.mktemp("rendered")
    runs = [variables(version, one) for version, one in asked]
    (folder / "runs.json").write_text(json.dumps({"runs": runs, "rendered": str(folder / "rendered.json")}))
    (folder / "nobody.yml").write_text("nobody:\n")
    program, inventory = Path(sys.executable).parent / "ansible-playbook", folder / "nobody.yml"
    done = subprocess.run(
        [program, "-i", inventory, HERE / "render_all.yml", "-e", f"@{folder / 'runs.json'}"],
        env={**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg")},
        cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(zip(asked, json.loads((folder / "rendered.json").read_text()), strict=True))


def variables(version: str, chosen: Sequence[str]) -> dict[str, Any]:
    resolved = presets.resolve(chosen, PROJECT)
    return {"simpletuner_version": version} | {
        name: value for preset in resolved for name, value in presets.variables(preset, PROJECT).items()
    }


def composed(rendered: Mapping[Any, dict[str, Any]], version: str, chosen: Sequence[str]) -> dict[str, Any]:
    """What the presets render together: what each of them changes of the default."""
    default = rendered[version, ()]
    changes = [rendered[version, (preset,)] for preset in chosen]
    names = default.keys() | {name for changed in changes for name in changed}
    together = {}
    for name in names:
        values = [changed.get(name) for changed in changes if changed.get(name) != default.get(name)]
        together[name] = values[0] if values else default.get(name)
    return {name: value for name, value in together.items() if value is not None}


@pytest.fixture(scope="session")
def told(rendered: Mapping[Any, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each SimpleTuner says of all that these tests ask, in one process for each, two at a time."""
    running = {}
    for version in RELEASES:
        folder = tmp_path_factory.mktemp(version)
        (folder / "config").mkdir()
        (folder / "config" / "lycoris_config.json").write_text(
            json.dumps({"algo": "lokr", "multiplier": 1, "linear_dim": 4, "linear_alpha": 1})
        )
        (folder / "config" / "multidatabackend.json").write_text("[]")
        asked = questions(rendered, version)
        (folder / "questions.json").write_text(json.dumps(list(asked.values())))
        real = trainer(version)
        command = [real.python, HERE / "judge.py", folder / "questions.json", folder / "answers.json"]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(command, cwd=folder, env=real.environment, stdout=log, stderr=log)
        running[version] = (folder, asked, process)
    answers = {}
    for version, (folder, asked, process) in running.items():
        assert process.wait(1200) == 0, (folder / "log").read_text()[-4000:]
        answer = json.loads((folder / "answers.json").read_text())
        answers[version] = answer | {"verdicts": dict(zip(asked, answer["verdicts"], strict=True)), "asked": asked}
    return answers


def questions(rendered: Mapping[Any, dict[str, Any]], version: str) -> dict[str, dict[str, Any]]:
    asked = {
        f"presets {' + '.join(one)}": {"config": composed(rendered, version, one), "gpu": True}
        for one in combinations()
    }
    # A webhook's file is on the instance only.
    default = {name: value for name, value in rendered[version, ()].items() if name != "--webhook_config"}
    for question in asked.values():
        question["config"] = {**question["config"], "--webhook_config": None}
    for name, (option, value) in {**MISTAKES, **ODDITIES, **BY_VERSION[version]}.items():
        asked[name] = {"config": default | {f"--{option}": value}, "gpu": True}
    asked["without a GPU"] = {"config": default | {"--base_model_precision": "nf4-bnb"}, "gpu": False}
    return asked


@pytest.mark.parametrize("version", RELEASES)
def test_the_facts_in_the_project_are_those_that_the_parser_itself_gives(told: Any, version: str) -> None:
    written = PROJECT / "src" / "fluxlora" / "trainer" / f"{version}.json"
    assert told[version]["facts"] == written.read_text()


def test_what_presets_render_together_is_what_each_of_them_changes(rendered: Any) -> None:
    for version, one in rendered:
        assert composed(rendered, version, one) == rendered[version, one], one


@pytest.mark.parametrize("version", RELEASES)
def test_the_parser_takes_the_config_of_every_combination_of_presets(told: Any, version: str) -> None:
    verdicts = {name: said for name, said in told[version]["verdicts"].items() if name.startswith("presets ")}
    assert len(verdicts) == len(combinations())
    assert {name: said for name, said in verdicts.items() if said} == {}


@pytest.mark.parametrize("version", RELEASES)
def test_what_the_plan_refuses_the_parser_refuses_and_the_other_way_round(told: Any, version: str) -> None:
    judged = told[version]
    ours = {
        name: bool(check_config(version, question["config"], gpu=question["gpu"]))
        for name, question in judged["asked"].items()
    }
    theirs = {name: said is not None for name, said in judged["verdicts"].items()}
    assert ours == theirs
    assert all(ours[name] for name in MISTAKES)
    assert sum(ours.values()) < len(ours)
