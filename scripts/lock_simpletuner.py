#!/usr/bin/env python
"""Remakes what the simpletuner role installs from: SimpleTuner's locks, and the requirements of poetry and of uv.

files/VERSION/cuda/pyproject.toml is written by hand, and the lock beside it is solved from it: for 3.1.6 by poetry, for
4.10.1 by uv. files/VERSION/cpu is both without the packages that need CUDA, never solved, so that a rehearsal runs the
very versions that a GPU gets.
Where the package index answers no JSON, set POETRY_PYPI_MIRROR_URL to its address; it does not get into the lock.
"""

import hashlib
import json
import os
import re
import subprocess
import tempfile
import tomllib
import venv
from fnmatch import fnmatch
from pathlib import Path

FILES = Path(__file__).resolve().parent.parent / "roles" / "simpletuner" / "files"
POETRYS, UVS = FILES / "3.1.6", FILES / "4.10.1"

# The lock is read by the poetry that wrote it.
POETRY = ("poetry==2.5.1", "poetry-plugin-pypi-mirror==0.6.5")
UV = ("uv==0.13.9",)

# Wheels made for CUDA, and torch itself: it comes from an index of PyTorch's, beside which poetry would look for all.
NOT_FOR_CPU = ("torch", "torchvision", "torchaudio", "torchcodec", "triton", "bitsandbytes", "nvidia-*", "cuda-*")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        tools = Path(folder)
        venv.create(tools, with_pip=True)
        os.environ["POETRY_VIRTUALENVS_PATH"] = folder  # poetry makes one to look into source packages
        run(tools / "bin/pip", "install", "--quiet", *UV, *POETRY)
        uv, poetry = tools / "bin/uv", tools / "bin/poetry"
        for name, requirements in (("poetry", POETRY), ("uv", UV)):
            compile_lock(uv, FILES / name, "--python-version=3.11", "-", input="\n".join(requirements))
        run(poetry, "lock", "--project", POETRYS / "cuda")
        derive_poetrys_cpu()
        for build in ("cuda", "cpu"):
            run(poetry, "check", "--lock", "--project", POETRYS / build)
        compile_lock(uv, UVS / "cuda", "--python-version=3.12", UVS / "cuda" / "pyproject.toml")
        derive_uvs_cpu()


def compile_lock(uv: Path, folder: Path, *arguments: str | Path, input: str | None = None) -> None:
    folder.mkdir(exist_ok=True)
    options = (f"--project={folder}", "--universal", "--generate-hashes", "--no-emit-index-url", "--no-annotate")
    command = "--custom-compile-command=scripts/lock_simpletuner.py"
    output = f"--output-file={folder / 'requirements.txt'}"
    run(uv, "pip", "compile", "--quiet", *options, command, output, *arguments, input=input)


def derive_poetrys_cpu() -> None:
    cuda, cpu = POETRYS / "cuda", POETRYS / "cpu"
    pyproject = without_cuda_pyproject((cuda / "pyproject.toml").read_text())
    lock = without_cuda_lock((cuda / "poetry.lock").read_text(), content_hash(pyproject))
    cpu.mkdir(exist_ok=True)
    (cpu / "pyproject.toml").write_text(pyproject)
    (cpu / "poetry.lock").write_text(lock)


def derive_uvs_cpu() -> None:
    (UVS / "cpu").mkdir(exist_ok=True)
    lock = without_cuda_requirements((UVS / "cuda" / "requirements.txt").read_text())
    (UVS / "cpu" / "requirements.txt").write_text(lock)


def needs_cuda(package: str) -> bool:
    return any(fnmatch(package, pattern) for pattern in NOT_FOR_CPU)


def without_cuda_pyproject(text: str) -> str:
    """The project file with its comments replaced and the lines of such packages left out."""
    kept = []
    for line in text.splitlines(keepends=True):
        name = re.match(r"([\w.-]+) = ", line)
        if not line.startswith("#") and not (name and needs_cuda(name[1])):
            kept.append(line)
    return "# Made by scripts/lock_simpletuner.py: ../cuda without the packages that need CUDA.\n" + "".join(kept)


def without_cuda_lock(text: str, new_hash: str) -> str:
    """The lock without the entries of such packages. What depends on them still says so."""
    head, *entries = re.split(r"^(?=\[\[package\]\]|\[metadata\])", text, flags=re.MULTILINE)
    packages = [re.match(r'\[\[package\]\]\nname = "(.+)"', entry) for entry in entries]
    kept = [entry for entry, name in zip(entries, packages, strict=True) if not (name and needs_cuda(name[1]))]
    return re.sub(r'^content-hash = ".*"', f'content-hash = "{new_hash}"', head + "".join(kept), flags=re.MULTILINE)


def without_cuda_requirements(text: str) -> str:
    """The compiled requirements without such packages and their hashes."""
    head, *entries = re.split(r"^(?=\S+==)", text, flags=re.MULTILINE)
    return head + "".join(entry for entry in entries if not needs_cuda(entry.partition("==")[0]))


def content_hash(pyproject: str) -> str:
    """What poetry 2 writes into a lock to recognise the project file it was made from."""
    project = tomllib.loads(pyproject)["tool"]["poetry"]
    kept = {key: project.get(key) for key in ("dependencies", "source", "extras", "dev-dependencies")}
    kept["group"] = project["group"]
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def run(*command: str | Path, input: str | None = None) -> None:
    environment = os.environ | {"PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"}  # asks nobody for a password
    subprocess.run(command, input=input, text=True, check=True, timeout=600, env=environment)


if __name__ == "__main__":
    main()
