"""Prints after a failure which instances still cost money, and the command that destroys them."""

from __future__ import annotations

from typing import Any

from ansible.plugins.callback import CallbackBase

from fluxlora.money.spending import still_costs

DOCUMENTATION = """
name: costs
type: aggregate
short_description: Names the instances that still cost money after a failure
description:
  - After a failed or unreachable host it prints the instance's id, its price per hour, its cost so far,
    and the command that destroys it.
requirements:
  - enabled in ansible.cfg
options: {}
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Prints one sentence for each instance that a failed run leaves behind."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "costs"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._troubled: dict[str, dict[str, Any]] = {}

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Remember the host's instance, or the one that the failed module names."""
        if not ignore_errors:
            self._remember(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Remember the instance of a host that vanished, because it may still cost money."""
        self._remember(result)

    def v2_runner_on_ok(self, result: Any) -> None:
        """Forget an instance that was destroyed, because it costs nothing any more."""
        if result.result.get("instance_absent"):
            self._troubled.pop(result.host.get_name(), None)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Print what still costs money, at the end, where users see it."""
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
