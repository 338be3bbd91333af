"""Whether this network's way out for ssh, as the user's own files have it, is known to an ssh to an instance."""

from __future__ import annotations

import subprocess

from fluxlora.doctor.checks import Check, ok, warning
from fluxlora.text import one_line

NAME = "ssh proxy"
# An address of documentation (RFC 5737): what is set for it is set for every address.
_ANYWHERE = "203.0.113.1"


def examine(proxy_command: str) -> Check | None:
    """The proxy that is used; a warning where the user's files name one and the run does not. None without any."""
    if proxy_command:
        return ok(NAME, "ssh goes through provision_ssh_proxy_command")
    own = _own()
    if not own:
        return None
    return warning(
        NAME,
        "your ssh_config sends ssh through a proxy, and an ssh to an instance does not read that file",
        f"set provision_ssh_proxy_command in group_vars/all.yml to {own}",
        "proxy_not_used",
    )


def _own() -> str:
    """The proxy of ssh's own files, which it shows without a connection, in words for a user; empty for none."""
    try:
        shown = subprocess.run(
            ["ssh", "-G", _ANYWHERE], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=15, check=False,
        ).stdout  # fmt: skip
    # Where there is no ssh another check says so.
    except (OSError, subprocess.TimeoutExpired):
        return ""
    options = dict(line.split(" ", 1) for line in shown.splitlines() if " " in line)
    if jump := options.get("proxyjump", ""):
        return "" if jump == "none" else f"`ssh -W [%h]:%p {one_line(_by_jumps(jump))}`"
    # It may hold a password.
    has_command = options.get("proxycommand", "none") != "none"
    return f"what `ssh -G {_ANYWHERE}` shows as proxycommand" if has_command else ""


def _by_jumps(jumps: str) -> str:
    """The last host, and the option that leads over those before it."""
    before, _, last = jumps.rpartition(",")
    # Only an address with a scheme may have a port.
    last = f"ssh://{last}" if ":" in last and not last.startswith("ssh://") else last
    return f"-J {before} {last}" if before else last
