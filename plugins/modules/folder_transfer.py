#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Copy a folder to or from an instance by rsync."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from fluxlora.delivery.transfer import SshTarget, pull, push
from fluxlora.errors import FluxloraError
from fluxlora.untrusted.files import Bound

from ..module_utils.failures import fail_with

DOCUMENTATION = r"""
module: folder_transfer
short_description: Copy a folder to or from an instance by rsync
description:
  - Runs on the controller and copies one folder to the other, sending only what changed.
  - A pull deletes nothing, and downloads only regular files. Links, and files with names that fluxlora writes itself,
    such as C(manifest.json), are left on the instance. A local link in the path is refused.
  - A push refuses a link, or with O(follow_links) one to outside of the folder, before anything is sent.
options:
  direction:
    description: C(pull) copies O(remote) to O(local), C(push) the other way.
    type: str
    choices: [pull, push]
    required: true
  local:
    description: The folder on the controller; for a pull the run's artifacts folder, which is made if it is missing.
    type: path
    required: true
  into:
    description: The folder in O(local) for a pull; O(local) itself if it is empty.
    type: str
    default: ""
  remote:
    description: The folder on the instance.
    type: str
    required: true
  ssh:
    description: How to reach the instance.
    type: dict
    required: true
    suboptions:
      host:
        description: Address of the instance.
        type: str
        required: true
      port:
        description: Port of its sshd.
        type: int
        default: 22
      user:
        description: User to log in as.
        type: str
        default: root
      key_file:
        description: File of the private key; ssh's own choice if it is empty.
        type: str
        default: ""
      ssh_args:
        description: More arguments for ssh, as shell words.
        type: str
        default: ""
  excludes:
    description: Patterns of files that are neither copied nor deleted.
    type: list
    elements: str
    default: []
  only:
    description: Names of the files to copy, if not all. For a pull.
    type: list
    elements: str
    default: []
  delete:
    description: Whether files that are not in the local folder are deleted on the instance. For a push.
    type: bool
    default: false
  follow_links:
    description: Whether a link to a target inside the folder is sent as that target. For a push.
    type: bool
    default: false
  max_files:
    description: More files than this are refused. For a pull.
    type: int
    default: 50000
  max_gb:
    description: More than this is refused, and also if less than 1 GB would stay free on the disk. For a pull.
    type: float
    default: 220
  timeout_seconds:
    description: Longest time for the copy.
    type: float
    default: 3600
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Download checkpoints
  folder_transfer:
    direction: pull
    remote: /root/SimpleTuner/output/models
    local: artifacts/my-style
    max_gb: 100
    ssh:
      host: 203.0.113.7
      port: 40022
  delegate_to: localhost
"""

RETURN = r"""
files:
  description: The copied files, or in check mode those that would be; relative to the folder.
  type: list
  elements: str
  returned: success
left_out:
  description: A sentence for each requested file that was refused.
  type: list
  elements: str
  returned: when pulling
code:
  description:
    - The kind of failure, for programs.
    - One of unreachable, timeout, no_rsync, no_such_folder, link_at_home, link_in_folder, too_much, disk_full,
      transfer_failed.
  type: str
  returned: failure
hint:
  description: What to do next, for people.
  type: str
  returned: failure
"""

SSH_SPEC = {
    "host": {"type": "str", "required": True},
    "port": {"type": "int", "default": 22},
    "user": {"type": "str", "default": "root"},
    # The name of a file, not a key.
    "key_file": {"type": "str", "default": "", "no_log": False},
    "ssh_args": {"type": "str", "default": ""},
}
# How many refused files are named.
SHOWN = 5
ARGUMENT_SPEC = {
    "direction": {"type": "str", "choices": ["pull", "push"], "required": True},
    "local": {"type": "path", "required": True},
    "into": {"type": "str", "default": ""},
    "remote": {"type": "str", "required": True},
    "ssh": {"type": "dict", "required": True, "options": SSH_SPEC},
    "excludes": {"type": "list", "elements": "str", "default": []},
    "only": {"type": "list", "elements": "str", "default": []},
    "delete": {"type": "bool", "default": False},
    "follow_links": {"type": "bool", "default": False},
    "max_files": {"type": "int", "default": 50_000},
    "max_gb": {"type": "float", "default": 220},
    "timeout_seconds": {"type": "float", "default": 3600},
}


def main() -> None:
    module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True)
    wanted = module.params
    target, local, remote = SshTarget(**wanted["ssh"]), Path(wanted["local"]), wanted["remote"]
    common = {
        "excludes": wanted["excludes"],
        "timeout_seconds": wanted["timeout_seconds"],
        "dry_run": module.check_mode,
    }
    try:
        if wanted["direction"] == "pull":
            bound = Bound(wanted["max_files"], round(wanted["max_gb"] * 1e9))
            pulled = pull(target, remote, local, into=wanted["into"], only=wanted["only"], bound=bound, **common)
            result = {"files": pulled.files, "left_out": pulled.left_out}
        else:
            links = wanted["follow_links"]
            result = {"files": push(target, local, remote, delete=wanted["delete"], follow_links=links, **common)}
    except FluxloraError as error:
        fail_with(module, error)
    for sentence in result.get("left_out", [])[:SHOWN]:
        module.warn(sentence)
    module.exit_json(changed=bool(result["files"]), **result)


if __name__ == "__main__":
    main()
