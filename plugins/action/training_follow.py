"""Follows a training until it ends, prints each step, and downloads checkpoints as they appear."""

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
from fluxlora.renting.losses import wait_for_loss
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
from fluxlora.vast.client import Vast

COSTS_EVERY_SECONDS = 600
# How many refused files are named.
LEFT_OUT_SHOWN = 5

display = Display()


class ActionModule(ActionBase):  # type: ignore[misc]
    """See plugins/modules/training_follow.py for the documentation."""

    _supports_check_mode = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return when the training has finished or failed, or no longer answers."""
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
            # This worker survives a controller that is killed, and would disturb the next one.
            if os.getppid() != controller:
                return result | self._failure("controller_lost", f"The controller that followed {host} is gone.")
            try:
                progress, files = self._progress(host, state, session)
            except AnsibleConnectionFailure as error:
                if lost := _loss(args):
                    display.display(f"{host}: its instance was {lost}")
                    return result | {"changed": False, "lost": str(lost)}
                return result | self._failure("host_lost", f"{host} no longer answers: {one_line(error, 1000)}")
            except MalformedError as error:
                hint = still_costs(host, known.get("vastai_id"), known.get("vastai_price_per_hour"))
                return result | self._failure(error.code, str(error)) | {"hint": hint}
            if (line := progress.line()) != shown:
                display.display(f"{host}: {line}")
                shown = line
            costs.report(*files, last=progress.ended or not progress.alive)
            first_loss = progress.loss if first_loss is None else first_loss
            fetched |= arrivals.download(set(progress.checkpoints) - fetched, ended=progress.ended)
            if progress.phase == "finished":
                return result | {"changed": False, "progress": progress.as_facts(), "first_loss": first_loss}
            if progress.phase == "failed":
                # Indented, because the host has written them.
                reasons = [f"  {line}" for line in progress.errors]
                reasons = reasons or [f"the trainer gave no reason; its log is {state}/training.log"]
                sentence = "\n".join([f"The training of {host} failed:", *reasons])
                return result | self._failure("training_failed", sentence)
            if not progress.alive:
                return result | self._failure(
                    "session_lost", f"The tmux session {session} of {host} is gone, though the training has not ended."
                )
            time.sleep(interval)
        return result | self._failure("timeout", f"{host} was still training after {args['timeout_hours']} hours.")

    def _progress(self, host: str, state: str, session: str) -> tuple[Progress, list[str]]:
        """Return the progress, and the texts of the guard's lease and meter. Raises MalformedError.

        This is one short command over the open connection; a module would need a hundred times its bytes.
        """
        files = (f"{shlex.quote(state)}/{name}.json" for name in ("progress", "lease", "meter"))
        done = self._low_level_execute_command(
            f"tmux has-session -t {shlex.quote(session)} 2>/dev/null && echo alive || echo gone; "
            + "; ".join(f"printf '\\036'; head -c {LARGEST_BYTES + 1} {file} 2>/dev/null" for file in files)
        )
        # The files are separated by the control character for records, which JSON never contains.
        parts = done["stdout"].split("\x1e")
        if len(parts) != 4:
            raise malformed(f"The answer of the instance of {host}", "it is not three files")
        alive, text, *guards = parts
        source = f"progress.json on the instance of {host}"
        return Progress(read(ProgressRecord, text, source) if text.strip() else None, alive.strip() == "alive"), guards

    @staticmethod
    def _failure(code: str, message: str) -> dict[str, Any]:
        return {"failed": True, "code": code, "msg": message}


def _loss(args: dict[str, Any]) -> str:
    """Return how the instance was taken away, if vast.ai says so."""
    if not args.get("instance_id"):
        return ""
    try:
        return wait_for_loss(Vast(), int(args["instance_id"]), seconds=float(args.get("lost_timeout_seconds", 120)))
    except FluxloraError:
        return ""


class Arrivals:
    """The downloads during the training, and the remaining limits."""

    def __init__(self, args: dict[str, Any], host: str) -> None:
        self._target, self._host = SshTarget(**args["ssh"]), host
        self._remote, self._local, self._excludes = args["remote"], Path(args["local"]), args.get("excludes", [])
        default = Bound()
        self._bound = Bound(
            int(args.get("max_files", default.files)), round(float(args.get("max_gb", default.size_bytes / 1e9)) * 1e9)
        )

    def download(self, new: set[int], *, ended: bool) -> set[int]:
        """Download new checkpoints, so that they are not lost if the host fails; fetch.yml makes the final download."""
        if not new or ended:
            return set()
        try:
            pulled = pull(self._target, self._remote, self._local, excludes=self._excludes, bound=self._bound)
        except FluxloraError as error:
            display.warning(
                f"{self._host}: checkpoint {max(new)} was not downloaded, it is tried again with the next one: {error}"
            )
            return set()
        self._bound = pulled.left_of(self._bound)
        for sentence in pulled.left_out[:LEFT_OUT_SHOWN]:
            display.warning(f"{self._host}: {sentence}")
        display.display(f"{self._host}: checkpoint {max(new)} is downloaded, in {self._local}")
        return new


class Costs:
    """The cost of the run, printed at the start, at intervals, and at the end."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._next = 0.0

    def report(self, lease: str, moved: str, *, last: bool) -> None:
        """Print the cost by the guard's files; nothing without a guard, and a warning if a file is malformed."""
        if time.monotonic() < self._next and not last:
            return
        self._next = time.monotonic() + COSTS_EVERY_SECONDS
        on_it = f"on the instance of {self._host}"
        try:
            known = read(LeaseRecord, lease, f"lease.json {on_it}").as_facts() if lease.strip() else {}
            bytes_moved = read(MeterRecord, moved, f"meter.json {on_it}").as_facts() if moved.strip() else {}
        except MalformedError as error:
            display.warning(f"{error} The cost is not known; see: fluxlora status {self._host}")
            return
        if account := of_lease(known, bytes_moved, now=time.time()):
            display.display(f"{self._host}: {account.line()}")
