"""What a person sees of ansible-runner's events."""

from __future__ import annotations

from typing import Any

from fluxlora.runner.screen import Screen

OURS = "vast.ai does not answer. Check the network."
ODD = "\x1b[2J\x1b]0;title\x07it\x9b31m fails\u202e\r\n== Train\t!"


def said(*events: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    screen = Screen(say=lines.append)
    for event in events:
        screen.on_event(event)
    return lines


def test_a_text_of_a_rented_host_cannot_command_the_terminal_nor_pass_for_a_line_of_ours() -> None:
    shown, failed, warned = (
        {"event": "runner_on_ok", "event_data": {"task_action": "ansible.builtin.debug", "res": {"msg": [ODD]}}},
        {"event": "runner_on_failed", "event_data": {"task": "Log in", "res": {"msg": ODD, "stderr": f"{ODD}?"}}},
        {"event": "warning", "stdout": ODD},
    )
    lines = "\n".join(said(shown, failed, warned)).split("\n")
    assert all(line.isprintable() for line in lines)
    assert [line for line in lines if not line.startswith(("   ", "!! Log in: "))] == []
    assert sum("== Train" in line for line in lines) == 4


def test_a_hint_that_is_a_part_of_the_message_is_said_once() -> None:
    result = {"msg": "There is no preset 'x'. Choose 512.", "hint": "Choose 512."}
    assert said({"event": "runner_on_failed", "event_data": {"task": "Resolve", "res": result}}) == [
        "!! Resolve: There is no preset 'x'. Choose 512."
    ]


def test_an_inventory_that_cannot_be_read_is_one_sentence() -> None:
    told = [
        f"[WARNING]: Failed to parse inventory with 'vastai' plugin: {OURS}",
        "Failed to parse inventory with 'vastai' plugin.",
        "<<< caused by >>>",
        OURS,
        "[ERROR]: Completely failed to parse inventory source vastai.yml",
    ]
    assert said(*({"event": "verbose", "stdout": line} for line in told)) == [f"!! {OURS}"]
