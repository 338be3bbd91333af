"""The stand-in vast.ai: its wire protocol, over one account, one market and the hosts behind it."""

from __future__ import annotations

import hmac
import json
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from fluxlora.rehearsal.account import Account
from fluxlora.rehearsal.faults import FAULTS, Faults
from fluxlora.rehearsal.instances import Fleet, Instance
from fluxlora.rehearsal.ledger import Ledger
from fluxlora.rehearsal.listing import page
from fluxlora.rehearsal.market import Market, OfferGone
from fluxlora.rehearsal.record import record

Body = dict[str, Any]


class Access(Enum):
    OPEN = "no key needed"
    ACCOUNT = "the account's key"
    INSTANCE = "the account's key, or the instance's own"


@dataclass
class Cloud:
    """Everything behind the API."""

    account: Account
    market: Market
    ledger: Ledger
    faults: Faults
    fleet: Fleet
    requests: list[dict[str, Any]] = field(default_factory=list)
    results: dict[str, str] = field(default_factory=dict)  # texts that wait under a result_url


class Refusal(Exception):
    """An error as the API words it."""

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

    @property
    def id(self) -> int:
        return int(self.params["id"])

    def instance(self, number: int | None = None) -> Instance:
        """The one in the path, or this one. Raises Refusal."""
        number = self.id if number is None else number
        if found := self.cloud.fleet.instances.get(number):
            return found
        raise Refusal(404, "no_such_instance", f"Instance {number} not found.")

    def text(self, name: str, error: str) -> str:
        """A string of the body that must not be empty. Raises Refusal."""
        value = self.body.get(name)
        if not isinstance(value, str) or not value.strip():
            raise Refusal(400, error, f"{name} is required")
        return value.strip()


Function = Callable[[Call], Awaitable[Any]]
ENDPOINTS: list[tuple[str, str, Access, Function]] = []


def endpoint(method: str, path: str, access: Access = Access.ACCOUNT) -> Callable[[Function], Function]:
    def register(function: Function) -> Function:
        ENDPOINTS.append((method, path, access, function))
        return function

    return register


# Offers


@endpoint("POST", "/api/v0/bundles", Access.OPEN)
async def search(call: Call) -> Body:
    return {"offers": call.cloud.market.search(call.body)}


@endpoint("PUT", "/api/v0/search/asks", Access.OPEN)
async def search_asks(call: Call) -> Body:
    return {"offers": call.cloud.market.search(call.body.get("q") or {})}


@endpoint("GET", "/api/v0/gpu_names/unique", Access.OPEN)
async def gpu_names(call: Call) -> Body:
    return {"gpu_names": call.cloud.market.gpu_names()}


@endpoint("PUT", "/api/v0/asks/{id}")
async def rent(call: Call) -> Body:
    wanted, ask = call.body, {"ask_id": call.id}
    if not wanted.get("image") and not wanted.get("template_hash_id"):
        raise Refusal(400, "invalid_args", "error 400/3467: Invalid args: 'image' is required", **ask)
    if not isinstance(wanted.get("env") or {}, dict):
        raise Refusal(400, "invalid_args", "error 400/3467: Invalid args: 'env' must be an object", **ask)
    if wanted.get("price") is not None and not 0.001 <= wanted["price"] <= 128:
        raise Refusal(400, "invalid_price", "price must be between 0.001 and 128", **ask)
    if call.cloud.account.deposit <= call.cloud.ledger.total():
        raise Refusal(400, "insufficient_credit", "Your account has no credit left.", **ask)
    try:
        instance = call.cloud.fleet.rent(call.id, wanted)
    except OfferGone as gone:
        if gone.listed and wanted.get("cancel_unavail"):
            message = f"error 410/3907: no_such_ask Instance type {call.id} is no longer available."
            raise Refusal(410, "no_such_ask", message, **ask) from None
        message = f"error 404/3603: no_such_ask  Instance type by id {call.id} is not available."
        raise Refusal(400, "invalid_args", message, **ask) from None
    except ValueError as error:
        raise Refusal(400, "invalid_args", f"error 400/3467: Invalid args: {error}", **ask) from None
    outbid = instance.bid is not None and instance.intended_status == "stopped"
    return {"success": not outbid, "new_contract": instance.id, "instance_api_key": instance.key}


# Instances


@endpoint("GET", "/api/v1/instances")
async def list_instances(call: Call) -> Body:
    rows = [record(instance) for instance in call.cloud.fleet.instances.values()]
    try:
        return page(rows, call.query)
    except ValueError as error:
        code = "invalid_token" if "token" in str(error) else "invalid_request"
        raise Refusal(400, code, str(error)) from None


