#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Download results of a training that are only on the Hub."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from fluxlora.delivery import hub
from fluxlora.errors import HubError
from fluxlora.untrusted.files import Bound, HomeError

from ..module_utils.failures import fail, fail_with

DOCUMENTATION = r"""
module: hub_artifacts
short_description: Download results of a training that are only on the Hub
description:
  - Runs on the controller. Before a guard destroys its instance, it sends the finished adapter to the Hub, or the
    newest checkpoint of an unfinished training.
  - A stranger's host has written these files, so no local link is followed, and files with names that fluxlora writes
    itself are left on the Hub.
  - The token is E(HF_TOKEN), and E(HF_ENDPOINT) sets another Hub than the client's default.
options:
  repo:
    description: The repository; without a namespace it is the token's user's. It need not exist.
    type: str
    required: true
  path:
    description: The folder of the run's artifacts; the checkpoint becomes a folder in it.
    type: path
    required: true
  since:
    description: Only files that arrived on the Hub after this belong to the training, in seconds since the epoch.
    type: float
    required: true
  above:
    description: The step of the newest local checkpoint; older ones are not downloaded.
    type: int
    default: 0
  max_files:
    description: More files than this are refused.
    type: int
    default: 50000
  max_gb:
    description: More than this is refused, and also if less than 1 GB would stay free on the disk.
    type: float
    default: 220
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Find the checkpoint to resume from
  home_checkpoint_info:
    path: artifacts/my-style
    run: my-style
    journal: .fluxlora/journal.jsonl
  register: home

- name: Download what is only on the Hub
  hub_artifacts:
    repo: my-style
    path: artifacts/my-style
    since: "{{ home.began_at }}"
    above: "{{ home.step }}"
"""

RETURN = r"""
step:
  description: The checkpoint's step; 0 if the Hub has no newer one.
  type: int
  returned: success
progress:
  description: The progress.json of a finished training, if its adapter is on the Hub; then only these are downloaded.
  type: dict
  returned: success
sha256:
  description: The finished adapter's sha256, according to the Hub.
  type: str
  returned: success
code:
  description: Why it failed; one of no_token, bad_token, unreachable, offline, download_failed, too_much,
    disk_full, link_at_home, hub_error.
  type: str
  returned: failure
hint:
  description: What to do next, for people.
  type: str
  returned: failure
"""

# How many refused files are named.
SHOWN = 5
ARGUMENT_SPEC = {
    "repo": {"type": "str", "required": True},
    "path": {"type": "path", "required": True},
    "since": {"type": "float", "required": True},
    "above": {"type": "int", "default": 0},
    "max_files": {"type": "int", "default": 50_000},
    "max_gb": {"type": "float", "default": 220},
}


def main() -> None:
    module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True)
    repo = module.params["repo"]
    try:
        api = hub.client(os.environ.get("HF_TOKEN", ""), os.environ.get("HF_ENDPOINT"))
        repo = hub.full_name(api, repo)
        found = hub.find_delivery(api, repo, since=module.params["since"], above=module.params["above"])
        anything = bool(found.step or found.progress)
        if anything and not module.check_mode:
            bound = Bound(module.params["max_files"], round(module.params["max_gb"] * 1e9))
            left_out = hub.download(api, repo, found, Path(module.params["path"]).absolute(), bound=bound)
            for sentence in left_out[:SHOWN]:
                module.warn(sentence)
    except HomeError as error:
        fail_with(module, error)
    except HubError as error:
        fail(
            module,
            f"The files of {repo} on the Hub are not known: {str(error).rstrip('.')}.",
            hint=error.hint,
            code=error.code,
        )
    module.exit_json(changed=anything, **asdict(found))


if __name__ == "__main__":
    main()
