"""vast.ai's records: offers and instances, read from whatever its API shows, without anything secret."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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


_HOST = re.compile(r"[0-9A-Za-z:][0-9A-Za-z.:_-]*")


def number_of(value: Any) -> float | None:
    """None for what is no number, and for what JSON cannot say: NaN and infinity."""
    try:
        number = None if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number is not None and math.isfinite(number) else None


def whole_of(value: Any) -> int | None:
    number = number_of(value)
    return None if number is None else int(number)


def text_of(value: Any) -> str:
    return "" if value is None else str(value).strip()


def line_of(value: Any) -> str:
    """A text in one line. A host writes it, and a terminal would obey what is not printable."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text_of(value)).split())


def host_of(value: Any) -> str:
    """An address or a name of a host; empty for what is none, which ssh could take for an option."""
    text = text_of(value)
    return text if _HOST.fullmatch(text) else ""


@dataclass(frozen=True)
class Offer:
    """What somebody asks for a machine. Unknown numbers are None. Sizes are decimal, as vast.ai counts them."""

    id: int
    machine_id: int | None = None
    host_id: int | None = None
    gpu_name: str = ""
    num_gpus: int | None = None
    # The GPUs of the offer, of all that the machine has.
    gpu_share: float | None = None
    gpu_ram_mb: int | None = None
    # The whole machine's, of which an offer of some GPUs has its share.
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
    # What the same GPUs cost on demand, without storage; a search for bids does not say it.
    on_demand_per_hour: float | None = None
    reliability: float | None = None
    cuda_max_good: float | None = None
    # 890 for sm_89.
    compute_cap: int | None = None
    driver_version: str = ""
    direct_ports: int | None = None
    static_ip: bool = False
    geolocation: str = ""
    address: str = ""
    verification: str = ""
    # What the host still guarantees.
    duration_seconds: float | None = None
    # vast.ai's benchmark and float32 TFLOPS, of all GPUs of the offer together.
    dlperf: float | None = None
    total_flops: float | None = None
    rentable: bool = True
    rented: bool = False
    # Of another marketplace.
    external: bool = False

    @classmethod
    def from_record(cls, row: Mapping[str, Any]) -> Offer:
        return cls(
            id=int(row["id"]),
            machine_id=whole_of(row.get("machine_id")),
            host_id=whole_of(row.get("host_id")),
            gpu_name=line_of(row.get("gpu_name")),
            num_gpus=whole_of(row.get("num_gpus")),
            gpu_share=number_of(row.get("gpu_frac")),
            gpu_ram_mb=whole_of(row.get("gpu_ram")),
            cpu_ram_mb=whole_of(row.get("cpu_ram")),
            cpu_cores=number_of(row.get("cpu_cores_effective")),
            cpu_arch=line_of(row.get("cpu_arch")),
            disk_gb=number_of(row.get("disk_space")),
            inet_down_mbps=number_of(row.get("inet_down")),
            inet_up_mbps=number_of(row.get("inet_up")),
            inet_down_usd_per_gb=number_of(row.get("inet_down_cost")),
            inet_up_usd_per_gb=number_of(row.get("inet_up_cost")),
            storage_usd_per_gb_month=number_of(row.get("storage_cost")),
            storage_usd_per_hour=number_of(row.get("storage_total_cost")),
            price_per_hour=number_of(row.get("dph_total")),
            min_bid_per_hour=number_of(row.get("min_bid")),
            reliability=number_of(row.get("reliability2", row.get("reliability"))),
            cuda_max_good=number_of(row.get("cuda_max_good")),
            compute_cap=whole_of(row.get("compute_cap")),
            driver_version=line_of(row.get("driver_version")),
            direct_ports=whole_of(row.get("direct_port_count")),
            static_ip=bool(row.get("static_ip")),
            geolocation=line_of(row.get("geolocation")),
            address=host_of(row.get("public_ipaddr")),
            verification=line_of(row.get("verification")),
            duration_seconds=number_of(row.get("duration")),
            dlperf=number_of(row.get("dlperf")),
            total_flops=number_of(row.get("total_flops")),
            rentable=row.get("rentable") is not False,
            rented=bool(row.get("rented")),
            external=bool(row.get("external")),
        )


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
        if kind != "instance" or not number.isdigit():
            return None
        return cls(
            instance_id=int(number),
            label=text_of(metadata.get("label")) if isinstance(metadata, dict) else "",
            usd=number_of(row.get("amount")) or 0.0,
            start=number_of(row.get("start")),
            end=number_of(row.get("end")),
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
        ssh_port = whole_of(row.get("ssh_port"))
        jupyter = "jupyter" in text_of(row.get("image_runtype"))
        return cls(
            id=int(row["id"]),
            label=text_of(row.get("label")),
            status=line_of(row.get("actual_status")),
            intended_status=line_of(row.get("intended_status")),
            cur_state=line_of(row.get("cur_state")),
            next_state=line_of(row.get("next_state")),
            status_message=line_of(row.get("status_msg")),
            direct_host=host_of(row.get("public_ipaddr")),
            direct_port=_mapped_ssh_port(row.get("ports")),
            proxy_host=host_of(row.get("ssh_host")),
            # The proxy's ssh_port leads to jupyter where jupyter runs, sshd is the next one.
            proxy_port=None if ssh_port is None else ssh_port + jupyter,
            gpu_name=line_of(row.get("gpu_name")),
            num_gpus=whole_of(row.get("num_gpus")),
            gpu_ram_mb=whole_of(row.get("gpu_ram")),
            cpu_ram_mb=whole_of(row.get("cpu_ram")),
            cpu_cores=number_of(row.get("cpu_cores_effective")),
            disk_gb=number_of(row.get("disk_space")),
            price_per_hour=number_of(row.get("dph_total")),
            storage_usd_per_hour=number_of(row.get("storage_total_cost")),
            inet_down_usd_per_gb=number_of(row.get("inet_down_cost")),
            inet_up_usd_per_gb=number_of(row.get("inet_up_cost")),
            is_bid=bool(row.get("is_bid")),
            geolocation=line_of(row.get("geolocation")),
            machine_id=whole_of(row.get("machine_id")),
            host_id=whole_of(row.get("host_id")),
            started_at=number_of(row.get("start_date")),
            ends_at=number_of(row.get("end_date")),
            reliability=number_of(row.get("reliability2")),
            cuda_max_good=number_of(row.get("cuda_max_good")),
            compute_cap=whole_of(row.get("compute_cap")),
            driver_version=line_of(row.get("driver_version")),
            image=line_of(row.get("image_uuid")),
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


def _mapped_ssh_port(ports: Any) -> int | None:
    # Null until the container runs; the single record documents a list of numbers instead.
    try:
        return int(ports["22/tcp"][0]["HostPort"])
    except (TypeError, KeyError, IndexError, ValueError):
        return None
