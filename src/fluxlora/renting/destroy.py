"""The one place that destroys: a run's instance ended or stopped, and seen to be."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from fluxlora.errors import VastError
from fluxlora.money.journal import Journal
from fluxlora.renting.attempts import Attempt, Attempts
from fluxlora.renting.readiness import InstanceFailed, Waits
from fluxlora.vast.client import Vast
from fluxlora.vast.errors import NoSuchInstance, RateLimited, Unavailable
from fluxlora.vast.labels import PREFIX, Label, command_to_end
from fluxlora.vast.records import Instance


class DestroyUnverified(VastError):
    """The instance is still in the list, or the list cannot be read: it may still be paid for."""

    code = "destroy_unverified"


@dataclass(frozen=True)
class Ensured:
    """What became of a wish: `instance` is None once it is gone, `attempts` tells what was tried."""

    instance: Instance | None
    changed: bool
    attempts: tuple[Attempt, ...] = ()
    # Of the same run, and not asked to end.
    others: tuple[Instance, ...] = ()


def of_run(instances: Sequence[Instance], run: str, prefix: str = PREFIX) -> list[Instance]:
    """The instances whose label names the run, the oldest first."""
    ours = [each for each in instances if (label := Label.parse(each.label, prefix)) and label.run == run]
    return sorted(ours, key=lambda each: each.id)


def how_to_end(run: str, instance: Instance, prefix: str = PREFIX) -> str:
    playbook = f" or `ansible-playbook destroy.yml -e run_name={run}`" if prefix == PREFIX else ""
    return f"{instance.cost}; {command_to_end(run, instance.id, prefix)}{playbook} ends it."


def ensure_absent(
    vast: Vast,
    target: int | str,
    *,
    prefix: str = PREFIX,
    waits: Waits | None = None,
    dry_run: bool = False,
    journal: Journal | None = None,
    lost: str = "",
) -> Ensured:
    """No instance with this id, or none of this run: asked for until two looks at the list have not found it.

    `lost` says in the journal how it had been taken away before.
    Raises DestroyUnverified when it is still there, or cannot be seen to be gone, after `waits.vanish` seconds.
    """
    waits = waits or Waits()
    seen = True
    try:
        there = _among(vast.instances(), target, prefix)
    except (Unavailable, RateLimited):
        if dry_run or isinstance(target, str):
            raise
        there, seen = [], False
    if dry_run:
        return Ensured(there[0] if there else None, changed=bool(there))
    # A row may appear later than the rent that made it, or the list be away: an id is worth one request all the same.
    unlisted = isinstance(target, int) and not there and vast.destroy(target)
    if seen and not there and not unlisted:
        return Ensured(None, changed=False)
    ended, asked, left = _until_gone(vast, target, prefix, waits, there)
    attempts = Attempts(target if isinstance(target, str) else "", journal)
    for instance in ended:
        if label := Label.parse(instance.label, prefix):
            attempts.run = label.run
        attempts.destroyed(instance, lost)
    if unlisted:
        attempts.note("destroyed", f"Instance {target}, which was not listed, was destroyed.", instance_id=int(target))
    if asked > 1:
        attempts.note("asked_again", f"vast.ai was asked {asked} times until the list agreed.")
    others = tuple(of_run(left, attempts.run, prefix)) if attempts.run else ()
    return Ensured(None, changed=bool(ended) or unlisted, attempts=tuple(attempts.made), others=others)


def _among(instances: Sequence[Instance], target: int | str, prefix: str) -> list[Instance]:
    """Of the account's instances the one with this id, or all of this run, the oldest first."""
    if isinstance(target, int):
        return [instance for instance in instances if instance.id == target]
    return of_run(instances, target, prefix)


def listed(vast: Vast, target: int | str, prefix: str = PREFIX) -> list[Instance]:
    """The instance with this id, or all of this run, the oldest first. Raises VastError."""
    if isinstance(target, int):
        return [instance] if (instance := vast.instance(target)) else []
    return _among(vast.instances(), target, prefix)


def _until_gone(
    vast: Vast, target: int | str, prefix: str, waits: Waits, there: list[Instance]
) -> tuple[list[Instance], int, list[Instance]]:
    """Those that were there and are gone, how often that was asked for, and the account's instances that are left."""
    ended = {instance.id: instance for instance in there}
    deadline, rounds, absences, trouble = time.monotonic() + waits.vanish, 0, 0, ""
    left: list[Instance] = []
    while True:
        rounds += bool(there)
        try:
            for instance in there:
                vast.destroy(instance.id)
            # The list lags, and instances were seen to come back: look after a while, not at once, and twice.
            time.sleep(min(waits.poll, 5))
            left = vast.instances()
            there = _among(left, target, prefix)
            ended |= {instance.id: instance for instance in there}
            trouble, absences = "", 0 if there else absences + 1
        except VastError as error:
            trouble, absences = str(error), 0
            time.sleep(min(waits.poll, 5))
        if absences == 2:
            return list(ended.values()), rounds, left
        if time.monotonic() >= deadline and (there or trouble):
            instance_id = there[0].id if there else next(iter(ended), target)
            state = f"is still listed: {there[0].cost}" if there else "was told to end, but not seen to be gone"
            raise DestroyUnverified(
                f"After {waits.vanish:.0f} s instance {instance_id} {state}. {trouble}".rstrip(),
                hint="Destroy it on https://cloud.vast.ai/instances/.",
                instance_id=instance_id if isinstance(instance_id, int) else None,
            )


def ensure_stopped(
    vast: Vast, run: str, *, prefix: str = PREFIX, waits: Waits | None = None, dry_run: bool = False
) -> Ensured:
    """The run's instances stopped; their disks stay, and are paid for. Raises NoSuchInstance when there is none."""
    waits = waits or Waits()
    there = of_run(vast.instances(), run, prefix)
    if not there:
        raise NoSuchInstance(f"{run} has no instance.", hint="There is nothing to stop.")
    going = [instance for instance in there if instance.intended_status != "stopped"]
    if dry_run or not going:
        return Ensured(there[0], changed=bool(going))
    for instance in going:
        vast.set_state(instance.id, "stopped")
    deadline = time.monotonic() + waits.vanish
    while time.monotonic() < deadline:
        there = of_run(vast.instances(), run, prefix)
        if all(instance.intended_status == "stopped" and instance.status != "running" for instance in there):
            return Ensured(there[0] if there else None, changed=True)
        time.sleep(waits.poll)
    raise InstanceFailed(
        f"Instance {there[0].id} still runs {waits.vanish:.0f} s after it was stopped.",
        hint=how_to_end(run, there[0], prefix),
        code="stop_timeout",
        instance_id=there[0].id,
    )
