"""vast.ai's records: offers and instances, read from whatever its API shows, without anything secret."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar

from pydantic import AliasChoices, BeforeValidator, Field, TypeAdapter, ValidationError

from fluxlora.text import one_line
from fluxlora.untrusted.schemas import malformed, problem_of

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


# As long as a name of DNS may be.
_HOST = re.compile(r"[0-9A-Za-z:][0-9A-Za-z.:_-]{0,252}")
_DIGITS = re.compile(r"[0-9]{1,16}")
# Until here JSON carries whole numbers without loss.
_LARGEST_WHOLE = 2**53
_LONGEST_LABEL = 200


def number_of(value: Any) -> float | None:
    """None for what is no number, and for what JSON cannot say: NaN and infinity."""
    try:
        number = None if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number is not None and math.isfinite(number) else None


def amount_of(value: Any) -> float | None:
    """A number of things, bytes, hours or $, of which there are never less than none; else None."""
    number = number_of(value)
    return None if number is None or number < 0 else number


def whole_of(value: Any) -> int | None:
    """None for what is no number, and for one that JSON does not carry without loss."""
    number = number_of(value)
    return None if number is None or abs(number) > _LARGEST_WHOLE else int(number)


def count_of(value: Any) -> int | None:
    number = whole_of(value)
    return None if number is None or number < 0 else number


def id_of(value: Any) -> int | None:
    """What a thing is numbered with; None for what is no number above 0."""
    number = whole_of(value)
    return number if number and number > 0 else None


def port_of(value: Any) -> int | None:
    number = whole_of(value)
    return number if number is not None and 0 < number < 65536 else None


def text_of(value: Any) -> str:
    """Empty for None, and for a number of more digits than Python writes or a nest that is too deep."""
    try:
        return "" if value is None else str(value).strip()
    except (ValueError, RecursionError):
        return ""


def host_of(value: Any) -> str:
    """An address or a name of a host; empty for what is none, which ssh could take for an option."""
    text = text_of(value)
    return text if _HOST.fullmatch(text) else ""


def label_of(value: Any) -> str:
    """A label, with what is not printable written out: it must not become one of ours by being cleaned."""
    text = text_of(value)
    if text.isprintable() and len(text) <= _LONGEST_LABEL:
        return text
    escaped = (letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text[:1000])
    return one_line("".join(escaped), _LONGEST_LABEL)


def _mapped_ssh_port(ports: Any) -> int | None:
    # Null until the container runs; the single record documents a list of numbers instead.
    try:
        return port_of(ports["22/tcp"][0]["HostPort"])
    except (TypeError, KeyError, IndexError):
        return None


# Rows are the API's own and change: what is missing, null or odd is unknown, and only a row without a number is none.
_Line = Annotated[str, BeforeValidator(one_line)]
_Host = Annotated[str, BeforeValidator(host_of)]
_Label = Annotated[str, BeforeValidator(label_of)]
_Amount = Annotated[float | None, BeforeValidator(amount_of)]
_Count = Annotated[int | None, BeforeValidator(count_of)]
_Port = Annotated[int | None, BeforeValidator(port_of)]
_Yes = Annotated[bool, BeforeValidator(bool)]
_Id = Annotated[int, BeforeValidator(id_of)]


_Row = TypeVar("_Row")
_SCHEMAS: dict[type[Any], TypeAdapter[Any]] = {}


def _read(record: type[_Row], row: Mapping[str, Any], source: str) -> _Row:
    try:
        schema = _SCHEMAS.get(record) or _SCHEMAS.setdefault(record, TypeAdapter(record))
        found: _Row = schema.validate_python(row)
    except ValidationError as error:
        raise malformed(source, problem_of(error)) from error
    return found


@dataclass(frozen=True)
class Offer:
    """What somebody asks for a machine. Unknown numbers are None. Sizes are decimal, as vast.ai counts them."""

    id: _Id
    machine_id: _Count = None
    host_id: _Count = None
    gpu_name: _Line = ""
    num_gpus: _Count = None
    # The GPUs of the offer, of all that the machine has.
    gpu_share: Annotated[_Amount, Field(validation_alias="gpu_frac")] = None
    gpu_ram_mb: Annotated[_Count, Field(validation_alias="gpu_ram")] = None
    # The whole machine's, of which an offer of some GPUs has its share.
    cpu_ram_mb: Annotated[_Count, Field(validation_alias="cpu_ram")] = None
    cpu_cores: Annotated[_Amount, Field(validation_alias="cpu_cores_effective")] = None
    cpu_arch: _Line = ""
    disk_gb: Annotated[_Amount, Field(validation_alias="disk_space")] = None
    inet_down_mbps: Annotated[_Amount, Field(validation_alias="inet_down")] = None
    inet_up_mbps: Annotated[_Amount, Field(validation_alias="inet_up")] = None
    inet_down_usd_per_gb: Annotated[_Amount, Field(validation_alias="inet_down_cost")] = None
    inet_up_usd_per_gb: Annotated[_Amount, Field(validation_alias="inet_up_cost")] = None
    storage_usd_per_gb_month: Annotated[_Amount, Field(validation_alias="storage_cost")] = None
    # For the storage that was asked about in the search, which is part of price_per_hour.
    storage_usd_per_hour: Annotated[_Amount, Field(validation_alias="storage_total_cost")] = None
    price_per_hour: Annotated[_Amount, Field(validation_alias="dph_total")] = None
    min_bid_per_hour: Annotated[_Amount, Field(validation_alias="min_bid")] = None
    # What the same GPUs cost on demand, without storage; a search for bids does not say it.
    on_demand_per_hour: Annotated[float | None, BeforeValidator(lambda value: None)] = None
    reliability: Annotated[_Amount, Field(validation_alias=AliasChoices("reliability2", "reliability"))] = None
    cuda_max_good: _Amount = None
    # 890 for sm_89.
    compute_cap: _Count = None
    driver_version: _Line = ""
    direct_ports: Annotated[_Count, Field(validation_alias="direct_port_count")] = None
    static_ip: _Yes = False
    geolocation: _Line = ""
    address: Annotated[_Host, Field(validation_alias="public_ipaddr")] = ""
    verification: _Line = ""
    # What the host still guarantees.
    duration_seconds: Annotated[_Amount, Field(validation_alias="duration")] = None
    # vast.ai's benchmark and float32 TFLOPS, of all GPUs of the offer together.
    dlperf: _Amount = None
    total_flops: _Amount = None
    rentable: Annotated[bool, BeforeValidator(lambda value: value is not False)] = True
    rented: _Yes = False
    # Of another marketplace.
    external: _Yes = False

    @classmethod
    def from_record(cls, row: Mapping[str, Any]) -> Offer:
        """Reads a row of a search. Raises MalformedError for one without an id."""
        return _read(cls, row, "An offer of vast.ai")


@dataclass(frozen=True)
class Charge:
    """What an instance was charged ($), over the days that were asked about."""

    instance_id: int
    label: str = ""
    usd: float = 0.0
    # Seconds since the epoch.
    start: float | None = None
    end: float | None = None

    @classmethod
    def from_record(cls, row: Mapping[str, Any]) -> Charge | None:
        """A row of the charges; None where it is not one of an instance."""
        kind, _, number = text_of(row.get("source")).partition("-")
        metadata = row.get("metadata")
        instance_id = id_of(number) if _DIGITS.fullmatch(number) else None
        if kind != "instance" or instance_id is None:
            return None
        return cls(
            instance_id=instance_id,
            label=label_of(metadata.get("label")) if isinstance(metadata, dict) else "",
            usd=number_of(row.get("amount")) or 0.0,
            start=amount_of(row.get("start")),
            end=amount_of(row.get("end")),
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

    id: _Id
    label: _Label = ""
    status: Annotated[_Line, Field(validation_alias="actual_status")] = ""
    intended_status: _Line = ""
    cur_state: _Line = ""
    next_state: _Line = ""
    status_message: Annotated[_Line, Field(validation_alias="status_msg")] = ""
    direct_host: Annotated[_Host, Field(validation_alias="public_ipaddr")] = ""
    direct_port: Annotated[int | None, BeforeValidator(_mapped_ssh_port), Field(validation_alias="ports")] = None
    proxy_host: Annotated[_Host, Field(validation_alias="ssh_host")] = ""
    proxy_port: Annotated[_Port, Field(validation_alias="ssh_port")] = None
    gpu_name: _Line = ""
    num_gpus: _Count = None
    gpu_ram_mb: Annotated[_Count, Field(validation_alias="gpu_ram")] = None
    cpu_ram_mb: Annotated[_Count, Field(validation_alias="cpu_ram")] = None
    cpu_cores: Annotated[_Amount, Field(validation_alias="cpu_cores_effective")] = None
    disk_gb: Annotated[_Amount, Field(validation_alias="disk_space")] = None
    price_per_hour: Annotated[_Amount, Field(validation_alias="dph_total")] = None
    storage_usd_per_hour: Annotated[_Amount, Field(validation_alias="storage_total_cost")] = None
    inet_down_usd_per_gb: Annotated[_Amount, Field(validation_alias="inet_down_cost")] = None
    inet_up_usd_per_gb: Annotated[_Amount, Field(validation_alias="inet_up_cost")] = None
    is_bid: _Yes = False
    geolocation: _Line = ""
    machine_id: _Count = None
    host_id: _Count = None
    # Seconds since the epoch.
    started_at: Annotated[_Amount, Field(validation_alias="start_date")] = None
    ends_at: Annotated[_Amount, Field(validation_alias="end_date")] = None
    reliability: Annotated[_Amount, Field(validation_alias="reliability2")] = None
    cuda_max_good: _Amount = None
    compute_cap: _Count = None
    driver_version: _Line = ""
    image: Annotated[_Line, Field(validation_alias="image_uuid")] = ""

    @classmethod
    def from_record(cls, row: Mapping[str, Any]) -> Instance:
        """Reads a row of the list or a single record; anything but the id may be missing, null or odd.

        Raises MalformedError for one without an id.
        """
        instance = _read(cls, row, "An instance of vast.ai")
        # The proxy's ssh_port leads to jupyter where jupyter runs, sshd is the next one.
        if instance.proxy_port and "jupyter" in text_of(row.get("image_runtype")):
            return replace(instance, proxy_port=port_of(instance.proxy_port + 1))
        return instance

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
            # The message may be of better days: "Download complete" of a host that is offline.
            return f"{self.status} ({self.status_message})" if self.status_message else self.status
        if self.cur_state == self.intended_status == self.next_state == "stopped" and self.status not in PENDING:
            return "stopped"
        return ""

    @property
    def cost(self) -> str:
        return f"instance {self.id} costs " + (
            f"${self.price_per_hour:.4f} an hour" if self.price_per_hour is not None else "money"
        )
