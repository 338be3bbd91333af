"""The permission that each of vast.ai's routes needs, by the categories of its documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# By the start of a path, where the longest match counts; "{}" stands for read or write.
_CATEGORIES: Mapping[str, str] = {
    "/api/v0/bundles": "misc",
    "/api/v0/search": "misc",
    "/api/v0/gpu_names": "misc",
    "/api/v0/asks": "instance_write",
    "/api/v0/instances": "instance_{}",
    "/api/v0/instances/request_logs": "instance_read",
    "/api/v1/instances": "instance_{}",
    "/api/v0/ssh": "user_{}",
    "/api/v0/secrets": "user_{}",
    "/api/v0/users": "user_{}",
    "/api/v0/auth": "user_{}",
    "/api/v0/charges": "billing_read",
}


def category(method: str, path: str) -> str | None:
    """Return the permission, or None if any key is sufficient."""
    fitting = [start for start in _CATEGORIES if path == start or path.startswith(f"{start}/")]
    if not fitting:
        return None
    return _CATEGORIES[max(fitting, key=len)].format("read" if method == "GET" else "write")


def allows(permissions: Mapping[str, Any], method: str, path: str) -> bool:
    """Return whether a key with these permissions may do this; constraints inside a category are not checked."""
    wanted = category(method, path)
    return wanted is None or wanted in (permissions.get("api") or {})
