"""What a rented host gets of the user's own ssh settings: nothing, from none of the programs that call ssh."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import PROJECT
from fluxlora.rehearsal.hosts.command import Engine
from fluxlora.rehearsal.hosts.containers import Containers
from fluxlora.rehearsal.hosts.engine import ensure_image, find_engine
from fluxlora.rehearsal.hosts.owner import LABEL
from fluxlora.renting.ssh_probe import Answer, Login
from fluxlora.vast.records import Endpoint
from remote import keygen

# An sshd that takes everything it is offered, and writes down what that was.
OPEN_SSHD = r"""touch ~/.no_auto_tmux
printf '%s\n' 'LogLevel DEBUG2' 'AcceptEnv *' 'X11Forwarding yes' 'StreamLocalBindUnlink yes' \
  > /etc/ssh/sshd_config.d/open.conf"""
# What people have for hosts of their own. `Match exec` and `LocalCommand` show whether the file is obeyed at all.
GENEROUS = """\
Match exec "touch '{folder}/match'"
Host *
  ForwardAgent yes
  ForwardX11 yes
  ForwardX11Trusted yes
  RemoteForward 127.0.0.1:0 127.0.0.1:{port}
  RemoteForward /root/forwarded.sock {folder}/local.sock
  LocalForward {folder}/forward.sock 127.0.0.1:{port}
  SendEnv *
  SetEnv LC_GIVEN=away
  PermitLocalCommand yes
  LocalCommand touch '{folder}/local-command'
  ControlMaster auto
  ControlPath {folder}/shared-%C
  AddKeysToAgent yes
  IdentityFile {folder}/other
  IdentityAgent {folder}/agent.sock
  StrictHostKeyChecking no
  UserKnownHostsFile {folder}/users_known_hosts
"""
# The last `-F` counts, so this is the user's own file for a caller that names none. ssh takes the home from the
# password database, and a test cannot write there.
WRAPPER = """\
#!/bin/sh
exec {program} -F '{config}' "$@"
"""
RELAY = """\
#!/bin/bash
exec 3<>"/dev/tcp/127.0.0.1/$2"
cat <&3 &
exec cat >&3
"""
REQUEST = re.compile(r"server_input_(?:channel_req: channel \d+ request|global_request: rtype) (\S+)")
OFFERED_KEY = re.compile(r"querying public key \S+ (\S+)")
# What says nothing of this computer.
OF_THE_PROTOCOL = {"no-more-sessions@openssh.com", "keepalive@openssh.com"}
INSTANCE = 7


@dataclass
class Host:
    """A host in a container, and this computer as it is when its user trusts every host."""

    port: int
    folder: Path
    engine: Engine
    container: str

    @property
    def environment(self) -> dict[str, str]:
        programs = f"{self.folder}/bin{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {
            **os.environ, "PATH": programs, "HOME": str(self.folder), "DISPLAY": "127.0.0.1:99",
            "SSH_AUTH_SOCK": str(self.folder / "agent.sock"), "GIVEN_AWAY": "a secret",
            "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "FLUXLORA_STATE_DIR": str(self.folder / "state"),
            # What people export for hosts of their own.
            "ANSIBLE_HOST_KEY_CHECKING": "false", "ANSIBLE_SSH_ARGS": "-o ForwardAgent=yes",
            "ANSIBLE_SSH_EXTRA_ARGS": "-A", "ANSIBLE_SFTP_EXTRA_ARGS": "-A",
        }  # fmt: skip

    def log(self) -> str:
        return self.engine.attempt("logs", self.container).stderr

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=PROJECT, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip

    def ansible(self, *task: str, fails: bool = False) -> str:
        """One task on the host, by the project's own inventory and group variables."""
        inventory = self.folder / "hosts.json"
        host = {
            "ansible_host": "127.0.0.1", "ansible_port": self.port, "ansible_user": "root", "vastai_id": INSTANCE,
            "provision_ssh_key_file": str(self.folder / "key"),
        }  # fmt: skip
        inventory.write_text(json.dumps({"vastai": {"hosts": {"my-style": host}}}))
        done = self.run("ansible", "-i", "inventory/runs.yml", "-i", str(inventory), "my-style", *task)
        assert bool(done.returncode) == fails, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    # Short, since a socket's path has 108 characters at most.
    folder = tmp_path_factory.mktemp("own")
    for name in ("key", "other"):
        keygen(folder / name, comment=name)
    (folder / "state/known_hosts").mkdir(parents=True)
    ensure_image()
    engine = find_engine()
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(folder / "agent.sock")], stdout=subprocess.DEVNULL)
    try:
        with Containers() as containers:
            keys = [(folder / f"{name}.pub").read_text() for name in ("key", "other")]
            port = containers.start(INSTANCE, environment={}, authorized_keys=keys, onstart=OPEN_SSHD)
            (container,) = engine("ps", "-q", "--filter", f"label={LABEL}={containers.owner.label}").split()
            (folder / "bin").mkdir()
            config = folder / "config"
            config.write_text(GENEROUS.format(folder=folder, port=port))
            for name in ("ssh", "sftp", "scp"):
                program = folder / "bin" / name
                program.write_text(WRAPPER.format(program=shutil.which(name), config=config))
                program.chmod(0o755)
            there = Host(port, folder, engine, container)
            while "Server listening" not in there.log():
                time.sleep(0.1)
            there.run("ssh-add", str(folder / "other"))
            yield there
    finally:
        agent.terminate()
        agent.wait(10)


