"""What is delivered loads: adapters of real trainings of both SimpleTuners, in the real loaders, old and new.

Each is loaded into a model of its own, and counts as loaded where all of its layers are changed and the output is that
of the trained model, as it was in the trainer's memory.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from environments import NEWEST, Trainer
from PIL import Image

import fluxlora
from fluxlora.delivery.adapter import loaders, lokr
from fluxlora.onhost import adapter_copy
from fluxlora.settings.presets import variables_of

PROJECT = Path(__file__).parents[2]
TINY_FLUX = Path(fluxlora.__file__).parent / "rehearsal" / "tiny_flux"
VERSIONS = ("3.1.6", "4.10.1")
MOMENTS = ("final", "checkpoint")
LOKRS = ("two_factors", "one_factor")
# Of the tiny FLUX with the guide's target all+ffs, and of LyCORIS with the preset's blocks.
LORA_LAYERS, LOKR_LAYERS = 35, 40
RANK = 8
# Of the adapter's effect; rounding a sum of products in another order makes 1e-5.
SAME = 1e-3


def lycoris(factor: int, *, feed_forward: int) -> dict[str, Any]:
    """The preset lokr with other factors: the tiny FLUX is too narrow for 16 x 16."""
    settings: dict[str, Any] = variables_of(PROJECT / "group_vars" / "preset_lokr.yml")["simpletuner_lycoris"]
    factors = {"Attention": {"factor": factor}, "FeedForward": {"factor": feed_forward}}
    return settings | {"factor": factor, "apply_preset": settings["apply_preset"] | {"module_algo_map": factors}}


# What each run trains; the LoRA at twice the strength that a loader assumes by itself.
RUNS: dict[str, dict[str, Any]] = {
    "lora": {"options": {"lora_rank": 4, "lora_alpha": 8}},
    "two_factors": {"lycoris": lycoris(4, feed_forward=2)},
    "one_factor": {"lycoris": lycoris(4, feed_forward=4)},
}


@dataclass(frozen=True)
class Question:
    """A file or files, of which training, and which loader of which environment loads them."""

    environment: str
    version: str
    run: str
    moment: str
    # raw: as the trainer wrote it; copy: as it is delivered; diffusers, lora: what is made of a LoKr besides.
    form: str
    loader: str


Answers = dict[Question, dict[str, Any]]


class Trained:
    """The trainings of one version, and everything that is delivered of them."""

    def __init__(self, trainer: Trainer, home: Path, data: Path) -> None:
        self.version, self.home = trainer.version, home
        asked = [{"folder": str(home / name), "data": str(data), **run} for name, run in RUNS.items()]
        (home / "questions.json").write_text(json.dumps(asked))
        script = Path(__file__).with_name("train_adapters.py")
        trainer.run(script, TINY_FLUX, home / "questions.json", timeout=1800, cwd=home)
        self.files: dict[tuple[str, str, str], list[Path]] = {}
        self.differences: dict[tuple[str, str], float] = {}
        for run in RUNS:
            for moment in MOMENTS:
                self.deliver(run, moment)

    def deliver(self, run: str, moment: str) -> None:
        output = self.home / run / "output"
        checkpoint = max(output.glob("checkpoint-*"), key=lambda folder: int(folder.name.rpartition("-")[2]))
        raw = (output if moment == "final" else checkpoint) / adapter_copy.ADAPTER
        name = f"{run}-{moment}"
        copy = self.home / f"{name}.safetensors"
        adapter_copy.copy(raw, copy, {}, alpha=8.0 if run == "lora" else None)
        self.files |= {(run, moment, "raw"): [raw], (run, moment, "copy"): [copy]}
        if run in LOKRS:
            copies = lokr.copy_for_diffusers(copy, self.home, name)
            (lora,) = lokr.extract_lora(copy, self.home, name, RANK)
            self.files |= {
                (run, moment, "diffusers"): [Path(copied.path) for copied in copies],
                (run, moment, "lora"): [Path(lora.path)],
            }
            self.differences[run, moment] = lora.difference


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, trainer: Callable[[str], Trainer]) -> dict[str, Trained]:
    """Both versions, at the same time."""
    data = tmp_path_factory.mktemp("data")
    chance = random.Random(1)
    for number in range(4):
        colour = tuple(chance.randrange(256) for _ in "RGB")
        Image.new("RGB", (64, 72), colour).save(data / f"{number}.png")
        (data / f"{number}.txt").write_text(f"picture {number}")
    made = {version: (trainer(version), tmp_path_factory.mktemp(version)) for version in VERSIONS}
    with ThreadPoolExecutor() as pool:
        return dict(zip(VERSIONS, pool.map(lambda version: Trained(*made[version], data), VERSIONS), strict=True))


def questions(version: str) -> Iterator[Question]:
    for environment in (version, NEWEST):
        for moment in MOMENTS:
            for form in ("raw", "copy"):
                yield Question(environment, version, "lora", moment, form, "pipeline")
            for run in LOKRS:
                for form in ("raw", "copy", "diffusers", "lora"):
                    yield Question(environment, version, run, moment, form, "pipeline")
                yield Question(environment, version, run, moment, "diffusers", "model")
                for loader in ("lycoris", "merged"):
                    yield Question(environment, version, run, moment, "copy", loader)
    yield Question(NEWEST, version, "one_factor", "final", "diffusers", "converted")


@pytest.fixture(scope="module")
def answers(
    trained: dict[str, Trained], tmp_path_factory: pytest.TempPathFactory, trainer: Callable[[str], Trainer]
) -> Answers:
    """Each environment is started once, two at the same time."""
    every = [question for version in VERSIONS for question in questions(version)]

    def ask(environment: str) -> Answers:
        home = tmp_path_factory.mktemp("asked")
        mine = [question for question in every if question.environment == environment]
        asked = [
            {
                "files": [str(file) for file in trained[it.version].files[it.run, it.moment, it.form]],
                "loader": it.loader,
                "truth": str(trained[it.version].home / it.run / "answer.safetensors"),
            }
            for it in mine
        ]
        (home / "questions.json").write_text(json.dumps(asked))
        script = Path(__file__).with_name("load_adapters.py")
        files = (home / "questions.json", home / "answers.json")
        trainer(environment).run(script, TINY_FLUX, *files, timeout=1800, cwd=home)
        return dict(zip(mine, json.loads((home / "answers.json").read_text()), strict=True))

    with ThreadPoolExecutor(2) as pool:
        return {question: told for some in pool.map(ask, (*VERSIONS, NEWEST)) for question, told in some.items()}


def is_whole(answer: dict[str, Any], layers: int) -> bool:
    return answer.get("layers") == layers and answer["difference"] < SAME


def of(version: str) -> tuple[str, str]:
    """The trainer's own environment and the newest loaders."""
    return version, NEWEST


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_delivered_lora_loads_whole_and_at_its_trained_strength(answers: Answers, version: str, moment: str) -> None:
    told = [answers[Question(where, version, "lora", moment, "copy", "pipeline")] for where in of(version)]
    assert [is_whole(answer, LORA_LAYERS) for answer in told] == [True, True], told


