"""Reads the variables that this call got with -e, which only the controller knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible.parsing.vault import EncryptedString
from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars

from fluxlora.settings.variables import known

PROJECT = Path(__file__).resolve().parents[2]


class ActionModule(ActionBase):  # type: ignore[misc]
    """See plugins/modules/given_settings.py for the documentation.

    To use it in a playbook: `given_settings:` with `register: given`; `given.settings` is then a mapping of names
    to values, and `given.withheld` the names whose values are secret. `variables.known(project)` has the type of
    each name, and what reads it.
    """

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the extra variables as Ansible merged them."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        given: dict[str, Any] = load_extra_vars(self._loader)
        secrets = {name for name, variable in known(PROJECT).items() if variable.secret}
        withheld = sorted(name for name, value in given.items() if name in secrets or _is_encrypted(value))
        # The conversion to JSON removes Ansible's mark of trust, so they are not evaluated as templates where they are
        # used.
        settings = json.loads(json.dumps({name: given[name] for name in given if name not in withheld}, default=str))
        return result | {"changed": False, "settings": settings, "withheld": withheld}


def _is_encrypted(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_is_encrypted, value.values()))
    if isinstance(value, list):
        return any(map(_is_encrypted, value))
    return isinstance(value, EncryptedString)
