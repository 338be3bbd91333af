"""Finds out why an installed container engine does not work for this user, and the command that fixes it."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fluxlora.text import one_line

# Debian's own default: a container's root and its other users need this many ids.
_IDS = 65_536
_PACKAGES = {
    "apt-get": "sudo apt-get install --yes {}",
    "dnf": "sudo dnf install --assumeyes {}",
    "pacman": "sudo pacman --sync --noconfirm {}",
    "zypper": "sudo zypper --non-interactive install {}",
}
# The package with newuidmap and newgidmap.
_MAPPERS = {"apt-get": "uidmap", "dnf": "shadow-utils", "pacman": "shadow", "zypper": "shadow"}
# A line of podman's own log.
_LOGGED = re.compile(r'level=\w+ msg="(.*)"$')
# Settings that forbid namespaces for ordinary users, the value that does, and the one that allows them.
_NAMESPACE_SETTINGS = (
    ("user/max_user_namespaces", "0", "28633"),
    ("kernel/unprivileged_userns_clone", "0", "1"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
)


@dataclass(frozen=True)
class Cause:
    """What is missing, as the end of a sentence about the engine, and what to type; `known` if this will help."""

    what: str
    remedy: str
    known: bool = True


@dataclass(frozen=True)
class Machine:
    """The properties of the machine on which the remedies depend."""

    platform: str
    user: str
    programs: frozenset[str]
    # Environment variables such as DOCKER_HOST.
    environment: Mapping[str, str]
    # The contents of files in /etc and /proc/sys, by path.
    files: Mapping[str, str]

    def installs(self, packages: Mapping[str, str] | str) -> str:
        """Return the command that installs a package, whose name may depend on the package manager."""
        for tool, line in _PACKAGES.items():
            if tool in self.programs:
                return line.format(packages if isinstance(packages, str) else packages[tool])
        return ""


def this_machine() -> Machine:
    """Return this machine with the present user."""
    tools = (*_PACKAGES, "systemctl", "newuidmap", "podman", "docker")
    names = ["/etc/subuid", "/etc/subgid", "/etc/group", *(f"/proc/sys/{name}" for name, _, _ in _NAMESPACE_SETTINGS)]
    files = {name: Path(name).read_text(errors="replace") for name in names if os.access(name, os.R_OK)}
    return Machine(
        sys.platform,
        pwd.getpwuid(os.geteuid()).pw_name,
        frozenset(tool for tool in tools if shutil.which(tool)),
        dict(os.environ),
        files,
    )


def cause(engine: str, complaint: str, machine: Machine) -> Cause:
    """Return the meaning of an engine's error message; its last line if the meaning is not known."""
    for pattern, of_engine, explain in _CAUSES:
        if engine == of_engine and re.search(pattern, complaint):
            return explain(machine)
    return Cause(f"says {one_line(_last(complaint))}", f"{engine} info", known=False)


def nothing_installed(machine: Machine) -> str:
    """Return what to type if there is no engine."""
    if machine.platform == "darwin":
        return "brew install podman && podman machine init && podman machine start"
    return machine.installs("podman") or "install podman or docker"


def _last(complaint: str) -> str:
    line = (complaint.strip().splitlines() or ["nothing"])[-1]
    logged = _LOGGED.search(line)
    return (logged[1] if logged else line).removeprefix("Error: ")


def _no_mapper(machine: Machine) -> Cause:
    install = machine.installs(_MAPPERS) or "install newuidmap, which shadow-utils has"
    return Cause("lacks newuidmap, which it needs for an ordinary user", install)


def _powerless_mapper(machine: Machine) -> Cause:
    remedy = "sudo chmod u+s $(command -v newuidmap newgidmap)"
    return Cause("may not use newuidmap: the program lost its right to map users", remedy)


def _no_ids(machine: Machine) -> Cause:
    ranges = [machine.files.get(f"/etc/{name}", "") for name in ("subuid", "subgid")]
    missing = [name for name, text in zip(("subuid", "subgid"), ranges, strict=True) if not _has_ids(text, machine)]
    if not missing:
        # The process that holds the namespace was started before the file was changed.
        return Cause("still works with the user's own id alone", "podman system migrate")
    first = max([100_000, *(end for text in ranges for end in _ends(text))])
    span = f"{first}-{first + _IDS - 1}"
    options = " ".join(f"--add-{name}s {span}" for name in missing)
    files = " and ".join(f"/etc/{name}" for name in missing)
    remedy = f"sudo usermod {options} {shlex.quote(machine.user)} && podman system migrate"
    return Cause(f"has no ids for the users in a container: {machine.user} is not in {files}", remedy)


def _has_ids(text: str, machine: Machine) -> bool:
    return any(line.partition(":")[0] == machine.user for line in text.splitlines())


def _ends(text: str) -> list[int]:
    """Return the first id after each range of /etc/subuid or /etc/subgid."""
    fields = (line.split(":") for line in text.splitlines())
    return [int(line[1]) + int(line[2]) for line in fields if len(line) == 3 and (line[1] + line[2]).isdecimal()]


def _no_namespaces(machine: Machine) -> Cause:
    what = "may not make user namespaces, which it needs for an ordinary user"
    for name, forbids, allows in _NAMESPACE_SETTINGS:
        if machine.files.get(f"/proc/sys/{name}", "").strip() == forbids:
            return Cause(what, f"sudo sysctl --write {name.replace('/', '.')}={allows}")
    return Cause(what, "podman unshare true  (it says what forbids them)")


def _no_machine(machine: Machine) -> Cause:
    return Cause("has no running machine", "podman machine start")


def _forbidden(machine: Machine) -> Cause:
    what = f"may not be used by {machine.user}"
    members = re.search(r"^docker:[^:]*:[^:]*:(.*)$", machine.files.get("/etc/group", ""), re.MULTILINE)
    if members and machine.user in members[1].split(","):
        return Cause(f"{what} in this session, which is older than the membership in the group docker", "newgrp docker")
    add = f"sudo usermod --append --groups docker {shlex.quote(machine.user)} && newgrp docker"
    return Cause(f"{what}, who is not in the group docker", add)


def _no_daemon(machine: Machine) -> Cause:
    if host := machine.environment.get("DOCKER_HOST"):
        return Cause(f"reaches no daemon at {one_line(host)}, which DOCKER_HOST names", "unset DOCKER_HOST")
    if machine.platform == "darwin":
        return Cause("has no running daemon", "open -a Docker")
    start = "systemctl start docker" if "systemctl" in machine.programs else "service docker start"
    return Cause("has no running daemon", f"sudo {start}")


_CAUSES: Sequence[tuple[str, str, Callable[[Machine], Cause]]] = (
    (r'new[ug]idmap\\?": executable file not found|cannot find new[ug]idmap', "podman", _no_mapper),
    (r"should have setuid or have filecaps|new[ug]idmap: write to [ug]id_map failed", "podman", _powerless_mapper),
    (r"no sub[ug]id ranges found|single mapping into the namespace|sub[ug]id.*(?:not|no entry)", "podman", _no_ids),
    (r"user namespaces are not enabled|cannot clone|CLONE_NEWUSER|cannot re-exec", "podman", _no_namespaces),
    (r"podman machine|Cannot connect to Podman", "podman", _no_machine),
    (r"permission denied", "docker", _forbidden),
    (r"Is the docker daemon running|error during connect", "docker", _no_daemon),
)
