"""Interruptible instances that were taken away, and what of their training is safe at home."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fluxlora.errors import VastError
from fluxlora.journal import Entry, Event, since_delivery
from fluxlora.onhost import progress
from fluxlora.records import Instance
from fluxlora.renting.avoid import Failure
from fluxlora.vastai import Vast

# These hosts don't answer vast.ai either.
_SILENT = frozenset({"offline", "unknown", "frozen"})


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


def replacements(entries: Sequence[Entry]) -> int:
    """How many instances of a run's training were taken away so far."""
    return len(_losses(entries))


def training_began(entries: Sequence[Entry]) -> float | None:
    """When the first instance of the training that goes on was rented (seconds since the epoch); None when it is new.

    Whoever destroys an instance by himself begins anew. Where it was taken away, or was ended by its guard, the
    training goes on.
    """
    training = since_delivery(entries)
    failed = {each.instance_id: each.facts.get("used") for each in training if each.event is Event.FAILED}
    thrown_away = [
        number
        for number, each in enumerate(training)
        if each.event is Event.DESTROYED and each.instance_id not in failed and not each.facts.get("charged")
    ]
    rents = [
        each.at
        for each in training[max(thrown_away, default=-1) + 1 :]
        if each.event is Event.RENTED and failed.get(each.instance_id, True)
    ]
    return next(iter(rents), None)


def newest_instance(entries: Sequence[Entry]) -> dict[str, Any]:
    """The last one that was rented for the training that goes on, as `report.build` wants it; empty for none."""
    rents = [each for each in since_delivery(entries) if each.event is Event.RENTED]
    if not rents:
        return {}
    last = rents[-1]
    return {
        "id": last.instance_id,
        "gpu": last.facts.get("gpu_name"),
        "price_per_hour": last.facts.get("price_per_hour"),
        "started_at": last.at,
    }


def checkpoint_at_home(folder: Path, entries: Sequence[Entry]) -> int | None:
    """The step from which a fresh instance goes on: the newest whole checkpoint of the same training; None for none.

    `folder` may hold another training's from before: only what came home after this one's first rent counts.
    """
    began = training_began(entries)
    if began is None:
        return None
    steps = [
        step
        for step in progress.checkpoints(folder)
        if (folder / f"checkpoint-{step}" / "training_state.json").stat().st_mtime >= began
    ]
    return max(steps, default=None)


def _losses(entries: Sequence[Entry]) -> list[Entry]:
    return [each for each in since_delivery(entries) if each.event is Event.FAILED and each.facts.get("used")]
