"""Runs the container engine and apt, with limits."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fluxlora.errors import RehearsalError

Say = Callable[[str], None]

# podman's own message.
SINGLE_ID = "Using rootless single mapping into the namespace."
IMAGE_FOLDER = Path(__file__).parent / "image"


def to_stderr(line: str) -> None:
    """Print progress for people; stdout is for programs."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def run(
    argv: Sequence[str],
    *,
    within_seconds: float,
    environment: Mapping[str, str] | None = None,
    stop: signal.Signals = signal.SIGTERM,
) -> subprocess.CompletedProcess[str]:
    """Run a command without the terminal's Ctrl-C; it gets `stop` if we are interrupted or it takes too long.

    Raises RehearsalError if it took too long; the caller checks the exit status.
    """
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, **(environment or {})},
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=within_seconds)
    except BaseException as error:
        _end(process, stop)
        if isinstance(error, subprocess.TimeoutExpired):
            raise RehearsalError(f"{argv[0]} {argv[1]} did not finish within {within_seconds:.0f} s.") from error
        raise
    return subprocess.CompletedProcess(argv, process.returncode, out, err)


def _end(process: subprocess.Popen[str], stop: signal.Signals) -> None:
    """End a process, first with `stop`: apt-get then lets a running dpkg finish."""
    process.send_signal(stop)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=60)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Engine:
    """podman or docker: their command lines are the same for everything that is used here."""

    def __init__(self, path: str) -> None:
        self._path = path
        # crun refuses a hybrid cgroup tree; a user's own settings take precedence.
        hybrid = Path("/sys/fs/cgroup/unified").is_dir() and "CONTAINERS_CONF" not in os.environ
        self._environment = {"CONTAINERS_CONF": str(IMAGE_FOLDER / "containers.conf")} if hybrid else {}

    def __str__(self) -> str:
        return Path(self._path).name

    def attempt(self, *arguments: str, within_seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Run one command of the engine; the caller checks the exit status."""
        return run([self._path, *arguments], within_seconds=within_seconds, environment=self._environment)

    def __call__(self, *arguments: str, within_seconds: float = 60) -> str:
        """Run one command of the engine and return its output. Raises RehearsalError with the engine's last lines."""
        done = self.attempt(*arguments, within_seconds=within_seconds)
        if done.returncode:
            raise RehearsalError(f"{self} {arguments[0]} failed: {last_words(done.stderr or done.stdout)}")
        return done.stdout.strip()

    def complaint(self) -> str | None:
        """Return None if the engine works for this user, otherwise its own error message."""
        try:
            done = self.attempt("info", "--format", "{{json .}}", within_seconds=60)
        except RehearsalError as error:
            return str(error)
        if done.returncode:
            return done.stderr.strip() or done.stdout
        # For an ordinary user podman also answers if it cannot unpack images, and warns only once.
        return SINGLE_ID if _has_one_id(done.stdout) else None


def _has_one_id(info: str) -> bool:
    """Return whether `podman info` describes a rootless engine whose containers have a single user."""
    try:
        host = json.loads(info)["host"]
        return (
            bool(host["security"]["rootless"]) and sum(mapping["size"] for mapping in host["idMappings"]["uidmap"]) == 1
        )
    except (ValueError, LookupError, TypeError):
        return False  # docker's


def last_words(text: str) -> str:
    """Return the last three lines of an output, joined."""
    return " / ".join(text.strip().splitlines()[-3:])


def install(*packages: str) -> None:
    """Install Debian packages as root. Raises RehearsalError with apt's last lines."""
    environment = {"DEBIAN_FRONTEND": "noninteractive"}
    install_line = [
        "apt-get",
        "install",
        "--yes",
        "--no-install-recommends",
        "-o",
        "DPkg::Lock::Timeout=120",
        *packages,
    ]
    # apt fails while another update runs, for example that of a second rehearsal on a new machine.
    in_turn = ["flock", "--no-fork", "--timeout", "600", "/run/fluxlora-apt.lock"]
    for argv in (["apt-get", "update", "-qq"], install_line):
        # SIGINT: apt-get then lets a running dpkg finish.
        done = run([*in_turn, *argv], within_seconds=600, environment=environment, stop=signal.SIGINT)
        if done.returncode:
            raise RehearsalError(
                f"apt-get could not install {' '.join(packages)}: {last_words(done.stderr)}",
                hint=f"Type: apt-get update && apt-get install --yes {' '.join(packages)}",
            )
