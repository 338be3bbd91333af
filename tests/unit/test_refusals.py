"""What vast.ai asks to wait, and what it means when it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from fluxlora.vast.errors import RateLimited, refusal, retry_after

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("1", 1.0),
        ("1.5", 1.5),
        (2, 2.0),
        ("-1", 0.0),
        ("86400", 86400.0),
        ("Fri, 15 Jan 2027 08:00:30 GMT", 30.0),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0.0),
        ("soon", None),
        ("", None),
        ("nan", None),
        ("inf", None),
        (None, None),
    ],
)
def test_a_time_to_wait_is_read_as_number_or_date_and_never_negative(told: Any, seconds: float | None) -> None:
    assert retry_after(told, NOW) == seconds


def test_the_wait_is_taken_from_the_header_else_from_the_body() -> None:
    body = {"error": "rate_limit_exceeded", "msg": "too often", "retry_after": 7}
    for asked, seconds in (("3", 3.0), (None, 7.0)):
        error = refusal(429, body, "", asked_wait=asked)
        assert isinstance(error, RateLimited)
        assert error.wait_seconds == seconds


@pytest.mark.parametrize("status", [400, 401, 429, 500])
@pytest.mark.parametrize("where", ["msg", "detail", "error"])
def test_a_key_that_vast_repeats_is_not_repeated_by_us_nor_what_a_terminal_would_obey(status: int, where: str) -> None:
    key = "0123456789abcdef" * 4
    error = refusal(status, {where: f"\x1b[2JBearer {key}\nis odd"}, "")
    assert key not in str(error)
    assert str(error).isprintable()
    assert "is odd" in str(error)
    assert key not in str(refusal(status, None, f"Bearer {key}"))
