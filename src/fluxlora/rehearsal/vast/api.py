"""The API of the stand-in for vast.ai: endpoints, keys, refusals, the record of requests."""

from __future__ import annotations

import hmac
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from enum import Enum
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from fluxlora.rehearsal.vast.account import Account
from fluxlora.rehearsal.vast.arming import CUT, Faults
from fluxlora.rehearsal.vast.instances import Fleet, Instance
from fluxlora.rehearsal.vast.ledger import Ledger
from fluxlora.rehearsal.vast.market import Market
from fluxlora.rehearsal.vast.scopes import allows

Body = dict[str, Any]


class Access(Enum):
    """The key that an endpoint needs."""

    OPEN = "no key needed"
    ACCOUNT = "the account's key"
    INSTANCE = "the account's key, or the instance's own"


@dataclass
class Cloud:
    """The state behind the API."""

    account: Account
    market: Market
    ledger: Ledger
    faults: Faults
    fleet: Fleet
    requests: list[dict[str, Any]] = field(default_factory=list)
    results: dict[str, str] = field(default_factory=dict)  # texts that are stored under a result_url


class Refusal(Exception):
    """An error in the API's format."""

    def __init__(self, status: int, error: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"success": False, "error": error, "msg": message, **more}


@dataclass
class Call:
    """One request to the API."""

    cloud: Cloud
    params: Mapping[str, Any]
    query: Mapping[str, str]
    body: Body
    base_url: str
    caller: str | None = None  # account, key N, instance N

    @property
    def id(self) -> int:
        """The id in the path."""
        return int(self.params["id"])

    def instance(self, number: int | None = None) -> Instance:
        """Return the instance in the path, or with this id. Raises Refusal."""
        number = self.id if number is None else number
        if found := self.cloud.fleet.instances.get(number):
            return found
        raise Refusal(404, "no_such_instance", f"Instance {number} not found.")

    def text(self, name: str, error: str) -> str:
        """Return a string of the body that must not be empty. Raises Refusal."""
        value = self.body.get(name)
        if not isinstance(value, str) or not value.strip():
            raise Refusal(400, error, f"{name} is required")
        return value.strip()


Function = Callable[[Call], Awaitable[Any]]


class Endpoints(list[tuple[str, str, Access, Function]]):
    """The endpoints of a module; a call returns a decorator that adds one more."""

    def __call__(self, method: str, path: str, access: Access = Access.ACCOUNT) -> Callable[[Function], Function]:
        def register(function: Function) -> Function:
            self.append((method, path, access, function))
            return function

        return register


def application(cloud: Cloud, *endpoints: Endpoints) -> ASGIApp:
    """Return an application with these endpoints for this cloud."""
    routes = [
        Route(path, _handler(cloud, method, path, access, function), methods=[method])
        for endpoint in endpoints
        for method, path, access, function in endpoint
    ]
    return _Slashes(Starlette(routes=routes, exception_handlers={404: _no_route, 405: _no_route}))


def _handler(
    cloud: Cloud, method: str, path: str, access: Access, function: Function
) -> Callable[[Request], Awaitable[Response]]:
    where = f"{method} {path.replace(':int', '')}"

    async def handle(request: Request) -> Response:
        seen = _seen(request)
        if not path.startswith("/rehearsal"):
            cloud.requests.append(seen)
        try:
            seen["caller"] = _caller(cloud, request, access)
            body = await _body(request)
            seen["body"] = _without_secrets(body)
            call = Call(cloud, request.path_params, request.query_params, body, str(request.base_url), seen["caller"])
            response = await cloud.faults.around_answer(where, call, lambda: _answer(function, call))
        except Refusal as refusal:
            response = JSONResponse(refusal.body, refusal.status)
        response.headers["Date"] = formatdate(time.time() + cloud.account.skew_seconds, usegmt=True)
        seen["status"] = response.status_code
        return response

    return handle


def _seen(request: Request) -> dict[str, Any]:
    """Return a line of the record of requests, with the values that are known when the request arrives."""
    return {
        "at": time.time(),
        "method": request.method,
        "path": request.url.path,
        "query": {name: value for name, value in request.query_params.items() if name != "api_key"},
        "user_agent": request.headers.get("user-agent", ""),
        "body": None,
        "caller": None,
        "status": None,
    }


async def _answer(function: Function, call: Call) -> Response:
    answer = await function(call)
    return answer if isinstance(answer, Response) else JSONResponse(answer)


def _caller(cloud: Cloud, request: Request, access: Access) -> str | None:
    """Return the owner of the key. Raises Refusal if the key may not do this."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        key = request.query_params.get("api_key", "")
    if hmac.compare_digest(key.encode(), cloud.account.api_key.encode()):
        return "account"
    scoped = next((scoped for scoped in cloud.account.scoped_keys.values() if scoped.key == key), None)
    if scoped and allows(scoped.permissions, request.method, request.url.path.rstrip("/")):
        return f"key {scoped.id}"
    if scoped:
        raise Refusal(403, "forbidden", "This key may not do this: its permissions do not include it.")
    owner = next((instance for instance in cloud.fleet.instances.values() if instance.key == key), None)
    if owner and access is Access.INSTANCE and request.path_params.get("id") == owner.id:
        return f"instance {owner.id}"
    if access is Access.OPEN:
        return None
    if owner:
        raise Refusal(403, "forbidden", "This key is for its own instance only.")
    raise Refusal(404, "auth_error", "Invalid user key")  # 404 in production; the OpenAPI says 401


async def _body(request: Request) -> Body:
    raw = await request.body()
    if not raw:
        return {}
    try:
        body = json.loads(raw)
    except ValueError:
        raise Refusal(400, "invalid_request", "Invalid json body") from None
    if not isinstance(body, dict):
        raise Refusal(400, "invalid_request", "Invalid json body")
    return body


def _without_secrets(body: Body) -> Body:
    """Return the part of a request that may be printed: names of variables, not their values."""
    shown = {**body, "value": "****"} if "value" in body else dict(body)
    if isinstance(body.get("env"), dict):
        shown["env"] = dict.fromkeys(body["env"], "****")
    return shown


async def _no_route(request: Request, error: Exception) -> Response:
    return JSONResponse({"success": False, "error": "not_found", "msg": f"{request.url.path} is not an endpoint"}, 404)


class _Slashes:
    """Ignores doubled and trailing slashes, as vast.ai does."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            # uvicorn's send function knows its connection, which a fault may cut.
            cut = send.__self__.transport.abort  # type: ignore[attr-defined]
            scope = {**scope, CUT: cut, "path": re.sub("/+", "/", scope["path"]).rstrip("/") or "/"}
        await self._app(scope, receive, send)
