"""The vast.ai account: whether its key is valid and may do what a run asks, and whether there is credit for it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from fluxlora.doctor.checks import Check, failed, ok, warning
from fluxlora.errors import VastError
from fluxlora.vast.client import Vast
from fluxlora.vast.errors import BadApiKey, Forbidden
from fluxlora.vast.records import number_of

KEYS_PAGE = "https://cloud.vast.ai/manage-keys/"
BILLING_PAGE = "https://cloud.vast.ai/billing/"

# What each permission is for; without one of the first three there is no run.
SCOPES: Mapping[str, str] = {
    "misc": "search offers",
    "instance_read": "see its instances",
    "instance_write": "rent and destroy",
    "user_read": "see the credit and the ssh keys",
    "user_write": "register ssh keys",
    "billing_read": "compare with what was charged",
}
INDISPENSABLE = ("misc", "instance_read", "instance_write")
# All that a run and an audit do once the ssh key is registered. A key that may write to the account could make itself
# one that may do everything.
LEAST = ("misc", "instance_read", "instance_write", "user_read", "billing_read")
# The check whether the account knows the ssh key.
REGISTERED = "ssh key at vast.ai"
# vast.ai's time in this computer's: more than this is no delay on the way.
SKEW_SECONDS = 120


@dataclass(frozen=True)
class Account:
    """What asking showed, and spent nothing."""

    lacks: Collection[str] = ()
    # $; None where the key may not see it.
    credit: float | None = None
    # Public keys, "type base64"; None where the key may not see them, or for a team, which has none.
    keys: Collection[str] | None = field(default=None)
    skew_seconds: float | None = None
    # Whether every permission was asked about.
    whole: bool = True


def look(vast: Vast, scopes: Collection[str] = tuple(SCOPES)) -> Account:
    """Ask what the key may do, with questions that change nothing whatever the answer is. Raises VastError.

    Only `scopes` are asked about; a call that has just used the others need not ask again.
    """
    answers = {name: _may(vast, name) for name in SCOPES if name in scopes}
    # vast.ai's documentation says 401 or 403 of a key that lacks a permission, and offers are shown to everybody: a key
    # is bad when it is refused everything else.
    bad = [answer for name, answer in answers.items() if name != "misc" and isinstance(answer, BadApiKey)]
    if bad and len(bad) == len(answers.keys() - {"misc"}):
        raise bad[0]
    credit = keys = None
    if not isinstance(user := answers.get("user_read"), VastError | None):
        credit, keys = number_of(user.get("credit")) if isinstance(user, dict) else None, _ssh_keys(vast)
    return Account(
        lacks=[name for name, answer in answers.items() if isinstance(answer, VastError)],
        credit=credit,
        keys=keys,
        skew_seconds=vast.skew_seconds,
        whole=answers.keys() == SCOPES.keys(),
    )


def _ssh_keys(vast: Vast) -> Collection[str] | None:
    try:
        return vast.ssh_keys().keys()
    except VastError as error:
        if error.code == "team_ssh_keys_not_supported":
            return None
        raise


def _may(vast: Vast, scope: str) -> object:
    """What vast.ai answers to a key with the permission, else the refusal.

    There is no instance 0 and no key 0 that could change.
    """
    today = int(datetime.now(UTC).timestamp()) // 86400 * 86400
    days = json.dumps({"day": {"gte": today, "lte": today}})
    method, path, query, body = {
        "misc": ("POST", "/bundles/", None, {"limit": 1}),
        "instance_read": ("GET", "/api/v1/instances/", {"limit": 1}, None),
        "instance_write": ("PUT", "/instances/0/", None, {"label": "fluxlora"}),
        "user_read": ("GET", "/users/current", None, None),
        "user_write": ("DELETE", "/ssh/0/", None, {}),
        "billing_read": ("GET", "/charges/", {"select_filters": days, "limit": 1}, None),
    }[scope]
    try:
        return vast.ask(method, path, query=query, body=body)
    except (BadApiKey, Forbidden) as error:
        return error
    except VastError as error:
        if error.code in ("unavailable", "rate_limited", "search_quota_exceeded"):
            raise
        # Let through, and refused for what it asked.
    return True


def key(account: Account) -> Iterator[Check]:
    """The key and its permissions."""
    yield ok("vast.ai key", "valid")
    missing = [scope for scope in INDISPENSABLE if scope in account.lacks]
    also = [scope for scope in account.lacks if scope not in INDISPENSABLE]
    if missing:
        yield failed(
            "permissions",
            f"the key may not {_told(missing)}: it lacks {', '.join(missing)}",
            f"make a key with {', '.join(LEAST)} at {KEYS_PAGE}, or with a key that may do everything: "
            "fluxlora init --mint-key",
            "key_scope",
        )
    elif "user_read" in also:
        yield warning(
            "permissions",
            f"the key may not {_told(also)}: whether there is credit is not known",
            f"add user_read to it at {KEYS_PAGE}",
            "key_scope",
        )
    elif not also and not account.whole:
        yield ok("permissions", "enough for a run")
    elif not also:
        yield ok("permissions", "all; `fluxlora init --mint-key` makes a key that may do only what a run needs")
    else:
        yield ok("permissions", f"enough; it may not {_told(also)}")


def _told(scopes: Collection[str]) -> str:
    return ", ".join(SCOPES[scope] for scope in scopes)


def credit(have: float | None, *, expected: float | None = None, budget: float | None = None) -> Check:
    """Whether the account can pay, all in $: the expected cost where it is known, the budget where there is one."""
    if have is None:
        return warning("credit", "the key may not see it", f"look at {BILLING_PAGE}", "no_credit_seen")
    if have <= 0 or (expected is not None and have < expected):
        wanted = f", and ${expected:.2f} are expected to be spent" if expected is not None else ""
        missing = f"at least ${expected - have:.2f}" if expected is not None else "some"
        return failed("credit", f"${have:.2f}{wanted}", f"add {missing} at {BILLING_PAGE}", "no_credit")
    if budget is not None and have < budget:
        return warning(
            "credit", f"${have:.2f}, less than the budget of ${budget:.2f}", f"add some at {BILLING_PAGE}", "low_credit"
        )
    return ok("credit", f"${have:.2f}" + (f", ${expected:.2f} are expected to be spent" if expected else ""))


def registered(account: Account, public_key: str, file: str) -> Check:
    """Whether instances will know the ssh key from their first moment."""
    name = REGISTERED
    if account.keys is None:
        return ok(name, "cannot be seen with this key, or is a team's; each instance gets it when it is rented")
    if public_key in account.keys:
        return ok(name, "registered")
    if "user_write" in account.lacks:
        return failed(
            name,
            "not registered, and the vast.ai key may not do it",
            f"add the line of {file}.pub at {KEYS_PAGE}",
            "key_not_registered",
        )
    return warning(name, "not registered yet; a run does it before it rents", "fluxlora init", "key_not_registered")


def clock(skew_seconds: float | None) -> Check:
    """Whether costs and deadlines are reckoned with the right time."""
    if skew_seconds is None:
        return warning("clock", "vast.ai told no time", "compare with https://time.is", "no_time")
    if abs(skew_seconds) <= SKEW_SECONDS:
        return ok("clock", "agrees with vast.ai's")
    way = "behind" if skew_seconds > 0 else "ahead of"
    return warning(
        "clock",
        f"{abs(skew_seconds) / 60:.0f} minutes {way} vast.ai's: hours, costs and deadlines are wrong by that",
        "sudo timedatectl set-ntp true",
        "clock_skewed",
    )


def unknown(error: VastError) -> Check:
    """vast.ai's refusal as a check."""
    return failed("vast.ai key", str(error).rstrip("."), error.hint or f"look at {KEYS_PAGE}", error.code)
