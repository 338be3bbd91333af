"""What keeps a container engine from working for a user, by the words that podman 4.3 and docker 28 have for it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest

from fluxlora.errors import RehearsalError
from fluxlora.rehearsal.hosts.diagnosis import Machine, cause, nothing_installed
from fluxlora.rehearsal.hosts.engine import find_engine

SINGLE_ID = "Using rootless single mapping into the namespace."
NO_MAPPER = (
    'Error: command required for rootless mode with multiple IDs: exec: "newuidmap": executable file not found in $PATH'
)
# Where podman has run before as this user.
NO_MAPPER_ANY_MORE = (
    'time="2026-11-30T18:51:10Z" level=error msg="invalid internal status, try resetting the pause process with '
    '\\"/usr/bin/podman system migrate\\": command required for rootless mode with multiple IDs: exec: '
    '\\"newuidmap\\": executable file not found in $PATH"'
)
NO_NAMESPACE = "cannot clone: Operation not permitted\nError: cannot re-exec process"
NO_DAEMON = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
FORBIDDEN = (
    "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: "
    'Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.50/info": dial unix /var/run/docker.sock: connect: permission denied'
)


def machine(
    *programs: str, platform: str = "linux", files: Mapping[str, str] | None = None, **environment: str
) -> Machine:
    return Machine(platform, "jane", frozenset(programs), environment, files or {})


@pytest.mark.parametrize(
    ("tool", "remedy"),
    [
        ("apt-get", "sudo apt-get install --yes uidmap"),
        ("dnf", "sudo dnf install --assumeyes shadow-utils"),
        ("pacman", "sudo pacman --sync --noconfirm shadow"),
        ("zypper", "sudo zypper --non-interactive install shadow"),
        ("apk", "install newuidmap, which shadow-utils has"),
    ],
)
def test_a_missing_newuidmap_is_named_with_the_package_that_has_it(tool: str, remedy: str) -> None:
    for complaint in (NO_MAPPER, NO_MAPPER_ANY_MORE):
        found = cause("podman", complaint, machine(tool))
        assert (found.what, found.remedy) == ("lacks newuidmap, which it needs for an ordinary user", remedy)


def test_a_newuidmap_without_its_rights_gets_them_back() -> None:
    said = (
        'level=error msg="running `/usr/bin/newuidmap 22 0 1003 1 1 165536 65536`: newuidmap: write to uid_map failed: '
        'Operation not permitted"\nError: cannot set up namespace using "/usr/bin/newuidmap": should have setuid or '
        "have filecaps setuid: exit status 1"
    )
    assert cause("podman", said, machine()).remedy == "sudo chmod u+s $(command -v newuidmap newgidmap)"


@pytest.mark.parametrize(
    ("subuid", "subgid", "remedy"),
    [
        ("", "", "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 jane && podman system migrate"),
        # After the ranges that others have.
        ("john:100000:65536\n", "john:100000:65536\n",
         "sudo usermod --add-subuids 165536-231071 --add-subgids 165536-231071 jane && podman system migrate"),
        ("jane:100000:65536\n", "john:200000:65536\n",
         "sudo usermod --add-subgids 265536-331071 jane && podman system migrate"),
        # Written since podman last looked.
        ("jane:100000:65536\n", "jane:100000:65536\n", "podman system migrate"),
    ],
)  # fmt: skip
def test_ids_that_are_missing_are_added_where_nobody_elses_are(subuid: str, subgid: str, remedy: str) -> None:
    files = {"/etc/subuid": subuid, "/etc/subgid": subgid}
    assert cause("podman", SINGLE_ID, machine(files=files)).remedy == remedy


@pytest.mark.parametrize(
    ("files", "remedy"),
    [
        ({"/proc/sys/user/max_user_namespaces": "0\n"}, "sudo sysctl --write user.max_user_namespaces=28633"),
        ({"/proc/sys/kernel/unprivileged_userns_clone": "0\n", "/proc/sys/user/max_user_namespaces": "9\n"},
         "sudo sysctl --write kernel.unprivileged_userns_clone=1"),
        ({"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"},
         "sudo sysctl --write kernel.apparmor_restrict_unprivileged_userns=0"),
        ({}, "podman unshare true  (it says what forbids them)"),
    ],
)  # fmt: skip
def test_a_kernel_that_forbids_user_namespaces_is_told_to_allow_them(files: dict[str, str], remedy: str) -> None:
    assert cause("podman", NO_NAMESPACE, machine(files=files)).remedy == remedy


@pytest.mark.parametrize(
    ("there", "remedy"),
    [
        (machine("systemctl"), "sudo systemctl start docker"),
        (machine(), "sudo service docker start"),
        (machine(platform="darwin"), "open -a Docker"),
        (machine("systemctl", DOCKER_HOST="tcp://10.0.0.9:2375"), "unset DOCKER_HOST"),
    ],
)
def test_a_daemon_that_does_not_answer_is_started(there: Machine, remedy: str) -> None:
    assert cause("docker", NO_DAEMON, there).remedy == remedy


@pytest.mark.parametrize(
    ("group", "remedy"),
    [
        ("docker:x:998:\n", "sudo usermod --append --groups docker jane && newgrp docker"),
        ("docker:x:998:janet,john\n", "sudo usermod --append --groups docker jane && newgrp docker"),
        ("docker:x:998:john,jane\n", "newgrp docker"),
    ],
)
def test_who_may_not_use_dockers_socket_joins_its_group_or_takes_up_the_membership(group: str, remedy: str) -> None:
    assert cause("docker", FORBIDDEN, machine(files={"/etc/group": group})).remedy == remedy


def test_a_stopped_podman_machine_is_started() -> None:
    said = (
        "Cannot connect to Podman. Please verify your connection to the Linux system using `podman system connection`"
    )
    assert cause("podman", said, machine(platform="darwin")).remedy == "podman machine start"


def test_what_nobody_knows_is_said_in_the_engines_own_last_words() -> None:
    for complaint in (
        "warning\nError: database graph driver mismatch",
        'time="2026-11-30T18:51:10Z" level=error msg="database graph driver mismatch"',
    ):
        found = cause("podman", complaint, machine())
        assert (found.what, found.remedy, found.known) == ("says database graph driver mismatch", "podman info", False)


def test_where_there_is_no_engine_the_machines_own_packages_have_one() -> None:
    assert nothing_installed(machine("apt-get")) == "sudo apt-get install --yes podman"
    assert nothing_installed(machine()) == "install podman or docker"
    assert nothing_installed(machine(platform="darwin")).startswith("brew install podman")


def client(folder: Path, name: str, *, says: str = "", prints: str = "", exits: int = 0) -> None:
    """A program by the name of an engine, which answers everything so."""
    program = folder / name
    program.write_text(f"#!/bin/sh\necho {shlex.quote(prints)}\necho {shlex.quote(says)} >&2\nexit {exits}\n")
    program.chmod(0o755)


def test_of_two_engines_that_do_not_work_both_reasons_are_said_and_the_first_is_put_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client(tmp_path, "podman", says=NO_MAPPER, exits=125)
    client(tmp_path, "docker", says=NO_DAEMON, exits=1)
    client(tmp_path, "dnf")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    with pytest.raises(RehearsalError) as refused:
        find_engine()
    assert str(refused.value) == (
        "No container engine works here: podman lacks newuidmap, which it needs for an ordinary user; "
        "docker has no running daemon."
    )
    assert refused.value.hint == "Type: sudo dnf install --assumeyes shadow-utils"


def test_a_remedy_that_is_known_comes_before_words_that_nobody_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client(tmp_path, "podman", says="Error: something new", exits=125)
    client(tmp_path, "docker", says=NO_DAEMON, exits=1)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", "tcp://10.0.0.9:2375")
    with pytest.raises(RehearsalError, match="podman says something new; docker reaches no daemon at tcp") as refused:
        find_engine()
    assert refused.value.hint == "Type: unset DOCKER_HOST"


@pytest.mark.parametrize(("ids", "works"), [([1], False), ([1, 65536], True)])
def test_a_podman_that_answers_but_could_unpack_no_image_does_not_work(
    ids: list[int], works: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = {"security": {"rootless": True}, "idMappings": {"uidmap": [{"size": size} for size in ids]}}
    client(tmp_path, "podman", prints=json.dumps({"host": host}))
    monkeypatch.setenv("PATH", str(tmp_path))
    if works:
        assert str(find_engine()) == "podman"
        return
    with pytest.raises(RehearsalError, match=r"no ids for the users in a container|own id alone"):
        find_engine()
