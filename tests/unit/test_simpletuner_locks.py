"""What the simpletuner role installs: for each version the lock for a GPU, and its twin for a CPU."""

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
POETRYS, UVS = FILES / "3.1.6", FILES / "4.10.1"

CUDA_ONLY = re.compile(r"(torch|torchvision|torchaudio|torchcodec|triton|bitsandbytes|(nvidia|cuda)-.+)")

each_build = pytest.mark.parametrize("build", ["cuda", "cpu"])


def load(build: str, name: str) -> dict[str, Any]:
    return tomllib.loads((POETRYS / build / name).read_text())


def packages(build: str) -> dict[str, dict[str, Any]]:
    return {package["name"]: package for package in load(build, "poetry.lock")["package"]}


def requirements(build: str) -> dict[str, str]:
    """The compiled requirements by package: its line and the hashes below it."""
    text = (UVS / build / "requirements.txt").read_text()
    return {entry.partition("==")[0]: entry for entry in re.split(r"^(?=[^#\s])", text, flags=re.MULTILINE)[1:]}


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
    of_the_project = script.content_hash((POETRYS / build / "pyproject.toml").read_text())
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
    pyproject = script.without_cuda_pyproject((POETRYS / "cuda" / "pyproject.toml").read_text())
    lock = script.without_cuda_lock((POETRYS / "cuda" / "poetry.lock").read_text(), script.content_hash(pyproject))
    assert (pyproject, lock) == tuple(
        (POETRYS / "cpu" / name).read_text() for name in ("pyproject.toml", "poetry.lock")
    )


def test_poetry_is_the_one_that_wrote_the_lock(script: ModuleType) -> None:
    version = script.POETRY[0].removeprefix("poetry==")
    assert f"by Poetry {version} " in (POETRYS / "cuda" / "poetry.lock").read_text()
    assert f"\npoetry=={version} " in (FILES / "poetry" / "requirements.txt").read_text()


def test_uvs_cpu_lock_is_its_cuda_lock_without_what_needs_cuda(script: ModuleType) -> None:
    cuda = requirements("cuda")
    assert requirements("cpu") == {name: cuda[name] for name in cuda if not CUDA_ONLY.fullmatch(name)}
    text = (UVS / "cuda" / "requirements.txt").read_text()
    assert script.without_cuda_requirements(text) == (UVS / "cpu" / "requirements.txt").read_text()


def test_what_needs_cuda_is_in_uvs_cuda_lock() -> None:
    needed = {"torch", "torchvision", "torchaudio", "torchcodec", "triton", "bitsandbytes", "nvidia-cudnn-cu13"}
    assert needed <= requirements("cuda").keys()


def test_every_requirement_of_uvs_project_is_locked_at_its_version() -> None:
    asked = tomllib.loads((UVS / "cuda" / "pyproject.toml").read_text())["project"]["dependencies"]
    locked = requirements("cuda")
    assert asked
    assert {each: locked[each.partition("==")[0]].split()[0] for each in asked} == {each: each for each in asked}


@pytest.mark.parametrize("lock", ["4.10.1/cuda", "4.10.1/cpu", "poetry", "uv"])
def test_every_line_of_a_compiled_lock_is_one_version_or_a_hash(lock: str) -> None:
    text = (FILES / lock / "requirements.txt").read_text()
    versions = re.findall(r"^[a-z0-9._-]+==\S+(?: ; .+)? \\$", text, flags=re.MULTILINE)
    hashes = re.findall(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$", text, flags=re.MULTILINE)
    assert len(versions) + len(hashes) == len([line for line in text.splitlines() if not line.startswith("#")])


def test_uv_is_the_one_that_the_script_compiles_with(script: ModuleType) -> None:
    assert f"\n{script.UV[0]} " in (FILES / "uv" / "requirements.txt").read_text()
