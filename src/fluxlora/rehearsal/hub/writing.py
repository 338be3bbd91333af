"""Write requests to the stand-in for the Hub: creating and deleting repositories, large files, commits."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from typing import Any

import yaml
from starlette.responses import JSONResponse, Response

from fluxlora.rehearsal.hub.call import USER, Call, Refused, item, mapping
from fluxlora.rehearsal.hub.store import File, Repository, Store, Unusable, checked_path

INLINE_BYTES = 10 << 20  # the real Hub's limit for files that are sent inside a commit
# The large files in the .gitattributes of a new repository on the real Hub, and images.
LARGE_SUFFIXES = (
    "7z|arrow|bin|bz2|ckpt|ftz|gz|h5|jpeg|jpg|joblib|mlmodel|model|msgpack|npy|npz|onnx|ot|parquet|pb|pickle|pkl|png|pt"
    "|pth|rar|safetensors|tar|tflite|tgz|wasm|webp|xz|zip|zst"
)
LARGE_NAME = re.compile(rf".*\.({LARGE_SUFFIXES})", re.IGNORECASE)
GIT_ATTRIBUTES = "".join(f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LARGE_SUFFIXES.split("|"))


async def create_repository(call: Call) -> Response:
    call.authenticated()
    wanted = await call.json()
    if wanted.get("type") not in (None, "model"):
        raise Refused(400, "This stand-in keeps models only")
    namespace, private = wanted.get("organization") or USER, wanted.get("private") or wanted.get("visibility")
    if namespace != USER:
        raise Refused(403, f'You don\'t have the rights to create a model under the namespace "{namespace}"')
    name = f"{USER}/{item(wanted, 'name', str)}"
    call.may_write(name)
    url = call.url(f"/{name}")
    try:
        repository = call.store.create(name, private=private in (True, "private"))
    except Unusable as error:
        if error.code != "exists":
            raise
        return JSONResponse({"error": str(error), "url": url}, 409, {"X-Error-Message": str(error)})
    attributes = call.store.file(call.store.put(GIT_ATTRIBUTES.encode()), lfs=False)
    call.store.commit(repository, "initial commit", {".gitattributes": attributes})
    return JSONResponse({"url": url, "name": name, "id": name, "private": repository.private})


async def delete_repository(call: Call) -> Response:
    call.authenticated()
    wanted = await call.json()
    name = f"{wanted.get('organization') or USER}/{item(wanted, 'name', str)}"
    if name not in call.store.repositories:
        raise Refused(404, "Repository not found", "RepoNotFound")
    if not name.startswith(f"{USER}/"):
        raise Refused(403, "Forbidden: you must have write access to the repository")
    call.store.delete(name)
    return JSONResponse({})


async def preupload(call: Call) -> Response:
    """Return for each file whether git or the large storage is used, and the present content of that name."""
    present = call.commit(call.writable()).files
    answers = []
    for wanted in item(await call.json(), "files", list):
        path = item(wanted, "path", str)
        sample = decoded(item(wanted, "sample", str))
        # A zero byte means that it is not text.
        large = LARGE_NAME.fullmatch(path) or item(wanted, "size", int) > INLINE_BYTES or b"\0" in sample
        known = present[path].etag if path in present else None
        answers.append({"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": known})
    return JSONResponse({"files": answers})


def decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise Refused(400, "The content is not base64") from error


async def lfs_batch(call: Call) -> Response:
    repository = call.writable()
    asked = await call.json()
    if asked.get("operation") != "upload" or "basic" not in asked.get("transfers", ["basic"]):
        raise Refused(422, "Only basic uploads are offered here")
    objects = [lfs_answer(call, repository, wanted) for wanted in item(asked, "objects", list)]
    return JSONResponse({"transfer": "basic", "objects": objects}, media_type="application/vnd.git-lfs+json")


def lfs_answer(call: Call, repository: Repository, wanted: Any) -> dict[str, Any]:
    digest, size = item(wanted, "oid", str), item(wanted, "size", int)
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
    # As in the real storage, the signed address is the permission; clients send no token here.
    given = call.request.query_params.get("signature", "")
    if not hmac.compare_digest(signature(call.token, digest, size).encode(), given.encode()):
        raise Refused(403, "The signature does not match")
    await call.store.receive(digest, size, call.request.stream())
    return Response(headers={"ETag": f'"{digest}"'})


async def lfs_verify(call: Call) -> Response:
    call.writable()
    asked = await call.json()
    if call.store.blob(item(asked, "oid", str)).stat().st_size != item(asked, "size", int):
        raise Refused(422, "The size does not match")
    return JSONResponse({})


async def make_commit(call: Call) -> Response:
    """Make a commit from one JSON object per line: the header, then the operations on the newest commit's files."""
    repository = call.writable()
    if call.request.path_params["revision"] != "main":
        raise Refused(404, "Only main can be written to", "RevisionNotFound")
    lines = [mapping(line) for line in (await call.body()).splitlines() if line.strip()]
    title, tree = "", dict(repository.head.files)
    for line in lines:
        key, value = item(line, "key", str), item(line, "value", dict)
        if key == "header":
            title = item(value, "summary", str).partition("\n")[0]
            if value.get("parentCommit", repository.head.id) != repository.head.id:
                raise Refused(412, "A commit has happened since. Please refresh and try again.")
        else:
            apply(call.store, tree, key, value)
    commit = call.store.commit(repository, title, tree)
    url = call.url(f"/{repository.id}/commit/{commit.id}")
    return JSONResponse({"success": True, "commitUrl": url, "commitOid": commit.id, "hookOutput": ""})


def apply(store: Store, tree: dict[str, File], key: str, value: dict[str, Any]) -> None:
    """Apply one line of a commit to `tree`."""
    path = checked_path(item(value, "path", str))
    match key:
        case "file":
            tree[path] = store.file(store.put(decoded(item(value, "content", str))), lfs=False)
        case "lfsFile":
            tree[path] = store.file(item(value, "oid", str), lfs=True)
        case "deletedFile":
            if tree.pop(path, None) is None:
                raise Refused(404, f"{path} does not exist", "EntryNotFound")
        case "deletedFolder":
            for name in [name for name in tree if name.startswith(f"{path}/")]:
                del tree[name]
        case _:
            raise Refused(400, f"Unknown operation: {key}")


async def validate_yaml(call: Call) -> Response:
    """Return whether a model card's metadata can be read."""
    content = item(await call.json(), "content", str)
    if not content.startswith("---\n"):
        missing = "empty or missing yaml metadata in repo card"
        return JSONResponse({"errors": [], "warnings": [{"message": missing}]})
    try:
        metadata = yaml.safe_load(content[4:].partition("\n---")[0])
    except yaml.YAMLError as error:
        return JSONResponse({"errors": [{"message": str(error)}], "warnings": []}, 400)
    wrong = [] if isinstance(metadata, dict | None) else [{"message": '"metadata" must be an object'}]
    return JSONResponse({"errors": wrong, "warnings": []}, 400 if wrong else 200)
