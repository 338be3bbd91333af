"""Follows a training until it ends, shows each step, and brings checkpoints home as they appear."""

from __future__ import annotations

import json
import os
import shlex
import time
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from fluxlora.errors import FluxloraError
from fluxlora.losses import wait_for_loss
from fluxlora.progress import Progress
from fluxlora.spending import of_lease
from fluxlora.transfer import SshTarget, pull
from fluxlora.vastai import Vast

COSTS_EVERY_SECONDS = 600

display = Display()


class ActionModule(ActionBase):  # type: ignore[misc]
    """See plugins/modules/training_follow.py for the documentation."""

    _supports_check_mode = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return when the training has finished, failed, or can no longer be seen."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        args = self._task.args
        try:
            state, session = args["state"], args["session"]
            interval, deadline = float(args["interval_seconds"]), time.monotonic() + 3600 * float(args["timeout_hours"])
        except KeyError as error:
            raise AnsibleActionFail(f"training_follow needs {error}") from error
        host = (task_vars or {})["inventory_hostname"]
        costs = Costs(host)
        shown: str | None = None
        fetched: set[int] = set()
        first_loss: float | None = None
        controller = os.getppid()
        while time.monotonic() < deadline:
            # This worker outlives a controller that is killed, and would be in the way of the next one.
            if os.getppid() != controller:
                return result | self._failure("controller_lost", f"Nobody is left to be told of {host}.")
            try:
                progress, files = self._look(state, session)
            except AnsibleConnectionFailure as error:
                if lost := _loss(args):
                    display.display(f"{host}: its instance was {lost}")
                    return result | {"changed": False, "lost": str(lost)}
                return result | self._failure("host_lost", f"{host} no longer answers: {error}")
            if (line := progress.line()) != shown:
                display.display(f"{host}: {line}")
                shown = line
            costs.tell(*files, last=progress.ended or not progress.alive)
            first_loss = progress.loss if first_loss is None else first_loss
            fetched |= self._bring_home(args, set(progress.checkpoints) - fetched, progress.ended, host)
            if progress.phase == "finished":
                return result | {"changed": False, "progress": progress.facts, "first_loss": first_loss}
            if progress.phase == "failed":
                reasons = "\n".join(progress.errors) or f"the trainer left no reason; its log is {state}/training.log"
                return result | self._failure("training_failed", f"The training of {host} failed:\n{reasons}")
            if not progress.alive:
                return result | self._failure(
                    "session_lost", f"The tmux session {session} of {host} is gone, though the training has not ended."
                )
            time.sleep(interval)
        return result | self._failure("timeout", f"{host} was still training after {args['timeout_hours']} hours.")

    def _look(self, state: str, session: str) -> tuple[Progress, list[dict[str, Any]]]:
        """How far it is, and the guard's lease and meter.

        One short command over the open connection; a module would cost a hundred times its bytes.
        """
        files = (f"{shlex.quote(state)}/{name}.json" for name in ("progress", "lease", "meter"))
        done = self._low_level_execute_command(
            f"tmux has-session -t {shlex.quote(session)} 2>/dev/null && echo alive || echo gone; "
            + "; ".join(f"printf '\\036'; cat {file} 2>/dev/null" for file in files)
        )
        # Between the files stands the character that is made for it, which JSON never holds.
        alive, *texts = done["stdout"].split("\x1e")
        facts, *guards = [_mapping(text) for text in texts]
        return Progress(facts=facts, alive=alive.strip() == "alive"), guards

    def _bring_home(self, args: dict[str, Any], new: set[int], ended: bool, host: str) -> set[int]:
        """Fetch while it trains, so that a host that dies takes no checkpoint with it; the last word is fetch.yml's."""
        if not new or ended:
            return set()
        try:
            pull(SshTarget(**args["ssh"]), args["remote"], Path(args["local"]), excludes=args.get("excludes", []))
        except FluxloraError as error:
            display.warning(f"{host}: checkpoint {max(new)} did not come home, the next try is with the next: {error}")
            return set()
        display.display(f"{host}: checkpoint {max(new)} is home, in {args['local']}")
        return new

    @staticmethod
    def _failure(code: str, message: str) -> dict[str, Any]:
        return {"failed": True, "code": code, "msg": message}


def _loss(args: dict[str, Any]) -> str:
    """How the instance was taken away, where vast.ai says that it was."""
    if not args.get("instance_id"):
        return ""
    try:
        return wait_for_loss(Vast(), int(args["instance_id"]), seconds=float(args.get("lost_timeout_seconds", 120)))
    except FluxloraError:
        return ""


class Costs:
    """What it has cost, told at the start, now and then, and at the end."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._next = 0.0

    def tell(self, lease: dict[str, Any], moved: dict[str, Any], *, last: bool) -> None:
        """By the guard's files; nothing where there is no guard."""
        if time.monotonic() < self._next and not last:
            return
        self._next = time.monotonic() + COSTS_EVERY_SECONDS
        if account := of_lease(lease, moved, now=time.time()):
            display.display(f"{self._host}: {account.line()}")


def _mapping(text: str) -> dict[str, Any]:
    return json.loads(text) if text.strip() else {}
