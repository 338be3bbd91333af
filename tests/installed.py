"""Images of hosts on which a SimpleTuner is installed, so that a test of what comes later does not install it again.

Each is made once, by the project's own roles, and kept by the engine under a name that changes with the roles. The
rehearsal shows a run on a bare host.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from fluxlora.rehearsal.hosts.containers import OWN_IMAGES, Containers
from fluxlora.rehearsal.hosts.engine import find_engine, host_image
from fluxlora.rehearsal.hosts.owner import Owner

PROJECT = Path(__file__).resolve().parents[1]
ROLES = ("base", "python", "simpletuner")
PLAY = {
    "hosts": "all",
    "vars_files": [f"{PROJECT}/group_vars/{name}.yml" for name in ("training", "rehearsal")],
    "tasks": [
        {"ansible.builtin.include_role": {"name": "base"}},
        {"ansible.builtin.include_role": {"name": "python"}},
        {"ansible.builtin.include_role": {"name": "simpletuner", "tasks_from": "install"}},
    ],
}


def image(version: str) -> str:
    """The image of a host with that SimpleTuner; minutes where it has to be made."""
    with (Path(tempfile.gettempdir()) / f"fluxlora-installed-{os.geteuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        engine = find_engine()
        with Owner() as owner:
            bare = host_image(engine, owner, print)
        name = f"{OWN_IMAGES}fluxlora-installed-{version}:{_digest(bare, version)}"
        if engine.attempt("image", "inspect", name).returncode:
            _make(version, name)
        return name


def _digest(bare: str, version: str) -> str:
    files = [file for role in ROLES for file in sorted((PROJECT / "roles" / role).rglob("*")) if file.is_file()]
    ingredients = [bare, version, json.dumps(PLAY), *(f"{file}:{file.read_bytes().hex()}" for file in files)]
    return hashlib.sha256("\0".join(ingredients).encode()).hexdigest()[:12]


def _make(version: str, name: str) -> None:
    with tempfile.TemporaryDirectory() as temporary, Containers() as hosts:
        folder = Path(temporary)
        key = folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, timeout=30)
        public = key.with_suffix(".pub").read_text()
        port = hosts.start(1, environment={}, authorized_keys=[public], onstart="")
        known = {
            "ansible_host": "127.0.0.1", "ansible_port": port, "ansible_user": "root",
            "ansible_ssh_private_key_file": str(key), "ansible_ssh_retries": 10,
            "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
        }  # fmt: skip
        (folder / "hosts.yml").write_text(json.dumps({"all": {"hosts": {"installed": known}}}))
        (folder / "play.yml").write_text(json.dumps([PLAY]))
        command = [Path(sys.executable).with_name("ansible-playbook"), "-i", folder / "hosts.yml", folder / "play.yml"]
        environment = {**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg")}
        done = subprocess.run(
            [*command, "-e", f"simpletuner_version={version}"],
            cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=1200, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        hosts.commit(1, name)
