"""The account's API key and vast.ai's address, from the environment or files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from fluxlora.vast.errors import NoApiKey

DEFAULT_URL = "https://console.vast.ai"


def key_files(environ: Mapping[str, str] = os.environ) -> tuple[Path, Path]:
    """Return the files in which the official client stores the key."""
    config = Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return config / "vastai" / "vast_api_key", Path.home() / ".vast_api_key"


def find_api_key(environ: Mapping[str, str] = os.environ) -> str:
    """Return the key from VAST_API_KEY, otherwise from the official client's files. Raises NoApiKey."""
    if key := environ.get("VAST_API_KEY", "").strip():
        return key
    for path in key_files(environ):
        try:
            if path.is_file() and (key := path.read_text(encoding="utf-8", errors="replace").strip()):
                return key
        except OSError as error:
            raise NoApiKey(
                f"{path} cannot be read: {error.strerror}.", hint=f"sudo chown $USER {path}, or: export VAST_API_KEY=…"
            ) from error
    raise NoApiKey(
        "No vast.ai API key is configured.",
        hint="Make one at https://cloud.vast.ai/manage-keys/, and: export VAST_API_KEY=…",
    )


def find_url(environ: Mapping[str, str] = os.environ) -> str:
    """Return the API's address, from VAST_URL or the default."""
    return (environ.get("VAST_URL") or DEFAULT_URL).rstrip("/")
