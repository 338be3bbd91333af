#!/usr/bin/python
"""Documentation only: the work is done on the controller, by plugins/action/settings_check.py."""

DOCUMENTATION = r"""
module: settings_check
short_description: Check the merged variables of a host against the specifications of all roles
description:
  - Each role checks its own variables when it runs; most of them run on a machine that is paid for.
  - Fails with a sentence for each variable that a role requires and that is not set, and for each whose value is of a
    wrong type. A variable that cannot be evaluated yet is left to its role.
  - Takes no options, works on the controller, needs no connection to the host that it is called for.
options: {}
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Check the settings of every role
  settings_check:
"""

RETURN = r"""
errors:
  description: What is wrong, one sentence each.
  type: list
  elements: str
  returned: failure
code:
  description: The kind of failure, for programs; bad_settings.
  type: str
  returned: failure
"""
