"""vast.ai: the one file that talks to it, through the official client's transport, imported with the first call.

Retries are ours, not the client's: it repeats every method, a rent too, and then rents twice.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fluxlora.errors import InputError, VastError
from fluxlora.labels import Label

DEFAULT_URL = "https://console.vast.ai"
# Largest page of the v1 list.
PAGE_ROWS = 25
# Vast's own test tool gives up after six attempts, waiting 2^n seconds up to 30 between them.
ATTEMPTS = 6
LONGEST_WAIT_SECONDS = 30.0
PUBLIC_KEY_TYPE = re.compile(
    r"(ssh-(ed25519|rsa)|ecdsa-sha2-nistp\d+|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)"
)
# Interactive logins are put into tmux unless this file exists; on some images that swallows commands sent over ssh.
ONSTART = "touch ~/.no_auto_tmux"
PENDING = frozenset({"", "created", "loading", "restarting", "rebooting", "recycling", "scheduling"})
# Never recover by themselves, and the disk is paid for.
DEAD = frozenset({"exited", "stopped", "offline", "frozen", "unknown", "error"})
# Fragments of status_msg, in lower case, after which an instance never starts.
FATAL_MESSAGES = (
    "oci runtime create failed",
    "error response from daemon",
    "failed to pull image",
    "no space left on device",
    "manifest unknown",
    "unauthorized",
    "unexpected eof",
    "error writing dockerfile",
)


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
    """Too many requests; this one was not carried out."""

    code = "rate_limited"


class Unavailable(VastError):
    """vast.ai is unreachable or answers what is not its API; whether the request was carried out is unknown."""

    code = "unavailable"


class NoSuchInstance(VastError):
    """There is no instance with this id."""

    code = "no_such_instance"


def _number(value: Any) -> float | None:
    try:
        return None if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


@dataclass(frozen=True)
class Offer:
    """What somebody asks for a machine. Unknown numbers are None. Sizes are decimal, as vast.ai counts them."""

    id: int
    machine_id: int | None = None
    host_id: int | None = None
    gpu_name: str = ""
    num_gpus: int | None = None
    gpu_ram_mb: int | None = None
    cpu_ram_mb: int | None = None
    cpu_cores: float | None = None
    cpu_arch: str = ""
    disk_gb: float | None = None
    inet_down_mbps: float | None = None
    inet_up_mbps: float | None = None
    inet_down_usd_per_gb: float | None = None
    inet_up_usd_per_gb: float | None = None
    storage_usd_per_gb_month: float | None = None
    # For the storage that was asked about in the search, which is part of price_per_hour.
    storage_usd_per_hour: float | None = None
    price_per_hour: float | None = None
    min_bid_per_hour: float | None = None
    reliability: float | None = None
    cuda_max_good: float | None = None
    # 890 for sm_89.
    compute_cap: int | None = None
    driver_version: str = ""
    direct_ports: int | None = None
    static_ip: bool = False
    geolocation: str = ""
    verification: str = ""
    # What the host still guarantees.
    duration_seconds: float | None = None
    dlperf: float | None = None
    rentable: bool = True
    rented: bool = False

    @classmethod
    def from_record(cls, row: Mapping[str, Any]) -> Offer:
        return cls(
            id=int(row["id"]),
            machine_id=_whole(row.get("machine_id")),
            host_id=_whole(row.get("host_id")),
            gpu_name=_text(row.get("gpu_name")),
            num_gpus=_whole(row.get("num_gpus")),
            gpu_ram_mb=_whole(row.get("gpu_ram")),
            cpu_ram_mb=_whole(row.get("cpu_ram")),
            cpu_cores=_number(row.get("cpu_cores_effective")),
            cpu_arch=_text(row.get("cpu_arch")),
            disk_gb=_number(row.get("disk_space")),
            inet_down_mbps=_number(row.get("inet_down")),
            inet_up_mbps=_number(row.get("inet_up")),
            inet_down_usd_per_gb=_number(row.get("inet_down_cost")),
            inet_up_usd_per_gb=_number(row.get("inet_up_cost")),
            storage_usd_per_gb_month=_number(row.get("storage_cost")),
            storage_usd_per_hour=_number(row.get("storage_total_cost")),
            price_per_hour=_number(row.get("dph_total")),
            min_bid_per_hour=_number(row.get("min_bid")),
            reliability=_number(row.get("reliability2", row.get("reliability"))),
            cuda_max_good=_number(row.get("cuda_max_good")),
            compute_cap=_whole(row.get("compute_cap")),
            driver_version=_text(row.get("driver_version")),
            direct_ports=_whole(row.get("direct_port_count")),
            static_ip=bool(row.get("static_ip")),
            geolocation=_text(row.get("geolocation")),
            verification=_text(row.get("verification")),
            duration_seconds=_number(row.get("duration")),
            dlperf=_number(row.get("dlperf")),
            rentable=row.get("rentable") is not False,
            rented=bool(row.get("rented")),
        )


@dataclass(frozen=True)
class Endpoint:
    """Where sshd answers."""

    host: str
    port: int
    direct: bool


@dataclass(frozen=True)
class Instance:
    """A rented machine, without anything secret of its record (extra_env, onstart, jupyter_token)."""

    id: int
    label: str = ""
    status: str = ""
    intended_status: str = ""
    cur_state: str = ""
    next_state: str = ""
    status_message: str = ""
    direct_host: str = ""
    direct_port: int | None = None
    proxy_host: str = ""
    proxy_port: int | None = None
    gpu_name: str = ""
    num_gpus: int | None = None
    gpu_ram_mb: int | None = None
    cpu_ram_mb: int | None = None
    cpu_cores: float | None = None
    disk_gb: float | None = None
    price_per_hour: float | None = None
    storage_usd_per_hour: float | None = None
    inet_down_usd_per_gb: float | None = None
    inet_up_usd_per_gb: float | None = None
    is_bid: bool = False
    geolocation: str = ""
    machine_id: int | None = None
    host_id: int | None = None
    # Seconds since the epoch.
    started_at: float | None = None
    ends_at: float | None = None
    reliability: float | None = None
    cuda_max_good: float | None = None
    compute_cap: int | None = None
    driver_version: str = ""
    image: str = ""

    @classmethod
    def from_record(cls, row: Mapping[str, Any]) -> Instance:
        """Reads a row of the list or a single record; anything but the id may be missing, null or odd."""
        ssh_port = _whole(row.get("ssh_port"))
        jupyter = "jupyter" in _text(row.get("image_runtype"))
        return cls(
            id=int(row["id"]),
            label=_text(row.get("label")),
            status=_text(row.get("actual_status")),
            intended_status=_text(row.get("intended_status")),
            cur_state=_text(row.get("cur_state")),
            next_state=_text(row.get("next_state")),
            status_message=_text(row.get("status_msg")),
            direct_host=_text(row.get("public_ipaddr")),
            direct_port=_mapped_ssh_port(row.get("ports")),
            proxy_host=_text(row.get("ssh_host")),
            # The proxy's ssh_port leads to jupyter where jupyter runs, sshd is the next one.
            proxy_port=None if ssh_port is None else ssh_port + jupyter,
            gpu_name=_text(row.get("gpu_name")),
            num_gpus=_whole(row.get("num_gpus")),
            gpu_ram_mb=_whole(row.get("gpu_ram")),
            cpu_ram_mb=_whole(row.get("cpu_ram")),
            cpu_cores=_number(row.get("cpu_cores_effective")),
            disk_gb=_number(row.get("disk_space")),
            price_per_hour=_number(row.get("dph_total")),
            storage_usd_per_hour=_number(row.get("storage_total_cost")),
            inet_down_usd_per_gb=_number(row.get("inet_down_cost")),
            inet_up_usd_per_gb=_number(row.get("inet_up_cost")),
            is_bid=bool(row.get("is_bid")),
            geolocation=_text(row.get("geolocation")),
            machine_id=_whole(row.get("machine_id")),
            host_id=_whole(row.get("host_id")),
            started_at=_number(row.get("start_date")),
            ends_at=_number(row.get("end_date")),
            reliability=_number(row.get("reliability2")),
            cuda_max_good=_number(row.get("cuda_max_good")),
            compute_cap=_whole(row.get("compute_cap")),
            driver_version=_text(row.get("driver_version")),
            image=_text(row.get("image_uuid")),
        )

    def endpoint(self, *, direct: bool = True) -> Endpoint | None:
        """The direct address when there is one and it is wanted, else the proxy's; None while there is neither."""
        if direct and self.direct_host and self.direct_port:
            return Endpoint(self.direct_host, self.direct_port, True)
        if self.proxy_host and self.proxy_port:
            return Endpoint(self.proxy_host, self.proxy_port, False)
        return None

    @property
    def failure(self) -> str:
        """Why this instance will never run by itself; empty while it may."""
        if any(fragment in self.status_message.lower() for fragment in FATAL_MESSAGES) and self.status != "running":
            return self.status_message
        if self.status in DEAD:
            return self.status_message or self.status
        if self.cur_state == self.intended_status == self.next_state == "stopped" and self.status not in PENDING:
            return "stopped"
        return ""

    @property
    def cost(self) -> str:
        return f"instance {self.id} costs " + (
            f"${self.price_per_hour:.4f} an hour" if self.price_per_hour is not None else "money"
        )


