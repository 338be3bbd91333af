"""The stand-in for Weights & Biases: it knows one key, and answers the request with which clients check theirs."""

from __future__ import annotations

import base64
import binascii
import hmac
import json

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

VIEWER = {
    "id": "VXNlcjox",
    "name": "rehearsal",
    "admin": False,
    "deletedAt": None,
    "apiKeys": {"edges": []},
    "entity": "rehearsal",
    "username": "rehearsal",
    "email": "rehearsal@example.invalid",
    "flags": "{}",
    "teams": {"edges": []},
}


def wandb_app(key: str) -> Starlette:
    """Return a server with the user `rehearsal`, who has this key."""

    async def graphql(request: Request) -> Response:
        """A wrong key is refused; without a key there is no user, which is not an error."""
        given = _key(request.headers.get("authorization", ""))
        if given is not None and not hmac.compare_digest(given.encode(), key.encode()):
            return JSONResponse({"errors": [{"message": "user is not logged in"}], "data": {"viewer": None}}, 401)
        try:
            query = json.loads(await request.body())["query"]
        except (ValueError, TypeError, KeyError):
            query = ""
        if "viewer" not in str(query):
            return JSONResponse({"errors": [{"message": "This stand-in answers who the viewer is, and no more."}]}, 400)
        return JSONResponse({"data": {"viewer": VIEWER if given is not None else None}})

    async def swallow(request: Request) -> Response:
        """Accept the client's telemetry."""
        return Response(status_code=200)

    return Starlette(
        routes=[
            Route("/graphql", graphql, methods=["POST"]),
            Route("/sdk/otel/v1/metrics", swallow, methods=["POST"]),
        ]
    )


def _key(header: str) -> str | None:
    """Return the password of HTTP's basic authentication, whose user is always `api`."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""
