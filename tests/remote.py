"""What tests need to reach a host by ssh, or to play one."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from fluxlora.vast.records import Endpoint


def keygen(file: Path, passphrase: str = "", comment: str = "") -> Path:
    """A new ssh key in that file, its public half beside it."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(file)]
    subprocess.run([*command, *(["-C", comment] if comment else [])], check=True, timeout=30)
    return file


def connection(key: Path) -> dict[str, str]:
    """The variables with which Ansible reaches a host of this machine, whatever its host key is."""
    return {
        "ansible_host": "127.0.0.1",
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(key),
        "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
    }


def wait_for_ssh(port: int, within_seconds: float = 30) -> None:
    """Return when an sshd answers on that port of this machine; raises TimeoutError where none does."""
    end_of_waiting = time.monotonic() + within_seconds
    while time.monotonic() < end_of_waiting:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connected:
                if connected.recv(4) == b"SSH-":
                    return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"No sshd answers on port {port} after {within_seconds:.0f} s.")


@contextmanager
def greeting(words: bytes = b"SSH-2.0-x\r\n") -> Iterator[Endpoint]:
    """An address that says this to whoever comes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            while True:
                try:
                    peer = server.accept()[0]
                except OSError:
                    return
                with peer:
                    peer.sendall(words)

        Thread(target=greet, daemon=True).start()
        yield Endpoint("127.0.0.1", server.getsockname()[1], True)
        server.shutdown(socket.SHUT_RDWR)