def _mapped_ssh_port(ports: Any) -> int | None:
    # Null until the container runs; the single record documents a list of numbers instead.
    try:
        return int(ports["22/tcp"][0]["HostPort"])
    except (TypeError, KeyError, IndexError, ValueError):
        return None


@dataclass(frozen=True)
class Rent:
    """What to run on an offer."""

    label: Label
    image: str
    disk_gb: float
    onstart: str = ONSTART
    env: Mapping[str, str] = field(default_factory=dict)
    direct: bool = True


def key_files(environ: Mapping[str, str] = os.environ) -> tuple[Path, Path]:
    """Where the official client keeps the key."""
    config = Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return config / "vastai" / "vast_api_key", Path.home() / ".vast_api_key"


def find_api_key(environ: Mapping[str, str] = os.environ) -> str:
    """The key from VAST_API_KEY, else from the official client's own files. Raises NoApiKey."""
    if key := environ.get("VAST_API_KEY", "").strip():
        return key
    for path in key_files(environ):
        if path.is_file() and (key := path.read_text(encoding="utf-8").strip()):
            return key
    raise NoApiKey(
        "No vast.ai API key is configured.",
        hint="Set VAST_API_KEY, or save the key with `vastai set api-key KEY`; it is on https://cloud.vast.ai/account/.",
    )


