"""Makes a vast.ai key that may only do what a run needs, in the file of the official client."""

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
    """What happened to the file; the key itself is never printed."""

    changed: bool
    # The account's id of the key, None if it is not made yet.
    key_id: int | None
    # The file in which the previous key is kept.
    backup: Path | None = None


def ensure(vast: Vast, path: Path, *, name: str, permissions: Sequence[str], dry_run: bool = False) -> Minted:
    """Ensure that the file has a key with only these permissions: the existing one, or a new one that was tested.

    `vast` needs a key that may write to the account. Raises VastError or OSError, and then the file is not changed.
    """
    if (present := _present(vast.url, path, permissions)) is not None or dry_run:
        return Minted(changed=present is None, key_id=present)
    path = path.resolve()  # a link stays a link
    # Checked before the key is made, because a key that cannot be stored would be lost.
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "It is a folder")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(errno.EACCES, "The folder is not writable")
    key_id, key = vast.mint_key(name, {"api": {permission: {} for permission in permissions}})
    lacks = set(account.fetch_account(Vast(key, vast.url)).lacks) & set(permissions)
    if lacks:
        raise VastError(
            f"vast.ai made key {key_id}, but without all requested permissions: it lacks {', '.join(sorted(lacks))}.",
            hint=f"The key in use was not changed; delete the new one at {account.KEYS_PAGE}.",
            code="key_scope",
        )
    return Minted(changed=True, key_id=key_id, backup=_write(path, key))


def _present(url: str, path: Path, permissions: Sequence[str]) -> int | None:
    """Return the id of the key in the file, if it has these permissions and, as far as can be tested, no others."""
    key = path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else ""
    if not key:
        return None
    try:
        vast = Vast(key, url)
        seen = account.fetch_account(vast)
        if set(seen.lacks) != set(account.SCOPES) - set(permissions):
            return None
        number: int | None = vast.user()["key_id"]
    except (BadApiKey, Forbidden):
        return None
    return number


def _write(path: Path, key: str) -> Path | None:
    """Replace the file in one step, readable only by its owner; return the path of the backup of the old file."""
    backup = None
    if path.is_file():
        backup = path.with_name(f"{path.name}.until-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
        _put(backup, path.read_bytes())
    _put(path, f"{key}\n".encode())
    return backup


def _put(path: Path, content: bytes) -> None:
    # mkstemp creates files with mode 0600.
    handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    Path(fresh).replace(path)