@dataclass
class Given:
    """What the host was asked for or offered, in sshd's own words, and what was done here on the user's behalf."""

    requests: set[str]
    keys: set[str]
    obeyed: set[str]


def given(host: Host, call: Callable[[], object]) -> Given:
    own = {"match", "local-command", "forward.sock", "users_known_hosts"}
    for name in own:
        (host.folder / name).unlink(missing_ok=True)
    before = len(host.log())
    call()
    told = host.log()[before:]
    keys = {(host.folder / f"{name}.pub").read_text().split()[1]: name for name in ("key", "other")}
    return Given(
        requests=set(REQUEST.findall(told)) - OF_THE_PROTOCOL,
        keys={keys[key] for key in OFFERED_KEY.findall(told)},
        obeyed={name for name in own if (host.folder / name).exists()},
    )


def test_a_plain_ssh_gives_the_host_all_of_it(host):
    plain = given(host, lambda: host.run("ssh", "-p", str(host.port), "root@127.0.0.1", "sleep 1"))
    assert plain.requests >= {
        "auth-agent-req@openssh.com", "x11-req", "env", "tcpip-forward", "streamlocal-forward@openssh.com"
    }  # fmt: skip
    assert plain.keys == {"other"}
    assert plain.obeyed == {"match", "local-command", "forward.sock", "users_known_hosts"}


def test_ansible_gives_the_host_nothing_but_its_commands_and_files(host):
    shown: list[str] = []

    def call() -> None:
        host.ansible("-m", "ansible.builtin.copy", "-a", "content=x dest=/root/copied")
        shown.append(host.ansible("-m", "ansible.builtin.command", "-a", "env"))

    by_ansible = given(host, call)
    assert by_ansible.requests <= {"exec", "subsystem"}
    assert (by_ansible.keys, by_ansible.obeyed) == ({"key"}, set())
    assert "SSH_CONNECTION=" in shown[0]
    assert [name for name in ("GIVEN_AWAY", "SSH_AUTH_SOCK", "DISPLAY", "LC_GIVEN") if f"{name}=" in shown[0]] == []


def test_rsync_gives_the_host_nothing_but_its_command(host):
    wish = {"direction": "pull", "local": str(host.folder / "pulled"), "remote": "/root", "ssh": "{{ training_ssh }}"}
    # As `delegate_to: localhost` does it, with what the role hands to rsync.
    here = ("ansible_connection=local", f"ansible_python_interpreter={sys.executable}")
    given_here = [word for given in (*here, "@roles/training/defaults/main.yml") for word in ("-e", given)]

    def call() -> None:
        task = ("-m", "folder_transfer", "-a", json.dumps(wish), *given_here)
        assert "code: no_rsync" in host.ansible(*task, fails=True)  # which only the host can know

    assert given(host, call) == Given({"exec"}, {"key"}, set())


def test_the_login_probe_gives_the_host_nothing_but_its_command(host, monkeypatch):
    login = Login(host.folder / "key", host.folder / "state/known_hosts")
    for name, value in host.environment.items():
        monkeypatch.setenv(name, value)

    def call() -> None:
        assert login.try_at(INSTANCE, Endpoint("127.0.0.1", host.port, True)).answer is Answer.IN

    assert given(host, call) == Given({"exec"}, {"key"}, set())


def test_a_network_that_lets_ssh_out_through_a_proxy_only_names_it_in_one_place(host):
    relay = host.folder / "bin/relay"
    relay.write_text(RELAY)
    relay.chmod(0o755)
    # Nobody can be reached there, but the proxy goes to this host.
    elsewhere = Endpoint("203.0.113.7", host.port, True)
    known_hosts = host.folder / "state/known_hosts"
    login = Login(host.folder / "key", known_hosts, proxy_command=f"{relay} %h %p")
    assert login.try_at(INSTANCE, elsewhere).answer is Answer.IN
    through = ("-e", f"ansible_host={elsewhere.host}", "-e", f"provision_ssh_proxy_command='{relay} %h %p'")
    assert "arrived" in host.ansible("-m", "ansible.builtin.raw", "-a", "echo arrived", *through)
