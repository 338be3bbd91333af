"""What fluxlora says of buckets, steps and caches is what the unchanged SimpleTuner decides, for both versions.

A difference counts when it stays: on a busy machine the trainer's scan now and then ends before what its threads have
found is through, and leaves images out that it takes when it is asked again.

FLUXLORA_BUCKET_SEEDS=100 asks about that many more random data backends.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from comparison import cached, differences
from generated import backend, images, options, question

import fluxlora
from fluxlora.settings.presets import variables_of
from fluxlora.trainer.buckets import Batching, least_repeats

PROJECT = Path(__file__).parents[2]
REHEARSAL = Path(fluxlora.__file__).parent / "rehearsal"
VERSIONS = ("3.1.6", "4.10.1")
SEEDS = 8 + int(os.environ.get("FLUXLORA_BUCKET_SEEDS", "0"))
ROUNDS = 3
Question = dict[str, Any]


def of_presets(home: Path, start: int) -> Iterator[Question]:
    """Every resolution preset at its true size, pictures about its smallest edges among the pictures."""
    edges = {"1024": [1024], "512": [512], "multires": [896, 640, 384], "arb": [1024, 316]}
    for preset, about in edges.items():
        data = home / f"data-{preset}"
        if not start:
            images(data, about, 9 * len(about) + 5, random.Random(preset))
        entries = variables_of(PROJECT / "group_vars" / f"preset_{preset}.yml")["simpletuner_datasets"]
        yield question(home / f"{preset}-{start}", data, entries, {"train_batch_size": 4, "aspect_bucket_rounding": 2})


def of_the_guide(home: Path, start: int) -> Iterator[Question]:
    """The guide's aspect buckets, not cropped as it writes them, and cropped in each way to have them."""
    file = PROJECT / "tests/data/guide/multidatabackend_with_arb.json"
    arb = next(entry for entry in json.loads(file.read_text()) if entry["id"] == "default_dataset_arb")
    changes: list[dict[str, Any]] = [
        {},
        *({"crop": True, "crop_aspect": each} for each in ("preserve", "closest", "random")),
    ]
    entries = [{**arb, "id": f"arb{number}", **change} for number, change in enumerate(changes)]
    yield question(home / f"guide-{start}", home / "data-arb", entries, {"train_batch_size": 1})


def at_random(home: Path, start: int) -> Iterator[Question]:
    for seed in range(SEEDS):
        chance = random.Random(seed)
        edges = chance.sample([64, 96, 100, 128, 160, 200, 256, 320], 2)
        data = home / f"data-{seed}"
        if not start:
            images(data, edges, 48, chance)
        chance = random.Random(seed)
        entries = [backend(chance, edges, f"b{number}") for number in range(chance.randint(1, 3))]
        gpus = 2 if seed % 8 == 7 else 1
        yield question(home / f"random{seed}-{start}", data, entries, options(chance), gpus)


def whole(home: Path, start: int) -> Iterator[Question]:
    """One training from its start to its end, caches and all."""
    data = home / "data-whole"
    if not start:
        images(data, [64, 128], 24, random.Random(5))
        (data / "0003.txt").write_text("the same\nthe same, longer\n")
        (data / "0004.txt").write_text("the same")
        (data / "0005.txt").write_text(" the same \r\n  \nand more")
    square = {"resolution_type": "pixel_area", "crop": True, "crop_aspect": "square", "crop_style": "center"}
    sizes = {"resolution": 128, "minimum_image_size": 128, "maximum_image_size": 128, "target_downsample_size": 128}
    small = {"resolution_type": "pixel_area", "resolution": 128, "minimum_image_size": 64, "repeats": 3}
    entries = [
        {"id": "square", **square, **sizes},
        {"id": "whole", **small, "crop": False},
        {"id": "cropped", **square, **small, "crop_aspect": "preserve"},
    ]
    asked = question(home / f"whole-{start}", data, entries, {"train_batch_size": 2, "max_train_steps": 2})
    for entry in asked["backends"]:
        entry["skip_file_discovery"] = ""
    yield asked | {"train": True}


