"""The options of every ssh to an instance: its owner is a stranger and root there, and gets commands and nothing else.

Ansible (group_vars/vastai.yml), rsync (transfer.py) and the first login (renting/login.py) all take them from here.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

Words = tuple[str, ...]


def _options(options: Mapping[str, object]) -> Words:
    return tuple(word for name, value in options.items() for word in ("-o", f"{name}={value}"))


# Neither the user's own file nor the system's is read: options cannot take back what these add to a list (SendEnv,
# RemoteForward, IdentityFile), nor what a later OpenSSH invents. A last `-F FILE` of the user's own still counts, and
# then the options, of which ssh keeps the first value, refuse what such a file gives away.
CLOSED: Words = (
    *("-F", "none"),
    *_options(
        {
            "ForwardAgent": "no",
            "ForwardX11": "no",
            "ClearAllForwardings": "yes",
            "Tunnel": "no",
            "PermitLocalCommand": "no",
            # The key that is named, by its file or by the agent: not the public halves of all others.
            "IdentitiesOnly": "yes",
            "AddKeysToAgent": "no",
            # A host may ask for a password by a text of its own choice.
            "PreferredAuthentications": "publickey",
            "BatchMode": "yes",
            "UpdateHostKeys": "no",
            # Without vast.ai's banner.
            "LogLevel": "ERROR",
        }
    ),
)
# The shared connections, of which each is a socket that the user alone may use; and since a host that vanishes sends
# no FIN, ssh would wait for it for ever without ServerAlive.
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
    """The options that differ between instances: the host key, pinned at first use, and the way there.

    Keys are pinned by instance rather than by address, because vast.ai reuses addresses.
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
    """What `ansible_ssh_args` holds for a host: these shell words, which the closed options go before."""
    return shlex.join([*CLOSED, *shlex.split(args), *_ANSIBLE])
