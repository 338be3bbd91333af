"""The stand-in Hugging Face Hub: as much of its protocol as huggingface_hub 0.36 and 2.x speak about models.

One user with one token; the tiny FLUX under the real one's gated name. Large files take the plain LFS way: no answer
offers Xet. The protocol is that of the clients' own sources.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hmac
import json
import mimetypes
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

import yaml
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from fluxlora.rehearsal.hub_store import Commit, File, Repository, Store, TooLarge, Unusable, below, checked_path
from fluxlora.rehearsal.hub_store import pointer as lfs_pointer

USER = "rehearsal"
MODEL = "black-forest-labs/FLUX.1-dev"
# Exists so that there is a model whose licence this token has not accepted.
REFUSED_MODEL = "black-forest-labs/FLUX.1-Fill-dev"
# A fixed date makes the commit's id, and with it what clients have cached, the same in every rehearsal.
SEEDED = "2024-08-16T14:00:00.000Z"

INLINE_BYTES = 10 << 20  # the real Hub's limit for files that are sent inside a commit
REQUEST_BYTES = 128 << 20
# What the real Hub's .gitattributes of a new repository calls large, and pictures.
LARGE_SUFFIXES = (
    "7z|arrow|bin|bz2|ckpt|ftz|gz|h5|jpeg|jpg|joblib|mlmodel|model|msgpack|npy|npz|onnx|ot|parquet|pb|pickle|pkl|png|pt"
    "|pth|rar|safetensors|tar|tflite|tgz|wasm|webp|xz|zip|zst"
)
LARGE_NAME = re.compile(rf".*\.({LARGE_SUFFIXES})", re.IGNORECASE)
GIT_ATTRIBUTES = "".join(f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LARGE_SUFFIXES.split("|"))

Endpoint = Callable[["Call"], Awaitable[Response]]


class Refused(HTTPException):
    """An answer that the clients turn into an exception; `code` is the header they choose its class by."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        text = message.encode("ascii", "backslashreplace").decode().replace("\n", " ")
        super().__init__(status, message, {"X-Error-Message": text} | ({"X-Error-Code": code} if code else {}))


@dataclass(frozen=True)
class Call:
    """One request, after its token was looked at."""

    request: Request
    store: Store
    token: str
    known: bool  # whether the request came with the user's token

    def url(self, path: str) -> str:
        return f"{str(self.request.base_url).rstrip('/')}{quote(path)}"

    def option(self, name: str) -> bool:
        return self.request.query_params.get(name, "").lower() in ("1", "true")

    @property
    def name(self) -> str:
        return "{namespace}/{name}".format(**self.request.path_params)

    def repository(self) -> Repository:
        """The repository in the path, if the caller may know of it."""
        found = self.store.repositories.get(self.name)
        if found and (self.known or not found.private):
            return found
        if self.known:
            raise Refused(404, "Repository not found", "RepoNotFound")
        raise Refused(401, "Invalid username or password.", "RepoNotFound")

    def readable(self) -> Repository:
        """The repository in the path, if the caller may read its files."""
        repository = self.repository()
        restricted = f"Access to model {repository.id} is restricted"
        if repository.id in (MODEL, REFUSED_MODEL) and not self.known:
            message = f"{restricted}. You must have access to it and be authenticated to access it. Please log in."
            raise Refused(401, message, "GatedRepo")
        if repository.id == REFUSED_MODEL:
            visit = f"Visit https://huggingface.co/{repository.id} to ask for access."
            raise Refused(403, f"{restricted} and you are not in the authorized list. {visit}", "GatedRepo")
        return repository

    def writable(self) -> Repository:
        self.authenticated()
        repository = self.repository()
        if not repository.id.startswith(f"{USER}/"):
            raise Refused(403, "Forbidden: you must have write access to the repository")
        return repository

    def commit(self, repository: Repository) -> Commit:
        revision = self.request.path_params.get("revision", "main")
        if commit := repository.at(revision):
            return commit
        raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def authenticated(self) -> None:
        if not self.known:
            raise Refused(401, "Invalid username or password.")

    async def body(self, limit: int = REQUEST_BYTES) -> bytes:
        content = bytearray()
        async for chunk in self.request.stream():
            content += chunk
            if len(content) > limit:
                raise Refused(413, "Payload too large")
        return bytes(content)

    async def json(self) -> dict[str, Any]:
        return mapping(await self.body())