def of_advice(home: Path, start: int) -> Iterator[Question]:
    """Buckets that are too small, with the repeats that are advised and with one less."""
    square = {"crop": True, "resolution_type": "pixel_area", "resolution": 64}
    for count, settings in ((3, Batching(4, 2)), (5, Batching(3, 4)), (1, Batching(2, 3))):
        data = home / f"data-advice{count}"
        if not start:
            images(data, [64], count, random.Random(count))
        for less in (0, 1):
            entry = {"id": "b", **square, "repeats": least_repeats(count, settings) - less}
            given = {"train_batch_size": settings.batch_size, "gradient_accumulation_steps": settings.accumulation}
            yield question(home / f"advice{count}-{less}-{start}", data, [entry], given)


def every(home: Path, start: int) -> list[Question]:
    parts = (of_presets, of_the_guide, of_advice, at_random, whole)
    return [asked for part in parts for asked in part(home, start)]


class Asked:
    """What one version answers to every question."""

    def __init__(self, version: str, python: Path, home: Path) -> None:
        self.version, self.python, self.home = version, python, home
        self.questions = every(home, 0)
        self.answers = self.ask(self.questions)
        for start in range(1, ROUNDS):
            differing = [place for place in range(len(self.questions)) if self.differences(place)]
            if not differing:
                break
            again = every(home, start)
            for place, found in zip(differing, self.ask([again[place] for place in differing]), strict=True):
                self.questions[place], self.answers[place] = again[place], found

    def differences(self, place: int) -> list[str]:
        return list(differences(self.questions[place], self.answers[place], self.version))

    def ask(self, questions: list[Question]) -> list[dict[str, Any]]:
        (self.home / "questions.json").write_text(json.dumps(questions))
        environment = {
            **os.environ,
            "PYTHONPATH": str(REHEARSAL / "cpu_shim"), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1",
            "HF_HOME": str(self.home / "hub"), "SIMPLETUNER_DISABLE_COLORS": "1",
        }  # fmt: skip
        files = [str(self.home / "questions.json"), str(self.home / "answers.json")]
        command = [str(self.python), str(Path(__file__).with_name("scan.py")), str(REHEARSAL / "tiny_flux"), *files]
        done = subprocess.run(command, cwd=self.home, env=environment, capture_output=True, text=True, timeout=3600)
        assert done.returncode == 0, done.stderr[-3000:]
        return list(json.loads((self.home / "answers.json").read_text()))


@pytest.fixture(scope="session")
def asked(tmp_path_factory: pytest.TempPathFactory, trainer: Any) -> dict[str, Asked]:
    """Both versions, asked at the same time."""
    homes = {version: tmp_path_factory.mktemp(version) for version in VERSIONS}
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda each: Asked(each, trainer(each).python, homes[each]), VERSIONS)
        return dict(zip(VERSIONS, found, strict=True))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_prediction_is_what_the_trainer_decides(asked: dict[str, Asked], version: str) -> None:
    found = asked[version]
    differing = {each["folder"]: found.differences(place)[:3] for place, each in enumerate(found.questions)}
    assert {folder: some for folder, some in differing.items() if some} == {}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_advised_repeats_will_do_and_one_less_will_not(asked: dict[str, Asked], version: str) -> None:
    found = asked[version]
    ends = {
        Path(each["folder"]).name.rsplit("-", 1)[0]: "error" in answer
        for each, answer in zip(found.questions, found.answers, strict=True)
    }
    advised = {name: ended for name, ended in ends.items() if name.startswith("advice")}
    assert advised == {f"advice{count}-{less}": bool(less) for count in (3, 5, 1) for less in (0, 1)}


def test_several_gpus_end_at_their_first_start_on_a_dataset_in_3_1_6_only(asked: dict[str, Asked]) -> None:
    ended = {
        version: [bool(each["at_first"]) for each in found.answers if "at_first" in each and "error" not in each]
        for version, found in asked.items()
    }
    assert all(ended.values())
    assert all(ended["3.1.6"])
    assert not any(ended["4.10.1"])


@pytest.mark.parametrize("version", VERSIONS)
def test_the_caches_of_a_whole_training_are_the_predicted_files(asked: dict[str, Asked], version: str) -> None:
    found = asked[version]
    assert list(cached(found.questions[-1], found.answers[-1], version)) == []
