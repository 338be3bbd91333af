"""The role `cuda` refuses what cannot train, before gigabytes are installed, and says what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
SMI = PROJECT / "tests" / "data"


def apply_role(folder: Path, *settings: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The role on this host, whose driver is what the environment makes of the stand-in."""
    playbook = folder / "cuda.yml"
    playbook.write_text("- hosts: localhost\n  gather_facts: false\n  roles: [cuda]\n")
    (folder / "nobody.yml").write_text("nobody:\n")
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(folder / "nobody.yml"), str(playbook)]
    return subprocess.run(
        [*command, *(word for setting in settings for word in ("-e", setting))],
        env=os.environ | {"ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "PATH": f"{SMI}:/usr/bin:/bin"} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("driver", "words"),
    [
        ({"FAKE_CUDA": "12.4"}, ["570.124.06", "up to 12.4", "needs 12.8"]),
        ({"FAKE_CAPABILITY": "7.5"}, ["RTX 4090", "compute capability 8.0", "bf16"]),
        ({"FAKE_FAILURE": "No devices were found"}, ["no usable GPU", "No devices were found"]),
    ],
)
def test_a_host_that_cannot_train_is_refused_with_the_reason_and_the_way_out(
    tmp_path: Path, driver: dict[str, str], words: list[str]
) -> None:
    done = apply_role(tmp_path, **driver)
    said = " ".join(done.stdout.split())
    assert done.returncode == 2, done.stdout + done.stderr
    assert [word for word in [*words, "fluxlora destroy localhost"] if word not in said] == []


@pytest.mark.parametrize(
    "driver",
    [{"FAKE_CUDA": "12.8"}, {"FAKE_CUDA": "13.3", "FAKE_HEADER": "CUDA UMD Version"}, {"FAKE_CAPABILITY": "[N/A]"}],
)
def test_a_host_that_can_train_is_left_as_it_is(tmp_path: Path, driver: dict[str, str]) -> None:
    done = apply_role(tmp_path, **driver)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=0" in done.stdout


def test_without_need_of_a_gpu_none_is_looked_for_and_that_is_said(tmp_path: Path) -> None:
    done = apply_role(tmp_path, "cuda_required=false", PATH="/nowhere")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the driver is not checked" in done.stdout
