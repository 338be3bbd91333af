"""Interruptible instances that were taken away, and what of their training is safe at home."""

from __future__ import annotations

import socket
import time

from fluxlora.errors import VastError
from fluxlora.offers.avoid import Failure
from fluxlora.vast.client import Vast
from fluxlora.vast.records import Instance

# These hosts don't answer vast.ai either.
_SILENT = frozenset({"offline", "unknown", "frozen"})
# vast.ai may take a minute to notice that a host is gone.
NOTICED_AFTER_SECONDS = 120.0
_KNOCK_SECONDS = 10.0


def loss(instance: Instance) -> str:
    """How an interruptible instance was taken away, as one of three `Failure`s; empty while it was not.

    One that is rented at a fixed price is never called so: its disk may hold what nobody else has.
    """
    if not instance.is_bid:
        return ""
    if instance.status in _SILENT:
        return Failure.LOST
    if instance.cur_state == "stopped" and instance.intended_status == "running":
        return Failure.PREEMPTED
    if instance.intended_status == "stopped":
        return Failure.OUTBID
    return Failure.LOST if instance.failure else ""


def wait_for_loss(vast: Vast, instance_id: int, *, seconds: float, poll_seconds: float = 5.0) -> str:
    """The loss of an instance that no longer answers, as soon as vast.ai has noticed; empty when it has not in time."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = vast.instance(instance_id)
            if found and (how := loss(found)):
                return how
            if found is None or not found.is_bid:
                return ""
        except VastError:
            # The list may be away for a while; what is not known is no loss.
            pass
        if time.monotonic() >= deadline:
            return ""
        time.sleep(poll_seconds)


def interruption(vast: Vast, instance_id: int, address: str, port: int) -> str:
    """The loss of an instance on which something failed; empty where it was not taken away.

    One whose ssh port still answers has failed by itself, unless vast.ai says otherwise already.
    """
    seconds = 0.0 if _answers(address, port) else NOTICED_AFTER_SECONDS
    return wait_for_loss(vast, instance_id, seconds=seconds)


def _answers(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), _KNOCK_SECONDS) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