@endpoint("GET", "/api/v0/instances")
async def list_instances_v0(call: Call) -> Body:
    message = "/api/v0/instances/ is deprecated. Use /api/v1/instances/ instead."
    raise Refusal(410, "deprecated_endpoint", message)


@endpoint("GET", "/api/v0/instances/filters")
async def instance_filters(call: Call) -> Body:
    rows = [record(instance) for instance in call.cloud.fleet.instances.values()]
    return {"filters": [{name: row[name] for name in ("actual_status", "verification", "gpu_name")} for row in rows]}


@endpoint("GET", "/api/v0/instances/{id:int}", Access.INSTANCE)
async def show_instance(call: Call) -> Body:
    instance = call.cloud.fleet.instances.get(call.id)
    return {"instances": record(instance) if instance and instance.shows_alone else None}


@endpoint("PUT", "/api/v0/instances/{id:int}", Access.INSTANCE)
async def manage_instance(call: Call) -> Body:
    instance = call.instance()
    if "label" in call.body:
        label = call.body["label"]
        if len(label or "") > 1024:
            raise Refusal(400, "label_too_long", "The label is longer than 1024 characters.")
        instance.label = call.cloud.ledger.meters[instance.id].label = label
        return {"success": True, "msg": f"label for {instance.id} set to '{label}'"}
    _set_state(call, instance)
    return {"success": True}


@endpoint("PUT", "/api/v0/instances")
async def manage_instances(call: Call) -> Body:
    for instance in [call.instance(number) for number in call.body.get("ids") or []]:
        _set_state(call, instance)
    return {"success": True}


def _set_state(call: Call, instance: Instance) -> None:
    state = call.body.get("state")
    if state not in ("running", "stopped"):
        raise Refusal(400, "invalid_args", "state must be running or stopped")
    if state != instance.intended_status:
        (call.cloud.fleet.start if state == "running" else call.cloud.fleet.stop)(instance)


@endpoint("DELETE", "/api/v0/instances/{id:int}", Access.INSTANCE)
async def destroy_instance(call: Call) -> Body:
    call.cloud.fleet.destroy(call.instance())
    return {"success": True, "msg": "Instance destroyed successfully"}


@endpoint("DELETE", "/api/v0/instances")
async def destroy_instances(call: Call) -> Body:
    for instance in [call.instance(number) for number in call.body.get("instance_ids") or []]:
        call.cloud.fleet.destroy(instance)
    return {"success": True, "msg": "Instances destroyed successfully"}


@endpoint("PUT", "/api/v0/instances/reboot/{id:int}")
async def reboot_instance(call: Call) -> Body:
    call.cloud.fleet.reboot(call.instance())
    return {"success": True}


@endpoint("PUT", "/api/v0/instances/recycle/{id:int}")
async def recycle_instance(call: Call) -> Body:
    call.cloud.fleet.recycle(call.instance())
    return {"success": True}


@endpoint("PUT", "/api/v0/instances/bid_price/{id:int}")
async def change_bid(call: Call) -> Body:
    instance, price = call.instance(), call.body.get("price")
    if not isinstance(price, (int, float)) or not 0.001 <= price <= 32:
        raise Refusal(400, "invalid_args", "price must be between 0.001 and 32")
    call.cloud.fleet.bid(instance, price)
    return {"success": True}


@endpoint("PUT", "/api/v0/instances/request_logs/{id:int}")
async def request_logs(call: Call) -> Body:
    instance, body = call.instance(), call.body
    lines = [line for line in instance.log if (body.get("filter") or "") in line]
    name = secrets.token_hex(16)
    call.cloud.results[name] = "\n".join(lines[-int(body.get("tail") or 1000) :]) + "\n"
    return {"success": True, "result_url": f"{call.base_url}results/{name}", "msg": "Logs are on their way."}


@endpoint("GET", "/results/{name}", Access.OPEN)
async def result(call: Call) -> Response:
    text = call.cloud.results.get(call.params["name"])
    return PlainTextResponse(text) if text is not None else PlainTextResponse("not ready", 404)


# SSH keys


@endpoint("GET", "/api/v0/ssh")
async def show_ssh_keys(call: Call) -> list[Body] | Response:
    account = call.cloud.account
    keys = [account.ssh_key_record(*item) for item in account.ssh_keys.items()]
    return keys or JSONResponse([], 404)


