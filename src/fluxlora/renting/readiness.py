"""The way of an instance from its rent to the first login, within bounds; and why it is given up on the way."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from fluxlora.errors import InputError, VastError
from fluxlora.offers.avoid import Failure
from fluxlora.renting.ssh_probe import Answer, Login, Probe
from fluxlora.vast.client import Rent, Vast
from fluxlora.vast.errors import RateLimited, Unavailable
from fluxlora.vast.records import Endpoint, Instance

# The rented disk is told in other digits than it was asked for.
DISK_TOLERANCE = 0.02
# Fragments of status_msg, in lower case, after which no machine can run the image.
MISSING_IMAGE = ("manifest unknown", "unauthorized", "pull access denied", "repository does not exist")


class InstanceFailed(VastError):
    """The instance will not run, or not in time; `code` is a Failure."""

    code = Failure.INSTANCE_FAILED


@dataclass(frozen=True)
class Waits:
    """Bounds, in seconds."""

    # Vast's own test tool gives an image 40 minutes; the download's progress is not reported.
    boot: float = 2400
    # Rows, and the mapped ports of a running instance, appear some seconds late.
    appear: float = 60
    # A rent whose reply was lost may still be worked on.
    lost: float = 120
    # sshd follows 30 to 90 s after "running", the key up to three minutes later.
    ssh: float = 300
    # vast.ai's own test tool drops a machine after a minute of nothing but timeouts.
    network: float = 60
    vanish: float = 180
    poll: float = 10

    def __post_init__(self) -> None:
        for name, seconds in vars(self).items():
            if not 0 <= seconds < math.inf:
                raise InputError(
                    f"{seconds:g} seconds ({name}) cannot be waited.", hint="Give 0 or more.", code="bad_wait"
                )


@dataclass
class Readiness:
    """What was seen of one instance so far, by which the next look is judged."""

    rent: Rent
    instance_id: int
    waits: Waits
    # In $/h, storage included.
    highest_price: float | None = None
    # A start of one that was stopped looks like a failure for a while.
    starting: bool = False
    seen: Instance | None = None
    began: float = field(default_factory=lambda: time.monotonic())
    _present: float | None = None
    _running: float | None = None
    _reachable: float | None = None
    _answering: float | None = None

    def until_reachable(self, vast: Vast) -> Instance:
        """The instance once it runs and has an address. Raises InstanceFailed, or vast.ai's fault past all bounds."""
        while True:
            if (instance := self._look(vast)) and self._endpoint(instance):
                return instance
            time.sleep(self.waits.poll)

    def until_let_in(self, vast: Vast, login: Login) -> Instance:
        """The instance once it lets us in; to be called after `until_reachable`, and raises the same."""
        instance = self.seen
        while True:
            if instance and (endpoint := self._endpoint(instance)):
                probe = login.try_at(self.instance_id, endpoint)
                if probe.answer is Answer.IN:
                    return instance
                self._judge_probe(probe, endpoint)
            time.sleep(self.waits.poll)
            instance = self._look(vast)

    def spent_usd(self) -> float:
        """What it has cost until now, bytes not counted: the disk from its creation, the GPU while it ran."""
        if self.seen is None:
            return 0.0
        now = time.monotonic()
        storage = self.seen.storage_usd_per_hour or 0.0
        gpu = max(0.0, (self.seen.price_per_hour or 0.0) - storage)
        ran = 0.0 if self._running is None else now - self._running
        return (storage * (now - self.began) + gpu * ran) / 3600

    def _look(self, vast: Vast) -> Instance | None:
        now = time.monotonic()
        self._present = now if self._present is None else self._present
        try:
            seen = vast.instance(self.instance_id)
        except (Unavailable, RateLimited):
            # No news is no bad news, as long as there is time.
            if now - self.began >= self.waits.boot + self.waits.ssh:
                raise
            return None
        if seen is None:
            if now - self._present >= self.waits.appear:
                raise self._failure(Failure.GONE, "is not in vast.ai's list")
            return None
        self.seen, self._present = seen, now
        self._judge(seen, now)
        return seen if seen.status == "running" else None

    def _judge(self, seen: Instance, now: float) -> None:
        waited = now - self.began
        if seen.failure and not (self.starting and waited < self.waits.appear):
            raise self._failure(_kind(seen), f"will not run: {seen.failure.rstrip('.')}")
        if seen.disk_gb is not None and seen.disk_gb < self.rent.disk_gb * (1 - DISK_TOLERANCE):
            raise self._failure(
                Failure.DISK_TOO_SMALL, f"has a disk of {seen.disk_gb:g} GB, and {self.rent.disk_gb:g} GB were rented"
            )
        price, most = seen.price_per_hour, self.highest_price
        if price is not None and most is not None and price > most:
            raise self._failure(
                Failure.PRICE_CHANGED, f"costs ${price:.4f} an hour, and ${most:.4f} is the most it may"
            )
        if seen.status == "running":
            self._running = now if self._running is None else self._running
        elif waited >= self.waits.boot:
            state = f"{seen.status or 'not started'} ({seen.status_message or 'no message'})"
            raise self._failure(Failure.BOOT_TIMEOUT, f"is {state} after {waited:.0f} s")

    def _endpoint(self, seen: Instance) -> Endpoint | None:
        """The direct address is worth some patience, the proxy is the way when it never comes."""
        assert self._running is not None
        now = time.monotonic()
        endpoint, patience_over = seen.endpoint(direct=self.rent.direct), now - self._running >= self.waits.appear
        if endpoint is None or (self.rent.direct and not endpoint.direct and not patience_over):
            if endpoint is None and patience_over:
                raise self._failure(Failure.NO_PORTS, "runs, and has no address for ssh")
            return None
        if self._reachable is None:
            self._reachable = self._answering = now
        return endpoint

    def _judge_probe(self, probe: Probe, endpoint: Endpoint) -> None:
        assert self._reachable is not None
        assert self._answering is not None
        now = time.monotonic()
        words = f" ({probe.words})" if probe.words else ""
        at = f"{endpoint.host} port {endpoint.port}"
        if probe.answer is Answer.CHANGED:
            raise self._failure(Failure.HOST_KEY_CHANGED, f"shows another host key at {at} than before{words}")
        if probe.answer is not Answer.SILENT:
            self._answering = now
        elif now - self._answering >= self.waits.network:
            raise self._failure(
                Failure.NETWORK_DEAD, f"has not answered at {at} for {now - self._answering:.0f} s{words}"
            )
        if now - self._reachable >= self.waits.ssh:
            kind = Failure.KEY_REFUSED if probe.answer is Answer.DENIED else Failure.NO_SSHD
            what = "refuses the key" if probe.answer is Answer.DENIED else "has no sshd"
            raise self._failure(kind, f"{what} at {at} after {now - self._reachable:.0f} s{words}")

    def _failure(self, code: Failure, what: str) -> InstanceFailed:
        machine = f" on machine {self.seen.machine_id}" if self.seen and self.seen.machine_id else ""
        return InstanceFailed(f"Instance {self.instance_id}{machine} {what}.", code=code, instance_id=self.instance_id)


def _kind(seen: Instance) -> Failure:
    message = seen.status_message.lower()
    if any(fragment in message for fragment in MISSING_IMAGE):
        return Failure.IMAGE_MISSING
    if seen.cur_state == seen.intended_status == "stopped":
        return Failure.OUTBID
    return Failure.OFFLINE if seen.status in ("offline", "unknown") else Failure.INSTANCE_FAILED
