"""Read requests to the stand-in for the Hub: the user, the repositories, the files and their contents."""

from __future__ import annotations

import hmac
import mimetypes
from typing import Any
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, Response

from fluxlora.rehearsal.hub.call import GATED, USER, Call, Refused
from fluxlora.rehearsal.hub.store import Commit, File, Repository, below, pointer


async def whoami(call: Call) -> Response:
    call.authenticated()
    access = {"displayName": "rehearsal", **(call.access or {}), "createdAt": "2024-08-16T14:00:00.000Z"}
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
    gated = repository.id in GATED
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
    return len(pointer(file.sha256, file.size))


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
    """Return where the listed names for `path` end: at its next part, or at each folder in it and at itself."""
    slashes = [index for index, letter in enumerate(path) if letter == "/" and index >= start]
    every = [*slashes, len(path)] if start < len(path) else []
    return every if recursive else every[:1]


async def paths_info(call: Call) -> Response:
    repository = call.repository()
    commit = call.commit(repository)
    form = parse_qs((await call.body()).decode(errors="replace"))
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
        # With the commit's id the clients cache that the file does not exist.
        absent = {"X-Repo-Commit": commit.id, "X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
        raise HTTPException(404, "Entry not found", absent)
    headers = {"X-Repo-Commit": commit.id, "ETag": f'"{file.etag}"', "Accept-Ranges": "bytes"}
    if file.lfs:
        headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
    kind = "application/octet-stream" if file.lfs else mimetypes.guess_type(path)[0] or "text/plain"
    blob, name = call.store.blob(file.sha256), path.rpartition("/")[2]
    return FileResponse(blob, headers=headers, media_type=kind, filename=name, content_disposition_type="inline")
