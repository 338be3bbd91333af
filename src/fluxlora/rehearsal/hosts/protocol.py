"""The interface of the hosts behind the stand-in for vast.ai."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from fluxlora.rehearsal.hosts.containers import Containers

__all__ = ["Containers", "Hosts", "NoHosts"]


class Hosts(Protocol):
    """The methods that the stand-in needs. They may take seconds and are called from threads, one at a time for
    each host."""

    def start(
        self, instance_id: int, *, environment: Mapping[str, str], authorized_keys: Sequence[str], onstart: str
    ) -> int:
        """Boot a host; return the port of its sshd on 127.0.0.1. An exception's text becomes the instance's
        status_msg."""

    def authorize(self, instance_id: int, keys: Sequence[str]) -> None:
        """Make these the only keys with which root may log in."""

    def stop(self, instance_id: int) -> None:
        """Stop a host and keep its disk."""

    def restart(self, instance_id: int) -> int:
        """Boot a host again from its disk; return the port of its sshd."""

    def remove(self, instance_id: int) -> None:
        """Remove a host and its disk."""

    def vanish(self, instance_id: int) -> None:
        """Freeze a host: its clients get neither FIN nor RST."""

    def close(self) -> None:
        """Remove every host of this object."""


class NoHosts:
    """Accepts everything and boots nothing; port 0 means no host."""

    def start(
        self, instance_id: int, *, environment: Mapping[str, str], authorized_keys: Sequence[str], onstart: str
    ) -> int:
        return 0

    def authorize(self, instance_id: int, keys: Sequence[str]) -> None: ...
    def stop(self, instance_id: int) -> None: ...

    def restart(self, instance_id: int) -> int:
        return 0

    def remove(self, instance_id: int) -> None: ...
    def vanish(self, instance_id: int) -> None: ...
    def close(self) -> None: ...
