"""The shim that lets the trainer run without a GPU: an interpreter of its own, and modules that behave like torch's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SHIM = Path(__file__).parents[2] / "src/fluxlora/rehearsal/cpu_shim"
TORCH = """
import types
class Tensor:
    def pin_memory(self, device=None):
        raise RuntimeError("Found no NVIDIA driver")
cuda = types.SimpleNamespace(is_available=lambda: {gpu})
version = types.SimpleNamespace(cuda={version!r})
declared = []
class Library:
    def __init__(self, name, kind):
        self.name = name
    def define(self, signature):
        declared.append(self.name + "::" + signature.partition("(")[0])
library = types.SimpleNamespace(Library=Library)
"""
TORCHVISION = (
    "import torch\nif 'torchvision::nms' not in torch.declared:\n    raise RuntimeError('nms does not exist')\n"
)
TORCHAUDIO_UTILS = "def _load_lib(name):\n    raise OSError('undefined symbol')\n"
TORCHAUDIO_EXTENSION = "from .utils import _load_lib\navailable = _load_lib('_torchaudio')\n"


@pytest.fixture
def run(tmp_path):
    """Runs a program where the named kind of torch is installed; its output, or the last line of its failure."""

    def run(
        program: str, *, gpu: bool = False, version: str | None = None, shim: bool = True, vision: str = "0.28.0"
    ) -> str:
        metadata = tmp_path / f"torchvision-{vision}.dist-info"
        metadata.mkdir(exist_ok=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torchvision\nVersion: {vision}\n")
        extension = tmp_path / "torchaudio/_extension"
        extension.mkdir(parents=True, exist_ok=True)
        (tmp_path / "torch.py").write_text(TORCH.format(gpu=gpu, version=version))
        (tmp_path / "torchvision.py").write_text(TORCHVISION)
        (extension / "utils.py").write_text(TORCHAUDIO_UTILS)
        (extension / "__init__.py").write_text(TORCHAUDIO_EXTENSION)
        (extension.parent / "__init__.py").write_text("from . import _extension\n")
        path = os.pathsep.join([*([str(SHIM)] if shim else []), str(tmp_path)])
        command = [sys.executable, "-c", program]
        done = subprocess.run(
            command,
            env={"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=30,
        )
        return (done.stdout or done.stderr).strip().splitlines()[-1]

    return run


def test_pinning_is_the_identity_without_a_gpu(run):
    program = "import torch; tensor = torch.Tensor(); print(tensor.pin_memory('cpu') is tensor)"
    assert "no NVIDIA driver" in run(program, shim=False)
    assert run(program) == "True"


def test_pinning_is_left_alone_where_there_is_a_gpu(run):
    assert "no NVIDIA driver" in run("import torch; torch.Tensor().pin_memory()", gpu=True, version="12.8")


def test_torchvision_for_cuda_imports_beside_torch_for_the_cpu(run):
    program = "import torchvision, torch; print(torch.declared)"
    assert "nms does not exist" in run(program, shim=False)
    assert run(program) == "['torchvision::nms', 'torchvision::qnms']"


def test_torchvision_for_the_cpu_declares_its_operators_itself(run):
    assert run("import torch, torchvision", vision="0.28.0+cpu").endswith("nms does not exist"), "ours were declared"


def test_torchaudio_for_cuda_imports_beside_torch_for_the_cpu(run):
    program = "import torchaudio; print(torchaudio._extension.available)"
    assert "undefined symbol" in run(program, shim=False)
    assert run(program) == "False"


def test_binaries_are_left_alone_beside_torch_for_cuda(run):
    assert "undefined symbol" in run("import torchaudio", version="12.8")
    assert "nms does not exist" in run("import torchvision", version="12.8")


def test_other_programs_are_not_disturbed(run):
    assert run("import sys, json; print('torch' in sys.modules)") == "False"
