"""Pythons with the real SimpleTuners, made from the project's own locks into .cache/trainers and kept there.

By hand: `python tests/trainers/environments.py 4.10.1` makes that one and prints its python. NEWEST is 4.10.1's with
the newest loaders before it; where newer ones are published, change newest.txt and run the tests.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[2]
CACHE = PROJECT / ".cache" / "trainers"
ROLE = PROJECT / "roles" / "simpletuner"
SHIM = PROJECT / "src" / "fluxlora" / "rehearsal" / "cpu_shim"
PYTHONS = {"3.1.6": "3.11", "4.10.1": "3.12"}
# The newest diffusers and peft, with torch and transformers of the newest trainer.
NEWEST = "newest"
LOADERS = Path(__file__).with_name("newest.txt")


@dataclass(frozen=True)
class Trainer:
    """A real SimpleTuner; `run` calls its python as a rehearsal's host does, offline and with the CPU's shim."""

    version: str
    python: Path
    # What goes before its site-packages, the shim first.
    path: tuple[Path, ...] = (SHIM,)

    @property
    def environment(self) -> dict[str, str]:
        offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "SIMPLETUNER_LOG_LEVEL": "CRITICAL"}
        return os.environ | offline | {"PYTHONPATH": os.pathsep.join(map(str, self.path))}

    def run(self, *arguments: str | Path, timeout: int = 300, **more: Any) -> subprocess.CompletedProcess[str]:
        """One call of its python, which has to end well."""
        command = [str(self.python), *map(str, arguments)]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False, **more
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done


@cache
def trainer(version: str) -> Trainer:
    """The SimpleTuner of that version; its environment is made unless it is there."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with only_one():
        if version == NEWEST:
            return Trainer(version, trainer_python("4.10.1"), (SHIM, newest()))
        if version not in PYTHONS:
            return Trainer(version, trainer_python("3.1.6"), (SHIM, beside(version)))
        return Trainer(version, trainer_python(version))


@contextmanager
def only_one() -> Iterator[None]:
    """Two sessions of tests do not make the same environment."""
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def trainer_python(version: str) -> Path:
    """The python of an environment that holds exactly what the lock and the role's torch for CPUs say."""
    home = CACHE / version
    ingredients = [file.read_text() for file in sorted((ROLE / "files" / version).rglob("*.*"))] + role_settings()[
        "simpletuner_cpu_packages"
    ]
    stamp = home / f"made-{hashlib.sha256(repr(ingredients).encode()).hexdigest()[:16]}"
    if not stamp.exists():
        uv("venv", "--clear", f"--python={interpreter(PYTHONS[version])}", home)
        build = "cpu" if install_cpu_torch(home) else "cuda"
        locked = home / "locked.txt"
        locked.write_text(requirements(version, build))
        uv("pip", "install", f"--python={home}/bin/python", "--no-deps", "--require-hashes", f"--requirement={locked}")
        stamp.touch()
    return home / "bin" / "python"


def beside(version: str) -> Path:
    """A SimpleTuner that has no lock here, without what it depends on, to be run by another's python."""
    home = CACHE / version
    if not home.exists():
        uv("pip", "install", "--no-deps", f"--target={home}", f"simpletuner=={version}")
    return home


def newest() -> Path:
    """The packages of newest.txt, without what they depend on."""
    home = CACHE / f"{NEWEST}-{hashlib.sha256(LOADERS.read_bytes()).hexdigest()[:16]}"
    if not home.exists():
        making = CACHE / f"{NEWEST}-making"
        shutil.rmtree(making, ignore_errors=True)
        uv("pip", "install", "--no-deps", "--require-hashes", f"--target={making}", f"--requirement={LOADERS}")
        making.rename(home)
    return home


def requirements(version: str, build: str) -> str:
    """The lock in pip's words, whoever wrote it."""
    folder = ROLE / "files" / version / build
    if (written := folder / "requirements.txt").exists():
        return written.read_text()
    lines = []
    for package in tomllib.loads((folder / "poetry.lock").read_text())["package"]:
        markers = package.get("markers", "")
        # By group where the groups differ.
        markers = markers["main"] if isinstance(markers, dict) else markers
        hashes = " ".join(f"--hash={file['hash']}" for file in package["files"])
        lines.append(f"{package['name']}=={package['version']}{' ; ' if markers else ''}{markers} {hashes}\n")
    return "".join(lines)


def install_cpu_torch(home: Path) -> bool:
    """Whether pip finds a torch for CPUs for this python. Where not, the lock's larger one runs on a CPU too."""
    command = [tools() / "pip", f"--python={home}/bin/python", "install", "--quiet", "--no-deps", "--no-compile"]
    options = [*role_settings()["simpletuner_pip_options"], *role_settings()["simpletuner_cpu_packages"]]
    return subprocess.run([*command, *options], stderr=subprocess.DEVNULL, check=False, timeout=600).returncode == 0


@cache
def role_settings() -> dict[str, Any]:
    settings: dict[str, Any] = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    return settings


def interpreter(version: str) -> str:
    """A python on this machine, where the python role looks for one too; else its version, for uv to fetch it."""
    role = yaml.safe_load((PROJECT / "roles" / "python" / "defaults" / "main.yml").read_text())
    for candidate in role["python_candidates"]:
        pattern = str(Path(candidate.replace("{{ python_version }}", version)).expanduser())
        places = Path("/").glob(pattern[1:]) if pattern.startswith("/") else filter(None, [shutil.which(pattern)])
        for found in sorted(map(str, places)):
            if is_python(found, version):
                return found
    return version


def is_python(path: str, version: str) -> bool:
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=60).stdout
    return said.startswith(f"Python {version}.")


def tools() -> Path:
    """Where pip and the uv that the role is locked to lie."""
    home, locked = CACHE / "uv", ROLE / "files" / "uv" / "requirements.txt"
    if not (home / "bin" / "uv").exists():
        venv.create(home, with_pip=True, clear=True)
        run(home / "bin" / "pip", "install", "--quiet", "--require-hashes", f"--requirement={locked}")
    return home / "bin"


def uv(*arguments: str | Path) -> None:
    run(tools() / "uv", *arguments, "--quiet")


def run(*command: str | Path) -> None:
    # uv would take an activated environment for the one to work on.
    environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    subprocess.run(command, check=True, timeout=900, env=environment)


def main(versions: Sequence[str]) -> None:
    for version in versions or PYTHONS:
        print(trainer(version).python)


if __name__ == "__main__":
    main(sys.argv[1:])
