"""The stand-in's answers have the shapes that vast.ai's OpenAPI gives them."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import yaml
from openapi_core import OpenAPI
from openapi_core.contrib.requests import RequestsOpenAPIRequest, RequestsOpenAPIResponse
from openapi_core.exceptions import OpenAPIError

from conftest import VastServer

SPEC: dict[str, Any] = yaml.safe_load((Path(__file__).parents[1] / "data" / "vast-openapi-subset.yaml").read_text())
ERROR = {"description": "", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
ONE = "/api/v0/instances/{id}"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEmExample0000000000000000000000000000000000 me"

# Where the OpenAPI is wrong, what holds instead, and how that is known.
EXCEPTIONS: dict[tuple[str, ...], tuple[Any, str]] = {
    ("components", "schemas", "Instance", "properties", "ports"): (
        {"type": ["object", "null"]},
        "Docker's port map in production; clients read ports['22/tcp'][0]['HostPort'] from this very route",
    ),
    ("paths", ONE, "get", "responses", "200", "content", "application/json", "schema"): (
        {
            "type": "object",
            "required": ["instances"],
            "properties": {"instances": {"anyOf": [{"$ref": "#/components/schemas/Instance"}, {"type": "null"}]}},
        },
        "null for an instance that is gone, or not there yet",
    ),
    ("paths", ONE, "get", "responses", "404"): (ERROR, "an unknown key is answered 404, not 401"),
    ("paths", "/api/v0/ssh/{id}", "put", "responses", "404"): (ERROR, "an unknown key is answered 404, not 401"),
}

Scene = dict[str, Any]
# The operation, the status it is to answer, and the request: path, body, query.
Request = tuple[str, int, str, Any, dict[str, str]]
DAYS = '{"day": {"gte": 0, "lte": 9999999999}}'
REQUESTS: list[Request] = [
    ("POST /api/v0/bundles", 200, "/api/v0/bundles/", {"gpu_name": {"eq": "RTX 4090"}}, {}),
    ("PUT /api/v0/asks/{id}", 200, "/api/v0/asks/{offer}/", {"image": "vastai/base-image", "disk": 20}, {}),
    ("PUT /api/v0/asks/{id}", 400, "/api/v0/asks/99/", {"image": "vastai/base-image"}, {}),
    ("PUT /api/v0/asks/{id}", 410, "/api/v0/asks/{let}/", {"image": "x", "cancel_unavail": True}, {}),
    ("PUT /api/v0/asks/{id}", 404, "/api/v0/asks/{offer}/?api_key=wrong", {"image": "x"}, {}),
    ("GET /api/v1/instances", 200, "/api/v1/instances/", None, {}),
    ("GET /api/v1/instances", 200, "/api/v1/instances/", None, {"limit": "1", "select_filters": '{"id": {"gt": 1}}'}),
    ("GET /api/v1/instances", 400, "/api/v1/instances/", None, {"select_filters": '{"dph_total": {"lt": 1}}'}),
    ("GET /api/v1/instances", 400, "/api/v1/instances/", None, {"after_token": "?"}),
    (f"GET {ONE}", 200, "/api/v0/instances/{id}/", None, {}),
    (f"GET {ONE}", 200, "/api/v0/instances/99/", None, {}),
    (f"GET {ONE}", 404, "/api/v0/instances/{id}/?api_key=wrong", None, {}),
    (f"PUT {ONE}", 200, "/api/v0/instances/{id}/", {"label": "fluxlora/a/512"}, {}),
    (f"PUT {ONE}", 200, "/api/v0/instances/{id}/", {"state": "stopped"}, {}),
    (f"PUT {ONE}", 400, "/api/v0/instances/{id}/", {"state": "asleep"}, {}),
    (f"PUT {ONE}", 404, "/api/v0/instances/99/", {"state": "stopped"}, {}),
    (f"DELETE {ONE}", 200, "/api/v0/instances/{id}/", {}, {}),
    (f"DELETE {ONE}", 404, "/api/v0/instances/99/", {}, {}),
    ("PUT /api/v0/instances/reboot/{id}", 200, "/api/v0/instances/reboot/{id}/", {}, {}),
    ("PUT /api/v0/instances/recycle/{id}", 200, "/api/v0/instances/recycle/{id}/", {}, {}),
    ("PUT /api/v0/instances/bid_price/{id}", 200, "/api/v0/instances/bid_price/{id}/", {"price": 0.3}, {}),
    ("PUT /api/v0/instances/bid_price/{id}", 400, "/api/v0/instances/bid_price/{id}/", {"price": 0}, {}),
    ("PUT /api/v0/instances/bid_price/{id}", 404, "/api/v0/instances/bid_price/99/", {"price": 0.3}, {}),
    ("PUT /api/v0/instances/request_logs/{id}", 200, "/api/v0/instances/request_logs/{id}/", {"tail": "5"}, {}),
    ("PUT /api/v0/instances/request_logs/{id}", 404, "/api/v0/instances/request_logs/99/", {}, {}),
    ("GET /api/v0/instances/{id}/ssh", 200, "/api/v0/instances/{id}/ssh/", None, {}),
    ("GET /api/v0/instances/{id}/ssh", 404, "/api/v0/instances/99/ssh/", None, {}),
    ("POST /api/v0/instances/{id}/ssh", 200, "/api/v0/instances/{id}/ssh/", {"ssh_key": KEY + "2"}, {}),
    ("POST /api/v0/instances/{id}/ssh", 400, "/api/v0/instances/{id}/ssh/", {"ssh_key": KEY}, {}),
    ("DELETE /api/v0/instances/{id}/ssh/{ssh_key_id}", 200, "/api/v0/instances/{id}/ssh/{key}/", {}, {}),
    ("DELETE /api/v0/instances/{id}/ssh/{ssh_key_id}", 404, "/api/v0/instances/{id}/ssh/99/", {}, {}),
    ("GET /api/v0/ssh", 200, "/api/v0/ssh/", None, {}),
    ("POST /api/v0/ssh", 200, "/api/v0/ssh/", {"ssh_key": KEY + "3"}, {}),
    ("POST /api/v0/ssh", 400, "/api/v0/ssh/", {}, {}),
    ("PUT /api/v0/ssh/{id}", 200, "/api/v0/ssh/{key}/", {"ssh_key": KEY + "4"}, {}),
    ("PUT /api/v0/ssh/{id}", 400, "/api/v0/ssh/99/", {"ssh_key": KEY}, {}),
    ("PUT /api/v0/ssh/{id}", 404, "/api/v0/ssh/{key}/?api_key=wrong", {"ssh_key": KEY}, {}),
    ("DELETE /api/v0/ssh/{id}", 200, "/api/v0/ssh/{key}/", {}, {}),
    ("DELETE /api/v0/ssh/{id}", 400, "/api/v0/ssh/99/", {}, {}),
    ("GET /api/v0/secrets", 200, "/api/v0/secrets/", None, {}),
    ("POST /api/v0/secrets", 200, "/api/v0/secrets/", {"key": "NEW", "value": "x"}, {}),
    ("POST /api/v0/secrets", 400, "/api/v0/secrets/", {"key": "OLD", "value": "x"}, {}),
    ("PUT /api/v0/secrets", 200, "/api/v0/secrets/", {"key": "OLD", "value": "y"}, {}),
    ("PUT /api/v0/secrets", 400, "/api/v0/secrets/", {"key": "NONE", "value": "y"}, {}),
    ("DELETE /api/v0/secrets", 200, "/api/v0/secrets/", {"key": "OLD"}, {}),
    ("DELETE /api/v0/secrets", 400, "/api/v0/secrets/", {"key": "NONE"}, {}),
    ("GET /api/v0/users/current", 200, "/api/v0/users/current", None, {}),
    ("GET /api/v0/charges", 200, "/api/v0/charges/", None, {"select_filters": DAYS}),
    ("GET /api/v0/charges", 400, "/api/v0/charges/", None, {"select_filters": "{}"}),
    ("GET /api/v0/charges", 404, "/api/v0/charges/?api_key=wrong", None, {"select_filters": DAYS}),
]
NAMES = [f"{operation} {status} {path} {body or query}" for operation, status, path, body, query in REQUESTS]


@pytest.fixture
def scene(vast: VastServer) -> Scene:
    """A running instance with a key, an offer to rent and one that was let, a variable."""
    key = vast.call("POST", "/api/v0/ssh/", {"ssh_key": KEY}).json()["key"]["id"]
    vast.call("POST", "/api/v0/secrets/", {"key": "OLD", "value": "x"})
    let, offer = (each["id"] for each in vast.offers(num_gpus={"eq": 1}, direct_port_count={"gt": 0}, limit=2))
    row = vast.until(vast.rent(let)["new_contract"], lambda row: row["ports"])
    return {"id": row["id"], "key": key, "let": let, "offer": offer}


@pytest.mark.parametrize(("operation", "status", "path", "body", "query"), REQUESTS, ids=NAMES)
def test_answer_has_the_shape_of_the_openapi(
    vast: VastServer, scene: Scene, operation: str, status: int, path: str, body: Any, query: dict[str, str]
) -> None:
    method = operation.partition(" ")[0]

    reply = ask(vast, method, path.format(**scene), body, query)

    assert reply.status_code == status, reply.text
    assert reply.headers["Content-Type"] == "application/json"
    validate(corrected(), reply)


def test_every_operation_of_the_openapi_is_asked_for() -> None:
    operations = {f"{method.upper()} {path}" for path, methods in SPEC["paths"].items() for method in methods}
    assert {operation for operation, *_ in REQUESTS} == operations


@pytest.mark.parametrize("place", EXCEPTIONS, ids=lambda place: EXCEPTIONS[place][1])
def test_every_exception_from_the_openapi_is_needed(vast: VastServer, scene: Scene, place: tuple[str, ...]) -> None:
    without = corrected(*(other for other in EXCEPTIONS if other != place))
    concerned = [each for each in REQUESTS if each[0] in (f"GET {ONE}", "PUT /api/v0/ssh/{id}")]
    replies = [ask(vast, each[0].partition(" ")[0], each[2].format(**scene), *each[3:]) for each in concerned]

    assert [reply for reply in replies if not fits(without, reply)]


def ask(vast: VastServer, method: str, path: str, body: Any, query: dict[str, str]) -> requests.Response:
    """The request, as the account unless the path says otherwise."""
    key = "" if "api_key=" in path else None
    return vast.call(method, path, body, key, **query)


@functools.cache
def corrected(*places: tuple[str, ...]) -> OpenAPI:
    """The OpenAPI with the exceptions at these places, by default with all."""
    spec = copy.deepcopy(SPEC)
    for place in places or EXCEPTIONS:
        functools.reduce(lambda node, name: node[name], place[:-1], spec)[place[-1]] = EXCEPTIONS[place][0]
    return OpenAPI.from_dict(spec)


def validate(openapi: OpenAPI, reply: requests.Response) -> None:
    """Raises OpenAPIError. The OpenAPI writes its paths without the slash at the end that clients send."""
    request = requests.Request(reply.request.method, "http://vast" + urlsplit(reply.request.url).path.rstrip("/"))
    openapi.validate_response(RequestsOpenAPIRequest(request), RequestsOpenAPIResponse(reply))


def fits(openapi: OpenAPI, reply: requests.Response) -> bool:
    try:
        validate(openapi, reply)
    except OpenAPIError:
        return False
    return True
