"""The one place that rents and the one that destroys: wishes about a run's instance, fulfilled within bounds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from fluxlora.errors import VastError
from fluxlora.labels import PREFIX, Label
from fluxlora.records import Instance, Offer
from fluxlora.refusals import NoSuchInstance, OfferGone, Unavailable
from fluxlora.vastai import Rent, Vast


class RentUnclear(VastError):
    """vast.ai did not answer a rent, and no instance was found; one may still appear and cost money."""

    code = "rent_unclear"


class InstanceFailed(VastError):
    """The instance will not run, or not in time."""

    code = "instance_failed"


class DestroyUnverified(VastError):
    """The instance is still in the list, and is still paid for."""

    code = "destroy_unverified"


@dataclass(frozen=True)
class Waits:
    """Bounds, in seconds."""

    # Vast's own test tool gives an image 40 minutes; the download's progress is not reported.
    boot: float = 2400
    # Rows, and the mapped ports of a running instance, appear some seconds late.
    appear: float = 60
    vanish: float = 180
    poll: float = 10


@dataclass(frozen=True)
class Ensured:
    """What became of a wish: `instance` is None once it is gone, `attempts` tells in sentences what was tried."""

    instance: Instance | None
    changed: bool
    attempts: tuple[str, ...] = ()


def of_run(instances: Sequence[Instance], run: str, prefix: str = PREFIX) -> list[Instance]:
    """The instances whose label names the run."""
    return [each for each in instances if (label := Label.parse(each.label, prefix)) and label.run == run]


def how_to_end(run: str, instance: Instance) -> str:
    return f"{instance.cost}; `fluxlora destroy {run}` or `ansible-playbook destroy.yml -e run_name={run}` ends it."


def ensure_instance(
    vast: Vast,
    rent: Rent,
    offers: Sequence[Offer],
    *,
    max_instances: int = 1,
    waits: Waits | None = None,
    public_ssh_key: str = "",
    dry_run: bool = False,
) -> Ensured:
    """One running instance of the run, with an ssh endpoint: the one that is there, else one of the offers.

    `max_instances` bounds the rents of this call; a rented instance that fails is destroyed before the next.
    Raises VastError; where an instance is left over it has `instance_id`, and the hint says the cost.
    """
    waits = waits or Waits()
    there = of_run(vast.instances(), rent.label.run, rent.label.prefix)
    if len(there) > 1:
        raise VastError(
            f"{rent.label.run} has {len(there)} instances: {', '.join(str(each.id) for each in there)}.",
            hint="Each costs money. Destroy the run, or the superfluous ones on https://cloud.vast.ai/instances/.",
            code="duplicate_instances",
            instance_id=there[0].id,
        )
    if there:
        return _adopt(vast, rent, there[0], waits, public_ssh_key, dry_run)
    if dry_run:
        return Ensured(None, changed=True)
    return _rent_and_wait(vast, rent, list(offers), max_instances, waits, public_ssh_key)


def _adopt(vast: Vast, rent: Rent, found: Instance, waits: Waits, public_ssh_key: str, dry_run: bool) -> Ensured:
    run = rent.label.run
    label = Label.parse(found.label, rent.label.prefix)
    if label and set(label.presets) != set(rent.label.presets):
        raise VastError(
            f"{run} already has instance {found.id}, rented for {' + '.join(label.presets) or 'no presets'}.",
            hint=f"Keep these presets, choose another run_name, or destroy it: {how_to_end(run, found)}",
            code="presets_differ",
            instance_id=found.id,
        )
    starts = found.intended_status == "stopped"
    key_missing = bool(public_ssh_key) and not vast.has_ssh_key(found.id, public_ssh_key)
    if dry_run:
        return Ensured(found, changed=starts or key_missing)
    if starts:
        vast.set_state(found.id, "running")
    try:
        instance = _wait_until_reachable(vast, rent, found.id, waits, starting=starts)
    except InstanceFailed as error:
        # It may hold checkpoints that nobody else has: ending it is the user's decision.
        error.hint = f"It was kept, for it may hold checkpoints, and {how_to_end(run, found)}"
        raise
    if key_missing:
        vast.attach_ssh_key(found.id, public_ssh_key)
    return Ensured(instance, changed=starts or key_missing, attempts=(f"Found instance {found.id}.",))


def _rent_and_wait(
    vast: Vast, rent: Rent, offers: list[Offer], rents: int, waits: Waits, public_ssh_key: str
) -> Ensured:
    attempts: list[str] = []
    for rents_left in reversed(range(rents)):
        rented, instance_id = _rent_one(vast, rent, offers, attempts, waits)
        try:
            instance = _wait_until_reachable(vast, rent, instance_id, waits)
            if public_ssh_key:
                vast.attach_ssh_key(instance_id, public_ssh_key)
            return Ensured(instance, changed=True, attempts=tuple(attempts))
        except InstanceFailed as error:
            # Nothing of the user's is on it yet.
            ensure_absent(vast, instance_id, waits=waits)
            attempts.append(f"{error} It was destroyed.")
            # What keeps one instance from running mostly is the machine's fault.
            offers = [offer for offer in offers if offer.machine_id != rented.machine_id]
            if not rents_left or not offers:
                raise InstanceFailed(
                    " ".join(attempts),
                    hint=f"Nothing is left that costs money. Exclude machine {rented.machine_id} to try another.",
                    code=error.code,
                ) from error
        except VastError as error:
            run = rent.label.run
            error.instance_id = instance_id
            error.hint = (
                f"{error.hint} Instance {instance_id} costs money; end it with `fluxlora destroy {run}`.".strip()
            )
            raise
    raise AssertionError("max_instances must be at least 1")


def _rent_one(vast: Vast, rent: Rent, offers: list[Offer], attempts: list[str], waits: Waits) -> tuple[Offer, int]:
    """Rents the first offer that is still there, taking the tried ones off the list; the offer and its instance."""
    while offers:
        offer = offers.pop(0)
        try:
            instance_id = vast.rent(offer.id, rent)
        except Unavailable as lost:
            attempts.append(f"The reply to renting offer {offer.id} was lost.")
            instance_id = _look_up(vast, rent, waits, lost)
        except VastError as refused:
            if refused.instance_id is not None:
                ensure_absent(vast, refused.instance_id, waits=waits)
                attempts.append(f"Instance {refused.instance_id}, left behind by a refused rent, was destroyed.")
                refused.instance_id = None
            if not isinstance(refused, OfferGone):
                raise
            attempts.append(f"Offer {offer.id} was gone.")
            continue
        attempts.append(f"Rented offer {offer.id} as instance {instance_id}.")
        return offer, instance_id
    raise OfferGone(
        f"No offer is left for {rent.label.run}. {' '.join(attempts)}".rstrip(),
        hint="Run it again for fresh offers, or ask for less.",
        code="no_offer",
    )


def _look_up(vast: Vast, rent: Rent, waits: Waits, lost: VastError) -> int:
    """The instance that a rent without a reply has made. Raises RentUnclear when none shows up in time."""
    deadline = time.monotonic() + waits.appear
    while True:
        try:
            found = of_run(vast.instances(), rent.label.run, rent.label.prefix)
        except Unavailable:
            found = []
        if found:
            return found[0].id
        if time.monotonic() >= deadline:
            raise RentUnclear(
                f"vast.ai did not answer the rent for {rent.label.run}, and no instance of it has appeared.",
                hint=f"Look at https://cloud.vast.ai/instances/ for {rent.label} before you run it again.",
            ) from lost
        time.sleep(min(waits.poll, 2))


def _wait_until_reachable(
    vast: Vast, rent: Rent, instance_id: int, waits: Waits, *, starting: bool = False
) -> Instance:
    """The instance once it runs and has an ssh endpoint. Raises InstanceFailed; `starting` ones look dead a while."""
    begin = time.monotonic()
    last: Instance | None = None
    running_since: float | None = None
    while True:
        waited = time.monotonic() - begin
        seen = vast.instance(instance_id)
        if seen is None and waited >= waits.appear:
            raise InstanceFailed(
                f"Instance {instance_id} is not in vast.ai's list.", code="instance_gone", instance_id=instance_id
            )
        if seen:
            last = seen
            endpoint = seen.endpoint(direct=rent.direct)
            if seen.status == "running":
                running_since = waited if running_since is None else running_since
                # The direct address is worth some patience, the proxy is the way when it never comes.
                if endpoint and (endpoint.direct or not rent.direct or waited - running_since >= waits.appear):
                    return seen
            if seen.failure and not (starting and waited < waits.appear):
                raise InstanceFailed(
                    f"Instance {instance_id} on machine {seen.machine_id} will not run: {seen.failure}.",
                    instance_id=instance_id,
                )
        if waited >= waits.boot:
            state = f"{last.status or 'not started'} ({last.status_message})" if last else "not in the list"
            raise InstanceFailed(
                f"Instance {instance_id} is {state} after {waited:.0f} s.", code="boot_timeout", instance_id=instance_id
            )
        time.sleep(waits.poll)


def ensure_absent(
    vast: Vast, target: int | str, *, prefix: str = PREFIX, waits: Waits | None = None, dry_run: bool = False
) -> Ensured:
    """No instance with this id, or none of this run: destroyed, repeatedly where needed, and gone from the list.

    Raises DestroyUnverified when one is still listed after `waits.vanish` seconds.
    """
    waits = waits or Waits()

    def listed() -> list[Instance]:
        if isinstance(target, int):
            return [instance] if (instance := vast.instance(target)) else []
        return of_run(vast.instances(), target, prefix)

    there = listed()
    if dry_run:
        return Ensured(there[0] if there else None, changed=bool(there))
    attempts: list[str] = []
    # A row may appear later than the rent that made it: an id is worth one request all the same.
    if isinstance(target, int) and not there and vast.destroy(target):
        attempts.append(f"Asked vast.ai to destroy instance {target}, which was not listed.")
    deadline = time.monotonic() + waits.vanish
    while there:
        if time.monotonic() >= deadline:
            raise DestroyUnverified(
                f"Instance {there[0].id} is still listed after {waits.vanish:.0f} s: {there[0].cost}.",
                hint="Destroy it on https://cloud.vast.ai/instances/.",
                instance_id=there[0].id,
            )
        for instance in there:
            vast.destroy(instance.id)
            attempts.append(f"Asked vast.ai to destroy instance {instance.id}.")
        # The list lags, and instances were seen to come back: look after a while, not at once.
        time.sleep(min(waits.poll, 5))
        there = listed()
    return Ensured(None, changed=bool(attempts), attempts=tuple(attempts))


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
        hint=how_to_end(run, there[0]),
        code="stop_timeout",
        instance_id=there[0].id,
    )