@endpoint("POST", "/api/v0/ssh")
async def create_ssh_key(call: Call) -> Body:
    account, public_key = call.cloud.account, call.text("ssh_key", "no_ssh_key")
    return {"success": True, "key": account.ssh_key_record(account.add_ssh_key(public_key), public_key)}


@endpoint("PUT", "/api/v0/ssh/{id:int}")
async def update_ssh_key(call: Call) -> Body:
    account, public_key = call.cloud.account, call.text("ssh_key", "no_ssh_key")
    if call.id not in account.ssh_keys:
        raise Refusal(400, "no_such_ssh_key", f"SSH key {call.id} not found.")
    account.ssh_keys[call.id] = public_key
    return {"success": True, "key": account.ssh_key_record(call.id, public_key)}


@endpoint("DELETE", "/api/v0/ssh/{id:int}")
async def delete_ssh_key(call: Call) -> Body:
    if not call.cloud.account.ssh_keys.pop(call.id, None):
        raise Refusal(400, "no_such_ssh_key", f"SSH key {call.id} not found.")
    return {"success": True}


@endpoint("GET", "/api/v0/instances/{id:int}/ssh")
async def show_instance_ssh(call: Call) -> Body:
    account = call.cloud.account
    keys = [account.ssh_key_record(*item) for item in call.instance().ssh_keys.items()]
    return {"success": True, "ssh_keys": json.dumps(keys)}  # a string, in truth


@endpoint("POST", "/api/v0/instances/{id:int}/ssh")
async def attach_ssh(call: Call) -> Body:
    instance, public_key = call.instance(), call.text("ssh_key", "invalid_args")
    if public_key in instance.ssh_keys.values():
        raise Refusal(400, "invalid_args", "SSH key already attached")
    instance.ssh_keys[call.cloud.account.key_id(public_key)] = public_key
    call.cloud.fleet.authorize(instance)
    return {"success": True, "msg": "SSH key attached successfully"}


@endpoint("DELETE", "/api/v0/instances/{id:int}/ssh/{key_id:int}")
async def detach_ssh(call: Call) -> Body:
    instance, key_id = call.instance(), call.params["key_id"]
    if not instance.ssh_keys.pop(key_id, None):
        raise Refusal(404, "no_such_ssh_key", f"SSH key {key_id} not found.")
    call.cloud.fleet.authorize(instance)
    return {"success": True, "msg": "SSH key detached successfully"}


# The account


@endpoint("GET", "/api/v0/users/current")
async def user(call: Call) -> Body:
    return call.cloud.account.user(call.cloud.ledger.total())


@endpoint("GET", "/api/v0/secrets")
async def show_secrets(call: Call) -> Body:
    return {"success": True, "secrets": call.cloud.account.environment}


@endpoint("POST", "/api/v0/secrets")
async def create_secret(call: Call) -> Body:
    name, value = call.text("key", "missing_input").upper(), call.text("value", "missing_input")
    if name in call.cloud.account.environment:
        raise Refusal(400, "existing_key", f"{name} exists already.")
    call.cloud.account.environment[name] = value
    return {"success": True, "msg": f"{name} is set."}


@endpoint("PUT", "/api/v0/secrets")
async def update_secret(call: Call) -> Body:
    name, value = call.text("key", "missing_input").upper(), call.text("value", "empty_input")
    if name not in call.cloud.account.environment:
        raise Refusal(400, "nonexistent_key", f"{name} does not exist.")
    call.cloud.account.environment[name] = value
    return {"success": True, "msg": f"{name} is set."}


@endpoint("DELETE", "/api/v0/secrets")
async def delete_secret(call: Call) -> Body:
    name = call.text("key", "missing_input").upper()
    if call.cloud.account.environment.pop(name, None) is None:
        raise Refusal(400, "nonexistent_key", f"{name} does not exist.")
    return {"success": True, "msg": f"{name} is deleted."}


@endpoint("GET", "/api/v0/charges")
async def charges(call: Call) -> Body:
    filters = json.loads(call.query.get("select_filters") or "{}")
    day = filters.get("day") or {}
    if "gte" not in day or "lte" not in day:
        raise Refusal(400, "invalid_request", "Must provide both 'day' gte and lte filters for instance charges")
    rows = call.cloud.ledger.charges(day["gte"], day["lte"])
    if "instance" not in (filters.get("type") or {}).get("in", ["instance"]):
        rows = []
    if call.query.get("latest_first", "true").lower() == "true":
        rows.reverse()
    limit, start = int(call.query.get("limit", 100)), int(call.query.get("after_token") or 0)
    shown = rows[start : start + limit]
    more = start + limit < len(rows)
    return {
        "success": True,
        "count": len(shown),
        "total": len(rows),
        "results": shown,
        "next_token": str(start + limit) if more else None,
    }


