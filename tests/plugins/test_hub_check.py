"""What the Hub is asked before anything is spent, with the real client."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from replay import replaying

from conftest import VastServer
from fluxlora import hub
from fluxlora.errors import HubError

MODEL = "black-forest-labs/FLUX.1-dev"


def refused(*args: Any, **options: Any) -> HubError:
    with pytest.raises(HubError) as error:
        hub.check(*args, **options)
    return error.value


def whoami(role: str, **access: Any) -> tuple[int, Any]:
    user = {"name": "jane", "orgs": [{"name": "studio"}], "auth": {"accessToken": {"role": role, **access}}}
    return (200, user)


def scoped(name: str, *permissions: str) -> dict[str, Any]:
    return {"scoped": [{"entity": {"name": name, "type": "user"}, "permissions": list(permissions)}]}


def test_a_token_that_may_do_everything_is_told_whose_it_is_and_where_the_adapter_goes(vast: VastServer) -> None:
    access = hub.check(MODEL, push_to="my-style", token=vast.hub_token, endpoint=vast.hub_url)
    assert (access.user, access.push_to) == ("rehearsal", "rehearsal/my-style")


def test_nothing_is_created_to_find_out(vast: VastServer) -> None:
    hub.check(MODEL, push_to="never-made", token=vast.hub_token, endpoint=vast.hub_url)
    error = refused("rehearsal/never-made", token=vast.hub_token, endpoint=vast.hub_url)
    assert error.code == "no_such_model"


def test_a_run_that_pushes_nothing_needs_no_right_to_write() -> None:
    with replaying(whoami("read"), (200, {})) as server:
        assert hub.check(MODEL, token="hf_x", endpoint=server.url).push_to == ""


@pytest.mark.parametrize(
    ("model", "token", "code"),
    [
        (MODEL, "", "no_token"),
        (MODEL, "hf_somebodyelses", "bad_token"),
        ("black-forest-labs/FLUX.1-Fill-dev", None, "gated"),
        ("nobody/nothing", None, "no_such_model"),
        ("no name/of a repository/", None, "no_such_model"),
    ],
)
def test_each_refusal_has_its_code_and_its_remedy(vast: VastServer, model: str, token: str | None, code: str) -> None:
    error = refused(model, token=vast.hub_token if token is None else token, endpoint=vast.hub_url)
    assert error.code == code
    assert error.hint or code == "no_such_model"


def test_somebody_elses_namespace_is_refused(vast: VastServer) -> None:
    error = refused(MODEL, push_to="somebody/else", token=vast.hub_token, endpoint=vast.hub_url)
    assert error.code == "no_write"
    assert "simpletuner_hub_model_id" in error.hint


@pytest.mark.parametrize(
    ("answer", "target"),
    [
        (whoami("read"), "my-style"),
        (whoami("fineGrained", fineGrained=scoped("jane", "repo.content.read")), "my-style"),
        (whoami("fineGrained", fineGrained=scoped("jane", "repo.write")), "studio/my-style"),
        (whoami("fineGrained"), "my-style"),
    ],
)
def test_a_token_that_may_not_write_is_refused(answer: tuple[int, Any], target: str) -> None:
    with replaying(answer, (200, {})) as server:
        assert refused(MODEL, push_to=target, token="hf_x", endpoint=server.url).code == "no_write"


@pytest.mark.parametrize(
    ("answer", "target"),
    [
        (whoami("write"), "studio/my-style"),
        (whoami("fineGrained", fineGrained=scoped("jane", "repo.content.read", "repo.write")), "jane/my-style"),
    ],
)
def test_a_token_that_may_write_is_accepted(answer: tuple[int, Any], target: str) -> None:
    with replaying(answer, (200, {})) as server:
        assert hub.check(MODEL, push_to=target, token="hf_x", endpoint=server.url).push_to == target


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_hub_in_trouble_is_unreachable_not_a_bad_token(status: int) -> None:
    with replaying((status, "<html>")) as server:
        assert refused(MODEL, token="hf_x", endpoint=server.url).code == "unreachable"


def test_a_hub_that_is_not_there_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert refused(MODEL, token="hf_x", endpoint=f"http://127.0.0.1:{port}").code == "unreachable"


def test_the_token_is_in_no_message(vast: VastServer) -> None:
    error = refused(MODEL, token="hf_somebodyelses", endpoint=vast.hub_url)
    assert "hf_somebodyelses" not in f"{error} {error.hint}"
