"""The routes of the stand-in for vast.ai, for one account, one market and the hosts behind it."""

from __future__ import annotations

import json
import secrets

from starlette.responses import JSONResponse, PlainTextResponse, Response

from fluxlora.rehearsal.vast.account import OWN_KEY_ID
from fluxlora.rehearsal.vast.api import Access, Body, Call, Endpoints, Refusal
from fluxlora.rehearsal.vast.instances import Instance
from fluxlora.rehearsal.vast.listing import page
from fluxlora.rehearsal.vast.market import OfferGone
from fluxlora.rehearsal.vast.record import record

endpoint = Endpoints()


# Offers


@endpoint("POST", "/api/v0/bundles", Access.OPEN)
async def search(call: Call) -> Body:
    """Search offers."""
    return {"offers": call.cloud.market.search(call.body)}


@endpoint("PUT", "/api/v0/search/asks", Access.OPEN)
async def search_asks(call: Call) -> Body:
    """Search offers, with the query in a field."""
    return {"offers": call.cloud.market.search(call.body.get("q") or {})}


@endpoint("GET", "/api/v0/gpu_names/unique", Access.OPEN)
async def gpu_names(call: Call) -> Body:
    """List the names of GPUs."""
    return {"gpu_names": call.cloud.market.gpu_names()}


@endpoint("PUT", "/api/v0/asks/{id:int}")
async def rent(call: Call) -> Body:
    """Rent an offer."""
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
    """List the instances, in pages."""
    rows = [
        record(instance) for instance in call.cloud.fleet.instances.values() if not instance.consume_hidden_listing()
    ]
    try:
        return page(rows, call.query)
    except ValueError as error:
        code = "invalid_token" if "token" in str(error) else "invalid_request"
        raise Refusal(400, code, str(error)) from None


@endpoint("GET", "/api/v0/instances")
async def list_instances_v0(call: Call) -> Body:
    """Refuse the deprecated list."""
    message = "/api/v0/instances/ is deprecated. Use /api/v1/instances/ instead."
    raise Refusal(410, "deprecated_endpoint", message)


@endpoint("GET", "/api/v0/instances/filters")
async def instance_filters(call: Call) -> Body:
    """List the filters of instances."""
    rows = [record(instance) for instance in call.cloud.fleet.instances.values()]
    return {"filters": [{name: row[name] for name in ("actual_status", "verification", "gpu_name")} for row in rows]}


@endpoint("GET", "/api/v0/instances/{id:int}", Access.INSTANCE)
async def show_instance(call: Call) -> Body:
    """Show one instance."""
    instance = call.cloud.fleet.instances.get(call.id)
    return {"instances": record(instance) if instance and instance.shows_alone else None}


@endpoint("PUT", "/api/v0/instances/{id:int}", Access.INSTANCE)
async def manage_instance(call: Call) -> Body:
    """Change the label or the state of an instance."""
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
    """Change the state of several instances."""
    for instance in _instances(call, "ids"):
        _set_state(call, instance)
    return {"success": True}


def _instances(call: Call, name: str) -> list[Instance]:
    """Return the instances in the body, without repetitions. Raises Refusal if one is unknown, before any is
    changed."""
    return [call.instance(number) for number in dict.fromkeys(call.body.get(name) or [])]


def _set_state(call: Call, instance: Instance) -> None:
    state = call.body.get("state")
    if state not in ("running", "stopped"):
        raise Refusal(400, "invalid_args", "state must be running or stopped")
    if state == "running" and call.cloud.account.deposit <= call.cloud.ledger.total():
        raise Refusal(400, "missing_billing", "Your account has no credit left.")
    if state != instance.intended_status:
        (call.cloud.fleet.start if state == "running" else call.cloud.fleet.stop)(instance)


@endpoint("DELETE", "/api/v0/instances/{id:int}", Access.INSTANCE)
async def destroy_instance(call: Call) -> Body:
    """Destroy an instance."""
    call.cloud.fleet.destroy(call.instance())
    return {"success": True, "msg": "Instance destroyed successfully"}


