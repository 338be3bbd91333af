"""Whether an instance lets us in: what its ssh port answers, told apart by what it means for the instance."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from fluxlora.errors import InputError
from fluxlora.text import one_line
from fluxlora.vast import ssh
from fluxlora.vast.records import Endpoint


class Answer(Enum):
    IN = "it lets us in"
    # Packets get lost: nobody is there, or the way to it is dead.
    SILENT = "it does not answer"
    # The machine is there, its sshd is not, or not yet.
    REFUSED = "it refuses the connection"
    # Keys reach an instance some minutes late.
    DENIED = "it refuses the key"
    CHANGED = "it has another host key than before"


@dataclass(frozen=True)
class Probe:
    """An answer, and ssh's or the system's own words for it."""

    answer: Answer
    words: str = ""


@dataclass(frozen=True)
class Login:
    """How to log in. Host keys are pinned at first use, in a file for each instance: addresses are handed on."""

    key_file: Path
    known_hosts_dir: Path
    user: str = "root"
    connect_seconds: float = 10
    proxy_command: str = ""

    def require(self) -> None:
        """Raises InputError where no instance could ever let this computer in: that is known before one is paid."""
        try:
            self.known_hosts_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.key_file.open("rb").close()
        except OSError as error:
            raise InputError(
                f"No instance can be entered from here: {error.filename}: {error.strerror}.",
                hint="Name a private key that is there, and a folder for host keys that may be made.",
                code="no_login",
            ) from error
        if not shutil.which("ssh"):
            raise InputError("There is no ssh here.", hint="Install OpenSSH's client.", code="no_login")

    def try_at(self, instance_id: int, endpoint: Endpoint) -> Probe:
        """One attempt, which takes three times `connect_seconds` at most."""
        # Behind a proxy the way there is ssh's own.
        silent = None if self.proxy_command else self._knock(endpoint)
        return silent or self._enter(instance_id, endpoint)

    def _knock(self, endpoint: Endpoint) -> Probe | None:
        """None when somebody there speaks first, as sshd does."""
        try:
            with socket.create_connection((endpoint.host, endpoint.port), self.connect_seconds) as connection:
                if connection.recv(64):
                    return None
            return Probe(Answer.REFUSED, "the connection is closed at once")
        except (ConnectionRefusedError, ConnectionResetError) as refused:
            return Probe(Answer.REFUSED, refused.strerror or "")
        except OSError as error:
            return Probe(Answer.SILENT, error.strerror or "timed out")

    def _enter(self, instance_id: int, endpoint: Endpoint) -> Probe:
        # The inventory's own options, so that Ansible meets the key that is pinned here.
        words = [*ssh.CLOSED, *ssh.to_instance(instance_id, self.known_hosts_dir, self.proxy_command)]
        timeout = f"ConnectTimeout={max(1, round(self.connect_seconds))}"
        command = ["ssh", *words, "-n", "-i", str(self.key_file), "-o", timeout, "-p", str(endpoint.port)]
        # A file, since what a proxy command leaves running would hold a pipe open after ssh has ended.
        with tempfile.TemporaryFile("w+", errors="replace") as complaint:
            try:
                done = subprocess.run(
                    [*command, f"{self.user}@{endpoint.host}", "true"],
                    stdout=subprocess.DEVNULL, stderr=complaint, timeout=2 * self.connect_seconds, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                return Probe(Answer.SILENT, "ssh timed out")
            complaint.seek(0)
            return Probe(Answer.IN) if done.returncode == 0 else understood(complaint.read())


def understood(complaint: str) -> Probe:
    """What ssh means by what it writes when it fails."""
    # A host may say good-bye in words of its own.
    last = one_line((complaint.strip().splitlines() or [""])[-1])
    sign = complaint.lower()
    if "host key verification failed" in sign or "identification has changed" in sign:
        return Probe(Answer.CHANGED, last)
    if "permission denied" in sign or "too many authentication failures" in sign:
        return Probe(Answer.DENIED, last)
    return Probe(Answer.SILENT if "timed out" in sign else Answer.REFUSED, last)
