#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Download what of a training only the Hub has."""

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
short_description: Download what of a training only the Hub has
description:
  - Runs on the controller. The guard of an instance that ends while nobody is there sends the finished adapter to the
    Hub, or the newest checkpoint of a training that it cuts short.
  - A stranger's host has written what is there, so no link at home is followed, and files whose names fluxlora writes
    itself stay on the Hub.
  - The token is E(HF_TOKEN), and E(HF_ENDPOINT) names another Hub than the client's default.
options:
  repo:
    description: The repository; without a namespace in that of the token's user. It need not exist.
    type: str
    required: true
  path:
    description: The folder of the run's artifacts; the checkpoint becomes a folder in it.
    type: path
    required: true
  since:
    description: Only what came to the Hub after that belongs to the training, in seconds since the epoch.
    type: float
  found:
    description: What M(run_info) found there, as C(step), C(progress) and C(sha256). Left out, the Hub is asked.
    type: dict
  above:
    description: The step of the newest checkpoint at home; an older one stays where it is.
    type: int
    default: 0
  max_files:
    description: More files than this are refused.
    type: int
    default: 50000
  max_gb:
    description: More than this is refused, and so is what leaves less than 1 GB free on the disk.
    type: float
    default: 220
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Look what there is of the run
  run_info:
    run: my-style
    path: artifacts/my-style
    journal: .fluxlora/journal.jsonl
    repo: my-style
    budget_usd: 20
    deadline_hours: 24
  register: run

- name: Download what only the Hub has
  hub_artifacts:
    repo: my-style
    path: artifacts/my-style
    found: "{{ run.hub }}"
"""

RETURN = r"""
step:
  description: The checkpoint's step; 0 when the Hub has none that is newer.
  type: int
  returned: success
progress:
  description: The progress.json with which the training was finished, when its adapter is there; it comes home alone.
  type: dict
  returned: success
sha256:
  description: The finished adapter's, as the Hub says it.
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

# Of what was left out so many are told.
SHOWN = 5
ARGUMENT_SPEC = {
    "repo": {"type": "str", "required": True},
    "path": {"type": "path", "required": True},
    "since": {"type": "float"},
    "found": {"type": "dict"},
    "above": {"type": "int", "default": 0},
    "max_files": {"type": "int", "default": 50_000},
    "max_gb": {"type": "float", "default": 220},
}


def main() -> None:
    module = AnsibleModule(ARGUMENT_SPEC, required_one_of=[("since", "found")], supports_check_mode=True)
    repo, known = module.params["repo"], module.params["found"]
    try:
        api = hub.client(os.environ.get("HF_TOKEN", ""), os.environ.get("HF_ENDPOINT"))
        repo = hub.full_name(api, repo)
        if known:
            found = hub.Delivered(known["step"], known["progress"], known["sha256"])
        else:
            found = hub.look(api, repo, since=module.params["since"], above=module.params["above"])
        anything = bool(found.step or found.progress)
        if anything and not module.check_mode:
            bound = Bound(module.params["max_files"], round(module.params["max_gb"] * 1e9))
            left_out = hub.bring_home(api, repo, found, Path(module.params["path"]).absolute(), bound=bound)
            for sentence in left_out[:SHOWN]:
                module.warn(sentence)
    except HomeError as error:
        fail_with(module, error)
    except HubError as error:
        fail(
            module,
            f"What the Hub has of {repo} is not known: {str(error).rstrip('.')}.",
            hint=error.hint,
            code=error.code,
        )
    module.exit_json(changed=anything, **asdict(found))


if __name__ == "__main__":
    main()
