"""Calls the playbooks through ansible-runner: names in, events out, nothing left on disk."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluxlora.errors import InputError
from fluxlora.process import private_folder

Event = Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """How a playbook ended: `code` is ansible-playbook's exit status; `detached` when the user left it.

    `changed` is whether it changed anything or, when it was only to check, whether it would have.
    """

    code: int
    detached: bool
    changed: bool = False


def project_dir() -> Path:
    """The folder with the playbooks: the one worked in, else the one this package was installed from."""
    for folder in (Path.cwd(), Path(__file__).resolve().parents[2]):
        if (folder / "ansible.cfg").is_file() and (folder / "train.yml").is_file():
            return folder
    raise InputError(
        "The fluxlora playbooks are not here.", hint="Change into the folder made by `git clone` and try again."
    )


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
    os.environ.update(environment or {})
    # ansible-playbook of this very environment, not the one first in the user's PATH.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ["ANSIBLE_CONFIG"] = str(project / "ansible.cfg")
    if offline:
        os.environ["ANSIBLE_INVENTORY"] = str(project / "inventory" / "runs.yml")
    # ansible-runner names its own folder of callbacks, beside this one, and so hides what ansible.cfg says.
    os.environ["ANSIBLE_CALLBACK_PLUGINS"] = str(project / "plugins" / "callback")
    pid: list[int] = []
    changed: dict[str, int] = {}

    # In memory where the system has it.
    memory = Path("/dev/shm")
    with private_folder(memory if memory.is_dir() else None) as folder, _interrupts_to(pid) as interrupted:

        def event_handler(event: dict[str, Any]) -> bool:
            if not pid and event.get("pid"):
                pid.append(event["pid"])
                if interrupted.is_set():
                    os.kill(pid[0], signal.SIGTERM)
            if event.get("event") == "playbook_on_stats":
                changed.update(event["event_data"].get("changed", {}))
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
    return Outcome(code=code, detached=interrupted.is_set(), changed=any(changed.values()))


@contextmanager
def _interrupts_to(pid: Sequence[int]) -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM become one SIGTERM to ansible-playbook, which alone ends its workers cleanly."""
    interrupted = threading.Event()

    def forward(*_: object) -> None:
        interrupted.set()
        if pid:
            os.kill(pid[0], signal.SIGTERM)

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
