"""Each answer of vast.ai that is no success becomes one kind of error, with what to do about it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from fluxlora.errors import VastError
from fluxlora.vast.errors import (
    BadApiKey,
    Forbidden,
    NoCredit,
    NoSuchInstance,
    OfferGone,
    RateLimited,
    Unavailable,
    reason_of,
    refusal,
)

WAIT, KEYS = "Wait a minute.", "https://cloud.vast.ai/manage-keys/"
AGAIN = "Try again in a minute."
CREDIT = "Add credit on https://cloud.vast.ai/billing/."
PERMISSIONS = "The key needs the permissions misc, instance_read, instance_write, user_read, user_write."


@pytest.mark.parametrize(
    ("status", "body", "kind", "code", "hint"),
    [
        (400, {"error": "auth_error", "msg": "m"}, BadApiKey, "bad_api_key", KEYS),
        (404, {"error": "x", "msg": "Invalid user key"}, BadApiKey, "bad_api_key", KEYS),
        (401, {"error": "x", "msg": "m"}, BadApiKey, "bad_api_key", KEYS),
        (403, {"error": "x", "msg": "m"}, Forbidden, "forbidden", PERMISSIONS),
        (400, {"error": "insufficient_credit", "msg": "m"}, NoCredit, "no_credit", CREDIT),
        (400, {"error": "missing_billing", "msg": "m"}, NoCredit, "no_credit", CREDIT),
        (410, {"error": "no_such_ask", "msg": "m"}, OfferGone, "offer_gone", "Take the next offer."),
        (404, {"error": "x", "msg": "error 404/3603: gone"}, OfferGone, "offer_gone", "Take the next offer."),
        (429, {"error": "search_quota_exceeded", "msg": "m"}, RateLimited, "search_quota_exceeded", "midnight UTC"),
        (429, {"error": "x", "msg": "m"}, RateLimited, "rate_limited", WAIT),
        (400, {"error": "no_such_instance", "msg": "m"}, NoSuchInstance, "no_such_instance", ""),
        (404, {"error": "x", "msg": "Instance 7 not found"}, NoSuchInstance, "no_such_instance", ""),
        (500, {"error": "x", "msg": "m"}, Unavailable, "unavailable", AGAIN),
        (503, {"error": "x", "msg": "m"}, Unavailable, "unavailable", AGAIN),
        (404, {"error": "x", "msg": "m"}, VastError, "not_found", ""),
        (400, {"error": "x", "msg": "m"}, VastError, "x", ""),
        # An instance that is named in another refusal is not one that is missing.
        (400, {"error": "x", "msg": "instance busy"}, VastError, "x", ""),
        (499, {"error": "x", "msg": "m"}, VastError, "x", ""),
        (400, {"msg": "m"}, VastError, "vast_error", ""),
    ],
)
def test_the_body_of_a_refusal_decides_what_it_means(
    status: int, body: dict[str, Any], kind: type[VastError], code: str, hint: str
) -> None:
    error = refusal(status, body | {"new_contract": 7}, "")

    assert type(error) is kind
    assert error.code == code
    assert str(error) == f"vast.ai: {body['msg']}"
    assert error.hint == hint if not hint or hint in (WAIT, AGAIN, PERMISSIONS, CREDIT) else hint in error.hint
    # A refused rent can leave an instance behind, and only a search has none.
    assert error.instance_id == (None if code == "search_quota_exceeded" else 7)


@pytest.mark.parametrize(
    ("status", "body", "kind", "code", "message", "hint"),
    [
        (404, [], VastError, "not_found", "vast.ai: there is none.", ""),
        (404, None, Unavailable, "unavailable", "vast.ai answered 404 with something that is not its API.", "proxy"),
        (200, [], Unavailable, "unavailable", "vast.ai answered 200 with something that is not its API.", "proxy"),
        (502, None, Unavailable, "unavailable", "vast.ai answered 502 with something that is not its API.", "proxy"),
        (429, None, RateLimited, "rate_limited", "vast.ai is asked too often: slow down", WAIT),
    ],
)
def test_an_answer_without_an_object_is_judged_by_its_status(
    status: int, body: Any, kind: type[VastError], code: str, message: str, hint: str
) -> None:
    error = refusal(status, body, "slow down")

    assert (type(error), error.code, str(error)) == (kind, code, message)
    assert (hint in error.hint) if hint else error.hint == ""


def test_of_a_page_that_is_no_answer_only_the_beginning_is_shown() -> None:
    error = refusal(429, None, "<p> " * 50 + "the end")
    assert str(error).endswith("<p>")
    assert "the end" not in str(error)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"msg": "a", "detail": "b", "error": "c"}, "a"),
        ({"msg": "", "detail": "b", "error": "c"}, "b"),
        ({"error": "c"}, "c"),
        ({}, "no reason given"),
    ],
)
def test_a_reason_is_the_first_that_is_there(body: dict[str, Any], reason: str) -> None:
    assert reason_of(body) == reason


@pytest.mark.parametrize("status", [400, 500])
def test_only_a_rate_limit_says_how_long_to_wait(status: int) -> None:
    assert not hasattr(refusal(status, {"msg": "m"}, "", asked_wait="7"), "wait_seconds")
    limited = refusal(429, {"msg": "m"}, "", asked_wait="7")
    assert isinstance(limited, RateLimited)
    assert limited.wait_seconds == 7
    assert RateLimited("m").wait_seconds is None


def test_a_wait_of_the_body_counts_only_where_the_header_has_none_and_the_body_is_an_object() -> None:
    waits = [refusal(429, body, "", asked_wait=asked) for body, asked in (({"retry_after": 5}, "3"), ([], None))]
    assert [wait.wait_seconds for wait in waits if isinstance(wait, RateLimited)] == [3, None]


def test_a_wait_until_a_date_counts_from_now() -> None:
    error = refusal(429, {}, "", asked_wait="Fri, 01 Jan 2100 00:00:00 GMT")
    assert isinstance(error, RateLimited)
    assert error.wait_seconds == pytest.approx(4_102_444_800 - time.time(), abs=60)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (BadApiKey, "bad_api_key"),
        (Forbidden, "forbidden"),
        (NoCredit, "no_credit"),
        (OfferGone, "offer_gone"),
        (RateLimited, "rate_limited"),
        (Unavailable, "unavailable"),
        (NoSuchInstance, "no_such_instance"),
    ],
)
def test_programs_know_an_error_by_a_code_that_stays(kind: type[VastError], code: str) -> None:
    assert kind("m").code == code
