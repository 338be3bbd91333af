"""The options of ssh, as ssh itself understands them."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from fluxlora.vast.ssh import CLOSED, of_ansible, to_instance

# A file that a user names by a later -F, after the options.
GENEROUS = """\
Host *
  ForwardAgent yes
  ForwardX11 yes
  RemoteForward 8022 127.0.0.1:22
  LocalForward 8023 127.0.0.1:22
  DynamicForward 1080
  Tunnel yes
  PermitLocalCommand yes
  AddKeysToAgent yes
  UpdateHostKeys yes
  StrictHostKeyChecking no
  PreferredAuthentications password
"""


def understood(*words: str) -> dict[str, str]:
    """What `ssh -G` says that it would do."""
    done = subprocess.run(
        ["ssh", *words, "-G", "203.0.113.7"], capture_output=True, text=True, timeout=30, check=True, stdin=-3
    )
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


def test_no_file_is_read_and_the_instances_key_alone_is_known() -> None:
    options = understood(*CLOSED, *to_instance(7, Path("/known hosts/100%")))
    assert options["hostkeyalias"] == "vastai-7"
    assert options["userknownhostsfile"] == "/known hosts/100%/7"
    assert options["stricthostkeychecking"] == "accept-new"
    assert (options["identitiesonly"], options["batchmode"]) == ("yes", "yes")
    assert {"sendenv", "setenv", "proxycommand", "proxyjump"} & set(options) == set()


def test_even_a_file_that_is_named_by_hand_forwards_nothing(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(GENEROUS)
    options = understood(*CLOSED, *to_instance(7, tmp_path), "-F", str(tmp_path / "config"))
    off = ("forwardagent", "forwardx11", "permitlocalcommand")
    assert {name: options[name] for name in off} == dict.fromkeys(off, "no")
    assert {options[name] for name in ("tunnel", "addkeystoagent", "updatehostkeys")} == {"false"}
    assert options["clearallforwardings"] == "yes"
    assert (options["stricthostkeychecking"], options["preferredauthentications"]) == ("accept-new", "publickey")


@pytest.mark.parametrize("proxy", ["ssh -W [%h]:%p bastion", """sh -c 'exec nc "$0" "$1"' %h %p"""])
def test_a_proxy_gets_through_ansibles_words_whole(proxy: str) -> None:
    words = shlex.split(of_ansible(shlex.join(to_instance(7, Path("/hosts"), proxy))))
    assert words[: len(CLOSED)] == list(CLOSED)
    assert understood(*words)["proxycommand"] == proxy
    assert "ControlPersist=60s" in words