def find_url(environ: Mapping[str, str] = os.environ) -> str:
    return (environ.get("VAST_URL") or DEFAULT_URL).rstrip("/")


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
        self._api_key = api_key or find_api_key()
        self._timeout_seconds = timeout_seconds
        self._attempts = attempts
        self._first_wait_seconds = first_wait_seconds
        self._transport: Any = None

    def _client(self) -> Any:
        if self._transport is None:
            # 0.5 s to import, and it reads VAST_URL while it is imported: hence late, and with the url spelt out.
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
        except requests.RequestException as error:
            raise Unavailable(
                f"{self.url} does not answer ({type(error).__name__}).", hint="Check the network and VAST_URL."
            ) from error
        try:
            body = response.json()
        except ValueError:
            body = None
        if response.status_code >= 400 or not isinstance(body, (dict, list)):
            raise refusal(response.status_code, body, _text(response.text))
        return body

    def _ask(self, call: Callable[[Any], Any], *, repeat: tuple[type[VastError], ...]) -> dict[str, Any] | list[Any]:
        """Sends until it is answered or refused for good; `repeat` are the failures after which that is harmless."""
        for attempt in range(self._attempts):
            try:
                return self._send(call)
            except repeat as error:
                last = attempt == self._attempts - 1
                if last or error.code == "search_quota_exceeded":
                    raise
                wait = min(self._first_wait_seconds * 2**attempt, LONGEST_WAIT_SECONDS)
                # Jitter, since several controllers may share one key and so one rate limit.
                time.sleep(wait * random.uniform(0.75, 1.25))
        raise AssertionError("attempts must be at least 1")

    def _object(self, call: Callable[[Any], Any]) -> dict[str, Any]:
        body = self._ask(call, repeat=(RateLimited, Unavailable))
        if not isinstance(body, dict):
            raise Unavailable(f"{self.url} answered a list where an object was expected.")
        return body

    def user(self) -> dict[str, Any]:
        """id, email, credit ($) of the account; proves that the key works."""
        body = self._object(lambda client: client.get("/users/current"))
        return {name: body.get(name) for name in ("id", "email", "credit", "balance")}

    def offers(self, query: Mapping[str, Any], *, disk_gb: float) -> list[Offer]:
        """The offers that vast.ai says match, with prices for `disk_gb`; it returns 64 at most and filters loosely."""
        request = {
            **query,
            "order": [["dph_total", "asc"]],
            "type": "on-demand",
            "limit": 64,
            "allocated_storage": disk_gb,
        }
        rows = self._object(lambda client: client.post("/bundles/", json_data=request)).get("offers")
        if not isinstance(rows, list):
            raise Unavailable(f"{self.url} answered a search without a list of offers.")
        return [Offer.from_record(row) for row in rows if isinstance(row, dict) and _whole(row.get("id")) is not None]

    def instances(self, *, filters: Mapping[str, Any] | None = None) -> list[Instance]:
        """All instances of the account, over all pages. An answer that is not a list is an error, never emptiness."""
        query: dict[str, Any] = {
            "select_filters": dict(filters or {}),
            "order_by": [{"col": "id", "dir": "asc"}],
            "limit": PAGE_ROWS,
        }
        found: dict[int, Instance] = {}
        cursors: set[str] = set()
        while True:
            page = self._object(lambda client: client.get("/api/v1/instances/", query_args=dict(query)))
            rows = page.get("instances")
            if page.get("success") is False or not isinstance(rows, list):
                raise Unavailable(f"{self.url} answered without a list of instances: {_reason(page)}")
            for row in rows:
                if isinstance(row, dict) and _whole(row.get("id")) is not None:
                    instance = Instance.from_record(row)
                    found[instance.id] = instance
                else:
                    self.warnings.append(
                        "vast.ai listed an instance without an id; look at https://cloud.vast.ai/instances/."
                    )
            cursor = page.get("next_token")
            if not cursor:
                return list(found.values())
            if cursor in cursors:
                raise Unavailable("vast.ai repeats a page of the list of instances.", hint="Try again in a minute.")
            cursors.add(str(cursor))
            query["after_token"] = cursor

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
            label=str(rent.label),
            env=dict(rent.env),
            onstart_cmd=rent.onstart,
            ssh=True,
            direct=rent.direct,
            cancel_unavail=True,
        )
        body = self._ask(lambda client: client.put(f"/asks/{offer_id}/", json_data=request), repeat=(RateLimited,))
        instance_id = _whole(body.get("new_contract")) if isinstance(body, dict) else None
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
                f"Instance {instance_id} cannot be {'started' if state == 'running' else state}: {_reason(body)}",
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
            raise VastError(f"Instance {instance_id} cannot be destroyed: {_reason(body)}", instance_id=instance_id)
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
        self._object(lambda client: client.post("/ssh/", json_data={"ssh_key": key.strip()}))

    def remove_ssh_key(self, key_id: int) -> None:
        self._object(lambda client: client.delete(f"/ssh/{key_id}/"))

    def attach_ssh_key(self, instance_id: int, key: str) -> bool:
        """Lets a public key into a running instance; False when it is in already."""
        try:
            self._object(
                lambda client: client.post(f"/instances/{instance_id}/ssh/", json_data={"ssh_key": key.strip()})
            )
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


