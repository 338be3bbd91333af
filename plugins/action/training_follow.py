"""Follows a training until it ends, shows each step, and brings checkpoints home as they appear."""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from fluxlora.errors import FluxloraError
from fluxlora.progress import Progress
from fluxlora.transfer import SshTarget, pull

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
        shown: str | None = None
        fetched: set[int] = set()
        first_loss: float | None = None
        while time.monotonic() < deadline:
            try:
                progress = self._look(state, session)
            except AnsibleConnectionFailure as error:
                return result | self._failure("host_lost", f"{host} no longer answers: {error}")
            if (line := progress.line()) != shown:
                display.display(f"{host}: {line}")
                shown = line
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

    def _look(self, state: str, session: str) -> Progress:
        """One short command over the open connection; a module would cost a hundred times its bytes."""
        done = self._low_level_execute_command(
            f"tmux has-session -t {shlex.quote(session)} 2>/dev/null && echo alive || echo gone; "
            f"cat {shlex.quote(state)}/progress.json 2>/dev/null || echo null"
        )
        alive, _, text = done["stdout"].partition("\n")
        return Progress(facts=json.loads(text) or {}, alive=alive.strip() == "alive")

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
