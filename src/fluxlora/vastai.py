"""vast.ai: the one file that talks to it, through the official client's transport, imported with the first call.

Retries are ours, not the client's: it repeats every method, a rent too, and then rents twice.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from fluxlora.errors import InputError, VastError
from fluxlora.labels import Label
from fluxlora.public_key import public_key
from fluxlora.records import Charge, Instance, Offer, text_of, whole_of
from fluxlora.refusals import BadApiKey, NoApiKey, NoSuchInstance, RateLimited, Unavailable, reason_of, refusal

DEFAULT_URL = "https://console.vast.ai"
# Largest page of the v1 list.
PAGE_ROWS = 25
# Largest page of the charges.
CHARGES_PAGE_ROWS = 500
# A search answers no more, whatever its limit says.
OFFERS_PER_ANSWER = 64
# Vast's own test tool gives up after six attempts, waiting 2^n seconds up to 30 between them.
ATTEMPTS = 6
LONGEST_WAIT_SECONDS = 30.0
# What vast.ai asks for with Retry-After is waited for up to this.
LONGEST_ASKED_WAIT_SECONDS = 60.0
# What can stand in a header; all keys that were seen are hexadecimal.
_KEY = re.compile(r"[!-~]+")
# Interactive logins are put into tmux unless this file exists; on some images that swallows commands sent over ssh.
ONSTART = "touch ~/.no_auto_tmux"


@dataclass(frozen=True)
class Rent:
    """What to run on an offer."""

    label: Label
    image: str
    disk_gb: float
    onstart: str = ONSTART
    env: Mapping[str, str] = field(default_factory=dict)
    direct: bool = True
    # What is bid for an interruptible instance, in $/h without storage; None rents on demand.
    bid_per_hour: float | None = None


def key_files(environ: Mapping[str, str] = os.environ) -> tuple[Path, Path]:
    """Where the official client keeps the key."""
    config = Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return config / "vastai" / "vast_api_key", Path.home() / ".vast_api_key"


def find_api_key(environ: Mapping[str, str] = os.environ) -> str:
    """The key from VAST_API_KEY, else from the official client's own files. Raises NoApiKey."""
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
    return (environ.get("VAST_URL") or DEFAULT_URL).rstrip("/")


@contextlib.contextmanager
def _missing(module: str) -> Iterator[None]:
    """A package that can do without this module is imported without it, in a quarter of the time (0.1 s, not 0.4)."""
    if module in sys.modules:
        yield
        return
    nothing: Any = None  # with which the import of a module fails, as Python documents it
    sys.modules[module] = nothing
    try:
        yield
    finally:
        del sys.modules[module]


