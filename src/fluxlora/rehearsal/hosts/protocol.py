"""The machines behind the stand-in vast.ai."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from fluxlora.rehearsal.hosts.containers import Containers

__all__ = ["Containers", "Hosts", "NoHosts"]


class Hosts(Protocol):
    """What the stand-in needs of them. Calls may take seconds: they come from threads, one at a time for each host."""

    def start(
        self,
        instance_id: int,
        *,
        environment: Mapping[str, str],
        authorized_keys: Sequence[str],
        onstart: str,
        image: str = "",
    ) -> int:
        """Boot a host; the port of its sshd on 127.0.0.1. An exception's text becomes the instance's status_msg."""

    def authorize(self, instance_id: int, keys: Sequence[str]) -> None:
        """Make these the only keys root may log in with."""

    def stop(self, instance_id: int) -> None:
        """End it and keep its disk."""

    def restart(self, instance_id: int) -> int:
        """Boot it again from its disk; the port of its sshd."""

    def remove(self, instance_id: int) -> None:
        """End it, disk and all."""

    def vanish(self, instance_id: int) -> None:
        """Freeze it: what talks to it sees no FIN and no RST."""

    def close(self) -> None:
        """Remove every host of this object."""


class NoHosts:
    """Accepts everything and boots nothing: port 0 is nobody's."""

    def start(
        self,
        instance_id: int,
        *,
        environment: Mapping[str, str],
        authorized_keys: Sequence[str],
        onstart: str,
        image: str = "",
    ) -> int:
        return 0

    def authorize(self, instance_id: int, keys: Sequence[str]) -> None: ...
    def stop(self, instance_id: int) -> None: ...

    def restart(self, instance_id: int) -> int:
        return 0

    def remove(self, instance_id: int) -> None: ...
    def vanish(self, instance_id: int) -> None: ...
    def close(self) -> None: ...
