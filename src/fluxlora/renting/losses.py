"""Interruptible instances that were taken away."""

from __future__ import annotations

import time

from fluxlora.errors import VastError
from fluxlora.offers.avoid import Failure
from fluxlora.vast.client import Vast
from fluxlora.vast.records import Instance

# Hosts in these states don't answer vast.ai, either.
_SILENT = frozenset({"offline", "unknown", "frozen"})


def loss(instance: Instance) -> str:
    """Return how an interruptible instance was taken away, as one of three `Failure`s; empty if it was not.

    An instance at a fixed price is never reported, because its disk may have the only copy of the results.
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
    """Wait until vast.ai reports the interruption of an instance that no longer answers; empty if it does not in
    time."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = vast.instance(instance_id)
            if found and (how := loss(found)):
                return how
            if found is None or not found.is_bid:
                return ""
        except VastError:
            # The list may be unavailable for some time; an unknown state is not an interruption.
            pass
        if time.monotonic() >= deadline:
            return ""
        time.sleep(poll_seconds)
