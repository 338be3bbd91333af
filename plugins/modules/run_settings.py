#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keep the settings of a run, and compare them with those of a later call."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from fluxlora.delivery.checkpoint import checkpoint_at_home
from fluxlora.errors import FluxloraError
from fluxlora.money.journal import Journal
from fluxlora.runner import run_settings

from ..module_utils.failures import fail_with

DOCUMENTATION = r"""
module: run_settings
short_description: Keep the settings of a run, and compare them with those of a later call
description:
  - A later call continues the same run. The settings with which a run was started, as given with C(-e), are kept on
    this computer in a file of variables, without secrets and readable only by its owner.
  - They apply while that training is unfinished, by the journal and the run's instance. After its adapter is delivered,
    or the user has destroyed its instance, the next training is a new one, and they are ignored.
  - Runs on the controller.
options:
  run:
    description: Name of the run.
    type: str
    required: true
  state:
    description: C(compared) only reads; C(present) keeps the settings that apply, with those of O(given) over them.
    type: str
    choices: [compared, present]
    default: compared
  given:
    description: The settings of this call with C(-e), as M(given_settings) returns them.
    type: dict
    default: {}
  withheld:
    description: Names of the call's other settings, which are secret.
    type: list
    elements: str
    default: []
  folder:
    description: Folder of the runs' files; it need not exist.
    type: path
    required: true
  journal:
    description: The file that records what was rented, interrupted, destroyed and delivered; it need not exist.
    type: path
    required: true
  instance_id:
    description: The run's instance; 0 for none.
    type: int
    default: 0
  asks:
    description: Whether the call may spend money, so that a changed setting needs O(accept).
    type: bool
    default: false
  accept:
    description:
      - C(changed) uses the settings of this call over the kept ones, C(new) uses only them. Empty refuses changed
        settings. Settings that do not fit a local checkpoint are always refused.
    type: str
    choices: ["", changed, new]
    default: ""
  artifacts_dir:
    description: Folder of all runs' artifacts, unless the settings name another.
    type: path
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Read the settings of this call
  given_settings:
  register: given

- name: Compare them with the run's kept settings
  run_settings:
    run: my-style
    given: "{{ given.settings }}"
    folder: .fluxlora/runs
    journal: .fluxlora/journal.jsonl
"""

RETURN = r"""
goes_on:
  description: Whether the run has kept settings that apply.
  type: bool
  returned: success
file:
  description: The file of kept settings; empty if none apply.
  type: str
  returned: success
settings:
  description: The kept settings that apply.
  type: dict
  returned: success
differences:
  description: The settings that differ from the kept ones; each with C(setting), C(kept), C(now) and C(effect).
  type: list
  elements: dict
  returned: always
lines:
  description: The same as lines for people.
  type: list
  elements: str
  returned: success
code:
  description: The kind of failure, for programs.
  type: str
  returned: failure
  sample: settings_differ
hint:
  description: What to do next, for people.
  type: str
  returned: failure
"""

ARGUMENT_SPEC = {
    "run": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["compared", "present"], "default": "compared"},
    "given": {"type": "dict", "default": {}},
    "withheld": {"type": "list", "elements": "str", "default": []},
    "folder": {"type": "path", "required": True},
    "journal": {"type": "path", "required": True},
    "instance_id": {"type": "int", "default": 0},
    "asks": {"type": "bool", "default": False},
    "accept": {"type": "str", "choices": ["", "changed", "new"], "default": ""},
    "artifacts_dir": {"type": "path"},
}


def main() -> None:
    module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True)
    wanted = module.params
    run, folder, changed = wanted["run"], Path(wanted["folder"]), False
    differences: tuple[run_settings.Difference, ...] = ()
    try:
        given, secrets = run_settings.of_run(wanted["given"])
        found = run_settings.read(folder, run)
        entries = Journal(Path(wanted["journal"])).entries(run)
        goes_on, alone = found.goes_on(entries, wanted["instance_id"]), wanted["accept"] == "new"
        differences = run_settings.compare(found.settings, given, alone=alone) if goes_on else ()
        before = found.settings if goes_on and not alone else {}
        if wanted["asks"]:
            places = (given.get("artifacts_dir"), found.settings.get("artifacts_dir"), wanted["artifacts_dir"])
            home = next((Path(str(place)).expanduser() / run for place in places if place), None)
            checkpoint = checkpoint_at_home(home, entries) if home else None
            run_settings.require(run, differences, accepted=bool(wanted["accept"]), checkpoint=checkpoint)
        if wanted["state"] == "present":
            changed = run_settings.write(folder, run, {**before, **given}, dry_run=module.check_mode)
    except FluxloraError as error:
        facts = [difference.as_facts() for difference in differences]
        fail_with(module, error, differences=facts)
    withheld = [*wanted["withheld"], *secrets]
    module.exit_json(
        changed=changed,
        goes_on=goes_on,
        file=str(run_settings.file_of(folder, run)) if before else "",
        settings=before,
        differences=[difference.as_facts() for difference in differences],
        lines=run_settings.lines(
            run, found, differences, goes_on=bool(before), rented=bool(wanted["instance_id"]), withheld=withheld
        ),
    )


if __name__ == "__main__":
    main()
