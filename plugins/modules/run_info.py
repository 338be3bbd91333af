#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What there is of a run: its instance, its checkpoints here and on the Hub, its cost, and what may be done with it."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from fluxlora.delivery import hub
from fluxlora.delivery.checkpoint import checkpoint_at_home
from fluxlora.delivery.verdict import verdict
from fluxlora.errors import FluxloraError, HubError
from fluxlora.estimates.work import Work
from fluxlora.money.budget import RunLimits
from fluxlora.money.journal import Entry, Journal, newest_instance, replacements, training_began
from fluxlora.money.spending import account
from fluxlora.renting.destroy import listed
from fluxlora.renting.losses import loss
from fluxlora.vast.client import Vast
from fluxlora.vast.records import Instance

from ..module_utils.account import ACCOUNT_OPTIONS
from ..module_utils.failures import fail_with

DOCUMENTATION = r"""
module: run_info
short_description: What there is of a run, from one look at vast.ai, the journal, this computer and the Hub
description:
  - Runs on the controller and changes nothing.
  - The Hub is asked only for a run whose training goes on and that has no instance, or one that was taken away.
extends_documentation_fragment: fluxlora.vastai.account
options:
  run:
    description: Name of the run.
    type: str
    required: true
  name:
    description: Name of the host in the inventory, which is another one for a second instance of the run.
    type: str
  instance:
    description:
      - The instance as the inventory of vast.ai has it in C(vastai_instance), empty for none. Left out, the account's
        list is read.
    type: dict
  path:
    description: The folder of the run's artifacts; it need not exist.
    type: path
    required: true
  journal:
    description: The file of what was rented, lost and destroyed; it need not exist.
    type: path
    required: true
  repo:
    description: The repository on the Hub that the run's guard sends to; empty where the Hub is not asked.
    type: str
    default: ""
  budget_usd:
    description: What the run may cost in all, in $.
    type: float
    required: true
  deadline_hours:
    description: Hours from the run's first rent until its last instance must be gone.
    type: float
    required: true
  work:
    description: What the plan says of the run, as for M(run_budget_info).
    type: dict
    default: {}
  discard:
    description: Whether the instance may be destroyed though its artifacts were not downloaded.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
seealso:
  - module: run_budget_info
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
  register: found
"""

RETURN = r"""
instance:
  description: The instance as vast.ai lists it, without anything secret; null when there is none.
  returned: success
  type: dict
loss:
  description: How an interruptible instance was taken away; outbid, preempted or lost, and empty while it was not.
  returned: success
  type: str
usable:
  description: Whether there is an instance that was not taken away.
  returned: success
  type: bool
unfinished:
  description: Whether the training has begun and goes on.
  returned: success
  type: bool
local:
  description: What this computer has of the training.
  returned: success
  type: dict
  contains:
    step:
      description: The step of the newest whole checkpoint of this training; 0 when there is none.
      type: int
    began_at:
      description: When its first instance was rented, in seconds since the epoch; 0 when the training is new.
      type: float
    instance:
      description: Its newest instance, with C(id), C(gpu), C(price_per_hour) in $ and C(started_at).
      type: dict
    replacements:
      description: How many of its instances were taken away so far.
      type: int
hub:
  description: What only the Hub has.
  returned: success
  type: dict
  contains:
    step:
      description: The step of its newest checkpoint; 0 when the Hub has none that is newer than the local one.
      type: int
    progress:
      description: The progress.json with which the training was finished; empty while it is not.
      type: dict
    sha256:
      description: The finished adapter's checksum, as the Hub says it.
      type: str
hub_line:
  description: The same as a person reads it; empty where the Hub has nothing.
  returned: success
  type: str
checkpoint:
  description: From where a new instance resumes, once what the Hub has is downloaded; C(step) and C(folder).
  returned: success
  type: dict
cost:
  description: What the run has cost and what is left, as M(run_budget_info) returns it.
  returned: success
  type: dict
may_destroy:
  description: Whether the instance may be destroyed, because its artifacts were downloaded or O(discard) is set.
  returned: success
  type: bool
refusal:
  description: Why it may not be destroyed, and what to do; empty where it may.
  returned: success
  type: str
description:
  description: The instance, what it has cost and whether its artifacts were downloaded, as a person reads it.
  returned: success
  type: str
code:
  description: The kind of failure, for programs.
  returned: failure
  type: str
  sample: no_journal
hint:
  description: What to do next, for people.
  returned: failure
  type: str
"""

