#!/usr/bin/python
"""Documentation only: the work is done on the controller, by plugins/action/given_settings.py."""

DOCUMENTATION = r"""
module: given_settings
short_description: Read the variables that this call was given with -e
description:
  - Returns the extra variables of this very call of C(ansible-playbook), from every C(-e), C(-e @file) and JSON alike,
    as Ansible merged them. Variables of the inventory, of groups and of roles are not among them.
  - Values are as they were given, so C(-e a=1) is the text C(1), and a template is its text and not its result.
  - Secrets are withheld, those of vault and those that a specification marks with C(no_log).
  - Takes no options, works on the controller, needs no connection to the host that it is called for.
options: {}
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Read what was given
  given_settings:
  register: given

- name: Show it
  ansible.builtin.debug:
    msg: "{{ given.settings }}"
"""

RETURN = r"""
settings:
  description: Every variable that was given, and its value.
  type: dict
  returned: always
  sample: {run_name: my-style, simpletuner_max_train_steps: "1500"}
withheld:
  description: Names of variables that were given with a secret value.
  type: list
  elements: str
  returned: always
"""
