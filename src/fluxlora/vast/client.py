"""The questions that we ask vast.ai and the orders that we give it, each one method."""

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
# More rows than any page is documented to hold.
MOST_ROWS = 5000
# A search answers no more, whatever its limit says.
OFFERS_PER_ANSWER = 64
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
        return self._api.url

    @property
    def skew_seconds(self) -> float | None:
        """How far vast.ai's clock is ahead of this computer's, by its last answer."""
        return self._api.skew_seconds

    def ask(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any] | list[Any]:
        """Any question that may be asked twice, for example what a key is let through to."""

        def call(client: Any) -> Any:
            return getattr(client, method.lower())(path, query_args=dict(query) if query else None, json_data=body)

        return self._api.ask(call, repeat=(RateLimited, Unavailable))

    def user(self) -> dict[str, Any]:
        """id, email, credit ($) of the account, key_id of the key; proves that the key works."""
        body = self._api.ask_object(lambda client: client.get("/users/current"))
        numbers = {name: id_of(body.get(name)) for name in ("id", "key_id")}
        amounts = {name: number_of(body.get(name)) for name in ("credit", "balance")}
        return {**numbers, "email": one_line(body.get("email")), **amounts}

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
        rows = self._api.ask_object(lambda client: client.post("/bundles/", json_data=request)).get("offers")
        if not isinstance(rows, list):
            raise Unavailable(f"{self.url} answered a search without a list of offers.")
        return [Offer.from_record(row) for row in rows[:MOST_ROWS] if isinstance(row, dict) and id_of(row.get("id"))]

    def instances(self, *, filters: Mapping[str, Any] | None = None) -> list[Instance]:
        """All instances of the account, over all pages. An answer that is not a list is an error, never emptiness."""
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
        """What each instance was charged on the days between (seconds since the epoch), over all pages.

        Raises Forbidden where the key may not read the bills.
        """
        query = {
            "select_filters": {"day": {"gte": int(since), "lte": int(until)}, "type": {"in": ["instance"]}},
            "limit": CHARGES_PAGE_ROWS,
        }
        rows = self._api.rows("/charges/", query, "results", "list of charges")
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
        body = self._api.ask(lambda client: client.put(f"/asks/{offer_id}/", json_data=request), repeat=(RateLimited,))
        instance_id = id_of(body.get("new_contract")) if isinstance(body, dict) else None
        if not isinstance(body, dict) or (instance_id is None and body.get("success") is not False):
            raise Unavailable("vast.ai answered a rent without saying which instance it made.")
        if instance_id is None or body.get("success") is False:
            raise refusal(200, body, "")
        return instance_id

    def set_state(self, instance_id: int, state: str) -> None:
        """`running` or `stopped`. A start that is only queued is cancelled and raised, for it would bill some day."""
        body = self._api.ask_object(lambda client: client.put(f"/instances/{instance_id}/", json_data={"state": state}))
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
            body = self._api.ask_object(lambda client: client.delete(f"/instances/{instance_id}/"))
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
            body = self._api.ask(lambda client: client.get("/ssh/"), repeat=(RateLimited, Unavailable))
        except VastError as error:
            # An account without keys is answered 404.
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
        """Registers a public key for the instances to come."""
        self._api.do(lambda client: client.post("/ssh/", json_data={"ssh_key": key.strip()}))

    def remove_ssh_key(self, key_id: int) -> None:
        self._api.do(lambda client: client.delete(f"/ssh/{key_id}/"))

    def mint_key(self, name: str, permissions: Mapping[str, Any]) -> tuple[int | None, str]:
        """A new API key of the account, its number and the key. Sent once: a key that nobody knows is of no use."""
        request = {"name": name, "permissions": dict(permissions)}
        body = self._api.ask(lambda client: client.post("/auth/apikeys/", json_data=request), repeat=(RateLimited,))
        key = body.get("key") or body.get("api_key") if isinstance(body, dict) else None
        if not isinstance(body, dict) or not isinstance(key, str) or not KEY.fullmatch(key.strip()):
            raise Unavailable("vast.ai made no key.", hint="Look at https://cloud.vast.ai/manage-keys/.")
        return id_of(body.get("id")), key.strip()

    def attach_ssh_key(self, instance_id: int, key: str) -> bool:
        """Lets a public key into a running instance; False when it is in already."""
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
        """Whether the instance lets this key in."""
        body = self._api.ask_object(lambda client: client.get(f"/instances/{instance_id}/ssh/"))
        keys = body.get("ssh_keys")
        try:
            # A JSON string inside the JSON.
            rows = parse(keys, self.url) if isinstance(keys, str) else keys
        except MalformedError:
            rows = str(keys).split("\n")
        return public_key(key) in dict(_known_keys(rows))


def _known_keys(rows: Any) -> Iterator[tuple[str, Any]]:
    """The rows whose key can be read, and the rows themselves; none of what is no list."""
    for row in rows[:MOST_ROWS] if isinstance(rows, list) else []:
        text = row.get("public_key") or row.get("key") if isinstance(row, dict) else row
        with contextlib.suppress(InputError):
            yield public_key(text_of(text)), row
