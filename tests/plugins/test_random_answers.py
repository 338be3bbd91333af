"""Whatever vast.ai, the Hub or Weights & Biases answers is understood or refused in one printable sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fluxlora.doctor import hub, wandb_key
from fluxlora.errors import FluxloraError
from fluxlora.vast.client import Rent, Vast
from fluxlora.vast.labels import Label
from replay import replaying

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPJUmxgsPBPU4vLlOCRfl6EvVYJzHEvCHeRzLfHTjbm7"
TEXT = st.text(st.characters(exclude_categories=()), max_size=8) | st.sampled_from(["\x1b[2J", "\u202e", "a\nb", KEY])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
# The names that are read of an answer, with anything under them.
NAMES = [
    "id", "key_id", "email", "credit", "balance", "offers", "instances", "results", "next_token", "success", "msg",
    "error", "new_contract", "key", "ssh_keys", "keys", "public_key", "source", "label", "data", "viewer", "username",
    "name", "orgs", "auth", "accessToken", "role", "fineGrained", "scoped", "canReadGatedRepos",
]  # fmt: skip
NAMED = st.dictionaries(
    st.sampled_from(NAMES), JSON | st.lists(st.dictionaries(st.sampled_from(NAMES), JSON), max_size=2)
)
ANSWER = NAMED | JSON | st.dictionaries(st.sampled_from(NAMES), NAMED)
CALLS: list[Callable[[Vast], Any]] = [
    lambda vast: vast.user(),
    lambda vast: vast.offers({}, disk_gb=10),
    lambda vast: vast.instances(),
    lambda vast: vast.charges(0, 1),
    lambda vast: vast.rent(1, Rent(Label("my-style"), "image", 10)),
    lambda vast: vast.set_state(1, "running"),
    lambda vast: vast.destroy(1),
    lambda vast: vast.ssh_keys(),
    lambda vast: vast.add_ssh_key(KEY),
    lambda vast: vast.mint_key("name", {}),
    lambda vast: vast.has_ssh_key(1, KEY),
]


def is_a_line(text: str) -> bool:
    return text.isprintable() and len(text) <= 2000


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(status=st.sampled_from([200, 200, 200, 400, 404, 429, 500]), body=ANSWER)
@example(200, {"success": True, "ssh_keys": [KEY], "keys": 7})
@example(200, {"ssh_keys": "[" * 50_000})
@example(200, {"id": 10**400, "credit": "1e999", "new_contract": 0.5})
def test_any_answer_of_vast_ai_is_understood_or_refused(status: int, body: Any) -> None:
    with replaying((status, body)) as server:
        vast = Vast("0" * 64, server.url, attempts=1, first_wait_seconds=0)
        for call in CALLS:
            try:
                found = call(vast)
            except FluxloraError as error:
                found = error
            if isinstance(found, FluxloraError):
                assert is_a_line(str(found) or "-")
                assert is_a_line(found.hint)
        assert all(is_a_line(warning) for warning in vast.warnings)


@settings(max_examples=40, deadline=None)
@given(ANSWER)
@example({"data": {"viewer": {"username": "\x1b[2J\njane"}}})
@example({"data": {"viewer": ["jane"]}})
def test_any_answer_of_weights_and_biases_is_one_sentence(body: Any) -> None:
    with replaying((200, body)) as server:
        found = wandb_key.examine("0" * 40, base_url=server.url)
    assert is_a_line(found.sentence)
    assert is_a_line(found.remedy)


@settings(max_examples=25, deadline=None)
@given(ANSWER)
@example({"name": "\x1b[2J"})
@example({"name": "jane", "orgs": ["studio"]})
@example({"name": "jane", "auth": {"accessToken": {"role": "fineGrained", "fineGrained": {"scoped": [None]}}}})
def test_any_answer_of_the_hub_about_its_user_is_one_sentence_a_check(body: Any) -> None:
    with replaying((200, body), (200, {}), (404, {"error": "Repository not found"})) as server:
        found = hub.examine("black-forest-labs/FLUX.1-dev", push_to="my-style", token="hf_x", endpoint=server.url)
    assert all(is_a_line(check.sentence) and is_a_line(check.remedy) for check in found)


def test_a_body_that_is_nested_too_deep_is_refused() -> None:
    with replaying((200, "[" * 100_000)) as server, pytest.raises(FluxloraError) as refused:
        Vast("0" * 64, server.url, attempts=1).instances()
    assert is_a_line(str(refused.value))
    assert json.dumps(refused.value.code) == '"unavailable"'
