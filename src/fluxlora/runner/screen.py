"""Turns ansible-runner's events into the few lines a person wants to read."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fluxlora.text import CUT_MARK, printable

# What actions show while they work, as in plugins/action/dataset_check.py.
_PROGRESS = re.compile(r"looked at (\d+) of (\d+) files")
# Ansible says this, then the same again, then what its own plugin makes of that file, and ends.
_UNREAD = re.compile(r"\[WARNING\]: Failed to parse inventory with 'vastai' plugin: (.*)")
# Of no use to those who don't know Ansible.
_SILENT = ("Using ", "PLAYBOOK:", "[DEPRECATION", "[WARNING]: Could not match supplied host pattern")
# Longer than any line of ours.
_LINE_CHARACTERS = 2000


@dataclass
class Screen:
    """Says each stage, what debug tasks show, what goes wrong; and keeps the seconds of each stage."""

    say: Callable[[str], Any]
    # Writes over the last line, where that can be done; else progress is said now and then.
    draw: Callable[[str], Any] | None = None
    stages: dict[str, float] = field(default_factory=dict)
    _stage: str = ""
    _coming: str = ""
    _since: float = field(default_factory=time.monotonic)
    _tenth: int = 0
    _over: bool = False

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Take one event of ansible-runner."""
        data = event.get("event_data", {})
        match event.get("event"):
            case "playbook_on_play_start":
                self._coming = data["name"]
            # Not before: a play may have no hosts.
            case "playbook_on_task_start":
                self._enter(self._coming)
            case "playbook_on_stats":
                self._enter("")
            case "runner_on_ok" | "runner_item_on_ok" if data.get("task_action") == "ansible.builtin.debug":
                self._show(data.get("res", {}))
            case "runner_on_failed" | "runner_item_on_failed" | "runner_on_unreachable" if not data.get(
                "ignore_errors"
            ):
                self._complain(data)
            case "error":
                self._fail(event.get("stdout", ""))
            case "verbose" | "warning" | "system_warning" | "deprecated":
                self._pass_on(event.get("stdout", ""))

    def _progress(self, done: int, total: int, text: str) -> None:
        if self.draw:
            filled = 30 * done // total
            self.draw(f"   [{'#' * filled}{'-' * (30 - filled)}] {text}")
        elif (tenth := 10 * done // total) != self._tenth:
            self.say(f"   {text}")
            self._tenth = tenth

    def _enter(self, stage: str) -> None:
        if stage == self._stage:
            return
        now = time.monotonic()
        if self._stage:
            self.stages[self._stage] = self.stages.get(self._stage, 0.0) + now - self._since
        if stage:
            self.say(f"== {stage}")
        self._stage, self._since = stage, now

    def _show(self, result: Mapping[str, Any]) -> None:
        message = result.get("msg")
        for line in message if isinstance(message, list) else [message] if message else []:
            self.say(f"   {_shown(line)}")

    def _complain(self, data: Mapping[str, Any]) -> None:
        result = data.get("res", {})
        if "results" in result and result.get("msg") == "One or more items failed":
            return  # each item has been told
        self.say(f"!! {data.get('task')}: {_shown(result.get('msg', 'failed'))}")
        for detail in (result.get("hint"), result.get("stderr")):
            if detail and detail not in result.get("msg", ""):
                self.say(f"   {_shown(detail)}")

    def _fail(self, text: str) -> None:
        """What ends ansible-playbook before or between tasks; a task's own failure has an event of its own."""
        plain = _shown(text).strip().removeprefix("[ERROR]: ")
        if plain and not plain.startswith("Task failed"):
            self.say(f"!! {plain}")

    def _pass_on(self, text: str) -> None:
        if self._over:
            return
        plain = _shown(text).strip()
        if unread := _UNREAD.fullmatch(plain):
            self.say(f"!! {unread[1]}")
            self._over = True
        elif progress := _PROGRESS.fullmatch(plain):
            self._progress(int(progress[1]), int(progress[2]), plain)
        elif plain and not plain.startswith(_SILENT):
            self.say(f"   {plain}")


def _shown(text: object) -> str:
    """What a terminal only shows, as a part of what is being said: rented hosts write texts, too."""
    lines = (printable(line) for line in str(text).splitlines())
    return "\n   ".join(
        line if len(line) <= _LINE_CHARACTERS else line[: _LINE_CHARACTERS - 1] + CUT_MARK for line in lines
    )
