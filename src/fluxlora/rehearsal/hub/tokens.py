"""The user's tokens: the one that may do everything, and those made to find out what a lesser one leads to."""

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
    """Each with its access as whoami tells it: a role, and for a fine-grained token what it was given."""

    def __init__(self, token: str) -> None:
        self._access: dict[str, Access] = {token: {"role": "write"}}

    def access_of(self, request: Request) -> Access | None:
        """None for nobody's request; raises Refused when it came with an unknown token."""
        header = request.headers.get("Authorization")
        if header is None:
            return None
        for token, access in self._access.items():
            if hmac.compare_digest(header.encode(), f"Bearer {token}".encode()):
                return access
        raise Refused(401, "Invalid credentials in Authorization header")

    async def make(self, call: Call) -> Response:
        """One more, for a rehearsal alone; the real Hub has a page for it."""
        call.authenticated()
        wanted = await call.json()
        if item(wanted, "role", str) not in _ROLES:
            raise Refused(404, f"There is no such role; there are {', '.join(_ROLES)}.")
        token = f"hf_{secrets.token_hex(17)}"
        self._access[token] = {name: wanted[name] for name in ("role", "fineGrained") if name in wanted}
        return JSONResponse({"token": token})
