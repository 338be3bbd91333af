"""The options of every ssh to an instance. Its owner, a stranger, is root there, and must get nothing but commands.

Ansible (group_vars/vastai.yml), rsync (delivery/transfer.py) and the first login (renting/ssh_probe.py) use them.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

Words = tuple[str, ...]


def _options(options: Mapping[str, object]) -> Words:
    return tuple(word for name, value in options.items() for word in ("-o", f"{name}={value}"))


# Neither the user's own file nor the system's is read, because options cannot remove what these add to a list (SendEnv,
# RemoteForward, IdentityFile), or what a future OpenSSH adds. A later `-F FILE` by the user would still be read; then
# these options have precedence, because ssh uses the first value.
CLOSED: Words = (
    *("-F", "none"),
    *_options(
        {
            "ForwardAgent": "no",
            "ForwardX11": "no",
            "ClearAllForwardings": "yes",
            "Tunnel": "no",
            "PermitLocalCommand": "no",
            # Only the named key is offered, from its file or the agent, and not the public halves of all others.
            "IdentitiesOnly": "yes",
            "AddKeysToAgent": "no",
            # A host can ask for a password with any text.
            "PreferredAuthentications": "publickey",
            "BatchMode": "yes",
            "UpdateHostKeys": "no",
            # Without vast.ai's banner.
            "LogLevel": "ERROR",
        }
    ),
)
# Shared connections, each a socket that only the user may use. A host that vanishes sends no FIN, so without
# ServerAlive ssh would wait for ever.
_ANSIBLE = _options(
    {
        "ControlMaster": "auto",
        "ControlPersist": "60s",
        "ConnectTimeout": 10,
        "ServerAliveInterval": 3,
        "ServerAliveCountMax": 3,
    }
)


def to_instance(instance_id: int, known_hosts_dir: Path, proxy_command: str = "") -> Words:
    """Return the options that differ between instances: the host key, stored at the first login, and the proxy.

    Keys are stored by instance and not by address, because vast.ai reuses addresses.
    """
    file = str(known_hosts_dir / str(instance_id)).replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    pinned = {
        "HostKeyAlias": f"vastai-{instance_id}",
        "UserKnownHostsFile": f'"{file}"',
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "accept-new",
    }
    return _options(pinned | ({"ProxyCommand": proxy_command} if proxy_command else {}))


def of_ansible(args: str) -> str:
    """Return a host's `ansible_ssh_args`: the fixed options, then these shell words."""
    return shlex.join([*CLOSED, *shlex.split(args), *_ANSIBLE])
