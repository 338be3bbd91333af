"""The only code that destroys or stops a run's instance, and checks the result."""

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
    """The instance is still in the list, or the list cannot be read: it may still cost money."""

    code = "destroy_unverified"


@dataclass(frozen=True)
class Ensured:
    """The result of a call: `instance` is None if it is gone, `attempts` has what was tried."""

    instance: Instance | None
    changed: bool
    attempts: tuple[Attempt, ...] = ()


def of_run(instances: Sequence[Instance], run: str, prefix: str = PREFIX) -> list[Instance]:
    """Return the instances whose label names the run, the oldest first."""
    ours = [instance for instance in instances if (label := Label.parse(instance.label, prefix)) and label.run == run]
    return sorted(ours, key=lambda instance: instance.id)


def how_to_end(run: str, instance: Instance, prefix: str = PREFIX) -> str:
    """Return the instance's cost and the commands that destroy it, as a sentence."""
    playbook = f" or `ansible-playbook destroy.yml -e run_name={run}`" if prefix == PREFIX else ""
    return f"{instance.cost}; {command_to_end(run, instance.id, prefix)}{playbook} destroys it."


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
    """Destroy the instance with this id, or all of this run, until two list requests no longer find it.

    `lost` says in the journal how it had been taken away before. Raises DestroyUnverified if it still exists, or if
    the list cannot be read, after `waits.vanish` seconds.
    """
    waits = waits or Waits()
    seen = True
    try:
        there = listed(vast, target, prefix)
    except (Unavailable, RateLimited):
        if dry_run or isinstance(target, str):
            raise
        there, seen = [], False
    if dry_run:
        return Ensured(there[0] if there else None, changed=bool(there))
    # A row may appear later than the rent, or the list may be unavailable: an id is worth one request in any case.
    unlisted = isinstance(target, int) and not there and vast.destroy(target)
    if seen and not there and not unlisted:
        return Ensured(None, changed=False)
    ended, asked = _until_gone(vast, target, prefix, waits, there)
    attempts = Attempts(target if isinstance(target, str) else "", journal)
    for instance in ended:
        if label := Label.parse(instance.label, prefix):
            attempts.run = label.run
        attempts.destroyed(instance, lost)
    if unlisted:
        attempts.note("destroyed", f"Instance {target}, which was not listed, was destroyed.", instance_id=int(target))
    if asked > 1:
        attempts.note("asked_again", f"vast.ai was asked {asked} times until the list no longer had it.")
    return Ensured(None, changed=bool(ended) or unlisted, attempts=tuple(attempts.made))


def listed(vast: Vast, target: int | str, prefix: str = PREFIX) -> list[Instance]:
    """Return the instance with this id, or all of this run, the oldest first. Raises VastError."""
    if isinstance(target, int):
        return [instance] if (instance := vast.instance(target)) else []
    return of_run(vast.instances(), target, prefix)


def _until_gone(
    vast: Vast, target: int | str, prefix: str, waits: Waits, there: list[Instance]
) -> tuple[list[Instance], int]:
    """Return the destroyed instances, and how often the request was sent."""
    ended = {instance.id: instance for instance in there}
    deadline, rounds, absences, trouble = time.monotonic() + waits.vanish, 0, 0, ""
    while True:
        rounds += bool(there)
        try:
            for instance in there:
                vast.destroy(instance.id)
            # The list is delayed, and instances were seen to come back: so it is read after a pause, and twice.
            time.sleep(min(waits.poll, 5))
            there = listed(vast, target, prefix)
            ended |= {instance.id: instance for instance in there}
            trouble, absences = "", 0 if there else absences + 1
        except VastError as error:
            trouble, absences = str(error), 0
            time.sleep(min(waits.poll, 5))
        if absences == 2:
            return list(ended.values()), rounds
        if time.monotonic() >= deadline and (there or trouble):
            instance_id = there[0].id if there else next(iter(ended), target)
            state = f"is still listed: {there[0].cost}" if there else "was destroyed, but this could not be verified"
            raise DestroyUnverified(
                f"After {waits.vanish:.0f} s instance {instance_id} {state}. {trouble}".rstrip(),
                hint="Destroy it on https://cloud.vast.ai/instances/.",
                instance_id=instance_id if isinstance(instance_id, int) else None,
            )


def ensure_stopped(
    vast: Vast, run: str, *, prefix: str = PREFIX, waits: Waits | None = None, dry_run: bool = False
) -> Ensured:
    """Stop the run's instances; their disks remain and cost money. Raises NoSuchInstance if there is none."""
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
