"""The storage of the stand-in for the Hub: contents by their sha256, repositories as lists of complete commits.

A file's name is only a key in JSON and never part of a path on disk, so no name can lead out of the folder.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from hashlib import sha1, sha256
from itertools import pairwise
from pathlib import Path
from typing import IO

from fluxlora.errors import HubError

REPOSITORY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
SHA256 = re.compile(r"[0-9a-f]{64}")


class TooLarge(HubError):
    """More bytes than the stand-in accepts, because a rehearsal must not fill the disk."""

    code = "too_large"


class Unusable(HubError):
    """A name or a content that is not possible in a repository."""

    code = "unusable"


@dataclass(frozen=True)
class File:
    """One file of one commit; `oid` is git's id of the object in git: the content, or the LFS pointer."""

    sha256: str
    size: int
    oid: str
    lfs: bool

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid


@dataclass(frozen=True)
class Commit:
    """One commit with its complete tree."""

    id: str
    title: str
    date: str
    files: Mapping[str, File]


@dataclass
class Repository:
    """A repository with its commits, the newest last."""

    id: str
    private: bool
    created: str
    commits: list[Commit] = field(default_factory=list)

    @property
    def head(self) -> Commit:
        return self.commits[-1]

    def at(self, revision: str) -> Commit | None:
        if revision == "main":
            return self.head
        return next((commit for commit in self.commits if commit.id == revision), None)

    def last_change(self, path: str, commit: Commit) -> Commit:
        """Return the commit that gave `path`, a file or a folder, its state in `commit`."""
        history = self.commits[: self.commits.index(commit) + 1]
        for earlier, later in reversed(list(pairwise(history))):
            if below(earlier, path) != below(later, path):
                return later
        return history[0]


def below(commit: Commit, path: str) -> dict[str, File]:
    """Return the file of this name, or all files of the folder of this name."""
    return {name: file for name, file in commit.files.items() if name == path or name.startswith(f"{path}/")}


def pointer(digest: str, size: int) -> bytes:
    """Return the text that git stores for a large file (git-lfs specification, version 1)."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {size}\n".encode()


def git_id(content: bytes) -> str:
    """Return git's id of an object."""
    return sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def checked_path(path: str) -> str:
    """Return the path unchanged if it is possible in a repository; raises Unusable."""
    parts = path.split("/")
    if len(path) > 1024 or not path.isprintable() or any(part in ("", ".", "..", ".git") for part in parts):
        raise Unusable(f"Invalid path in repository: {path[:80]!r}")
    return path


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


class Store:
    """The storage in one folder, which remains after the process. Sizes are in bytes."""

    def __init__(self, folder: Path, *, file_bytes: int = 2 << 30, total_bytes: int = 8 << 30) -> None:
        self.blobs = folder / "blobs"
        self.records = folder / "repositories"
        for part in (self.blobs, self.records):
            part.mkdir(parents=True, exist_ok=True)
        for unfinished in self.blobs.glob("*.part"):
            unfinished.unlink()
        self.file_bytes = file_bytes
        self.free_bytes = total_bytes - sum(blob.stat().st_size for blob in self.blobs.iterdir())
        loaded = [load(record) for record in self.records.glob("*/*.json")]
        self.repositories = {repository.id: repository for repository in loaded}

    def create(self, name: str, *, private: bool = False, created: str | None = None) -> Repository:
        """Create a repository without commits; raises Unusable for a malformed or an existing name."""
        if not REPOSITORY_NAME.fullmatch(name) or ".." in name or "--" in name or name.endswith(".git"):
            raise Unusable(f"Invalid repository name: {name[:100]!r}")
        if name in self.repositories:
            raise Unusable("You already created this model repo", code="exists")
        self.repositories[name] = Repository(name, private, created or now())
        return self.repositories[name]

    def delete(self, name: str) -> None:
        """Delete the repository; contents remain, because others may share them."""
        del self.repositories[name]
        self._record(name).unlink(missing_ok=True)

    def commit(
        self, repository: Repository, title: str, files: Mapping[str, File], *, date: str | None = None
    ) -> Commit:
        """Make a new head with `files` as its complete tree."""
        parent = repository.commits[-1].id if repository.commits else ""
        date = date or now()
        tree = {checked_path(path): files[path] for path in sorted(files)}
        identity = json.dumps([repository.id, parent, title, date, {path: f.sha256 for path, f in tree.items()}])
        commit = Commit(sha1(identity.encode(), usedforsecurity=False).hexdigest(), title, date, tree)
        repository.commits.append(commit)
        record = self._record(repository.id)
        record.parent.mkdir(exist_ok=True)
        fresh = record.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(repository)), encoding="utf-8")
        fresh.replace(record)
        return commit

    def file(self, digest: str, *, lfs: bool) -> File:
        """Return stored content as a file of a commit; raises Unusable if it was never stored."""
        blob = self.blob(digest)
        size = blob.stat().st_size
        return File(digest, size, git_id(pointer(digest, size) if lfs else blob.read_bytes()), lfs)

    def blob(self, digest: str) -> Path:
        """Return the path of the content; raises Unusable if it is missing."""
        if not SHA256.fullmatch(digest) or not (self.blobs / digest).is_file():
            raise Unusable(f"No content with sha256 {digest[:64]!r}", code="missing")
        return self.blobs / digest

    def holds(self, digest: str) -> bool:
        """Return whether the content is stored."""
        return bool(SHA256.fullmatch(digest)) and (self.blobs / digest).is_file()

    def put(self, content: bytes) -> str:
        """Store small content and return its sha256; raises TooLarge."""
        digest = sha256(content).hexdigest()
        if not self.holds(digest):
            self._reserve(len(content))
            with self._unfinished() as part:
                part.write(content)
                self._keep(part, digest)
        return digest

    async def receive(self, digest: str, size: int, chunks: AsyncIterator[bytes]) -> None:
        """Store large content while it arrives; raises TooLarge, or Unusable if it differs from the announcement."""
        if not SHA256.fullmatch(digest):
            raise Unusable("Invalid sha256")
        self._reserve(size)
        kept = False
        try:
            with self._unfinished() as part:
                seen, received = sha256(), 0
                async for chunk in chunks:
                    received += len(chunk)
                    if received > size:
                        break
                    seen.update(chunk)
                    part.write(chunk)
                if received != size or seen.hexdigest() != digest:
                    raise Unusable(f"The content is not the {size} bytes with sha256 {digest} that were announced")
                kept = not self.holds(digest)
                self._keep(part, digest)
        finally:
            self.free_bytes += 0 if kept else size

    def _reserve(self, size: int) -> None:
        if size > min(self.file_bytes, self.free_bytes):
            raise TooLarge(f"{size} bytes are more than this Hub accepts")
        self.free_bytes -= size

    @contextmanager
    def _unfinished(self) -> Iterator[IO[bytes]]:
        with tempfile.NamedTemporaryFile(dir=self.blobs, suffix=".part", delete=False) as part:
            try:
                yield part
            finally:
                Path(part.name).unlink(missing_ok=True)

    def _keep(self, part: IO[bytes], digest: str) -> None:
        """Give the content its name when it is completely on the disk."""
        part.flush()
        Path(part.name).rename(self.blobs / digest)

    def _record(self, name: str) -> Path:
        return self.records / f"{name}.json"


def load(record: Path) -> Repository:
    raw = json.loads(record.read_text(encoding="utf-8"))
    commits = [
        Commit(**{**commit, "files": {path: File(**file) for path, file in commit["files"].items()}})
        for commit in raw.pop("commits")
    ]
    return Repository(**raw, commits=commits)
