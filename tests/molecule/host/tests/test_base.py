"""The role `base` on a fresh host."""

from __future__ import annotations

import pytest
from testinfra.host import Host


@pytest.mark.parametrize("name", ["git", "rsync", "tmux"])
def test_the_tools_of_a_training_are_installed(host: Host, name: str) -> None:
    assert host.package(name).is_installed


def test_a_session_in_tmux_outlives_the_connection_that_began_it(host: Host) -> None:
    host.check_output("tmux new-session -d -s outlives sleep 60")
    assert "outlives" in host.check_output("tmux list-sessions")
