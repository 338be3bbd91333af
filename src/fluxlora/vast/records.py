"""vast.ai's records of offers, instances and charges, without secrets."""

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
# States that never end by themselves, while the disk costs money.
DEAD = frozenset({"exited", "stopped", "offline", "frozen", "unknown", "error"})
# Parts of status_msg, in lower case, after which an instance never starts.
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


# The longest DNS name.
_HOST = re.compile(r"[0-9A-Za-z:][0-9A-Za-z.:_-]{0,252}")
_DIGITS = re.compile(r"[0-9]{1,16}")
# Up to this, JSON stores whole numbers exactly.
_LARGEST_WHOLE = 2**53
_LONGEST_LABEL = 200


def number_of(value: Any) -> float | None:
    """Return a number, or None for anything else, also for NaN and infinity."""
    try:
        number = None if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number is not None and math.isfinite(number) else None


def amount_of(value: Any) -> float | None:
    """Return a number of 0 or more, such as bytes, hours or $; None for anything else."""
    number = number_of(value)
    return None if number is None or number < 0 else number


def whole_of(value: Any) -> int | None:
    """Return a whole number, or None for anything else and for numbers that JSON does not store exactly."""
    number = number_of(value)
    return None if number is None or abs(number) > _LARGEST_WHOLE else int(number)


def count_of(value: Any) -> int | None:
    """Return a whole number of 0 or more; None for anything else."""
    number = whole_of(value)
    return None if number is None or number < 0 else number


def id_of(value: Any) -> int | None:
    """Return an id, which is a number above 0; None for anything else."""
    number = whole_of(value)
    return number if number and number > 0 else None


def port_of(value: Any) -> int | None:
    """Return a port; None for anything else."""
    number = whole_of(value)
    return number if number is not None and 0 < number < 65536 else None


def text_of(value: Any) -> str:
    """Return a value as text; empty for None, for too long numbers and for too deeply nested data."""
    try:
        return "" if value is None else str(value).strip()
    except (ValueError, RecursionError):
        return ""


def host_of(value: Any) -> str:
    """Return a host's address or name; empty for anything else, which ssh could read as an option."""
    text = text_of(value)
    return text if _HOST.fullmatch(text) else ""


def label_of(value: Any) -> str:
    """Return a label with unprintable characters escaped, because removing them could make it look like fluxlora's."""
    text = text_of(value)
    if text.isprintable() and len(text) <= _LONGEST_LABEL:
        return text
    escaped = (letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text[:1000])
    return one_line("".join(escaped), _LONGEST_LABEL)


def _mapped_ssh_port(ports: Any) -> int | None:
    # Null until the container runs; for the single record a list of numbers is documented.
    try:
        return port_of(ports["22/tcp"][0]["HostPort"])
    except (TypeError, KeyError, IndexError):
        return None


# The API's rows change: a missing, null or odd value is unknown, and only a row without an id is not accepted.
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
    """An offer of a machine. Unknown numbers are None. Sizes are decimal, as in vast.ai."""

    id: _Id
    machine_id: _Count = None
    host_id: _Count = None
    gpu_name: _Line = ""
    num_gpus: _Count = None
    # The offer's share of the machine's GPUs.
    gpu_share: Annotated[_Amount, Field(validation_alias="gpu_frac")] = None
    gpu_ram_mb: Annotated[_Count, Field(validation_alias="gpu_ram")] = None
    # The whole machine's; an offer of some of its GPUs has the same share of it.
    cpu_ram_mb: Annotated[_Count, Field(validation_alias="cpu_ram")] = None
    cpu_cores: Annotated[_Amount, Field(validation_alias="cpu_cores_effective")] = None
    cpu_arch: _Line = ""
    disk_gb: Annotated[_Amount, Field(validation_alias="disk_space")] = None
    inet_down_mbps: Annotated[_Amount, Field(validation_alias="inet_down")] = None
    inet_up_mbps: Annotated[_Amount, Field(validation_alias="inet_up")] = None
    inet_down_usd_per_gb: Annotated[_Amount, Field(validation_alias="inet_down_cost")] = None
    inet_up_usd_per_gb: Annotated[_Amount, Field(validation_alias="inet_up_cost")] = None
    storage_usd_per_gb_month: Annotated[_Amount, Field(validation_alias="storage_cost")] = None
    # For the storage size of the search; it is part of price_per_hour.
    storage_usd_per_hour: Annotated[_Amount, Field(validation_alias="storage_total_cost")] = None
    price_per_hour: Annotated[_Amount, Field(validation_alias="dph_total")] = None
    min_bid_per_hour: Annotated[_Amount, Field(validation_alias="min_bid")] = None
    # The on-demand price of the same GPUs, without storage; a search for bids does not return it.
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
    # How long the host still guarantees the machine.
    duration_seconds: Annotated[_Amount, Field(validation_alias="duration")] = None
    # vast.ai's benchmark and float32 TFLOPS, of all GPUs of the offer together.
    dlperf: _Amount = None
    total_flops: _Amount = None
    rentable: Annotated[bool, BeforeValidator(lambda value: value is not False)] = True
    rented: _Yes = False
    # Whether it belongs to another marketplace.
    external: _Yes = False

    @classmethod
    def from_record(cls, row: Mapping[str, Any]) -> Offer:
        """Read a row of a search. Raises MalformedError for a row without an id."""
        return _read(cls, row, "An offer of vast.ai")


@dataclass(frozen=True)
class Charge:
    """What was charged for an instance ($), on the requested days."""

    instance_id: int
    label: str = ""
    usd: float = 0.0
    # Seconds since the epoch.
    start: float | None = None
    end: float | None = None

    @classmethod
    def from_record(cls, row: Mapping[str, Any]) -> Charge | None:
        """Read a row of the charges; None if it is not about an instance."""
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
    """The address of an instance's sshd."""

    host: str
    port: int
    direct: bool


@dataclass(frozen=True)
class Instance:
    """A rented machine, without the secrets of its record (extra_env, onstart, jupyter_token)."""

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
        """Read a row of the list or a single record; everything except the id may be missing, null or odd.

        Raises MalformedError for a record without an id.
        """

        instance = _read(cls, row, "An instance of vast.ai")
        # If jupyter runs, the proxy's ssh_port is jupyter's, and sshd has the next one.
        if instance.proxy_port and "jupyter" in text_of(row.get("image_runtype")):
            return replace(instance, proxy_port=port_of(instance.proxy_port + 1))
        return instance

    def endpoint(self, *, direct: bool = True) -> Endpoint | None:
        """Return the direct address if it exists and is wanted, otherwise the proxy's; None while there is neither."""
        if direct and self.direct_host and self.direct_port:
            return Endpoint(self.direct_host, self.direct_port, True)
        if self.proxy_host and self.proxy_port:
            return Endpoint(self.proxy_host, self.proxy_port, False)
        return None

    @property
    def failure(self) -> str:
        """Return why this instance will never run by itself; empty while it still may."""
        if any(fragment in self.status_message.lower() for fragment in FATAL_MESSAGES) and self.status != "running":
            return self.status_message
        if self.status in DEAD:
            # The message may be old: "Download complete" of a host that is offline.
            return f"{self.status} ({self.status_message})" if self.status_message else self.status
        if self.cur_state == self.intended_status == self.next_state == "stopped" and self.status not in PENDING:
            return "stopped"
        return ""

    @property
    def cost(self) -> str:
        """Return the instance's id and price, as a part of a sentence."""
        return f"instance {self.id} costs " + (
            f"${self.price_per_hour:.4f} an hour" if self.price_per_hour is not None else "money"
        )
