"""vast.ai's refusals as errors with a hint."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from fluxlora.errors import VastError
from fluxlora.text import one_line
from fluxlora.vast.records import id_of, number_of, text_of

# A key of vast.ai has 64 letters and digits; tokens of the Hub and of Weights & Biases have 37 or more.
_SECRET = re.compile(r"[\w-]{32,}", re.ASCII)


class NoApiKey(VastError):
    """No key is configured."""

    code = "no_api_key"


class BadApiKey(VastError):
    """vast.ai does not know the key."""

    code = "bad_api_key"


class Forbidden(VastError):
    """The key is known but may not do this."""

    code = "forbidden"


class NoCredit(VastError):
    """The account cannot pay."""

    code = "no_credit"


class OfferGone(VastError):
    """Somebody else was faster."""

    code = "offer_gone"


class RateLimited(VastError):
    """Too many requests; this one was not carried out. `wait_seconds` is the wait that vast.ai asks for, if any."""

    code = "rate_limited"
    wait_seconds: float | None = None


class Unavailable(VastError):
    """vast.ai is unreachable, or the answer is not from its API. It is unknown whether the request was carried out."""

    code = "unavailable"


class NoSuchInstance(VastError):
    """There is no instance with this id."""

    code = "no_such_instance"


def shown(text: Any) -> str:
    """Return vast.ai's text as one line without keys: an answer may repeat the key of the request."""
    # The text is cut afterwards, because the first half of a key must not be printed, either.
    return one_line(_SECRET.sub("…", one_line(text, limit=10_000)))


def reason_of(body: Mapping[str, Any]) -> str:
    """Return the reason in an answer, as one line."""
    return shown(body.get("msg") or body.get("detail") or body.get("error") or "no reason given")


def retry_after(value: Any, now: float) -> float | None:
    """Return the seconds of a Retry-After, which may be a number or a date; None if it is neither."""
    if (seconds := number_of(value)) is None:
        try:
            seconds = parsedate_to_datetime(text_of(value)).timestamp() - now
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def refusal(status: int, body: Any, text: str, *, asked_wait: Any = None) -> VastError:
    """Return the error for an answer that is not a success; `asked_wait` is its Retry-After."""
    error = _refusal(status, body, text)
    if isinstance(error, RateLimited):
        wait = body.get("retry_after") if asked_wait is None and isinstance(body, dict) else asked_wait
        error.wait_seconds = retry_after(wait, time.time())
    return error


def _refusal(status: int, body: Any, text: str) -> VastError:
    """Return the error by the body, because status codes vary for the same cause."""
    if not isinstance(body, dict):
        if status == 404 and body == []:
            return VastError("vast.ai: there is none.", code="not_found")
        if status == 429:
            return RateLimited(f"vast.ai is asked too often: {shown(text[:200])}", hint="Wait a minute.")
        return Unavailable(
            f"vast.ai answered {status}, and not with its API.",
            hint="vast.ai or a proxy in front of it fails; try again in a minute.",
        )
    error, reason = one_line(body.get("error")), reason_of(body)
    # A refused rent can create an instance.
    instance_id = id_of(body.get("new_contract"))
    sign = f"{error} {reason}".lower()
    kind: type[VastError] = VastError
    hint = ""
    if error == "auth_error" or "invalid user key" in sign or status == 401:
        kind, hint = (
            BadApiKey,
            "Compare VAST_API_KEY, or ~/.config/vastai/vast_api_key if it is not set, with "
            "https://cloud.vast.ai/manage-keys/.",
        )
    elif status == 403:
        kind, hint = (
            Forbidden,
            "The key needs the permissions misc, instance_read, instance_write, user_read, user_write.",
        )
    elif error in ("insufficient_credit", "missing_billing"):
        kind, hint = NoCredit, "Add credit on https://cloud.vast.ai/billing/."
    elif "no_such_ask" in sign or "404/3603" in sign:
        kind, hint = OfferGone, "Take the next offer."
    elif error == "search_quota_exceeded":
        return RateLimited(f"vast.ai: {reason}", hint="The quota is renewed at midnight UTC.", code=error)
    elif status == 429:
        kind, hint = RateLimited, "Wait a minute."
    elif error == "no_such_instance" or (status == 404 and "instance" in sign):
        kind = NoSuchInstance
    elif status >= 500:
        kind, hint = Unavailable, "Try again in a minute."
    elif status == 404:
        return VastError(f"vast.ai: {reason}", code="not_found", instance_id=instance_id)
    code = (error or VastError.code) if kind is VastError else None
    return kind(f"vast.ai: {reason}", hint=hint, code=code, instance_id=instance_id)
