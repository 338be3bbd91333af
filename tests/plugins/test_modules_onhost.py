"""The modules that look at a host: this one, with what they look for laid out in a folder."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]
SMI = PROJECT / "tests" / "data" / "nvidia-smi"
THIS = f"{sys.version_info.major}.{sys.version_info.minor}"
BASE = os.path.realpath(sys._base_executable)  # not the virtual environment


def run_module(name: str, arguments: dict[str, Any], **environment: str) -> dict[str, Any]:
    """What the module answers, started as ansible starts it on a host."""
    done = subprocess.run(
        [sys.executable, "-m", f"plugins.modules.{name}"],
        cwd=PROJECT,
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def find_python(*candidates: str | Path, version: str = THIS, **environment: str) -> dict[str, Any]:
    arguments = {"version": version, "candidates": [str(candidate) for candidate in candidates]}
    return run_module("python_interpreter_info", arguments, **environment)


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_python_without_a_version_is_refused() -> None:
    answer = run_module("python_interpreter_info", {"candidates": ["python3"]})
    assert answer["failed"]
    assert "version" in answer["msg"]


def test_python_in_check_mode_is_looked_for_as_ever() -> None:
    arguments = {"version": THIS, "candidates": [sys.executable], "_ansible_check_mode": True}
    assert run_module("python_interpreter_info", arguments)["interpreter"] == BASE


def test_python_of_a_virtual_environment_stands_for_the_one_it_was_made_from() -> None:
    answer = find_python(sys.executable)
    assert (answer["interpreter"], answer["changed"]) == (BASE, False)


def test_python_is_found_in_path_and_by_pattern(tmp_path: Path) -> None:
    script(tmp_path / "python-here", f'exec {sys.executable} "$@"')
    assert find_python("python-here", PATH=f"{tmp_path}:/usr/bin:/bin")["interpreter"] == BASE
    assert find_python(tmp_path / "*-here")["interpreter"] == BASE


def test_python_of_another_version_is_passed_over_with_the_reason() -> None:
    answer = find_python(sys.executable, version="2.7")
    assert answer["interpreter"] is None
    assert answer["rejected"] == [{"path": sys.executable, "reason": f"{sys.executable} is python {THIS}."}]


def test_python_that_cannot_make_environments_is_passed_over_with_the_reason(tmp_path: Path) -> None:
    says = json.dumps({"version": THIS, "path": "/x", "lacks": ["ensurepip"]})
    bare = script(tmp_path / "python", f"echo '{says}'")
    assert find_python(bare)["rejected"] == [{"path": str(bare), "reason": f"{bare} has no ensurepip."}]


def test_python_that_is_broken_does_not_hide_the_next_one(tmp_path: Path) -> None:
    broken = script(tmp_path / "python", "echo no such version is installed; exit 127")
    answer = find_python(broken, sys.executable)
    assert answer["interpreter"] == BASE
    assert [row["path"] for row in answer["rejected"]] == [str(broken)]


def ask_driver(**environment: str) -> dict[str, Any]:
    return run_module("cuda_driver_info", {}, PATH=f"{SMI.parent}:{os.environ['PATH']}", **environment)


def test_cuda_takes_no_options() -> None:
    assert run_module("cuda_driver_info", {"driver": "install"})["failed"]


@pytest.mark.parametrize("check_mode", [False, True])
def test_cuda_of_a_driver_is_told_with_its_gpus_and_changes_nothing(check_mode: bool) -> None:
    arguments = {"_ansible_check_mode": check_mode}
    answer = run_module("cuda_driver_info", arguments, PATH=f"{SMI.parent}:{os.environ['PATH']}")
    assert not answer["changed"]
    assert (answer["driver_version"], answer["cuda_version"], answer["problem"]) == ("570.124.06", "12.8", None)
    assert answer["gpus"] == [{"name": "NVIDIA GeForce RTX 4090", "compute_capability": "8.9", "memory_mib": 24564}]


def test_cuda_of_drivers_that_call_it_otherwise_is_read_too() -> None:
    assert ask_driver(FAKE_HEADER="CUDA UMD Version", FAKE_CUDA="13.3")["cuda_version"] == "13.3"


def test_cuda_without_a_driver_is_an_answer_with_the_reason(tmp_path: Path) -> None:
    answer = run_module("cuda_driver_info", {}, PATH=str(tmp_path))
    assert (answer["cuda_version"], answer["problem"]) == (None, "nvidia-smi is not on this host.")


def test_cuda_of_a_driver_that_fails_is_an_answer_with_its_own_words() -> None:
    problem = ask_driver(FAKE_FAILURE="Failed to initialize NVML: Driver/library version mismatch")["problem"]
    assert "Driver/library version mismatch" in problem


def test_cuda_of_a_gpu_that_hides_its_generation_is_still_told() -> None:
    assert ask_driver(FAKE_CAPABILITY="[N/A]")["gpus"][0]["compute_capability"] is None


def test_variables_without_a_file_are_refused():
    assert run_module("env_file", {"secrets": {"HF_TOKEN": "hf_x"}})["failed"]


def test_variables_are_kept_once_and_only_in_earnest(tmp_path):
    file = tmp_path / "state" / "train.env"
    wish = {"path": str(file), "variables": {"N": 2}, "secrets": {"HF_TOKEN": "hf_geheim 'x'"}}

    checked = run_module("env_file", wish | {"_ansible_check_mode": True})
    assert (checked["changed"], file.exists()) == (True, False)

    real, again = run_module("env_file", wish), run_module("env_file", wish)
    assert (real["changed"], again["changed"]) == (True, False)
    assert file.read_text() == "N=2\nHF_TOKEN='hf_geheim '\"'\"'x'\"'\"''\n"
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert "geheim" not in json.dumps([checked, real, again])


def test_other_variables_stay_unless_the_file_is_ours_alone(tmp_path):
    file = tmp_path / "train.env"
    file.write_text("OTHER='a b'\nHF_TOKEN=old\n")
    wish = {"path": str(file), "secrets": {"HF_TOKEN": "new"}}
    assert run_module("env_file", wish)["changed"]
    assert file.read_text() == "OTHER='a b'\nHF_TOKEN=new\n"
    assert run_module("env_file", wish | {"exclusive": True})["changed"]
    assert file.read_text() == "HF_TOKEN=new\n"


def test_a_full_disk_leaves_the_file_as_it_was_and_no_part_of_a_token_beside_it(tmp_path):
    file = tmp_path / "train.env"
    file.write_text("A=b\n")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        answer = run_module("env_file", {"path": str(file), "secrets": {"HF_TOKEN": "x" * 9000}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert answer["code"] == "cannot_write"
    assert [each.name for each in tmp_path.iterdir()] == ["train.env"]
    assert file.read_text() == "A=b\n"


def test_a_file_that_others_may_read_is_closed(tmp_path):
    file = tmp_path / "train.env"
    file.write_text("A=b\n")
    file.chmod(0o644)
    assert run_module("env_file", {"path": str(file), "variables": {"A": "b"}})["changed"]
    assert file.stat().st_mode & 0o777 == 0o600
