"""How often one training asks vast.ai: each question once, however many steps need the answer."""

from __future__ import annotations

import pytest

from conftest import Bench

pytestmark = pytest.mark.timeout(600)

LIST = ("GET", "/api/v1/instances")
# Half of what the same calls asked while each step looked for itself.
MOST = 18


def test_a_training_asks_each_question_once(bench: Bench) -> None:
    # The steps in between work on the instance, and ask vast.ai nothing.
    done = bench.play("train", "asking", "--tags", "accounts,rent,destroy", provision_destroy_unsaved="true")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert bench.instances() == []

    log = [(request["method"], request["path"].rstrip("/")) for request in bench.get("/rehearsal/requests")]
    # This test's own look.
    asked = [request for request in log if request[1].startswith("/api/")][:-1]
    rented = next(number for number, (method, path) in enumerate(asked) if method == "PUT" and "/asks/" in path)
    assert asked[:rented].count(LIST) <= 2, asked
    assert [path for _, path in asked].count("/api/v0/bundles") == 1, asked
    # How often an instance is looked at while it starts depends on the machine.
    starting = asked[rented + 1 : asked.index(("POST", attached(asked)))]
    assert len(asked) - max(len(starting) - 2, 0) <= MOST, asked


def attached(asked: list[tuple[str, str]]) -> str:
    """The request that ends the wait for the address of the instance: its ssh key."""
    return next(path for method, path in asked if method == "POST" and path.endswith("/ssh") and "/instances/" in path)