@endpoint("DELETE", "/api/v0/instances")
async def destroy_instances(call: Call) -> Body:
    """Destroy several instances."""
    for instance in _instances(call, "instance_ids"):
        call.cloud.fleet.destroy(instance)
    return {"success": True, "msg": "Instances destroyed successfully"}


@endpoint("PUT", "/api/v0/instances/reboot/{id:int}")
async def reboot_instance(call: Call) -> Body:
    """Reboot an instance."""
    call.cloud.fleet.reboot(call.instance())
    return {"success": True}


@endpoint("PUT", "/api/v0/instances/recycle/{id:int}")
async def recycle_instance(call: Call) -> Body:
    """Create an instance's container again."""
    call.cloud.fleet.recycle(call.instance())
    return {"success": True}


@endpoint("PUT", "/api/v0/instances/bid_price/{id:int}")
async def change_bid(call: Call) -> Body:
    """Change the bid of an instance."""
    instance, price = call.instance(), call.body.get("price")
    if not isinstance(price, (int, float)) or not 0.001 <= price <= 32:
        raise Refusal(400, "invalid_args", "price must be between 0.001 and 32")
    call.cloud.fleet.bid(instance, price)
    return {"success": True}


@endpoint("PUT", "/api/v0/instances/request_logs/{id:int}")
async def request_logs(call: Call) -> Body:
    """Request the logs of an instance."""
    instance, body = call.instance(), call.body
    lines = [line for line in instance.log if (body.get("filter") or "") in line]
    name = secrets.token_hex(16)
    call.cloud.results[name] = "\n".join(lines[-int(body.get("tail") or 1000) :]) + "\n"
    return {"success": True, "result_url": f"{call.base_url}results/{name}", "msg": "Logs are on their way."}


@endpoint("GET", "/results/{name}", Access.OPEN)
async def result(call: Call) -> Response:
    """Return a stored text."""
    text = call.cloud.results.get(call.params["name"])
    return PlainTextResponse(text) if text is not None else PlainTextResponse("not ready", 404)


# SSH keys


@endpoint("GET", "/api/v0/ssh")
async def show_ssh_keys(call: Call) -> list[Body] | Response:
    """List the account's ssh keys."""
    account = call.cloud.account
    keys = [account.ssh_key_record(*item) for item in account.ssh_keys.items()]
    return keys or JSONResponse([], 404)


@endpoint("POST", "/api/v0/ssh")
async def create_ssh_key(call: Call) -> Body:
    """Add an ssh key to the account."""
    account, public_key = call.cloud.account, call.text("ssh_key", "no_ssh_key")
    return {"success": True, "key": account.ssh_key_record(account.add_ssh_key(public_key), public_key)}


@endpoint("PUT", "/api/v0/ssh/{id:int}")
async def update_ssh_key(call: Call) -> Body:
    """Change an ssh key of the account."""
    account, public_key = call.cloud.account, call.text("ssh_key", "no_ssh_key")
    if call.id not in account.ssh_keys:
        raise Refusal(400, "no_such_ssh_key", f"SSH key {call.id} not found.")
    account.ssh_keys[call.id] = public_key
    return {"success": True, "key": account.ssh_key_record(call.id, public_key)}


@endpoint("DELETE", "/api/v0/ssh/{id:int}")
async def delete_ssh_key(call: Call) -> Body:
    """Delete an ssh key of the account."""
    if not call.cloud.account.ssh_keys.pop(call.id, None):
        raise Refusal(400, "no_such_ssh_key", f"SSH key {call.id} not found.")
    return {"success": True}


@endpoint("GET", "/api/v0/instances/{id:int}/ssh")
async def show_instance_ssh(call: Call) -> Body:
    """List an instance's ssh keys."""
    account = call.cloud.account
    keys = [account.ssh_key_record(*item) for item in call.instance().ssh_keys.items()]
    return {"success": True, "ssh_keys": json.dumps(keys)}  # the real API returns a string


