#!/usr/bin/python
"""Documentation only: the work is done on the controller, by plugins/action/given_settings.py."""

DOCUMENTATION = r"""
module: given_settings
short_description: Read the variables that this call got with -e
description:
  - Returns the extra variables of this call of C(ansible-playbook), from every C(-e), C(-e @file) and JSON, as Ansible
    merged them. Variables of the inventory, of groups and of roles are not included.
  - Values are not changed, so C(-e a=1) is the text C(1), and a template is its text and not its result.
  - Secrets are not returned: those of vault, and those that a specification marks with C(no_log).
  - Has no options, runs on the controller, and needs no connection to the host for which it is called.
options: {}
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Read the given settings
  given_settings:
  register: given

- name: Show them
  ansible.builtin.debug:
    msg: "{{ given.settings }}"
"""

RETURN = r"""
settings:
  description: Every given variable and its value.
  type: dict
  returned: always
  sample: {run_name: my-style, simpletuner_max_train_steps: "1500"}
withheld:
  description: Names of given variables with a secret value.
  type: list
  elements: str
  returned: always
"""
