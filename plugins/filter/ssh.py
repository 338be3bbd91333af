"""Filters for the options of ssh, for group variables."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fluxlora.vast.ssh import of_ansible, to_instance


class FilterModule:
    """Filters with the options of fluxlora.vast.ssh, as shell words for Ansible's variables."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "ssh_args_of_ansible": of_ansible,
            "ssh_args_to_instance": lambda instance_id, known_hosts_dir, proxy_command="": shlex.join(
                to_instance(int(instance_id), Path(known_hosts_dir), proxy_command)
            ),
        }
