"""The SimpleTuners that can be chosen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from fluxlora.errors import InputError
from fluxlora.trainer.versions import RELEASES, release

ROLES = Path(__file__).parents[2] / "roles"


def test_an_unknown_version_is_refused_with_those_that_are_known():
    with pytest.raises(InputError, match=r"'3\.1\.5'.*3\.1\.6 or 4\.10\.1"):
        release("3.1.5")


def test_the_role_knows_the_same_versions():
    specs = yaml.safe_load((ROLES / "simpletuner/meta/argument_specs.yml").read_text())
    assert specs["argument_specs"]["main"]["options"]["simpletuner_version"]["choices"] == list(RELEASES)


@pytest.mark.parametrize("version", ["3.1.6", "4.10.1"])
def test_the_lock_is_for_the_python_and_the_image_brings_it(version):
    pyproject = (ROLES / "simpletuner/files" / version / "cuda/pyproject.toml").read_text()
    assert re.search(rf'python = "(>=|==){re.escape(release(version).python)}[.,]', pyproject)
    assert release(version).image.endswith(f"-py{release(version).python.replace('.', '')}")


@pytest.mark.parametrize("version", ["3.1.6", "4.10.1"])
def test_the_locked_torch_is_built_for_the_cuda(version):
    (lock,) = [
        path.read_text()
        for path in (ROLES / "simpletuner/files" / version / "cuda").iterdir()
        if path.name in ("poetry.lock", "requirements.txt")
    ]
    runtime = re.search(r'nvidia-cuda-runtime(?:-cu12)?(?:==|"\nversion = ")(\d+\.\d+)', lock)
    assert runtime
    assert runtime[1] == release(version).cuda


def test_the_roles_defaults_are_those_of_the_default_version():
    default = release(yaml.safe_load((ROLES / "simpletuner/defaults/main.yml").read_text())["simpletuner_version"])
    of = {role: yaml.safe_load((ROLES / role / "defaults/main.yml").read_text()) for role in ("python", "cuda")}
    assert (of["python"]["python_version"], of["cuda"]["cuda_min_version"]) == (default.python, default.cuda)
