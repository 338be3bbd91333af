"""The roles `base` and `python` on a host whose own python cannot make virtual environments."""

from __future__ import annotations

from testinfra.host import Host

LINK = "/root/.fluxlora/python3.11"


def test_the_link_leads_to_the_distributions_python(host: Host) -> None:
    assert host.file(LINK).linked_to == "/usr/bin/python3.11"


def test_it_makes_virtual_environments_with_pip(host: Host) -> None:
    host.check_output(f"{LINK} -m venv /tmp/made")
    assert "python 3.11" in host.check_output("/tmp/made/bin/pip --version")


def test_nobody_but_root_sees_what_lies_beside_simpletuner(host: Host) -> None:
    folder = host.file("/root/.fluxlora")
    assert (folder.user, folder.mode) == ("root", 0o700)


def test_logins_stay_out_of_tmux(host: Host) -> None:
    assert host.file("/root/.no_auto_tmux").exists
