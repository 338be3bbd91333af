"""Shows what Ansible's own callback shows, without what a terminal would obey: most of it was written by a host."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

from ansible.plugins.callback.default import CallbackModule as DefaultCallback

from fluxlora.text import CUT_MARK, printable

DOCUMENTATION = """
name: plain
type: stdout
short_description: Ansible's default output, safe to show
description:
  - Removes escape sequences and control, bidirectional and zero-width characters from every result, warning and error
    before it is shown, and bounds the length of each line and the number of lines of each text.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
requirements:
  - set as stdout_callback in ansible.cfg
"""

_LINE_CHARACTERS = 2000
_LINES = 1000


def clean(value: Any) -> Any:
    """The value with every text in it printable and bounded, at any depth; line breaks stay."""
    if isinstance(value, str):
        lines = value.splitlines()
        shown = [_cut(printable(line)) for line in lines[:_LINES]]
        return "\n".join(shown if len(lines) <= _LINES else [*shown, CUT_MARK])
    if isinstance(value, dict):
        return {clean(name): clean(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(clean(item) for item in value)
    # What Ansible keeps of errors and warnings.
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: clean(getattr(value, field.name)) for field in fields(value)})
    return value


def _cut(line: str) -> str:
    return line if len(line) <= _LINE_CHARACTERS else line[: _LINE_CHARACTERS - len(CUT_MARK)] + CUT_MARK


class _Cleaned:
    """A task's result whose texts are clean; what was not written by a host is the result's own."""

    def __init__(self, result: Any) -> None:
        self._original = result
        self.result = clean(result.result)
        self.exception = clean(result.exception)
        self.warnings = clean(list(result.warnings))
        self.deprecations = clean(list(result.deprecations))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


class CallbackModule(DefaultCallback):  # type: ignore[misc]
    """Hands each result on, cleaned."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "plain"

    def v2_runner_on_ok(self, result: Any) -> None:
        """A task that succeeded."""
        super().v2_runner_on_ok(self._cleaned(result))

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """A task that failed, with its error."""
        super().v2_runner_on_failed(self._cleaned(result), ignore_errors)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """A host that did not answer, with the words of ssh."""
        super().v2_runner_on_unreachable(self._cleaned(result))

    def v2_runner_on_skipped(self, result: Any) -> None:
        """A task that did not apply."""
        super().v2_runner_on_skipped(self._cleaned(result))

    def v2_runner_item_on_ok(self, result: Any) -> None:
        """One turn of a loop."""
        super().v2_runner_item_on_ok(self._cleaned(result))

    def v2_runner_item_on_failed(self, result: Any) -> None:
        """One turn of a loop."""
        super().v2_runner_item_on_failed(self._cleaned(result))

    def v2_runner_item_on_skipped(self, result: Any) -> None:
        """One turn of a loop."""
        super().v2_runner_item_on_skipped(self._cleaned(result))

    def v2_runner_retry(self, result: Any) -> None:
        """One turn of a task that is repeated until it succeeds."""
        super().v2_runner_retry(self._cleaned(result))

    def v2_on_file_diff(self, result: Any) -> None:
        """What a task would change."""
        super().v2_on_file_diff(self._cleaned(result))

    def _cleaned(self, result: Any) -> _Cleaned:
        cleaned = _Cleaned(result)
        # From here Ansible takes what it shows of errors and warnings.
        self._current_task_result = cleaned
        return cleaned
