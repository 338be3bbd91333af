#!/usr/bin/python
"""Documentation only: the work is done on the controller, by plugins/action/settings_check.py."""

DOCUMENTATION = r"""
module: settings_check
short_description: Check the merged variables of a host against the specifications of all roles
description:
  - Each role checks its own variables when it runs, but most roles run on a machine that costs money.
  - Fails with a sentence for each required variable that is not set, and for each value of a wrong type. A variable
    that cannot be evaluated yet is checked by its role.
  - Has no options, runs on the controller, and needs no connection to the host for which it is called.
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
  description: The mistakes, one sentence each.
  type: list
  elements: str
  returned: failure
code:
  description: The kind of failure, for programs; bad_settings.
  type: str
  returned: failure
"""
