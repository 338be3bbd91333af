"""Checks the merged variables of a host against the specifications of all roles; a module does not get variables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from fluxlora.errors import FluxloraError
from fluxlora.settings.variables import Setting, faults, known, missing

PROJECT = Path(__file__).resolve().parents[2]


class ActionModule(ActionBase):  # type: ignore[misc]
    """See plugins/modules/settings_check.py for the documentation."""

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return, or fail with a sentence for each variable that is missing or has a wrong type."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        there = task_vars or {}
        try:
            variables = {name: variable for name, variable in known(PROJECT).items() if variable.owner != "playbooks"}
        except FluxloraError as error:
            return result | error.as_facts()
        evaluated = [self._evaluated(name, there[name]) for name in variables if name in there]
        wrong = [*missing(there, variables), *faults([setting for setting in evaluated if setting], variables)]
        if not wrong:
            return result | {"changed": False}
        return result | {"failed": True, "msg": "\n".join(wrong), "errors": wrong, "code": "bad_settings"}

    def _evaluated(self, name: str, value: Any) -> Setting | None:
        """Return the value of a template; None if it is only defined on an instance."""
        try:
            return Setting(name, self._templar.template(value))
        except AnsibleError:
            return None
