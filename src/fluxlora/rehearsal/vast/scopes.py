"""Which permission each of vast.ai's routes asks of a key, by the categories of its documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# By what a path begins with, the longest that fits; "{}" stands for reading or writing.
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
    """The permission, None where any key will do."""
    fitting = [start for start in _CATEGORIES if path == start or path.startswith(f"{start}/")]
    if not fitting:
        return None
    return _CATEGORIES[max(fitting, key=len)].format("read" if method == "GET" else "write")


def allows(permissions: Mapping[str, Any], method: str, path: str) -> bool:
    """Whether a key with these permissions may do this; constraints inside a category are not looked at."""
    wanted = category(method, path)
    return wanted is None or wanted in (permissions.get("api") or {})
