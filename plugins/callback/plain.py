"""Prints Ansible's default output without control sequences, because most of it was written by a host."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

from ansible.plugins.callback.default import CallbackModule as DefaultCallback

from fluxlora.text import CUT_MARK, printable

DOCUMENTATION = """
name: plain
type: stdout
short_description: Ansible's default output without control sequences
description:
  - Removes escape sequences and control, bidirectional and zero-width characters from every result, warning and error
    before it is printed, and limits the length of each line and the number of lines of each text.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
requirements:
  - set as stdout_callback in ansible.cfg
"""

_LINE_CHARACTERS = 2000
_LINES = 1000


def clean(value: Any) -> Any:
    """Return the value with every text in it printable and limited, at any depth; line breaks are kept."""
    if isinstance(value, str):
        lines = value.splitlines()
        shown = [_cut(printable(line)) for line in lines[:_LINES]]
        return "\n".join(shown if len(lines) <= _LINES else [*shown, CUT_MARK])
    if isinstance(value, dict):
        return {clean(name): clean(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(clean(item) for item in value)
    # Ansible's objects for errors and warnings.
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: clean(getattr(value, field.name)) for field in fields(value)})
    return value


def _cut(line: str) -> str:
    return line if len(line) <= _LINE_CHARACTERS else line[: _LINE_CHARACTERS - len(CUT_MARK)] + CUT_MARK


class CallbackModule(DefaultCallback):  # type: ignore[misc]
    """Cleans each result, which is a copy for this callback, and passes it on."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "plain"

    def v2_runner_on_ok(self, result: Any) -> None:
        """Print a task that succeeded."""
        super().v2_runner_on_ok(_cleaned(result))

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Print a task that failed, with its error."""
        super().v2_runner_on_failed(_cleaned(result), ignore_errors)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Print a host that did not answer, with ssh's message."""
        super().v2_runner_on_unreachable(_cleaned(result))

    def v2_runner_on_skipped(self, result: Any) -> None:
        """Print a task that was skipped."""
        super().v2_runner_on_skipped(_cleaned(result))

    def v2_runner_item_on_ok(self, result: Any) -> None:
        """Print one item of a loop."""
        super().v2_runner_item_on_ok(_cleaned(result))

    def v2_runner_item_on_failed(self, result: Any) -> None:
        """Print one item of a loop."""
        super().v2_runner_item_on_failed(_cleaned(result))

    def v2_runner_item_on_skipped(self, result: Any) -> None:
        """Print one item of a loop."""
        super().v2_runner_item_on_skipped(_cleaned(result))

    def v2_runner_retry(self, result: Any) -> None:
        """Print one attempt of a task that is repeated until it succeeds."""
        super().v2_runner_retry(_cleaned(result))

    def v2_on_file_diff(self, result: Any) -> None:
        """Print what a task would change."""
        super().v2_on_file_diff(_cleaned(result))


def _cleaned(result: Any) -> Any:
    result._return_data = clean(result._return_data)
    return result
