"""Reads the progress of a training, and validates the instance's answer."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from fluxlora.delivery.progress import Progress
from fluxlora.errors import FluxloraError
from fluxlora.money.spending import still_costs
from fluxlora.text import one_line
from fluxlora.untrusted.schemas import ProgressRecord, malformed, read


class ActionModule(ActionBase):  # type: ignore[misc]
    """See plugins/modules/training_info.py for the documentation."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the status, the progress and its lines; a malformed answer is a failure."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        known = task_vars or {}
        host = known["inventory_hostname"]
        # The module runs on the instance, so the host can return anything.
        answer = self._execute_module(module_name="training_info", task_vars=task_vars)
        if answer.get("failed") or answer.get("unreachable"):
            failure = {"msg": one_line(answer.get("msg"), 1000), "unreachable": bool(answer.get("unreachable"))}
            return result | failure | {"failed": True, "progress": {}, "alive": False}
        alive, text = answer.get("alive") is True, answer.get("text")
        source = f"progress.json on the instance of {host}"
        try:
            if not isinstance(text, str):
                raise malformed(source, "it was not returned as text")
            progress = Progress(read(ProgressRecord, text, source) if text.strip() else None, alive)
        except FluxloraError as error:
            hint = still_costs(host, known.get("vastai_id"), known.get("vastai_price_per_hour"))
            return result | error.as_facts() | {"hint": hint, "alive": alive, "progress": {}}
        return result | {
            "changed": False,
            "status": progress.status,
            "alive": alive,
            "progress": progress.as_facts(),
            "lines": progress.report(),
        }
