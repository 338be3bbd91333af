"""One request to the stand-in for the Hub: the caller, the repository, and the caller's permissions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request

from fluxlora.rehearsal.hub.store import Commit, Repository, Store

USER = "rehearsal"
MODEL = "black-forest-labs/FLUX.1-dev"
# A model whose licence this token has not accepted.
REFUSED_MODEL = "black-forest-labs/FLUX.1-Fill-dev"
GATED = (MODEL, REFUSED_MODEL)

REQUEST_BYTES = 64 << 20  # of one body, except large files, which are streamed to the disk

Kind = TypeVar("Kind")


class Refused(HTTPException):
    """An answer that the clients turn into an exception; they choose its class by the header `code`."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        text = message.encode("ascii", "backslashreplace").decode().replace("\n", " ")
        super().__init__(status, message, {"X-Error-Message": text} | ({"X-Error-Code": code} if code else {}))


@dataclass(frozen=True)
class Call:
    """One request, after its token was checked."""

    request: Request
    store: Store
    token: str
    access: Mapping[str, Any] | None  # the permissions of the request's token

    @property
    def known(self) -> bool:
        return self.access is not None

    def _fine_grained(self) -> Mapping[str, Any] | None:
        """Return the permissions of a fine-grained token, None for another."""
        if self.access is None or self.access["role"] != "fineGrained":
            return None
        return self.access.get("fineGrained") or {}

    def url(self, path: str) -> str:
        """Return the address of a path on this server."""
        return f"{str(self.request.base_url).rstrip('/')}{quote(path)}"

    def option(self, name: str) -> bool:
        """Return an option of the query."""
        return self.request.query_params.get(name, "").lower() in ("1", "true")

    def authenticated(self) -> None:
        """Raise Refused for a request without a token."""
        if not self.known:
            raise Refused(401, "Invalid username or password.")

    def repository(self) -> Repository:
        """Return the repository in the path, if the caller may see it."""
        found = self.store.repositories.get("{namespace}/{name}".format(**self.request.path_params))
        if found and (self.known or not found.private):
            return found
        if self.known:
            raise Refused(404, "Repository not found", "RepoNotFound")
        raise Refused(401, "Invalid username or password.", "RepoNotFound")

    def readable(self) -> Repository:
        """Return the repository in the path, if the caller may read its files; their names are public."""
        repository = self.repository()
        restricted = f"Access to model {repository.id} is restricted"
        if repository.id in GATED and not self.known:
            message = f"{restricted}. You must have access to it and be authenticated to access it. Please log in."
            raise Refused(401, message, "GatedRepo")
        given = self._fine_grained()
        if repository.id in GATED and given is not None and not given.get("canReadGatedRepos"):
            enable = "Please enable access to public gated repositories in your fine-grained token settings"
            raise Refused(403, f"{enable} to view this repository.", "GatedRepo")
        if repository.id == REFUSED_MODEL:
            visit = f"Visit https://huggingface.co/{repository.id} to ask for access."
            raise Refused(403, f"{restricted} and you are not in the authorized list. {visit}", "GatedRepo")
        return repository

    def writable(self) -> Repository:
        """Return the repository in the path, if it is the caller's."""
        self.authenticated()
        repository = self.repository()
        if not repository.id.startswith(f"{USER}/"):
            raise Refused(403, "Forbidden: you must have write access to the repository")
        self.may_write(repository.id)
        return repository

    def may_write(self, name: str) -> None:
        """Raise Refused if the token may not write, whoever owns the repository."""
        given = self._fine_grained()
        scopes = given.get("scoped") or [] if given is not None else []
        granted = any(
            "repo.write" in scope["permissions"] and scope["entity"]["name"] in (name, USER) for scope in scopes
        )
        if (self.access or {}).get("role") == "read" or (given is not None and not granted):
            raise Refused(403, "Forbidden: you must use a write token to upload to a repository.")

    def commit(self, repository: Repository) -> Commit:
        """Return the commit of the revision in the path, or the newest one."""
        revision = self.request.path_params.get("revision", "main")
        if commit := repository.at(revision):
            return commit
        raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    async def body(self) -> bytes:
        content = bytearray()
        async for chunk in self.request.stream():
            content += chunk
            if len(content) > REQUEST_BYTES:
                raise Refused(413, "Payload too large")
        return bytes(content)

    async def json(self) -> dict[str, Any]:
        return mapping(await self.body())


def mapping(text: bytes) -> dict[str, Any]:
    """Return the JSON object in `text`."""
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise Refused(400, "Invalid JSON") from error
    if not isinstance(parsed, dict):
        raise Refused(400, "Expected an object")
    return parsed


def item(source: Any, key: str, kind: type[Kind]) -> Kind:
    """Return the value of a key, which must exist and have this type."""
    value = source.get(key) if isinstance(source, dict) else None
    if not isinstance(value, kind):
        raise Refused(400, f"{key} is missing, or not a {kind.__name__}")
    return value
