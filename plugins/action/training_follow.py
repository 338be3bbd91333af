"""Follows a training until it ends, shows each step, and brings checkpoints home as they appear."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from fluxlora.delivery.progress import Progress
from fluxlora.delivery.transfer import SshTarget, pull
from fluxlora.errors import FluxloraError
from fluxlora.money.spending import of_lease, still_costs
from fluxlora.text import one_line
from fluxlora.untrusted.files import Bound
from fluxlora.untrusted.schemas import (
    LARGEST_BYTES,
    LeaseRecord,
    MalformedError,
    MeterRecord,
    ProgressRecord,
    malformed,
    read,
)

COSTS_EVERY_SECONDS = 600
# Of what was left on the host so many are named.
LEFT_OUT_SHOWN = 5

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
        known = task_vars or {}
        host = known["inventory_hostname"]
        costs, arrivals = Costs(host), Arrivals(args, host)
        shown: str | None = None
        fetched: set[int] = set()
        first_loss: float | None = None
        controller = os.getppid()
        while time.monotonic() < deadline:
            # This worker outlives a controller that is killed, and would be in the way of the next one.
            if os.getppid() != controller:
                return result | self._failure("controller_lost", f"Nobody is left to be told of {host}.")
            try:
                progress, files = self._look(host, state, session)
            except AnsibleConnectionFailure as error:
                return result | self._failure("host_lost", f"{host} no longer answers: {one_line(error, 1000)}")
            except MalformedError as error:
                hint = still_costs(host, known.get("vastai_id"), known.get("vastai_price_per_hour"))
                return result | self._failure(error.code, str(error)) | {"hint": hint}
            if (line := progress.line()) != shown:
                display.display(f"{host}: {line}")
                shown = line
            costs.tell(*files, last=progress.ended or not progress.alive)
            first_loss = progress.loss if first_loss is None else first_loss
            fetched |= arrivals.bring_home(set(progress.checkpoints) - fetched, ended=progress.ended)
            if progress.phase == "finished":
                return result | {"changed": False, "progress": progress.as_facts(), "first_loss": first_loss}
            if progress.phase == "failed":
                # Set off from our own lines: the host has written them.
                reasons = [f"  {line}" for line in progress.errors]
                reasons = reasons or [f"the trainer left no reason; its log is {state}/training.log"]
                sentence = "\n".join([f"The training of {host} failed:", *reasons])
                return result | self._failure("training_failed", sentence)
            if not progress.alive:
                return result | self._failure(
                    "session_lost", f"The tmux session {session} of {host} is gone, though the training has not ended."
                )
            time.sleep(interval)
        return result | self._failure("timeout", f"{host} was still training after {args['timeout_hours']} hours.")

    def _look(self, host: str, state: str, session: str) -> tuple[Progress, list[str]]:
        """How far it is, and the texts of the guard's lease and meter. Raises MalformedError.

        One short command over the open connection; a module would cost a hundred times its bytes.
        """
        files = (f"{shlex.quote(state)}/{name}.json" for name in ("progress", "lease", "meter"))
        done = self._low_level_execute_command(
            f"tmux has-session -t {shlex.quote(session)} 2>/dev/null && echo alive || echo gone; "
            + "; ".join(f"printf '\\036'; head -c {LARGEST_BYTES + 1} {file} 2>/dev/null" for file in files)
        )
        # Between the files stands the character that is made for it, which JSON never holds.
        parts = done["stdout"].split("\x1e")
        if len(parts) != 4:
            raise malformed(f"What the instance of {host} answered", "it is not three files")
        alive, text, *guards = parts
        source = f"progress.json on the instance of {host}"
        return Progress(read(ProgressRecord, text, source) if text.strip() else None, alive.strip() == "alive"), guards

    @staticmethod
    def _failure(code: str, message: str) -> dict[str, Any]:
        return {"failed": True, "code": code, "msg": message}


class Arrivals:
    """What comes home while it trains, and how much more may."""

    def __init__(self, args: dict[str, Any], host: str) -> None:
        self._target, self._host = SshTarget(**args["ssh"]), host
        self._remote, self._local, self._excludes = args["remote"], Path(args["local"]), args.get("excludes", [])
        default = Bound()
        self._bound = Bound(
            int(args.get("max_files", default.files)), round(float(args.get("max_gb", default.size_bytes / 1e9)) * 1e9)
        )

    def bring_home(self, new: set[int], *, ended: bool) -> set[int]:
        """Fetch while it trains, so that a host that dies takes no checkpoint with it; the last word is fetch.yml's."""
        if not new or ended:
            return set()
        try:
            pulled = pull(self._target, self._remote, self._local, excludes=self._excludes, bound=self._bound)
        except FluxloraError as error:
            display.warning(
                f"{self._host}: checkpoint {max(new)} did not come home, the next try is with the next: {error}"
            )
            return set()
        self._bound = pulled.left_of(self._bound)
        for sentence in pulled.left_out[:LEFT_OUT_SHOWN]:
            display.warning(f"{self._host}: {sentence}")
        display.display(f"{self._host}: checkpoint {max(new)} is home, in {self._local}")
        return new


class Costs:
    """What it has cost, told at the start, now and then, and at the end."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._next = 0.0

    def tell(self, lease: str, moved: str, *, last: bool) -> None:
        """By the texts of the guard's files; nothing where there is no guard, and a warning where one is malformed."""
        if time.monotonic() < self._next and not last:
            return
        self._next = time.monotonic() + COSTS_EVERY_SECONDS
        on_it = f"on the instance of {self._host}"
        try:
            known = read(LeaseRecord, lease, f"lease.json {on_it}").as_facts() if lease.strip() else {}
            bytes_moved = read(MeterRecord, moved, f"meter.json {on_it}").as_facts() if moved.strip() else {}
        except MalformedError as error:
            display.warning(f"{error} What it has cost is not known; see: fluxlora status {self._host}")
            return
        if account := of_lease(known, bytes_moved, now=time.time()):
            display.display(f"{self._host}: {account.line()}")
