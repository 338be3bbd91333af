"""Says, after a play that went wrong, which instances still cost money and how to end that."""

from __future__ import annotations

from typing import Any

from ansible.plugins.callback import CallbackBase

from fluxlora.money.spending import still_costs

DOCUMENTATION = """
name: costs
type: aggregate
short_description: names the instances that still cost money when a run fails
description:
  - After a failed or unreachable host it prints the instance's id, what it costs an hour and has cost,
    and the command that ends it.
requirements:
  - enabled in ansible.cfg
options: {}
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """One sentence for each instance that a failed run leaves behind."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "costs"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._troubled: dict[str, dict[str, Any]] = {}

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Remember the instance behind the host, or the one the failing module names."""
        if not ignore_errors:
            self._remember(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """A host that vanished may still be billed."""
        self._remember(result)

    def v2_runner_on_ok(self, result: Any) -> None:
        """An instance that was destroyed since costs nothing any more."""
        if result.result.get("instance_absent"):
            self._troubled.pop(result.host.get_name(), None)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Name what still costs money, last, where it is read."""
        failed = {host for host in stats.processed if (s := stats.summarize(host))["failures"] or s["unreachable"]}
        for host, variables in self._troubled.items():
            if host in failed and variables.get("vastai_id"):
                price, started = (variables.get(f"vastai_{name}") for name in ("price_per_hour", "started_at"))
                self._display.display(still_costs(host, variables["vastai_id"], price, started), color="yellow")

    def _remember(self, result: Any) -> None:
        variables = result.host.get_vars()
        if instance_id := result.result.get("instance_id"):
            variables = variables | {"vastai_id": instance_id}
        self._troubled[result.host.get_name()] = variables
