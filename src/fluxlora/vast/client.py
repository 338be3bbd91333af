"""The requests of fluxlora to vast.ai, one method each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fluxlora.errors import InputError, VastError
from fluxlora.text import one_line
from fluxlora.untrusted.schemas import MalformedError, parse
from fluxlora.vast.errors import NoSuchInstance, RateLimited, Unavailable, reason_of, refusal
from fluxlora.vast.labels import Label
from fluxlora.vast.public_key import public_key
from fluxlora.vast.records import Charge, Instance, Offer, id_of, number_of, text_of
from fluxlora.vast.transport import ATTEMPTS, KEY, Transport

# Largest page of the v1 list.
PAGE_ROWS = 25
# Largest page of the charges.
CHARGES_PAGE_ROWS = 500
# More rows than the documented size of any page.
MOST_ROWS = 5000
# A search returns no more, whatever its limit says.
OFFERS_PER_ANSWER = 64
# Interactive logins start in tmux unless this file exists; on some images, commands sent over ssh are then lost.
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
    # The bid for an interruptible instance, in $/h without storage; None rents on demand.
    bid_per_hour: float | None = None


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
        self._api = Transport(
            api_key, url, timeout_seconds=timeout_seconds, attempts=attempts, first_wait_seconds=first_wait_seconds
        )
        self.warnings: list[str] = []

    @property
    def url(self) -> str:
        """Address of the API."""

        return self._api.url

    @property
    def skew_seconds(self) -> float | None:
        """Seconds by which vast.ai's clock is ahead of this computer's, by its last answer."""
        return self._api.skew_seconds

    def ask(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any] | list[Any]:
        """Send any request that may be repeated, for example to test a key's permissions."""

        def call(client: Any) -> Any:
            return getattr(client, method.lower())(path, query_args=dict(query) if query else None, json_data=body)

        return self._api.ask(call, repeat=(RateLimited, Unavailable))

    def user(self) -> dict[str, Any]:
        """Return id, email and credit ($) of the account, and key_id of the key. Proves that the key works."""
        body = self._api.ask_object(lambda client: client.get("/users/current"))
        numbers = {name: id_of(body.get(name)) for name in ("id", "key_id")}
        amounts = {name: number_of(body.get(name)) for name in ("credit", "balance")}
        return {**numbers, "email": one_line(body.get("email")), **amounts}

    def offers(self, query: Mapping[str, Any], *, disk_gb: float, kind: str = "on-demand") -> list[Offer]:
        """Return the offers that match according to vast.ai, the lowest price per hour first, with prices for
        `disk_gb`.

        At most `OFFERS_PER_ANSWER` are returned, and the filter is not strict. `kind` is on-demand or bid; for
        bid the price is the minimum bid.
        """
        request = {
            **query,
            "order": [["dph_total", "asc"]],
            "type": kind,
            "limit": OFFERS_PER_ANSWER,
            "allocated_storage": disk_gb,
        }
        rows = self._api.ask_object(lambda client: client.post("/bundles/", json_data=request)).get("offers")
        if not isinstance(rows, list):
            raise Unavailable(f"{self.url} answered a search without a list of offers.")
        return [Offer.from_record(row) for row in rows[:MOST_ROWS] if isinstance(row, dict) and id_of(row.get("id"))]

    def instances(self, *, filters: Mapping[str, Any] | None = None) -> list[Instance]:
        """Return all instances of the account, over all pages. An answer that is not a list is an error, not an
        empty list."""
        query: dict[str, Any] = {
            "select_filters": dict(filters or {}),
            "order_by": [{"col": "id", "dir": "asc"}],
            "limit": PAGE_ROWS,
        }
        found: dict[int, Instance] = {}
        for row in self._api.rows("/api/v1/instances/", query, "instances", "list of instances"):
            if isinstance(row, dict) and id_of(row.get("id")):
                instance = Instance.from_record(row)
                found[instance.id] = instance
            else:
                self.warnings.append(
                    "vast.ai listed an instance without an id; look at https://cloud.vast.ai/instances/."
                )
        return list(found.values())

    def charges(self, since: float, until: float) -> list[Charge]:
        """Return what was charged for each instance between two times (seconds since the epoch), over all
        pages.

        Raises Forbidden if the key may not read the bills.
        """
        query = {
            "select_filters": {"day": {"gte": int(since), "lte": int(until)}, "type": {"in": ["instance"]}},
            "limit": CHARGES_PAGE_ROWS,
        }
        rows = self._api.rows("/charges/", query, "results", "list of charges")
        return [charge for row in rows if isinstance(row, dict) and (charge := Charge.from_record(row))]

    def instance(self, instance_id: int) -> Instance | None:
        """Return one instance from the list. None proves that it is gone; a single record that is null does not."""
        found = self.instances(filters={"id": {"eq": instance_id}})
        return next((instance for instance in found if instance.id == instance_id), None)

    def rent(self, offer_id: int, rent: Rent) -> int:
        """Rent an offer and return the new instance's id. The request is repeated only if vast.ai's rate limit
        refused it.

        Raises OfferGone, NoCredit…; Unavailable if an instance may exist in spite of the error; any VastError
        with `instance_id` if one does exist.
        """
        from vastai.api.instances import build_create_instance_payload

        # Without cancel_unavail, an offer that was just taken creates a stopped instance, whose disk costs money.
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
        body = self._api.ask(lambda client: client.put(f"/asks/{offer_id}/", json_data=request), repeat=(RateLimited,))
        instance_id = id_of(body.get("new_contract")) if isinstance(body, dict) else None
        if not isinstance(body, dict) or (instance_id is None and body.get("success") is not False):
            raise Unavailable("vast.ai's answer to a rent does not contain the new instance's id.")
        if instance_id is None or body.get("success") is False:
            raise refusal(200, body, "")
        return instance_id

    def set_state(self, instance_id: int, state: str) -> None:
        """Set the state to `running` or `stopped`. A start that is only queued is cancelled and an error,
        because it would cost money later."""
        body = self._api.ask_object(lambda client: client.put(f"/instances/{instance_id}/", json_data={"state": state}))
        if body.get("success") is False:
            if state == "running":
                self.set_state(instance_id, "stopped")
            raise VastError(
                f"Instance {instance_id} cannot be {'started' if state == 'running' else state}: {reason_of(body)}",
                hint="Its GPU may be rented to somebody else; its disk costs money until you destroy it.",
                code="state_refused",
                instance_id=instance_id,
            )

    def destroy(self, instance_id: int) -> bool:
        """Request that the instance is destroyed; False if there is none. Only the list proves that it is gone."""
        try:
            body = self._api.ask_object(lambda client: client.delete(f"/instances/{instance_id}/"))
        except VastError as error:
            if error.code in (NoSuchInstance.code, "not_found"):
                return False
            raise
        if body.get("success") is False:
            raise VastError(f"Instance {instance_id} cannot be destroyed: {reason_of(body)}", instance_id=instance_id)
        return True

    def ssh_keys(self) -> dict[str, int]:
        """Return the account's public keys, as "type base64" without the comment, each with its id."""
        try:
            body = self._api.ask(lambda client: client.get("/ssh/"), repeat=(RateLimited, Unavailable))
        except VastError as error:
            # For an account without keys the answer is 404.
            if error.code in ("not_found", NoSuchInstance.code):
                return {}
            raise
        rows = body if isinstance(body, list) else body.get("ssh_keys", body.get("keys", []))
        return {
            key: number
            for key, row in _known_keys(rows)
            if isinstance(row, dict) and not row.get("deleted_at") and (number := id_of(row.get("id")))
        }

    def add_ssh_key(self, key: str) -> None:
        """Register a public key for future instances."""
        self._api.do(lambda client: client.post("/ssh/", json_data={"ssh_key": key.strip()}))

    def remove_ssh_key(self, key_id: int) -> None:
        """Remove a public key from the account."""

        self._api.do(lambda client: client.delete(f"/ssh/{key_id}/"))

    def mint_key(self, name: str, permissions: Mapping[str, Any]) -> tuple[int | None, str]:
        """Make a new API key of the account, and return its id and the key. Sent once, so that no unknown key
        is left behind."""
        request = {"name": name, "permissions": dict(permissions)}
        body = self._api.ask(lambda client: client.post("/auth/apikeys/", json_data=request), repeat=(RateLimited,))
        key = body.get("key") or body.get("api_key") if isinstance(body, dict) else None
        if not isinstance(body, dict) or not isinstance(key, str) or not KEY.fullmatch(key.strip()):
            raise Unavailable("vast.ai made no key.", hint="Look at https://cloud.vast.ai/manage-keys/.")
        return id_of(body.get("id")), key.strip()

    def attach_ssh_key(self, instance_id: int, key: str) -> bool:
        """Add a public key to a running instance; False if the instance already accepts it."""
        try:
            self._api.do(
                lambda client: client.post(f"/instances/{instance_id}/ssh/", json_data={"ssh_key": key.strip()})
            )
        except VastError as error:
            if any(word in str(error).lower() for word in ("already", "duplicate")):
                return False
            raise
        return True

    def has_ssh_key(self, instance_id: int, key: str) -> bool:
        """Return whether the instance accepts this key."""
        body = self._api.ask_object(lambda client: client.get(f"/instances/{instance_id}/ssh/"))
        keys = body.get("ssh_keys")
        try:
            # A JSON string inside the JSON.
            rows = parse(keys, self.url) if isinstance(keys, str) else keys
        except MalformedError:
            rows = str(keys).split("\n")
        return public_key(key) in dict(_known_keys(rows))


def _known_keys(rows: Any) -> Iterator[tuple[str, Any]]:
    """Return the keys that can be read, with their rows; empty if the answer is not a list."""
    for row in rows[:MOST_ROWS] if isinstance(rows, list) else []:
        text = row.get("public_key") or row.get("key") if isinstance(row, dict) else row
        with contextlib.suppress(InputError):
            yield public_key(text_of(text)), row
