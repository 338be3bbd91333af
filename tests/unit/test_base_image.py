"""Where the image under the hosts comes from, and what is said where it comes from nowhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fluxlora.errors import RehearsalError
from fluxlora.rehearsal.hosts import engine
from fluxlora.rehearsal.hosts.command import Engine


def test_an_ordinary_user_without_the_network_is_told_another_way_to_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "podman"
    program.write_text("#!/bin/sh\necho 'dial tcp: lookup registry: no such host' >&2\nexit 125\n")
    program.chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    nobody: Any = None
    with pytest.raises(RehearsalError, match="cannot be pulled: dial tcp: lookup registry: no such host") as refused:
        engine._base(Engine(str(program)), nobody, lambda line: None)
    assert refused.value.code == "no_base_image"
    assert "`podman load`" in refused.value.hint
    assert "podman pull" not in refused.value.hint
