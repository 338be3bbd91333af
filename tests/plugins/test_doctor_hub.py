"""What the Hub is asked before anything is spent, with the real client."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import nullcontext
from typing import Any

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from conftest import VastServer
from fluxlora.doctor import Check, hub
from fluxlora.doctor.checks import State
from replay import replaying

MODEL = "black-forest-labs/FLUX.1-dev"
ABSENT = (404, {"error": "Repository not found"})


def codes(checks: list[Check]) -> dict[str, str]:
    """Of those that are not well, each of which says what mends it."""
    bad = [check for check in checks if check.code]
    assert [check for check in bad if not check.remedy] == []
    return {check.name: check.code for check in bad}


def whoami(role: str, **access: Any) -> tuple[int, Any]:
    orgs = [{"name": "studio", "roleInOrg": "contributor"}, {"name": "museum", "roleInOrg": "read"}]
    return (200, {"name": "jane", "orgs": orgs, "auth": {"accessToken": {"role": role, **access}}})


def scoped(name: str, *permissions: str) -> dict[str, Any]:
    return {"scoped": [{"entity": {"name": name, "type": "user"}, "permissions": list(permissions)}]}


def test_a_token_that_may_do_everything_passes_and_is_told_where_the_adapter_goes(vast: VastServer) -> None:
    checks = hub.examine(MODEL, push_to="my-style", token=vast.hub_token, endpoint=vast.hub_url)
    assert {check.state for check in checks} == {State.OK}
    assert "rehearsal/my-style will be created, private" in checks[-1].sentence


def test_nothing_is_created_to_find_out(vast: VastServer) -> None:
    hub.examine(MODEL, push_to="never-made", token=vast.hub_token, endpoint=vast.hub_url)
    checks = hub.examine("rehearsal/never-made", token=vast.hub_token, endpoint=vast.hub_url)
    assert codes(checks) == {"hub model": "no_such_model"}


def test_a_run_that_pushes_nothing_needs_no_right_to_write() -> None:
    with replaying(whoami("read"), (200, {})) as server:
        assert hub.examine(MODEL, token="hf_x", endpoint=server.url)[-1].state is State.NOT_NEEDED


@pytest.mark.parametrize(
    ("model", "token", "found"),
    [
        (MODEL, "", {"hub token": "no_token"}),
        (MODEL, "hf_somebodyelses", {"hub token": "bad_token"}),
        (MODEL, "hf_somebodyelses\n", {"hub token": "bad_token"}),
        (MODEL, "hf_…", {"hub token": "bad_token"}),
        ("black-forest-labs/FLUX.1-Fill-dev", None, {"hub model": "gated"}),
        ("nobody/nothing", None, {"hub model": "no_such_model"}),
        ("no name/of a repository/", None, {"hub model": "no_such_model"}),
    ],
)
def test_each_refusal_has_its_code_and_its_remedy(
    vast: VastServer, model: str, token: str | None, found: dict[str, str]
) -> None:
    assert codes(hub.examine(model, token=vast.hub_token if token is None else token, endpoint=vast.hub_url)) == found


@pytest.mark.parametrize(
    ("answer", "target"),
    [
        (whoami("write"), "somebody/else"),
        (whoami("write"), "museum/my-style"),
        (whoami("read"), "my-style"),
        (whoami("fineGrained", fineGrained=scoped("jane", "repo.content.read")), "my-style"),
        (whoami("fineGrained", fineGrained=scoped("jane", "repo.write")), "studio/my-style"),
        (whoami("fineGrained"), "my-style"),
    ],
)
def test_a_token_that_may_not_write_there_is_refused(answer: tuple[int, Any], target: str) -> None:
    with replaying(answer, (200, {})) as server:
        checks = hub.examine(MODEL, push_to=target, token="hf_x", endpoint=server.url)
    assert codes(checks) == {"hub repository": "no_write"}


@pytest.mark.parametrize(
    ("answer", "target"),
    [
        (whoami("write"), "studio/my-style"),
        (whoami("fineGrained", fineGrained=scoped("jane", "repo.content.read", "repo.write")), "jane/my-style"),
        (whoami("fineGrained", fineGrained=scoped("jane/my-style", "repo.write")), "jane/my-style"),
    ],
)
def test_a_token_that_may_write_is_accepted(answer: tuple[int, Any], target: str) -> None:
    with replaying(answer, (200, {}), ABSENT) as server:
        assert codes(hub.examine(MODEL, push_to=target, token="hf_x", endpoint=server.url)) == {}


def test_a_fine_grained_token_without_gated_repositories_is_told_from_a_licence_not_accepted(vast: VastServer) -> None:
    token = vast.lesser_hub_token("fineGrained", canReadGatedRepos=False, **scoped("rehearsal", "repo.write"))
    assert codes(hub.examine(MODEL, push_to="x", token=token, endpoint=vast.hub_url)) == {"hub model": "gated_token"}


@pytest.mark.parametrize(
    ("role", "given", "may"),
    [
        ("write", {}, True),
        ("read", {}, False),
        ("fineGrained", {"canReadGatedRepos": True, **scoped("rehearsal", "repo.content.read")}, False),
        ("fineGrained", {"canReadGatedRepos": True, **scoped("rehearsal", "repo.write")}, True),
    ],
)
def test_what_is_said_of_a_token_is_what_the_hub_does_when_it_is_used(
    vast: VastServer, role: str, given: dict[str, Any], may: bool
) -> None:
    token = vast.lesser_hub_token(role, **given)
    assert (codes(hub.examine(MODEL, push_to="tried", token=token, endpoint=vast.hub_url)) == {}) is may
    api = HfApi(endpoint=vast.hub_url, token=token)
    with nullcontext() if may else pytest.raises(HfHubHTTPError, match="403"):
        api.create_repo("tried", exist_ok=True, private=True)


@pytest.mark.parametrize(
    ("there", "wanted", "code"),
    [(False, True, "public"), (True, False, "private"), (True, True, None), (False, False, None)],
)
def test_the_repository_that_exists_already_is_private_or_public_as_wanted(
    vast: VastServer, there: bool, wanted: bool, code: str | None
) -> None:
    api = HfApi(endpoint=vast.hub_url, token=vast.hub_token)
    name = f"rehearsal/seen-{there}-{wanted}".lower()
    api.create_repo(name, private=there, exist_ok=True)
    checks = hub.examine(MODEL, push_to=name, private=wanted, token=vast.hub_token, endpoint=vast.hub_url)
    assert codes(checks) == ({"hub repository": code} if code else {})


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_hub_in_trouble_is_unreachable_not_a_bad_token(status: int) -> None:
    with replaying((status, "<html>")) as server:
        assert codes(hub.examine(MODEL, token="hf_x", endpoint=server.url)) == {"hub token": "unreachable"}


def test_a_hub_that_is_not_there_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    checks = hub.examine(MODEL, token="hf_x", endpoint=f"http://127.0.0.1:{port}")
    assert codes(checks) == {"hub token": "unreachable"}


def test_the_token_is_in_no_sentence(vast: VastServer) -> None:
    checks = hub.examine(MODEL, token="hf_somebodyelses", endpoint=vast.hub_url)
    assert "hf_somebodyelses" not in str(checks)


def test_an_address_of_the_hub_may_end_with_a_slash(vast: VastServer) -> None:
    assert codes(hub.examine(MODEL, token=vast.hub_token, endpoint=f"{vast.hub_url}/")) == {}


@pytest.mark.parametrize("endpoint", ["http://[::1", "nonsense"])
def test_an_address_that_is_none_is_told(endpoint: str) -> None:
    (found,) = hub.examine(MODEL, token="hf_x", endpoint=endpoint)
    assert found.code == "unreachable"
    assert "HF_ENDPOINT" in found.remedy


def test_what_answers_and_is_no_hub_is_told_apart_from_a_bad_token() -> None:
    for answer in ((404, {"error": "not_found"}), (200, "<html>")):
        with replaying(answer) as server:
            (found,) = hub.examine(MODEL, token="hf_x", endpoint=server.url)
        assert "HF_ENDPOINT" in found.remedy


# The client reads both when it is imported.
@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("HF_HUB_OFFLINE", "1", "-> unset HF_HUB_OFFLINE"),
        ("HF_TOKEN_PATH", __file__, f"-> export HF_TOKEN=$(cat {__file__})"),
    ],
)
def test_the_clients_own_settings_are_told(variable: str, value: str, told: str) -> None:
    script = (
        "import sys; from fluxlora.doctor import hub, lines\n"
        f"print(*lines(hub.examine({MODEL!r}, token=sys.argv[1], endpoint='http://127.0.0.1:1')), sep='\\n')"
    )
    command = [sys.executable, "-c", script, "hf_x" if variable == "HF_HUB_OFFLINE" else ""]
    environment = {**os.environ, variable: value}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert told in done.stdout
