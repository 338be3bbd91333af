"""Images of hosts on which a SimpleTuner is installed, so that a test of what comes later does not install it again.

Each is made once, by the project's own roles, and kept by the engine under a name that changes with the roles. The
rehearsal shows a run on a bare host.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from fluxlora.rehearsal.hosts.containers import OWN_IMAGES, Containers
from fluxlora.rehearsal.hosts.engine import digest, find_engine, host_image, tags
from fluxlora.rehearsal.hosts.owner import Owner
from remote import connection, keygen, wait_for_ssh

PROJECT = Path(__file__).resolve().parents[1]
ROLES = ("base", "python", "simpletuner")
VARIABLES = ("training", "rehearsal")
TASKS = [
    {"ansible.builtin.include_role": {"name": "base"}},
    {"ansible.builtin.include_role": {"name": "python"}},
    {"ansible.builtin.include_role": {"name": "simpletuner", "tasks_from": "install"}},
]


def image(version: str) -> str:
    """The image of a host with that SimpleTuner; minutes where it has to be made."""
    with (Path(tempfile.gettempdir()) / f"fluxlora-installed-{os.geteuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        engine = find_engine()
        with Owner() as owner:
            bare = host_image(engine, owner, print)
        repository = f"{OWN_IMAGES}fluxlora-installed-{version}"
        name = f"{repository}:{_digest(bare, version)}"
        known = tags(engine, repository)
        if name not in known:
            _make(version, name)
            for outdated in known:
                engine.attempt("rmi", outdated)  # stays while another test's host runs from it
        return name


def _digest(bare: str, version: str) -> str:
    """Of all that the installation goes by, wherever the project lies."""
    folders = [PROJECT / "roles" / role for role in ROLES]
    files = [file for folder in folders for file in sorted(folder.rglob("*")) if file.is_file()]
    files += [PROJECT / "group_vars" / f"{name}.yml" for name in VARIABLES]
    contents = [f"{file.relative_to(PROJECT)}:{file.read_bytes().hex()}" for file in files]
    return digest(bare, version, json.dumps(TASKS), *contents)


def _make(version: str, name: str) -> None:
    variables = [f"{PROJECT}/group_vars/{variable}.yml" for variable in VARIABLES]
    with tempfile.TemporaryDirectory() as temporary, Containers() as hosts:
        folder = Path(temporary)
        key = keygen(folder / "key")
        public = key.with_suffix(".pub").read_text()
        port = hosts.start(1, environment={}, authorized_keys=[public], onstart="")
        wait_for_ssh(port)
        host = connection(key) | {"ansible_port": port}
        (folder / "hosts.yml").write_text(json.dumps({"all": {"hosts": {"installed": host}}}))
        (folder / "play.yml").write_text(json.dumps([{"hosts": "all", "vars_files": variables, "tasks": TASKS}]))
        command = [Path(sys.executable).with_name("ansible-playbook"), "-i", folder / "hosts.yml", folder / "play.yml"]
        done = subprocess.run(
            [*command, "-e", f"simpletuner_version={version}"],
            cwd=PROJECT, env={**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg")},
            capture_output=True, text=True, timeout=1200, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        hosts.commit(1, name)