def mapping(text: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise Refused(400, "Invalid JSON") from error
    if not isinstance(parsed, dict):
        raise Refused(400, "Expected an object")
    return parsed


# --- who, and what there is ---------------------------------------------------------------------------------------


async def whoami(call: Call) -> Response:
    call.authenticated()
    access = {"displayName": "rehearsal", "role": "write", "createdAt": SEEDED}
    return JSONResponse(
        {
            "type": "user",
            "id": "66bf5c7ae1b2c3d4e5f60718",
            "name": USER,
            "fullname": "Rehearsal",
            "email": "rehearsal@example.org",
            "emailVerified": True,
            "canPay": False,
            "isPro": False,
            "periodEnd": None,
            "avatarUrl": "/avatars/rehearsal.svg",
            "orgs": [],
            "auth": {"type": "access_token", "accessToken": access},
        }
    )


async def model_info(call: Call) -> Response:
    repository = call.repository()
    commit = call.commit(repository)
    gated = repository.id in (MODEL, REFUSED_MODEL)
    info = {
        "id": repository.id,
        "modelId": repository.id,
        "author": repository.id.partition("/")[0],
        "sha": commit.id,
        "createdAt": repository.created,
        "lastModified": commit.date,
        "private": repository.private,
        "gated": "auto" if gated else False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": ["diffusers", "safetensors", "text-to-image"],
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "siblings": [sibling(path, file, call.option("blobs")) for path, file in commit.files.items()],
        "usedStorage": sum(file.size for file in commit.files.values()),
    }
    query = call.request.query_params
    if wanted := query.getlist("expand") + query.getlist("expand[]"):
        info = {key: value for key, value in info.items() if key in ("id", *wanted)}
    return JSONResponse(info)


def sibling(path: str, file: File, detailed: bool) -> dict[str, Any]:
    if not detailed:
        return {"rfilename": path}
    lfs = {"sha256": file.sha256, "size": file.size, "pointerSize": pointer_size(file)}
    return {"rfilename": path, "size": file.size, "blobId": file.oid} | ({"lfs": lfs} if file.lfs else {})


def pointer_size(file: File) -> int:
    return len(lfs_pointer(file.sha256, file.size))


async def auth_check(call: Call) -> Response:
    call.readable()
    return Response()


async def auth_check_write(call: Call) -> Response:
    call.writable()
    return Response()


async def refs(call: Call) -> Response:
    main = {"name": "main", "ref": "refs/heads/main", "targetCommit": call.repository().head.id}
    return JSONResponse({"branches": [main], "converts": [], "tags": []})


async def commits(call: Call) -> Response:
    repository = call.repository()
    until = repository.commits.index(call.commit(repository)) + 1
    listed = [
        {"id": commit.id, "title": commit.title, "message": "", "date": commit.date, "authors": [{"user": USER}]}
        for commit in reversed(repository.commits[:until])
    ]
    return JSONResponse(listed)


async def tree(call: Call) -> Response:
    repository = call.repository()
    commit = call.commit(repository)
    folder = call.request.path_params.get("path", "").strip("/")
    inside = below(commit, folder) if folder else commit.files
    start = len(folder) + 1 if folder else 0
    names = {path[:end] for path in inside for end in ends(path, start, call.option("recursive"))}
    if folder and not names:
        raise Refused(404, f"{folder} does not exist on this revision", "EntryNotFound")
    return JSONResponse([entry(repository, commit, name, call.option("expand")) for name in sorted(names)])


def ends(path: str, start: int, recursive: bool) -> list[int]:
    """Where the names listed for `path` end: its next part, or every folder it is in and itself."""
    slashes = [index for index, letter in enumerate(path) if letter == "/" and index >= start]
    every = [*slashes, len(path)] if start < len(path) else []
    return every if recursive else every[:1]


async def paths_info(call: Call) -> Response:
    repository = call.repository()
    commit = call.commit(repository)
    form = parse_qs((await call.body()).decode())
    detailed = form.get("expand", [""])[0].lower() == "true"
    names = [path.strip("/") for path in form.get("paths", [])]
    return JSONResponse([entry(repository, commit, name, detailed) for name in names if below(commit, name)])


def entry(repository: Repository, commit: Commit, path: str, detailed: bool) -> dict[str, Any]:
    if file := commit.files.get(path):
        listed: dict[str, Any] = {"type": "file", "oid": file.oid, "size": file.size, "path": path}
        if file.lfs:
            listed["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": pointer_size(file)}
    else:
        digest = hmac.new(b"tree", f"{commit.id}/{path}".encode(), "sha1").hexdigest()
        listed = {"type": "directory", "oid": digest, "size": 0, "path": path}
    if detailed:
        change = repository.last_change(path, commit)
        listed["lastCommit"] = {"id": change.id, "title": change.title, "date": change.date}
    return listed


async def resolve(call: Call) -> Response:
    repository = call.readable()
    commit = call.commit(repository)
    path = call.request.path_params["path"]
    file = commit.files.get(path)
    if file is None:
        refused = Refused(404, "Entry not found", "EntryNotFound")
        assert refused.headers
        refused.headers = {**refused.headers, "X-Repo-Commit": commit.id}
        raise refused
    headers = {"X-Repo-Commit": commit.id, "ETag": f'"{file.etag}"', "Accept-Ranges": "bytes"}
    if file.lfs:
        headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
    kind = "application/octet-stream" if file.lfs else mimetypes.guess_type(path)[0] or "text/plain"
    blob, name = call.store.blob(file.sha256), path.rpartition("/")[2]
    return FileResponse(blob, headers=headers, media_type=kind, filename=name, content_disposition_type="inline")


# --- writing ------------------------------------------------------------------------------------------------------


async def create_repository(call: Call) -> Response:
    call.authenticated()
    wanted = await call.json()
    namespace = wanted.get("organization") or USER
    if wanted.get("type") not in (None, "model"):
        raise Refused(400, "This stand-in keeps models only")
    if namespace != USER:
        raise Refused(403, f'You don\'t have the rights to create a model under the namespace "{namespace}"')
    name = f"{namespace}/{wanted.get('name')}"
    url = call.url(f"/{name}")
    private = bool(wanted.get("private")) or wanted.get("visibility") == "private"
    try:
        repository = call.store.create(name, private=private)
    except Unusable as error:
        if error.code != "exists":
            raise
        return JSONResponse({"error": str(error), "url": url}, 409, {"X-Error-Message": str(error)})
    attributes = call.store.file(call.store.put(GIT_ATTRIBUTES.encode()), lfs=False)
    call.store.commit(repository, "initial commit", {".gitattributes": attributes})
    return JSONResponse({"url": url, "name": name, "id": name, "private": private})


async def delete_repository(call: Call) -> Response:
    call.authenticated()
    wanted = await call.json()
    name = f"{wanted.get('organization') or USER}/{wanted.get('name')}"
    if name not in call.store.repositories:
        raise Refused(404, "Repository not found", "RepoNotFound")
    if not name.startswith(f"{USER}/"):
        raise Refused(403, "Forbidden: you must have write access to the repository")
    call.store.delete(name)
    return JSONResponse({})


async def preupload(call: Call) -> Response:
    commit = call.commit(call.writable())
    listed = (await call.json()).get("files", [])
    return JSONResponse(
        {
            "files": [
                {
                    "path": wanted["path"],
                    "uploadMode": "lfs" if is_large(wanted) else "regular",
                    "shouldIgnore": False,
                    "oid": commit.files[wanted["path"]].etag if wanted["path"] in commit.files else None,
                }
                for wanted in listed
            ]
        }
    )


def is_large(wanted: dict[str, Any]) -> bool:
    """Whether git would not want it: by its suffix, its size, or because it starts with what is no text."""
    named_so = bool(LARGE_NAME.fullmatch(wanted["path"]))
    return named_so or wanted["size"] > INLINE_BYTES or b"\0" in base64.b64decode(wanted["sample"])


async def lfs_batch(call: Call) -> Response:
    repository = call.writable()
    asked = await call.json()
    if asked.get("operation") != "upload" or "basic" not in asked.get("transfers", ["basic"]):
        raise Refused(422, "Only basic uploads are offered here")
    objects = [lfs_answer(call, repository, wanted) for wanted in asked.get("objects", [])]
    return JSONResponse({"transfer": "basic", "objects": objects}, media_type="application/vnd.git-lfs+json")


def lfs_answer(call: Call, repository: Repository, wanted: dict[str, Any]) -> dict[str, Any]:
    digest, size = str(wanted["oid"]), int(wanted["size"])
    answer: dict[str, Any] = {"oid": digest, "size": size}
    if size > call.store.file_bytes:
        return answer | {"error": {"code": 422, "message": f"{size} bytes are more than this Hub accepts"}}
    if call.store.holds(digest):
        return answer
    upload = f"{call.url(f'/lfs/{digest}/{size}')}?signature={signature(call.token, digest, size)}"
    verify = call.url(f"/api/models/{repository.id}/lfs-verify")
    return answer | {"authenticated": True, "actions": {"upload": {"href": upload}, "verify": {"href": verify}}}


def signature(token: str, digest: str, size: int) -> str:
    return hmac.new(token.encode(), f"{digest}/{size}".encode(), "sha256").hexdigest()


async def lfs_upload(call: Call) -> Response:
    digest, size = call.request.path_params["digest"], call.request.path_params["size"]
    # As with the real storage, the signed address is the permission; clients send no token here.
    if not hmac.compare_digest(signature(call.token, digest, size), call.request.query_params.get("signature", "")):
        raise Refused(403, "The signature does not match")
    await call.store.receive(digest, size, call.request.stream())
    return Response(headers={"ETag": f'"{digest}"'})


async def lfs_verify(call: Call) -> Response:
    call.writable()
    asked = await call.json()
    if call.store.blob(str(asked.get("oid"))).stat().st_size != asked.get("size"):
        raise Refused(422, "The size does not match")
    return JSONResponse({})


async def make_commit(call: Call) -> Response:
    repository = call.writable()
    if call.request.path_params["revision"] != "main":
        raise Refused(404, "Only main can be written to", "RevisionNotFound")
    lines = [mapping(line) for line in (await call.body()).splitlines() if line.strip()]
    steps = [(str(line.get("key")), line.get("value")) for line in lines]
    title, tree = "", dict(repository.head.files)
    for key, value in steps:
        if not isinstance(value, dict):
            raise Refused(400, f"{key} has no value")
        if key == "header":
            title = str(value.get("summary", ""))
            if value.get("parentCommit", repository.head.id) != repository.head.id:
                raise Refused(412, "A commit has happened since. Please refresh and try again.")
        else:
            apply(call.store, tree, key, value)
    commit = call.store.commit(repository, title.partition("\n")[0], tree)
    url = call.url(f"/{repository.id}/commit/{commit.id}")
    return JSONResponse({"success": True, "commitUrl": url, "commitOid": commit.id, "hookOutput": ""})


def apply(store: Store, tree: dict[str, File], key: str, value: dict[str, Any]) -> None:
    """Do to `tree` what one line of a commit says."""
    path = checked_path(str(value.get("path")))
    match key:
        case "file":
            try:
                content = base64.b64decode(str(value.get("content")), validate=True)
            except binascii.Error as error:
                raise Refused(400, f"{path} is not base64") from error
            tree[path] = store.file(store.put(content), lfs=False)
        case "lfsFile":
            tree[path] = store.file(str(value.get("oid")), lfs=True)
        case "deletedFile":
            if tree.pop(path, None) is None:
                raise Refused(404, f"{path} does not exist", "EntryNotFound")
        case "deletedFolder":
            for name in [name for name in tree if name.startswith(f"{path}/")]:
                del tree[name]
        case _:
            raise Refused(400, f"Unknown operation: {key}")


async def validate_yaml(call: Call) -> Response:
    content = str((await call.json()).get("content", ""))
    if not content.startswith("---\n"):
        missing = "empty or missing yaml metadata in repo card"
        return JSONResponse({"errors": [], "warnings": [{"message": missing}]})
    try:
        yaml.safe_load(content[4:].partition("\n---")[0])
    except yaml.YAMLError as error:
        return JSONResponse({"errors": [{"message": str(error)}], "warnings": []}, 400)
    return JSONResponse({"errors": [], "warnings": []})


# --- the application ----------------------------------------------------------------------------------------------

MODEL_API = "/api/models/{namespace}/{name}"
ENDPOINTS: list[tuple[str, str, Endpoint]] = [
    ("GET", "/api/whoami-v2", whoami),
    ("POST", "/api/validate-yaml", validate_yaml),
    ("POST", "/api/repos/create", create_repository),
    ("DELETE", "/api/repos/delete", delete_repository),
    ("GET", MODEL_API, model_info),
    ("GET", f"{MODEL_API}/revision/{{revision}}", model_info),
    ("GET", f"{MODEL_API}/auth-check", auth_check),
    ("GET", f"{MODEL_API}/auth-check/write", auth_check_write),
    ("GET", f"{MODEL_API}/refs", refs),
    ("GET", f"{MODEL_API}/commits/{{revision}}", commits),
    ("GET", f"{MODEL_API}/tree/{{revision}}", tree),
    ("GET", f"{MODEL_API}/tree/{{revision}}/{{path:path}}", tree),
    ("POST", f"{MODEL_API}/paths-info/{{revision}}", paths_info),
    ("POST", f"{MODEL_API}/preupload/{{revision}}", preupload),
    ("POST", f"{MODEL_API}/commit/{{revision}}", make_commit),
    ("POST", f"{MODEL_API}/lfs-verify", lfs_verify),
    ("POST", "/{namespace}/{name}.git/info/lfs/objects/batch", lfs_batch),
    ("PUT", "/lfs/{digest}/{size:int}", lfs_upload),
    ("GET", "/{namespace}/{name}/resolve/{revision}/{path:path}", resolve),
]


def hub_app(state_dir: Path, token: str) -> Starlette:
    """A Hub with the user `rehearsal` and the tiny FLUX; what is uploaded stays in `state_dir`."""
    store = Store(state_dir)
    seed(store)

    def route(method: str, path: str, endpoint: Endpoint) -> Route:
        @functools.wraps(endpoint)
        async def answer(request: Request) -> Response:
            return await endpoint(Call(request, store, token, is_known(request, token)))

        return Route(path, answer, methods=[method])

    return Starlette(
        routes=[route(*each) for each in ENDPOINTS],
        exception_handlers={HTTPException: refusal, Unusable: unusable, TooLarge: too_large},
    )


def is_known(request: Request, token: str) -> bool:
    header = request.headers.get("Authorization")
    if header is None:
        return False
    if not hmac.compare_digest(header.encode(), f"Bearer {token}".encode()):
        raise Refused(401, "Invalid credentials in Authorization header")
    return True


def seed(store: Store) -> None:
    folder = Path(str(files("fluxlora.rehearsal") / "tiny_flux"))
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    contents = {name: (folder / name).read_bytes() for name in names}
    for model in (MODEL, REFUSED_MODEL):
        if model not in store.repositories:
            listed = {
                name: store.file(store.put(content), lfs=bool(LARGE_NAME.fullmatch(name)))
                for name, content in contents.items()
            }
            store.commit(store.create(model, created=SEEDED), "The tiny FLUX", listed, date=SEEDED)


async def refusal(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def unusable(request: Request, error: Exception) -> Response:
    return await refusal(request, Refused(400, str(error)))


async def too_large(request: Request, error: Exception) -> Response:
    return await refusal(request, Refused(413, str(error)))
