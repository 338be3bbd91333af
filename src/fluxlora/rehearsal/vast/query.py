"""Filters and orders in the format of vast.ai's search and listing: {"field": {"op": value}}."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

Record = Mapping[str, Any]
Filters = Mapping[str, Mapping[str, Any]]

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda have, want: bool(have == want),
    "neq": lambda have, want: bool(have != want),
    "gt": lambda have, want: bool(have > want),
    "gte": lambda have, want: bool(have >= want),
    "lt": lambda have, want: bool(have < want),
    "lte": lambda have, want: bool(have <= want),
    "in": lambda have, want: have in want,
    "notin": lambda have, want: have not in want,
}


def _like(have: Any, want: Any) -> Any:
    """Return the wanted value in the type of the present one, because the vastai client sends numbers as strings."""
    if isinstance(want, list):
        return [_like(have, value) for value in want]
    if isinstance(have, (int, float)) and isinstance(want, str):
        try:
            return float(want)
        except ValueError:
            return want
    return want


def holds(have: Any, operator: str, want: Any) -> bool:
    """Return whether one comparison is true; False for values without an order."""
    try:
        return OPERATORS[operator](have, _like(have, want))
    except TypeError:
        return False


def matches(record: Record, filters: Filters) -> bool:
    """Return whether every comparison of every field is true."""
    return all(
        holds(record.get(field), operator, want)
        for field, comparisons in filters.items()
        for operator, want in comparisons.items()
    )


def ordered(records: Iterable[Record], order: Iterable[tuple[str, str]]) -> list[Record]:
    """Return the rows sorted by several columns, each "asc" or "desc"; records without a value come first."""
    rows = list(records)
    for column, direction in reversed(list(order)):
        rows.sort(key=lambda row: _sortable(row.get(column)), reverse=direction == "desc")
    return rows


def _sortable(value: Any) -> tuple[int, Any]:
    if value is None:
        return 0, 0
    if isinstance(value, (int, float)):
        return 1, value
    return 2, str(value)
