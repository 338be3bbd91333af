"""Calls the playbooks through ansible-runner: names in, events out, nothing left on disk."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluxlora.process import private_folder
from fluxlora.project import project_dir
from fluxlora.runner.locales import ensure_utf8

Event = Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """How a playbook ended: `code` is ansible-playbook's exit status; `signal` what the user left it with, 0 for none.

    `changed` is whether it changed anything or, when it was only to check, whether it would have. `failures` are the
    codes of our modules' failures.
    """

    code: int
    signal: int = 0
    changed: bool = False
    failures: frozenset[str] = frozenset()

    @property
    def detached(self) -> bool:
        """Whether the user left it."""
        return self.signal != 0

    @property
    def status(self) -> int:
        """The exit status of a command: what was interrupted has not succeeded, and says so as shells do."""
        return 128 + self.signal if self.signal else self.code


def play(
    verb: str,
    variables: Mapping[str, Any],
    *,
    check: bool = False,
    offline: bool = False,
    environment: Mapping[str, str] | None = None,
    extra: Sequence[str] = (),
    on_event: Callable[[Event], None],
) -> Outcome:
    """Run `<verb>.yml`; Ctrl-C ends ansible-playbook, never what it started on an instance.

    `offline` leaves out the inventory of vast.ai, which wants a key and an answer.

    Secrets travel in the environment only. ansible-runner writes the environment to its `command` artifact before it
    starts the child, so that file goes as soon as the child is about to run, and the whole folder at the end.
    """
    import ansible_runner  # late: 0.1 s that `--help` need not pay

    project = project_dir()
    pid: list[int] = []
    changed: dict[str, int] = {}
    failures: set[str] = set()

    # In memory where the system has it.
    memory = Path("/dev/shm")
    with (
        _environment(project, environment or {}, offline=offline),
        private_folder(memory if memory.is_dir() else None) as folder,
        _interrupts_to(pid) as interrupted,
    ):

        def event_handler(event: dict[str, Any]) -> bool:
            if not pid and event.get("pid"):
                pid.append(event["pid"])
                if interrupted:
                    os.kill(pid[0], signal.SIGTERM)
            if event.get("event") == "playbook_on_stats":
                changed.update(event["event_data"].get("changed", {}))
            if event.get("event") in ("runner_on_failed", "runner_item_on_failed"):
                failures.add(str((event["event_data"].get("res") or {}).get("code", "")))
            on_event(event)
            return False  # keep no event file

        def status_handler(status: dict[str, Any], runner_config: Any) -> None:
            if status["status"] == "running":
                (Path(runner_config.artifact_dir) / "command").unlink(missing_ok=True)

        runner = ansible_runner.run(
            private_data_dir=str(folder),
            project_dir=str(project),
            playbook=f"{verb}.yml",
            extravars=dict(variables),
            cmdline=" ".join([*(["--check"] if check else []), *extra]) or None,
            event_handler=event_handler,
            status_handler=status_handler,
            # Else ansible-runner takes the signals itself, and kills in a way that leaves workers behind.
            cancel_callback=lambda: False,
            suppress_output_file=True,
            quiet=True,
        )
    code = runner.rc if runner.rc is not None else 1
    return Outcome(
        code=code,
        signal=interrupted[0] if interrupted else 0,
        changed=any(changed.values()),
        failures=frozenset(failures),
    )


@contextmanager
def _environment(project: Path, given: Mapping[str, str], *, offline: bool) -> Iterator[None]:
    """The environment of one call in `os.environ`, which the child inherits; afterwards it is as it was before."""
    before = dict(os.environ)
    try:
        ensure_utf8()
        os.environ.update(given)
        # ansible-playbook of this very environment, not the one first in the user's PATH.
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        os.environ["ANSIBLE_CONFIG"] = str(project / "ansible.cfg")
        # The modules and plugins of a project go with its own package, also in another clone's environment.
        others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
        os.environ["PYTHONPATH"] = os.pathsep.join([str(project / "src"), *others])
        if offline:
            os.environ["ANSIBLE_INVENTORY"] = str(project / "inventory" / "runs.yml")
        # ansible-runner names its own folder of callbacks, beside this one, and so hides what ansible.cfg says.
        os.environ["ANSIBLE_CALLBACK_PLUGINS"] = str(project / "plugins" / "callback")
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _interrupts_to(pid: Sequence[int]) -> Iterator[Sequence[int]]:
    """Ctrl-C and SIGTERM become one SIGTERM to ansible-playbook, which alone ends its workers cleanly.

    Yields the numbers of the signals that have come, in their order.
    """
    interrupted: list[int] = []

    def forward(number: int, _: object) -> None:
        interrupted.append(number)
        if pid:
            os.kill(pid[0], signal.SIGTERM)

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