@endpoint("POST", "/api/v0/instances/{id:int}/ssh")
async def attach_ssh(call: Call) -> Body:
    """Add an ssh key to an instance."""
    instance, public_key = call.instance(), call.text("ssh_key", "invalid_args")
    if public_key in instance.ssh_keys.values():
        raise Refusal(400, "invalid_args", "SSH key already attached")
    instance.ssh_keys[call.cloud.account.key_id(public_key)] = public_key
    call.cloud.fleet.authorize(instance)
    return {"success": True, "msg": "SSH key attached successfully"}


@endpoint("DELETE", "/api/v0/instances/{id:int}/ssh/{key_id:int}")
async def detach_ssh(call: Call) -> Body:
    """Remove an ssh key from an instance."""
    instance, key_id = call.instance(), call.params["key_id"]
    if not instance.ssh_keys.pop(key_id, None):
        raise Refusal(404, "no_such_ssh_key", f"SSH key {key_id} not found.")
    call.cloud.fleet.authorize(instance)
    return {"success": True, "msg": "SSH key detached successfully"}


# The account


@endpoint("GET", "/api/v0/users/current")
async def user(call: Call) -> Body:
    """Show the account's user."""
    kind, _, number = (call.caller or "").partition(" ")
    return call.cloud.account.user(call.cloud.ledger.total(), int(number) if kind == "key" else OWN_KEY_ID)


@endpoint("GET", "/api/v0/auth/apikeys")
async def show_api_keys(call: Call) -> Body:
    """List the account's API keys."""
    keys = call.cloud.account.scoped_keys.values()
    return {"apikeys": [{"id": key.id, "name": key.name, "permissions": key.permissions} for key in keys]}


@endpoint("POST", "/api/v0/auth/apikeys")
async def create_api_key(call: Call) -> Body:
    """Make an API key."""
    permissions = call.body.get("permissions")
    made = call.cloud.account.mint(
        call.text("name", "missing_input"), permissions if isinstance(permissions, dict) else {}
    )
    return {"id": made.id, "key": made.key, "permissions": made.permissions}


@endpoint("DELETE", "/api/v0/auth/apikeys/{id:int}")
async def delete_api_key(call: Call) -> Body:
    """Delete an API key."""
    if not call.cloud.account.scoped_keys.pop(call.id, None):
        raise Refusal(404, "not_found", f"API key {call.id} not found.")
    return {"success": True}


@endpoint("GET", "/api/v0/secrets")
async def show_secrets(call: Call) -> Body:
    """List the names of environment variables."""
    return {"success": True, "secrets": call.cloud.account.environment}


@endpoint("POST", "/api/v0/secrets")
async def create_secret(call: Call) -> Body:
    """Add an environment variable."""
    name, value = call.text("key", "missing_input").upper(), call.text("value", "missing_input")
    if name in call.cloud.account.environment:
        raise Refusal(400, "existing_key", f"{name} exists already.")
    call.cloud.account.environment[name] = value
    return {"success": True, "msg": f"{name} is set."}


@endpoint("PUT", "/api/v0/secrets")
async def update_secret(call: Call) -> Body:
    """Change an environment variable."""
    name, value = call.text("key", "missing_input").upper(), call.text("value", "empty_input")
    if name not in call.cloud.account.environment:
        raise Refusal(400, "nonexistent_key", f"{name} does not exist.")
    call.cloud.account.environment[name] = value
    return {"success": True, "msg": f"{name} is set."}


@endpoint("DELETE", "/api/v0/secrets")
async def delete_secret(call: Call) -> Body:
    """Delete an environment variable."""
    name = call.text("key", "missing_input").upper()
    if call.cloud.account.environment.pop(name, None) is None:
        raise Refusal(400, "nonexistent_key", f"{name} does not exist.")
    return {"success": True, "msg": f"{name} is deleted."}


@endpoint("GET", "/api/v0/charges")
async def charges(call: Call) -> Body:
    """List the charges."""
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