class Vast:
    """A vast.ai account. Every method raises VastError, and returns within attempts x (timeout + 30 s)."""

    def __init__(
        self,
        api_key: str | None = None,
        url: str | None = None,
        *,
        timeout_seconds: float = 60,
        attempts: int = ATTEMPTS,
        first_wait_seconds: float = 1.0,
    ) -> None:
        self.url = (url or find_url()).rstrip("/")
        self.warnings: list[str] = []
        # How far vast.ai's clock is ahead of this computer's, by its last answer.
        self.skew_seconds: float | None = None
        self._api_key = (api_key or "").strip() or find_api_key()
        if not _KEY.fullmatch(self._api_key):
            raise BadApiKey(
                "The vast.ai API key holds a space, a line break or a character that no key has.",
                hint="Copy it again from https://cloud.vast.ai/manage-keys/, and: export VAST_API_KEY=…",
            )
        self._timeout_seconds = timeout_seconds
        self._attempts = attempts
        self._first_wait_seconds = first_wait_seconds
        self._transport: Any = None

    def _client(self) -> Any:
        if self._transport is None:
            # It reads VAST_URL while it is imported: hence late, and with the url spelt out.
            with _missing("vastai.serverless"):
                from vastai.api.client import VastClient

            self._transport = VastClient(
                api_key=self._api_key, server_url=self.url, retry=1, timeout=self._timeout_seconds
            )
        return self._transport

    def _send(self, call: Callable[[Any], Any]) -> dict[str, Any] | list[Any]:
        """One request, one answer, every failure as a VastError."""
        import requests

        client = self._client()
        try:
            response = call(client)
        # ValueError: an address that is none, for some of which requests has no error of its own.
        except (requests.RequestException, ValueError) as error:
            raise Unavailable(
                f"{self.url} does not answer ({type(error).__name__}).", hint="Check the network and VAST_URL."
            ) from error
        with contextlib.suppress(TypeError, ValueError):
            self.skew_seconds = parsedate_to_datetime(response.headers.get("Date")).timestamp() - time.time()
        try:
            body = response.json()
        except ValueError:
            body = None
        if response.status_code >= 400 or not isinstance(body, (dict, list)):
            asked_wait = response.headers.get("Retry-After")
            raise refusal(response.status_code, body, text_of(response.text), asked_wait=asked_wait)
        return body

    def _ask(self, call: Callable[[Any], Any], *, repeat: tuple[type[VastError], ...]) -> dict[str, Any] | list[Any]:
        """Sends until it is answered or refused for good; `repeat` are the failures after which that is harmless."""
        for attempt in range(self._attempts):
            try:
                return self._send(call)
            except repeat as error:
                last = attempt == self._attempts - 1
                asked = error.wait_seconds if isinstance(error, RateLimited) else None
                if last or error.code == "search_quota_exceeded":
                    raise
                if asked is not None and asked > LONGEST_ASKED_WAIT_SECONDS:
                    error.hint = f"vast.ai asks to wait {asked:.0f} s; run it again then."
                    raise
                wait = min(self._first_wait_seconds * 2**attempt, LONGEST_WAIT_SECONDS)
                # Jitter, since several controllers may share one key and so one rate limit.
                time.sleep(max(asked or 0.0, wait * random.uniform(0.75, 1.25)))
        raise AssertionError("attempts must be at least 1")

    def _object(self, call: Callable[[Any], Any]) -> dict[str, Any]:
        body = self._ask(call, repeat=(RateLimited, Unavailable))
        if not isinstance(body, dict):
            raise Unavailable(f"{self.url} answered a list where an object was expected.")
        return body

    def _do(self, call: Callable[[Any], Any]) -> None:
        """What is refused is refused with status 200, too."""
        if (body := self._object(call)).get("success") is False:
            raise refusal(200, body, "")

    def ask(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any] | list[Any]:
        """Any question that may be asked twice, for example what a key is let through to."""

        def call(client: Any) -> Any:
            return getattr(client, method.lower())(path, query_args=dict(query) if query else None, json_data=body)

        return self._ask(call, repeat=(RateLimited, Unavailable))

    def user(self) -> dict[str, Any]:
        """id, email, credit ($) of the account, key_id of the key; proves that the key works."""
        body = self._object(lambda client: client.get("/users/current"))
        return {name: body.get(name) for name in ("id", "key_id", "email", "credit", "balance")}

    def offers(self, query: Mapping[str, Any], *, disk_gb: float, kind: str = "on-demand") -> list[Offer]:
        """The offers that vast.ai says match, the cheapest by the hour first, with prices for `disk_gb`.

        It returns `OFFERS_PER_ANSWER` at most and filters loosely. `kind` is on-demand, or bid: then the price is the
        least bid.
        """
        request = {
            **query,
            "order": [["dph_total", "asc"]],
            "type": kind,
            "limit": OFFERS_PER_ANSWER,
            "allocated_storage": disk_gb,
        }
        rows = self._object(lambda client: client.post("/bundles/", json_data=request)).get("offers")
        if not isinstance(rows, list):
            raise Unavailable(f"{self.url} answered a search without a list of offers.")
        return [Offer.from_record(row) for row in rows if isinstance(row, dict) and whole_of(row.get("id")) is not None]

    def instances(self, *, filters: Mapping[str, Any] | None = None) -> list[Instance]:
        """All instances of the account, over all pages. An answer that is not a list is an error, never emptiness."""
        query: dict[str, Any] = {
            "select_filters": dict(filters or {}),
            "order_by": [{"col": "id", "dir": "asc"}],
            "limit": PAGE_ROWS,
        }
        found: dict[int, Instance] = {}
        for row in self._rows("/api/v1/instances/", query, "instances", "list of instances"):
            if isinstance(row, dict) and whole_of(row.get("id")) is not None:
                instance = Instance.from_record(row)
                found[instance.id] = instance
            else:
                self.warnings.append(
                    "vast.ai listed an instance without an id; look at https://cloud.vast.ai/instances/."
                )
        return list(found.values())

    def _rows(self, path: str, query: dict[str, Any], name: str, what: str) -> Iterator[Any]:
        """The rows of all pages; the API itself was seen to repeat a page for ever."""
        cursors: set[str] = set()
        while True:
            page = self._object(lambda client: client.get(path, query_args=dict(query)))
            rows = page.get(name)
            if page.get("success") is False or not isinstance(rows, list):
                raise Unavailable(f"{self.url} answered without a {what}: {reason_of(page)}")
            yield from rows
            cursor = page.get("next_token")
            if not cursor:
                return
            if cursor in cursors:
                raise Unavailable(f"vast.ai repeats a page of the {what}.", hint="Try again in a minute.")
            cursors.add(str(cursor))
            query["after_token"] = cursor

    def charges(self, since: float, until: float) -> list[Charge]:
        """What each instance was charged on the days between (seconds since the epoch), over all pages.

        Raises Forbidden where the key may not read the bills.
        """
        query = {
            "select_filters": {"day": {"gte": int(since), "lte": int(until)}, "type": {"in": ["instance"]}},
            "limit": CHARGES_PAGE_ROWS,
        }
        rows = self._rows("/charges/", query, "results", "list of charges")
        return [charge for row in rows if isinstance(row, dict) and (charge := Charge.from_record(row))]

    def instance(self, instance_id: int) -> Instance | None:
        """One instance by the list; None is proof that it is gone, which the single record's null is not."""
        found = self.instances(filters={"id": {"eq": instance_id}})
        return next((instance for instance in found if instance.id == instance_id), None)

    def rent(self, offer_id: int, rent: Rent) -> int:
        """The new instance's id. Sent once, unless vast.ai says that it did nothing because of its rate limit.

        Raises OfferGone, NoCredit…; Unavailable when an instance may exist all the same; any VastError with
        `instance_id` set when one does.
        """
        from vastai.api.instances import build_create_instance_payload

        # cancel_unavail: without it a machine that was just taken leaves a stopped instance whose disk is paid for.
        request = build_create_instance_payload(
            image=rent.image,
            disk=rent.disk_gb,
            price=rent.bid_per_hour,
            label=str(rent.label),
            env=dict(rent.env),
            onstart_cmd=rent.onstart,
            ssh=True,
            direct=rent.direct,
            cancel_unavail=True,
        )
        body = self._ask(lambda client: client.put(f"/asks/{offer_id}/", json_data=request), repeat=(RateLimited,))
        instance_id = whole_of(body.get("new_contract")) if isinstance(body, dict) else None
        if not isinstance(body, dict) or (instance_id is None and body.get("success") is not False):
            raise Unavailable("vast.ai answered a rent without saying which instance it made.")
        if instance_id is None or body.get("success") is False:
            raise refusal(200, body, "")
        return instance_id

    def set_state(self, instance_id: int, state: str) -> None:
        """`running` or `stopped`. A start that is only queued is cancelled and raised, for it would bill some day."""
        body = self._object(lambda client: client.put(f"/instances/{instance_id}/", json_data={"state": state}))
        if body.get("success") is False:
            if state == "running":
                self.set_state(instance_id, "stopped")
            raise VastError(
                f"Instance {instance_id} cannot be {'started' if state == 'running' else state}: {reason_of(body)}",
                hint="Its GPU may be rented to somebody else; its disk is paid for until you destroy it.",
                code="state_refused",
                instance_id=instance_id,
            )

    def destroy(self, instance_id: int) -> bool:
        """Asks for the end of the instance; False when there is none. Only the list proves the end."""
        try:
            body = self._object(lambda client: client.delete(f"/instances/{instance_id}/"))
        except VastError as error:
            if error.code in (NoSuchInstance.code, "not_found"):
                return False
            raise
        if body.get("success") is False:
            raise VastError(f"Instance {instance_id} cannot be destroyed: {reason_of(body)}", instance_id=instance_id)
        return True

    def ssh_keys(self) -> dict[str, int]:
        """The account's public keys, as "type base64" without the comment, each with its id."""
        try:
            body = self._ask(lambda client: client.get("/ssh/"), repeat=(RateLimited, Unavailable))
        except VastError as error:
            # An account without keys is answered 404.
            if error.code in ("not_found", NoSuchInstance.code):
                return {}
            raise
        rows = body if isinstance(body, list) else body.get("ssh_keys", body.get("keys", []))
        return {key: int(row["id"]) for key, row in _known_keys(rows) if not row.get("deleted_at")}

    def add_ssh_key(self, key: str) -> None:
        """Registers a public key for the instances to come."""
        self._do(lambda client: client.post("/ssh/", json_data={"ssh_key": key.strip()}))

    def remove_ssh_key(self, key_id: int) -> None:
        self._do(lambda client: client.delete(f"/ssh/{key_id}/"))

    def mint_key(self, name: str, permissions: Mapping[str, Any]) -> tuple[int | None, str]:
        """A new API key of the account, its number and the key. Sent once: a key that nobody knows is of no use."""
        request = {"name": name, "permissions": dict(permissions)}
        body = self._ask(lambda client: client.post("/auth/apikeys/", json_data=request), repeat=(RateLimited,))
        key = body.get("key") or body.get("api_key") if isinstance(body, dict) else None
        if not isinstance(body, dict) or not isinstance(key, str) or not key.strip():
            raise Unavailable("vast.ai made no key.", hint="Look at https://cloud.vast.ai/manage-keys/.")
        return whole_of(body.get("id")), key.strip()

    def attach_ssh_key(self, instance_id: int, key: str) -> bool:
        """Lets a public key into a running instance; False when it is in already."""
        try:
            self._do(lambda client: client.post(f"/instances/{instance_id}/ssh/", json_data={"ssh_key": key.strip()}))
        except VastError as error:
            if any(word in str(error).lower() for word in ("already", "duplicate")):
                return False
            raise
        return True

    def has_ssh_key(self, instance_id: int, key: str) -> bool:
        """Whether the instance lets this key in."""
        body = self._object(lambda client: client.get(f"/instances/{instance_id}/ssh/"))
        keys = body.get("ssh_keys")
        try:
            # A JSON string inside the JSON.
            rows = json.loads(keys) if isinstance(keys, str) else keys
        except ValueError:
            rows = str(keys).split("\n")
        return public_key(key) in dict(_known_keys(rows or []))


def _known_keys(rows: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """The rows whose key can be read, and the rows themselves."""
    for row in rows:
        text = row.get("public_key") or row.get("key") if isinstance(row, dict) else row
        with contextlib.suppress(InputError):
            yield public_key(text_of(text)), row
