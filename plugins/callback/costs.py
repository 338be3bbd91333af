"""After a play that went wrong: which instances still cost money, which were taken away, and what to do about both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

from fluxlora.errors import FluxloraError
from fluxlora.money.spending import still_costs
from fluxlora.renting.losses import interruption
from fluxlora.runner.passes import INTERRUPTED, interrupted_line
from fluxlora.vast.client import Vast

DOCUMENTATION = """
name: costs
type: aggregate
short_description: names the instances that still cost money when a run fails, and those that were taken away
description:
  - After a failed or unreachable host it prints the instance's id, what it costs an hour and has cost,
    and the command that ends it.
  - After train.yml it asks vast.ai whether an interruptible instance behind such a host was taken away. Where all that
    went wrong is such an interruption, the exit status is 75, and the same call again goes on.
options: {}
"""

TRAIN = "train.yml"
# The hosts of every step from the rent on. What fails before, another pass would not get past.
GROUP = "may_spend"


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """One sentence for each instance that a failed run leaves behind."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "costs"
    # Nobody who lists other callbacks in ANSIBLE_CALLBACKS_ENABLED switches this one off.
    CALLBACK_NEEDS_ENABLED = False

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._troubled: dict[str, dict[str, Any]] = {}
        self._rented: set[str] = set()
        self._playbook = ""

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Remember which playbook it is."""
        self._playbook = Path(playbook._file_name).name

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
        """Name what still costs money, last, where it is read; and end with another status after an interruption."""
        failed = {host for host in stats.processed if (s := stats.summarize(host))["failures"] or s["unreachable"]}
        interrupted = set()
        for host, variables in self._troubled.items():
            if host not in failed or not variables.get("vastai_id"):
                continue
            if how := _interruption(variables) if self._playbook == TRAIN and host in self._rented else "":
                interrupted.add(host)
                line = interrupted_line(host, variables["vastai_id"], how)
            else:
                price, started = (variables.get(f"vastai_{name}") for name in ("price_per_hour", "started_at"))
                line = still_costs(host, variables["vastai_id"], price, started)
            self._display.display(line, color="yellow")
        if failed and failed == interrupted:
            # Passes through Ansible, which ends its workers and removes its temporary files.
            raise SystemExit(INTERRUPTED)

    def _remember(self, result: Any) -> None:
        variables = result.host.get_vars()
        if instance_id := result.result.get("instance_id"):
            variables = variables | {"vastai_id": instance_id}
        self._troubled[result.host.get_name()] = variables
        if GROUP in {group.name for group in result.host.get_groups()}:
            self._rented.add(result.host.get_name())


def _interruption(variables: Mapping[str, Any]) -> str:
    """How the instance was taken away; empty where it was not, or where vast.ai does not answer."""
    try:
        return interruption(
            Vast(), variables["vastai_id"], str(variables.get("ansible_host", "")), variables.get("ansible_port", 22)
        )
    except FluxloraError:
        return ""
