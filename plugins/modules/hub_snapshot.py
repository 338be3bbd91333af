#!/usr/bin/python
"""Download a repository of the Hugging Face Hub into the host's cache."""

from __future__ import annotations

import os
import shlex
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.failures import fail

DOCUMENTATION = r"""
module: hub_snapshot
short_description: Download a repository of the Hugging Face Hub into the host's cache
description:
  - Downloads what is missing in the cache, with the huggingface_hub of the python that runs this module.
  - Set C(ansible_python_interpreter) to the python of the programs that read the cache afterwards.
options:
  repo:
    description: The repository, as C(owner/name).
    type: str
    required: true
  revision:
    description: Branch, tag or commit.
    type: str
    default: main
  excludes:
    description: Patterns of files that are not downloaded.
    type: list
    elements: str
    default: []
  endpoint:
    description: Address of another Hub than the client's default.
    type: str
    default: ""
  token:
    description:
      - Token that may read the repository.
      - A module that runs with C(async) stores its arguments on the host until it ends; use O(token_file) then.
    type: str
    default: ""
  token_file:
    description: File on the host with a line C(HF_TOKEN=...), as M(env_file) writes it. It need not exist.
    type: path
requirements:
  - huggingface_hub
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Download the model
  hub_snapshot:
    repo: black-forest-labs/FLUX.1-dev
    excludes: [flux1-dev.safetensors]
    token: "{{ lookup('ansible.builtin.env', 'HF_TOKEN') }}"
  vars:
    ansible_python_interpreter: /root/SimpleTuner/.venv/bin/python
"""

RETURN = r"""
path:
  description: The snapshot's folder in the cache; empty in check mode if it would be downloaded.
  type: str
  returned: success
files:
  description: The downloaded files, or in check mode those that would be.
  type: list
  elements: str
  returned: success
code:
  description: Why it failed; one of no_client, bad_token, gated, no_such_repository, download_failed.
  type: str
  returned: failure
hint:
  description: What to do next, for people.
  type: str
  returned: failure
"""


def main() -> None:
    """Compare the repository with the cache, download what is missing, and translate the client's errors."""
    module = AnsibleModule(
        argument_spec={
            "repo": {"type": "str", "required": True},
            "revision": {"type": "str", "default": "main"},
            "excludes": {"type": "list", "elements": "str", "default": []},
            "endpoint": {"type": "str", "default": ""},
            "token": {"type": "str", "default": "", "no_log": True},
            "token_file": {"type": "path", "no_log": False},
        },
        supports_check_mode=True,
    )
    try:
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
    except ImportError as error:
        hint = "Set ansible_python_interpreter to a python that has it, or install it with pip."
        fail(module, f"This python has no huggingface_hub: {error}.", hint=hint, code="no_client")
    repo = module.params["repo"]
    try:
        module.exit_json(**ensure(module.params, dry_run=module.check_mode))
    except GatedRepoError:
        hint = "Accept the licence on the page of " + repo + " with the account that HF_TOKEN belongs to."
        fail(module, f"{repo} is gated, and this token may not read it.", hint=hint, code="gated")
    except RepositoryNotFoundError:
        hint = "Check whether HF_TOKEN is set and valid, and whether the name is right."
        fail(module, f"The Hub has no {repo} for this account.", hint=hint, code="no_such_repository")
    except Exception as error:  # The client does not catch errors of requests, of the disk and of its own checks.
        refused = getattr(getattr(error, "response", None), "status_code", None) == 401
        hint = "Set HF_TOKEN to a valid token." if refused else "What has arrived is kept; run the command again."
        code = "bad_token" if refused else "download_failed"
        fail(module, f"{repo} was not downloaded: {error}", hint=hint, code=code)


def ensure(wanted: dict[str, Any], *, dry_run: bool) -> dict[str, Any]:
    """Download the missing files, except in a dry run, and return their names."""
    from huggingface_hub import HfApi, snapshot_download, try_to_load_from_cache

    endpoint, token = wanted["endpoint"] or None, wanted["token"] or token_in(wanted["token_file"])
    repo, hub = wanted["repo"], HfApi(endpoint=endpoint, token=token)
    commit = hub.repo_info(repo, revision=wanted["revision"]).sha
    missing = [
        name
        for name in hub.list_repo_files(repo, revision=commit)
        if not any(fnmatch(name, pattern) for pattern in wanted["excludes"])
        and not isinstance(try_to_load_from_cache(repo, name, revision=commit), str)
    ]
    if dry_run and missing:
        return {"changed": True, "path": "", "files": missing}
    path = snapshot_download(
        repo, revision=wanted["revision"], ignore_patterns=wanted["excludes"], endpoint=endpoint, token=token
    )
    return {"changed": bool(missing), "path": path, "files": missing}


def token_in(path: str | None) -> str | None:
    """Return HF_TOKEN from a file of NAME=VALUE lines, quoted for the shell."""
    try:
        words = shlex.split(Path(path or os.devnull).read_text(encoding="utf-8"), comments=True)
    except FileNotFoundError:
        return None
    return dict(word.split("=", 1) for word in words if "=" in word).get("HF_TOKEN")


if __name__ == "__main__":
    main()
