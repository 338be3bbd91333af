"""`host`: each of the scenario's hosts, over real ssh."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host

# Without molecule there are no hosts to look at.
collect_ignore_glob = [] if "MOLECULE_EPHEMERAL_DIRECTORY" in os.environ else ["*"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "host" in metafunc.fixturenames:
        metafunc.parametrize("host", json.loads(_inventory().read_text())["instances"]["hosts"], indirect=True)


@pytest.fixture(scope="session")
def host(request: pytest.FixtureRequest) -> Host:
    return testinfra.get_host(f"ansible://{request.param}?ansible_inventory={_inventory()}&force_ansible=false")


def _inventory() -> Path:
    return Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "hosts.yml"
