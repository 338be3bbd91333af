"""A vast.ai key that may do only what a run needs, in the file where the official client keeps its own."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fluxlora.doctor import account
from fluxlora.errors import VastError
from fluxlora.vast.client import Vast
from fluxlora.vast.errors import BadApiKey, Forbidden


@dataclass(frozen=True)
class Minted:
    """What became of the file; the key itself is told to nobody."""

    changed: bool
    # The account's number of the key, None where it is not made yet.
    key_id: int | None
    # Where the key that lay there before is kept.
    backup: Path | None = None


def ensure(vast: Vast, path: Path, *, name: str, permissions: Sequence[str], dry_run: bool = False) -> Minted:
    """Have a key in the file that may do this alone: the one that is there, or a new one that was proven to work.

    `vast` needs a key that may write to the account. Raises VastError or OSError; whatever lay in the file stays then.
    """
    if (present := _present(vast.url, path, permissions)) is not None or dry_run:
        return Minted(changed=present is None, key_id=present)
    path = path.resolve()  # a link goes on to be one
    # Before the key is made: one that cannot be kept would be lost.
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "It is a folder")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(errno.EACCES, "The folder may not be written to")
    key_id, key = vast.mint_key(name, {"api": {each: {} for each in permissions}})
    lacks = set(account.look(Vast(key, vast.url)).lacks) & set(permissions)
    if lacks:
        raise VastError(
            f"vast.ai made key {key_id}, and it may not do what it was made for: it lacks {', '.join(sorted(lacks))}.",
            hint=f"The key in use was left as it is; delete the new one at {account.KEYS_PAGE}.",
            code="key_scope",
        )
    return Minted(changed=True, key_id=key_id, backup=_write(path, key))


def _present(url: str, path: Path, permissions: Sequence[str]) -> int | None:
    """The number of the key in the file, if it may do this and nothing else that could be found out."""
    key = path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else ""
    if not key:
        return None
    try:
        vast = Vast(key, url)
        seen = account.look(vast)
        if set(seen.lacks) != set(account.SCOPES) - set(permissions):
            return None
        number: int | None = vast.user()["key_id"]
    except (BadApiKey, Forbidden):
        return None
    return number


def _write(path: Path, key: str) -> Path | None:
    """Replace the file at once, for its owner's eyes only; the file before it is kept, its path returned."""
    backup = None
    if path.is_file():
        backup = path.with_name(f"{path.name}.until-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
        _put(backup, path.read_bytes())
    _put(path, f"{key}\n".encode())
    return backup


def _put(path: Path, content: bytes) -> None:
    # mkstemp's files are 0600 from the first moment.
    handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    Path(fresh).replace(path)