def test_without_its_copy_a_checkpoint_of_3_1_6_loses_layers_without_an_error(answers: Answers) -> None:
    told = [answers[Question(where, "3.1.6", "lora", "checkpoint", "raw", "pipeline")] for where in of("3.1.6")]
    assert [answer["layers"] for answer in told] == [21, 21]


@pytest.mark.parametrize("version", VERSIONS)
def test_without_its_copy_a_final_lora_loads_at_half_its_trained_strength(answers: Answers, version: str) -> None:
    told = [answers[Question(where, version, "lora", "final", "raw", "pipeline")] for where in of(version)]
    assert [answer["difference"] for answer in told] == pytest.approx([0.5, 0.5], abs=0.05)


@pytest.mark.parametrize("loader", ["lycoris", "merged"])
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("run", LOKRS)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_delivered_lokr_is_exact_in_lycoris(
    answers: Answers, version: str, run: str, moment: str, loader: str
) -> None:
    told = [answers[Question(where, version, run, moment, "copy", loader)] for where in of(version)]
    assert [is_whole(answer, LOKR_LAYERS) for answer in told] == [True, True], told


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("run", LOKRS)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_copies_of_a_lokr_are_exact_in_the_newest_diffusers(
    answers: Answers, trained: dict[str, Trained], version: str, run: str, moment: str
) -> None:
    told = answers[Question(NEWEST, version, run, moment, "diffusers", "model")]
    assert is_whole(told, LOKR_LAYERS), told
    assert len(trained[version].files[run, moment, "diffusers"]) == (2 if run == "two_factors" else 1)


@pytest.mark.parametrize("run", LOKRS)
@pytest.mark.parametrize("version", VERSIONS)
def test_no_pipeline_loads_a_lokr(answers: Answers, version: str, run: str) -> None:
    forms = ("raw", "copy", "diffusers")
    told = [
        answers[Question(where, version, run, "final", form, "pipeline")] for where in of(version) for form in forms
    ]
    assert [answer["error"].startswith("ValueError: Invalid LoRA checkpoint") for answer in told] == [True] * 6


@pytest.mark.parametrize("run", LOKRS)
@pytest.mark.parametrize("version", VERSIONS)
def test_no_older_diffusers_loads_the_copies_of_a_lokr(answers: Answers, version: str, run: str) -> None:
    told = answers[Question(version, version, run, "final", "diffusers", "model")]
    assert told["error"].startswith("IndexError"), told


def test_without_its_copy_a_checkpoint_draws_with_the_dropout_of_the_training(answers: Answers) -> None:
    told = answers[Question(NEWEST, "4.10.1", "lora", "checkpoint", "raw", "pipeline")]
    assert told["layers"] == LORA_LAYERS
    assert told["difference"] > 0.05


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("run", LOKRS)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_lora_extracted_from_a_lokr_loads_everywhere_and_is_as_near_as_measured(
    answers: Answers, trained: dict[str, Trained], version: str, run: str, moment: str
) -> None:
    told = [answers[Question(where, version, run, moment, "lora", "pipeline")] for where in of(version)]
    measured = trained[version].differences[run, moment]
    assert [answer["layers"] for answer in told] == [LOKR_LAYERS] * 2
    assert 0.1 < measured < 0.6
    # Measured of the weights; the output depends on the input too.
    assert [answer["difference"] for answer in told] == pytest.approx([measured] * 2, rel=0.5)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_extracted_lora_is_the_one_that_peft_makes(answers: Answers, version: str) -> None:
    ours = answers[Question(NEWEST, version, "one_factor", "final", "lora", "pipeline")]
    of_peft = answers[Question(NEWEST, version, "one_factor", "final", "diffusers", "converted")]
    assert of_peft["layers"] == LOKR_LAYERS
    assert ours["difference"] == pytest.approx(of_peft["difference"], rel=0.02)


def test_the_loaders_that_are_run_are_those_that_the_docs_name(trainer: Callable[[str], Trainer]) -> None:
    ask = "from importlib.metadata import version; print(version('diffusers'), version('lycoris-lora'))"
    told = [trainer(environment).run("-c", ask).stdout.split() for environment in (*VERSIONS, NEWEST)]
    assert tuple(diffusers for diffusers, _ in told) == loaders.DIFFUSERS
    assert tuple(dict.fromkeys(lycoris for _, lycoris in told)) == loaders.LYCORIS
