"""Tries to log in to an instance, and distinguishes the answers by what they mean for the instance."""

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
    """The answer of an ssh port, and its meaning."""

    IN = "it accepts the login"
    # Packets get lost: there is no machine, or no connection to it.
    SILENT = "it does not answer"
    # The machine is reachable, but its sshd does not run yet, or not at all.
    REFUSED = "it refuses the connection"
    # Keys may arrive on an instance some minutes late.
    DENIED = "it refuses the key"
    CHANGED = "it has another host key than before"


@dataclass(frozen=True)
class Probe:
    """An answer, and the message of ssh or of the system."""

    answer: Answer
    words: str = ""


@dataclass(frozen=True)
class Login:
    """How to log in. Host keys are stored at the first login, in a file for each instance, because addresses are
    reused."""

    key_file: Path
    known_hosts_dir: Path
    user: str = "root"
    connect_seconds: float = 10
    proxy_command: str = ""

    def require(self) -> None:
        """Raise InputError if this computer could not log in to any instance, before one is rented."""
        try:
            self.known_hosts_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.key_file.open("rb").close()
        except OSError as error:
            raise InputError(
                f"This computer cannot log in to instances: {error.filename}: {error.strerror}.",
                hint="Name an existing private key, and a folder for host keys that can be created.",
                code="no_login",
            ) from error
        if not shutil.which("ssh"):
            raise InputError("ssh is not installed.", hint="Install OpenSSH's client.", code="no_login")

    def try_at(self, instance_id: int, endpoint: Endpoint) -> Probe:
        """Try once; this takes at most three times `connect_seconds`."""
        # With a proxy only ssh itself can connect.
        silent = None if self.proxy_command else self._knock(endpoint)
        return silent or self._enter(instance_id, endpoint)

    def _knock(self, endpoint: Endpoint) -> Probe | None:
        """Return None if the other side sends text first, as sshd does."""
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
        # The inventory's own options, so that Ansible uses the host key that is stored here.
        words = [*ssh.CLOSED, *ssh.to_instance(instance_id, self.known_hosts_dir, self.proxy_command)]
        timeout = f"ConnectTimeout={max(1, round(self.connect_seconds))}"
        command = ["ssh", *words, "-n", "-i", str(self.key_file), "-o", timeout, "-p", str(endpoint.port)]
        # A file, because a process that a proxy command leaves behind would keep a pipe open after ssh has ended.
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
    """Return the meaning of ssh's error output."""
    # A host may send any text before it disconnects.
    last = one_line((complaint.strip().splitlines() or [""])[-1])
    sign = complaint.lower()
    if "host key verification failed" in sign or "identification has changed" in sign:
        return Probe(Answer.CHANGED, last)
    if "permission denied" in sign or "too many authentication failures" in sign:
        return Probe(Answer.DENIED, last)
    return Probe(Answer.SILENT if "timed out" in sign else Answer.REFUSED, last)
