"""The stand-in Hub as an ASGI application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fluxlora.rehearsal.hub import reading, writing
from fluxlora.rehearsal.hub.call import GATED, Call, Refused
from fluxlora.rehearsal.hub.faults import Faults
from fluxlora.rehearsal.hub.store import Store, TooLarge, Unusable
from fluxlora.rehearsal.hub.tokens import Tokens

# With a fixed date the commit's id, and so the clients' cache, is the same in every rehearsal.
SEEDED = "2024-08-16T14:00:00.000Z"

Endpoint = Callable[[Call], Awaitable[Response]]
MODEL_API = "/api/models/{namespace}/{name}"
ENDPOINTS: list[tuple[str, str, Endpoint]] = [
    ("GET", "/api/whoami-v2", reading.whoami),
    ("GET", MODEL_API, reading.model_info),
    ("GET", f"{MODEL_API}/revision/{{revision}}", reading.model_info),
    ("GET", f"{MODEL_API}/auth-check", reading.auth_check),
    ("GET", f"{MODEL_API}/auth-check/write", reading.auth_check_write),
    ("GET", f"{MODEL_API}/refs", reading.refs),
    ("GET", f"{MODEL_API}/commits/{{revision}}", reading.commits),
    ("GET", f"{MODEL_API}/tree/{{revision}}", reading.tree),
    ("GET", f"{MODEL_API}/tree/{{revision}}/{{path:path}}", reading.tree),
    ("POST", f"{MODEL_API}/paths-info/{{revision}}", reading.paths_info),
    ("GET", "/{namespace}/{name}/resolve/{revision}/{path:path}", reading.resolve),
    ("POST", "/api/repos/create", writing.create_repository),
    ("DELETE", "/api/repos/delete", writing.delete_repository),
    ("POST", f"{MODEL_API}/preupload/{{revision}}", writing.preupload),
    ("POST", f"{MODEL_API}/commit/{{revision}}", writing.make_commit),
    ("POST", f"{MODEL_API}/lfs-verify", writing.lfs_verify),
    ("POST", "/{namespace}/{name}.git/info/lfs/objects/batch", writing.lfs_batch),
    ("PUT", "/lfs/{digest}/{size:int}", writing.lfs_upload),
    ("POST", "/api/validate-yaml", writing.validate_yaml),
]


def hub_app(state_dir: Path, token: str) -> Starlette:
    """Return a Hub with the user `rehearsal` and the tiny FLUX; uploads are stored in `state_dir`."""
    store, faults, tokens = Store(state_dir), Faults(), Tokens(token)
    seed(store)

    def route(method: str, path: str, endpoint: Endpoint, *, may_fail: bool = True) -> Route:
        async def answer(request: Request) -> Response:
            if may_fail:
                faults.meet(method)
            return await endpoint(Call(request, store, token, tokens.access_of(request)))

        return Route(path, answer, methods=[method])

    return Starlette(
        routes=[
            *(route(*endpoint) for endpoint in ENDPOINTS),
            route("POST", "/rehearsal/faults", faults.arm, may_fail=False),
            route("POST", "/rehearsal/tokens", tokens.make, may_fail=False),
        ],
        exception_handlers={HTTPException: refusal, Unusable: unusable, TooLarge: too_large},
    )


def seed(store: Store) -> None:
    folder = Path(str(files("fluxlora.rehearsal") / "tiny_flux"))
    contents = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for model in GATED:
        if model not in store.repositories:
            tree = {
                name: store.file(store.put(content), lfs=bool(writing.LARGE_NAME.fullmatch(name)))
                for name, content in contents.items()
            }
            store.commit(store.create(model, created=SEEDED), "The tiny FLUX", tree, date=SEEDED)


async def refusal(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def unusable(request: Request, error: Exception) -> Response:
    return await refusal(request, Refused(400, str(error)))


async def too_large(request: Request, error: Exception) -> Response:
    return await refusal(request, Refused(413, str(error)))