def public_key(text: str) -> str:
    """Type and key of an OpenSSH public key line, which is what identifies it. Raises InputError for anything else.

    vast.ai takes whatever it is sent, a private key as well, and passes it on to the hosts.
    """
    if "PRIVATE KEY" in text:
        raise InputError(
            "This is a private key; it was sent nowhere.", hint="Give the .pub file's line.", code="private_key"
        )
    kind, _, rest = text.strip().partition(" ")
    key = rest.split(" ")[0]
    if "\n" in text.strip() or not PUBLIC_KEY_TYPE.fullmatch(kind) or not _is_key(kind, key):
        raise InputError(
            "This is not a public key of OpenSSH.",
            hint="Give the one line of a .pub file, for example of ~/.ssh/id_ed25519.pub, and not its path.",
            code="not_a_public_key",
        )
    return f"{kind} {key}"


def _is_key(kind: str, key: str) -> bool:
    # The decoded key begins with the length and name of its own type.
    try:
        return base64.b64decode(key, validate=True)[4 : 4 + len(kind)] == kind.encode()
    except ValueError:
        return False


def _known_keys(rows: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """The rows whose key can be read, and the rows themselves."""
    for row in rows:
        text = row.get("public_key") or row.get("key") if isinstance(row, dict) else row
        with contextlib.suppress(InputError):
            yield public_key(_text(text)), row


def _reason(body: Mapping[str, Any]) -> str:
    return _text(body.get("msg") or body.get("detail") or body.get("error") or "no reason given")


def refusal(status: int, body: Any, text: str) -> VastError:
    """What an answer that is not a success means. The body decides: status codes vary for one and the same cause."""
    if not isinstance(body, dict):
        if status == 404 and body == []:
            return VastError("vast.ai: there is none.", code="not_found")
        if status == 429:
            return RateLimited(f"vast.ai is asked too often: {text[:200]}", hint="Wait a minute.")
        return Unavailable(
            f"vast.ai answered {status} with something that is not its API.",
            hint="It or a proxy before it has a fault; try again in a minute.",
        )
    error, reason = _text(body.get("error")), _reason(body)
    # A refused rent can leave an instance behind.
    instance_id = _whole(body.get("new_contract"))
    sign = f"{error} {reason}".lower()
    kind: type[VastError] = VastError
    hint = ""
    if error == "auth_error" or "invalid user key" in sign or status == 401:
        kind, hint = BadApiKey, "Check VAST_API_KEY against https://cloud.vast.ai/account/."
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