# The rehearsal's own: not vast.ai's


@endpoint("GET", "/rehearsal/ledger")
async def show_ledger(call: Call) -> Body:
    return call.cloud.ledger.report()


@endpoint("GET", "/rehearsal/requests")
async def show_requests(call: Call) -> list[Body]:
    return call.cloud.requests


@endpoint("GET", "/rehearsal/faults")
async def show_faults(call: Call) -> Body:
    told = {name: function.__doc__ for name, (_, function) in FAULTS.items()}
    return {"faults": told, "armed": call.cloud.faults.armed}


@endpoint("POST", "/rehearsal/faults")
async def arm_fault(call: Call) -> Body:
    try:
        call.cloud.faults.arm(call.text("name", "invalid_args"), int(call.body.get("times", 1)))
    except KeyError as unknown:
        raise Refusal(404, "no_such_fault", f"There is no fault {unknown}; there are {', '.join(FAULTS)}.") from None
    return {"success": True}


@endpoint("POST", "/rehearsal/instances/{id:int}/vanish")
async def vanish(call: Call) -> Body:
    call.cloud.fleet.vanish(call.instance())
    return {"success": True}


@endpoint("POST", "/rehearsal/reset")
async def reset(call: Call) -> Body:
    """Destroy every instance and forget keys, faults, money and requests: for the next test."""
    cloud = call.cloud
    await cloud.fleet.clear()
    for kept in (cloud.account.ssh_keys, cloud.account.environment, cloud.faults.armed, cloud.ledger.meters):
        kept.clear()
    cloud.requests.clear()
    return {"success": True}


def vast_app(cloud: Cloud) -> ASGIApp:
    """The API as an ASGI application; `cloud.fleet.close()` is the caller's to call at the end."""
    routes = [
        Route(path, _handler(cloud, method, path, access, function), methods=[method])
        for method, path, access, function in ENDPOINTS
    ]
    return _Slashes(Starlette(routes=routes, exception_handlers={404: _no_route, 405: _no_route}))


def _handler(
    cloud: Cloud, method: str, path: str, access: Access, function: Function
) -> Callable[[Request], Awaitable[Response]]:
    where = f"{method} {path.replace(':int', '')}"

    async def handle(request: Request) -> Response:
        seen: dict[str, Any] = {
            "at": time.time(),
            "method": method,
            "path": request.url.path,
            "query": dict(request.query_params),
            "user_agent": request.headers.get("user-agent", ""),
            "body": None,
            "caller": None,
            "status": None,
        }
        if not path.startswith("/rehearsal"):
            cloud.requests.append(seen)
        try:
            seen["caller"] = _caller(cloud, request, access)
            body = await _body(request)
            seen["body"] = _without_secrets(body)
            call = Call(cloud, request.path_params, request.query_params, body, str(request.base_url))
            response = await cloud.faults.around_answer(where, call, lambda: _answer(function, call))
        except Refusal as refusal:
            response = JSONResponse(refusal.body, refusal.status)
        seen["status"] = response.status_code
        return response

    return handle


async def _answer(function: Function, call: Call) -> Response:
    answer = await function(call)
    return answer if isinstance(answer, Response) else JSONResponse(answer)


def _caller(cloud: Cloud, request: Request, access: Access) -> str | None:
    """Whose key it is. Raises Refusal when it may not do this."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        key = request.query_params.get("api_key", "")
    if hmac.compare_digest(key.encode(), cloud.account.api_key.encode()):
        return "account"
    owner = next((each for each in cloud.fleet.instances.values() if each.key == key), None)
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
    """What of a request may be shown again: names of variables, not their values."""
    hidden = {name: dict.fromkeys(body["env"], "****") for name in ("env",) if isinstance(body.get("env"), dict)}
    return {**body, **hidden, **({"value": "****"} if "value" in body else {})}


async def _no_route(request: Request, error: Exception) -> Response:
    return JSONResponse({"success": False, "error": "not_found", "msg": f"{request.url.path} is not an endpoint"}, 404)


class _Slashes:
    """Doubled and trailing slashes mean nothing to vast.ai."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "path": re.sub("/+", "/", scope["path"]).rstrip("/") or "/"}
        await self._app(scope, receive, send)
