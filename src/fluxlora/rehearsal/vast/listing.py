"""One page of GET /api/v1/instances: filters, order, columns, cursor."""

from __future__ import annotations

import base64
import binascii
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from fluxlora.rehearsal.vast.query import holds, matches, ordered

PAGE = 25
# Values that the API computes and does not store, so it refuses to filter or sort by them.
COMPUTED = {"dph_total", "dph_base", "num_gpus", "ports", "search", "instance", "duration", "uptime_mins", "ssh_port"}


def page(rows: list[dict[str, Any]], query: Mapping[str, str]) -> dict[str, Any]:
    """Return one page. Raises ValueError with the API's message."""
    filters = _parsed(query, "select_filters", {})
    order = [(column["col"], column.get("dir", "asc")) for column in _parsed(query, "order_by", [])]
    columns = _parsed(query, "select_cols", ["*"])
    for column in [*filters, *(column for column, _ in order)]:
        if column in COMPUTED or (rows and column not in rows[0]):
            raise ValueError(f"Error in query parameters: {column} is not a valid search key")
    limit = int(query.get("limit") or PAGE)
    limit = min(limit, PAGE) if limit > 0 else 5
    order.append(("id", order[-1][1] if order else "asc"))

    found = ordered([row for row in rows if matches(row, filters)], order)
    rest = _after(found, query.get("after_token"))
    shown = rest[:limit]
    return {
        "success": True,
        "instances_found": len(shown),
        "total_instances": len(found),
        "label_counts": dict(Counter(row["label"] or "" for row in found)),
        "next_token": _token(shown[-1]["id"]) if len(rest) > limit else None,
        "instances": [
            dict(row) if "*" in columns else {column: row.get(column) for column in columns} for row in shown
        ],
    }


def _parsed(query: Mapping[str, str], name: str, default: Any) -> Any:
    try:
        return json.loads(query[name]) if query.get(name) else default
    except ValueError:
        raise ValueError(f"Error in query parameters: {name} is not JSON") from None


def _token(last_id: int) -> str:
    return base64.b64encode(json.dumps({"values": {"id": last_id}}).encode()).decode()


def _after(rows: list[Any], token: str | None) -> list[Any]:
    """Return the rows after the cursor; all of them if its row is gone and the order is not by id."""
    if not token:
        return rows
    try:
        last_id = json.loads(base64.b64decode(token, validate=True))["values"]["id"]
    except (ValueError, KeyError, TypeError, binascii.Error):
        raise ValueError("Invalid pagination token") from None
    for number, row in enumerate(rows):
        if row["id"] == last_id:
            return rows[number + 1 :]
    return [row for row in rows if holds(row["id"], "gt", last_id)]