ARGUMENT_SPEC = {
    **ACCOUNT_OPTIONS,
    "run": {"type": "str", "required": True},
    "name": {"type": "str"},
    "instance": {"type": "dict"},
    "path": {"type": "path", "required": True},
    "journal": {"type": "path", "required": True},
    "repo": {"type": "str", "default": ""},
    "budget_usd": {"type": "float", "required": True},
    "deadline_hours": {"type": "float", "required": True},
    "work": {"type": "dict", "default": {}},
    "discard": {"type": "bool", "default": False},
}
_NAMES = {field.name for field in fields(Instance)}


def instance_of(given: dict[str, Any]) -> Instance | None:
    """The instance that was given, or that vast.ai lists."""
    if given["instance"] is not None:
        known = {name: value for name, value in given["instance"].items() if name in _NAMES}
        return Instance(**known) if known else None
    return next(iter(listed(Vast(given["api_key"], given["url"]), given["run"])), None)


def on_the_hub(repo: str, began: float, step: int) -> hub.Delivered:
    """What only the Hub has of the training. Raises HubError."""
    api = hub.client(os.environ.get("HF_TOKEN", ""), os.environ.get("HF_ENDPOINT"))
    try:
        repo = hub.full_name(api, repo)
        return hub.look(api, repo, since=began, above=step)
    except HubError as error:
        sentence = f"What the Hub has of {repo} is not known: {str(error).rstrip('.')}."
        raise HubError(sentence, hint=error.hint, code=error.code) from error


def description(name: str, instance: Instance, cost_line: str, downloaded: bool) -> str:
    """One sentence for who is asked whether it may go."""
    return (
        f"{name}: instance {instance.id}, {instance.gpu_name} in {instance.geolocation}, "
        f"{instance.status or 'not started'}; ${instance.price_per_hour or 0:.3f} an hour; {cost_line}; its artifacts "
        f"{'were downloaded' if downloaded else 'were NOT downloaded'}."
    )


def hub_line(run: str, found: hub.Delivered) -> str:
    """What only the Hub has, for the plan; empty for nothing."""
    if found.progress:
        return f"{run} has been trained: its adapter is on the Hub, `train` downloads it and rents nothing"
    if found.step:
        return f"{run} has got to checkpoint {found.step}, which `train` downloads from the Hub and resumes from"
    return ""


def gather(given: dict[str, Any]) -> dict[str, Any]:
    """All of it. Raises FluxloraError."""
    folder, name = Path(given["path"]), given["name"] or given["run"]
    entries: list[Entry] = Journal(Path(given["journal"])).entries(given["run"])
    instance = instance_of(given)
    how = loss(instance) if instance else ""
    usable = instance is not None and not how
    began, step = training_began(entries) or 0.0, checkpoint_at_home(folder, entries) or 0
    elsewhere = hub.Delivered()
    if given["repo"] and began and not usable:
        elsewhere = on_the_hub(given["repo"], began, step)
    limits = RunLimits.of(Work.of(given["work"]), given["budget_usd"], given["deadline_hours"])
    there = asdict(instance) if instance else None
    # One that was taken away is replaced, and counts among those that were there before.
    cost = account(entries, limits, there if usable else None, {}, {}, now=time.time())
    found = verdict(name, instance, folder, discard=given["discard"])
    newest = max(step, elsewhere.step)
    return {
        "hub_line": hub_line(given["run"], elsewhere),
        "instance": there,
        "loss": str(how),
        "usable": usable,
        "unfinished": usable or bool(began and not elsewhere.progress),
        "local": {
            "step": step,
            "began_at": began,
            "instance": newest_instance(entries),
            "replacements": replacements(entries),
        },
        "hub": asdict(elsewhere),
        "checkpoint": {"step": newest, "folder": str(folder.absolute() / f"checkpoint-{newest}") if newest else ""},
        "cost": cost.as_facts(),
        "may_destroy": found.may_destroy,
        "refusal": found.refusal,
        "description": description(name, instance, cost.line(), found.downloaded) if instance else "",
    }


def main() -> None:
    module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True)
    try:
        found = gather(module.params)
    except FluxloraError as error:
        fail_with(module, error)
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
