"""What the simpletuner role installs: the lock for a GPU, and its twin for a CPU."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PROJECT = Path(__file__).parents[2]
FILES = PROJECT / "roles" / "simpletuner" / "files"

CUDA_ONLY = re.compile(r"(torch|torchvision|torchaudio|torchcodec|triton|bitsandbytes|nvidia-.+)")

each_build = pytest.mark.parametrize("build", ["cuda", "cpu"])


def load(build: str, name: str) -> dict[str, Any]:
    return tomllib.loads((FILES / build / name).read_text())


def packages(build: str) -> dict[str, dict[str, Any]]:
    return {package["name"]: package for package in load(build, "poetry.lock")["package"]}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lock_simpletuner", PROJECT / "scripts" / "lock_simpletuner.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_cpu_lock_is_the_cuda_lock_without_what_needs_cuda() -> None:
    cuda = packages("cuda")
    assert packages("cpu") == {name: cuda[name] for name in cuda if not CUDA_ONLY.fullmatch(name)}


def test_what_needs_cuda_is_in_the_cuda_lock() -> None:
    needed = {"torch", "torchvision", "torchaudio", "torchcodec", "triton", "bitsandbytes", "nvidia-cudnn-cu12"}
    assert needed <= packages("cuda").keys()


@each_build
def test_a_lock_belongs_to_the_project_file_beside_it(script: ModuleType, build: str) -> None:
    of_the_project = script.content_hash((FILES / build / "pyproject.toml").read_text())
    assert load(build, "poetry.lock")["metadata"]["content-hash"] == of_the_project


@each_build
def test_every_requirement_is_one_exact_version(build: str) -> None:
    poetry = load(build, "pyproject.toml")["tool"]["poetry"]
    asked = poetry["dependencies"] | poetry["group"]["set"]["dependencies"]
    del asked["python"]
    locked = {name: package["version"] for name, package in packages(build).items()}
    assert asked == {name: locked[name] for name in asked}


@each_build
def test_no_package_comes_from_a_named_index(build: str) -> None:
    assert [name for name, package in packages(build).items() if "source" in package] == []


def test_the_cpu_files_are_what_the_script_makes_of_the_cuda_files(script: ModuleType) -> None:
    pyproject = script.without_cuda_pyproject((FILES / "cuda" / "pyproject.toml").read_text())
    lock = script.without_cuda_lock((FILES / "cuda" / "poetry.lock").read_text(), script.content_hash(pyproject))
    assert (pyproject, lock) == tuple((FILES / "cpu" / name).read_text() for name in ("pyproject.toml", "poetry.lock"))


def test_poetry_is_the_one_that_wrote_the_lock(script: ModuleType) -> None:
    version = script.POETRY[0].removeprefix("poetry==")
    assert f"by Poetry {version} " in (FILES / "cuda" / "poetry.lock").read_text()
    assert f"\npoetry=={version} " in (FILES / "poetry" / "requirements.txt").read_text()
