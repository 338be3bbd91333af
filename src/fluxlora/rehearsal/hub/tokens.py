"""The user's tokens: one with all permissions, and others to test fewer permissions."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from fluxlora.rehearsal.hub.call import Call, Refused, item

Access = Mapping[str, Any]
_ROLES = ("read", "write", "fineGrained")


class Tokens:
    """The tokens with their access as in whoami: a role, and for a fine-grained token its permissions."""

    def __init__(self, token: str) -> None:
        self._access: dict[str, Access] = {token: {"role": "write"}}

    def access_of(self, request: Request) -> Access | None:
        """Return the access of a request; None without a token. Raises Refused for an unknown token."""
        header = request.headers.get("Authorization")
        if header is None:
            return None
        for token, access in self._access.items():
            if hmac.compare_digest(header.encode(), f"Bearer {token}".encode()):
                return access
        raise Refused(401, "Invalid credentials in Authorization header")

    async def make(self, call: Call) -> Response:
        """Make one more token. This exists only in a rehearsal; the real Hub has a page for it."""
        call.authenticated()
        wanted = await call.json()
        if item(wanted, "role", str) not in _ROLES:
            raise Refused(404, f"There is no such role; there are {', '.join(_ROLES)}.")
        token = f"hf_{secrets.token_hex(17)}"
        self._access[token] = {name: wanted[name] for name in ("role", "fineGrained") if name in wanted}
        return JSONResponse({"token": token})
