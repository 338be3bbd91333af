#!/usr/bin/python
"""Keep a program running in a tmux session, started only once."""

from __future__ import annotations

import shlex
import time

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.failures import fail

DOCUMENTATION = r"""
module: tmux_session
short_description: Keep a program running in a tmux session
description:
  - Starts a program in a detached tmux session if no session of that name exists, or ends the session.
  - A session ends with its program. A program that runs in its session is never started a second time.
options:
  name:
    description: Name of the session.
    type: str
    required: true
  state:
    description: Whether the session must exist.
    type: str
    choices: [present, absent]
    default: present
  command:
    description: The program and its arguments, visible for every user of the host. Required if O(state=present).
    type: list
    elements: str
  chdir:
    description: Folder to start in.
    type: path
requirements:
  - tmux on the host
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Start the training
  tmux_session:
    name: training
    command: [/root/.fluxlora/supervisor.py, run]
    chdir: /root/SimpleTuner

- name: End the training
  tmux_session:
    name: training
    state: absent
"""

RETURN = r"""
command:
  description: The session's command, as one line for a shell.
  type: str
  returned: when it was started
code:
  description: Why it failed; one of no_tmux, ended_at_once, tmux_failed.
  type: str
  returned: failure
hint:
  description: What to do next, for people.
  type: str
  returned: failure
"""

# Seconds within which a program that cannot start has ended.
SETTLE_SECONDS = 0.3
HINT = "Look at the sessions of the host with `tmux ls`."


def main() -> None:
    """Compare the session with the wanted state, and start or end it."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "command": {"type": "list", "elements": "str"},
            "chdir": {"type": "path"},
        },
        required_if=[("state", "present", ["command"])],
        supports_check_mode=True,
    )
    tmux = module.get_bin_path("tmux")
    name, wanted = module.params["name"], module.params["state"] == "present"
    if tmux is None:
        if wanted and not module.check_mode:
            fail(module, "tmux is not installed on the host.", hint="Install tmux there.", code="no_tmux")
        module.exit_json(changed=wanted)

    def alive() -> bool:
        return bool(module.run_command([tmux, "has-session", "-t", "=" + name])[0] == 0)

    if alive() == wanted:
        module.exit_json(changed=False)
    if module.check_mode:
        module.exit_json(changed=True)
    if not wanted:
        code, _, error = module.run_command([tmux, "kill-session", "-t", "=" + name])
        if code != 0 and alive():
            fail(module, f"tmux could not end the session {name}: {error.strip()}", hint=HINT, code="tmux_failed")
        module.exit_json(changed=True)
    line = " ".join(shlex.quote(word) for word in module.params["command"])
    where = ["-c", module.params["chdir"]] if module.params["chdir"] else []
    # -u: the trainer's progress bars are UTF-8, whatever locale an ssh session has.
    code, _, error = module.run_command(
        [tmux, "-u", "new-session", "-d", "-s", name, *where, line], expand_user_and_vars=False
    )
    if code != 0:
        fail(module, f"tmux could not start the session {name}: {error.strip()}", hint=HINT, code="tmux_failed")
    time.sleep(SETTLE_SECONDS)
    if not alive():
        hint = "Run it by hand on the host to see why."
        fail(module, f"The program of the session {name} ended at once: {line}", hint=hint, code="ended_at_once")
    module.exit_json(changed=True, command=line)


if __name__ == "__main__":
    main()
