"""The only code that rents: finds or rents a run's one instance, and waits until it is usable."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from fluxlora.errors import InputError, VastError
from fluxlora.money.journal import Journal
from fluxlora.offers.avoid import Failure
from fluxlora.renting.attempts import Attempts, Choice
from fluxlora.renting.destroy import Ensured, ensure_absent, how_to_end, of_run
from fluxlora.renting.readiness import InstanceFailed, Readiness, Waits
from fluxlora.renting.ssh_probe import Login
from fluxlora.vast.client import Rent, Vast
from fluxlora.vast.errors import NoCredit, OfferGone, Unavailable
from fluxlora.vast.labels import Label, command_to_end
from fluxlora.vast.records import Instance

NOTHING_LEFT = "No instance is left that costs money."


class RentUnclear(VastError):
    """vast.ai did not answer a rent, and no instance was found; one may still appear and cost money."""

    code = "rent_unclear"


@dataclass(frozen=True)
class Limits:
    """The limits of one call."""

    # Instances that are rented one after the other, each after the previous one was destroyed.
    attempts: int = 3
    # The share by which an instance may cost more than its offer, because prices are rounded.
    price_tolerance: float = 0.05
    # In $/h, including storage; None means only the offer's own limit.
    price_per_hour: float | None = None

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise InputError("At least one attempt to rent is needed.", hint="Allow 1 or more.", code="bad_limit")
        # NaN would not limit anything.
        if not self.price_tolerance >= 0 or (self.price_per_hour is not None and not self.price_per_hour >= 0):
            raise InputError("A limit of the price is not a number.", hint="Give 0 or more.", code="bad_limit")


def ensure_instance(
    vast: Vast,
    rent: Rent,
    choices: Sequence[Choice],
    *,
    limits: Limits | None = None,
    waits: Waits | None = None,
    login: Login | None = None,
    public_ssh_key: str = "",
    dry_run: bool = False,
    attempts: Attempts | None = None,
) -> Ensured:
    """Return one usable instance of the run: the existing one, otherwise a rented one. Never rents a second one
    beside it.

    A rented instance that fails is destroyed before another machine is tried. `attempts` has all attempts, also if
    this raises VastError. If an instance remains, the error has `instance_id`, and the hint its cost.
    """
    attempts = attempts or Attempts(rent.label.run)
    renter = _Renter(vast, rent, limits or Limits(), waits or Waits(), login, public_ssh_key, attempts, list(choices))
    return renter.ensure(dry_run)


@dataclass
class _Renter:
    vast: Vast
    rent: Rent
    limits: Limits
    waits: Waits
    login: Login | None
    public_ssh_key: str
    attempts: Attempts
    choices: list[Choice]
    failures: list[InstanceFailed] = field(default_factory=list)
    begun: float = field(default_factory=lambda: time.monotonic())

    @property
    def run(self) -> str:
        """The run's name."""

        return self.rent.label.run

    def ensure(self, dry_run: bool) -> Ensured:
        if self.login and not dry_run:
            self.login.require()
        there = self._there()
        if len(there) > 1:
            raise VastError(
                f"{self.run} has {len(there)} instances: {', '.join(str(instance.id) for instance in there)}.",
                hint="They cost money, and each may have results that the others do not have. Look at them, and "
                f"destroy all but one on https://cloud.vast.ai/instances/; {self._command(there[0].id)} destroys the "
                "oldest.",
                code="duplicate_instances",
                instance_id=there[0].id,
            )
        if there:
            return self._adopt(there[0], dry_run)
        if dry_run:
            return Ensured(None, changed=True)
        if self.attempts.journal:
            # An instance that is not in the journal would not count in the budget.
            self.attempts.journal.require()
        for _ in range(self.limits.attempts):
            if instance := self._rent_and_wait():
                return self._alone(instance)
            # Another computer may have rented for the run in the meantime.
            if there := self._there():
                return self._adopt(there[0], dry_run)
        raise self._given_up()

    def _command(self, instance_id: int) -> str:
        return command_to_end(self.run, instance_id, self.rent.label.prefix)

    def _how_to_end(self, instance: Instance) -> str:
        return how_to_end(self.run, instance, self.rent.label.prefix)

    def _there(self) -> list[Instance]:
        return of_run(self.vast.instances(), self.run, self.rent.label.prefix)

    def _adopt(self, found: Instance, dry_run: bool) -> Ensured:
        label = Label.parse(found.label, self.rent.label.prefix)
        if label and set(label.presets) != set(self.rent.label.presets):
            raise VastError(
                f"{self.run} already has instance {found.id}, rented for {' + '.join(label.presets) or 'no presets'}.",
                hint=f"Keep these presets, choose another run_name, or destroy it: {self._how_to_end(found)}",
                code="presets_differ",
                instance_id=found.id,
            )
        starts = found.intended_status == "stopped"
        try:
            key_missing = bool(self.public_ssh_key) and not self.vast.has_ssh_key(found.id, self.public_ssh_key)
            if dry_run:
                return Ensured(found, changed=starts or key_missing)
            self.attempts.found(found)
            if starts:
                self._start(found)
            # Its disk and its price were checked when it was rented.
            arrival = Readiness(replace(self.rent, disk_gb=0), found.id, self.waits, starting=starts)
            instance = self._arrive(arrival, attach=key_missing)
        except InstanceFailed as error:
            if error.code == Failure.GONE:
                error.instance_id = None
                error.hint = (
                    "Its guard or another computer has destroyed it, so it costs nothing. Run the command again to "
                    "rent another one."
                )
                raise
            # It may have the only copies of checkpoints, so the user decides whether to destroy it.
            error.hint = f"It was kept because it may have checkpoints, and {self._how_to_end(found)}"
            if error.code == Failure.HOST_KEY_CHANGED and self.login:
                pinned = self.login.known_hosts_dir / str(found.id)
                error.hint = f"If it was recycled, remove {pinned} and run the command again. {error.hint}"
            raise
        except VastError as error:
            raise self._left(error, found.id) if error.instance_id is None else error from None
        return Ensured(instance, changed=starts or key_missing, attempts=tuple(self.attempts.made))

    def _start(self, found: Instance) -> None:
        try:
            self.vast.set_state(found.id, "running")
        except NoCredit as broke:
            raise NoCredit(
                f"vast.ai has stopped instance {found.id} of {self.run}: the account has no credit.",
                hint=f"{broke.hint} Its disk still costs money: {self._how_to_end(found)}",
                instance_id=found.id,
            ) from broke

    def _arrive(self, arrival: Readiness, *, attach: bool) -> Instance:
        instance = arrival.until_reachable(self.vast)
        if attach:
            self._attach(instance.id)
        return arrival.until_let_in(self.vast, self.login) if self.login else instance

    def _rent_and_wait(self) -> Instance | None:
        """Return a rented and usable instance; None if it failed and was destroyed."""
        rented = self._rent_one()
        if rented is None:
            return None
        choice, instance_id = rented
        arrival = Readiness(self.rent, instance_id, self.waits, highest_price=self._highest_price(choice))
        try:
            return self._arrive(arrival, attach=bool(self.public_ssh_key))
        except InstanceFailed as error:
            self._give_up(choice, arrival, error)
            return None
        except VastError as error:
            raise self._left(error, instance_id) from None

    def _rent_one(self) -> tuple[Choice, int] | None:
        """Rent the first offer that still exists, and remove the tried ones from the list; None if the new
        instance was destroyed."""
        while self.choices:
            choice = self.choices.pop(0)
            offer = choice.offer.id
            hours = (time.monotonic() - self.begun) / 3600
            if self.failures and not choice.fits_after(self.attempts.most_usd(), hours):
                self.attempts.note(
                    "over_budget", f"Offer {offer} no longer fits into the remaining budget and time.", offer_id=offer
                )
                continue
            try:
                instance_id = self.vast.rent(offer, replace(self.rent, bid_per_hour=choice.bid_per_hour))
                sentence = f"Rented offer {offer} as instance {instance_id}."
            except Unavailable as lost:
                instance_id = self._look_up(offer, lost)
                sentence = (
                    f"The reply to renting offer {offer} was lost; instance {instance_id} was found by its label."
                )
            except OfferGone:
                self.attempts.note("offer_gone", f"Offer {offer} was gone.", offer_id=offer)
                continue
            except VastError as refused:
                if refused.instance_id is None:
                    refused.hint = f"{refused.hint} {NOTHING_LEFT}".strip()
                    raise
                self._end_left_behind(choice, refused)
                return None
            self.attempts.rented(choice, instance_id)
            self.attempts.note("rented", sentence, offer_id=offer, instance_id=instance_id)
            return choice, instance_id
        if self.failures:
            raise self._given_up()
        tried = " ".join(attempt.sentence for attempt in self.attempts.made)
        raise OfferGone(
            f"No offer is left for {self.run}. {tried}".rstrip(),
            hint=f"{NOTHING_LEFT} Run the command again for new offers, or require less.",
            code="no_offer",
        )

    def _look_up(self, offer_id: int, lost: VastError) -> int:
        """Return the instance of a rent without a reply. Raises RentUnclear if none appears in time."""
        deadline, trouble = time.monotonic() + self.waits.lost, ""
        while True:
            try:
                found, trouble = self._there(), ""
            except VastError as error:
                found, trouble = [], f" The list of instances cannot be read either: {error}"
            if found:
                return found[0].id
            if time.monotonic() >= deadline:
                raise RentUnclear(
                    f"vast.ai did not answer the rent of offer {offer_id} for {self.run}, and no instance of it has "
                    f"appeared.{trouble}",
                    hint=f"Nothing else was rented. Look at https://cloud.vast.ai/instances/ for {self.rent.label}, "
                    "and run the command again in some minutes: an instance that has appeared by then is used.",
                ) from lost
            time.sleep(min(self.waits.poll, 2))

    def _end_left_behind(self, choice: Choice, refused: VastError) -> None:
        """Destroy the instance that a refused rent may create, which is stopped and costs money."""
        assert refused.instance_id is not None
        instance_id, refused.instance_id = refused.instance_id, None
        usd = self._destroy(instance_id)
        sentence = (
            f"The refused rent of offer {choice.offer.id} left instance {instance_id}, which was destroyed: {refused}"
        )
        self.attempts.failed(Failure.RENT_REFUSED, sentence, choice=choice, instance_id=instance_id, seen=None, usd=usd)

    def _attach(self, instance_id: int) -> None:
        """Attach the key. Instances get the account's keys, but not a team's; the login shows whether it worked."""
        try:
            self.vast.attach_ssh_key(instance_id, self.public_ssh_key)
        except VastError as error:
            self.attempts.note("key_not_attached", f"The key was not attached: {error}", instance_id=instance_id)

    def _highest_price(self, choice: Choice) -> float | None:
        """Return the highest price per hour, including storage."""
        offered, bid = choice.offer.price_per_hour, choice.bid_per_hour
        if bid is not None:
            offered = bid + (choice.offer.storage_usd_per_hour or 0.0)
        limits = [self.limits.price_per_hour, offered and offered * (1 + self.limits.price_tolerance)]
        return min((limit for limit in limits if limit is not None), default=None)

    def _give_up(self, choice: Choice, arrival: Readiness, error: InstanceFailed) -> None:
        """Destroy an instance without user data, and avoid offers that would probably fail in the same way."""
        self._destroy(arrival.instance_id)
        usd = arrival.spent_usd()
        sentence = f"{error} It was destroyed, and cost ${usd:.4f}."
        self.attempts.failed(
            error.code, sentence, choice=choice, instance_id=arrival.instance_id, seen=arrival.seen, usd=usd
        )
        self.failures.append(error)
        avoid = self.attempts.avoid()
        self.choices = [choice for choice in self.choices if not avoid.covers(choice.offer)]

    def _destroy(self, instance_id: int, *, journal: Journal | None = None) -> float:
        """Destroy an instance and return its cost in $, as far as it is known."""
        prefix = self.rent.label.prefix
        try:
            ended = ensure_absent(self.vast, instance_id, prefix=prefix, waits=self.waits, journal=journal)
        except VastError as error:
            raise self._left(error, instance_id) from error
        return sum(attempt.usd for attempt in ended.attempts)

    def _left(self, error: VastError, instance_id: int) -> VastError:
        error.instance_id = instance_id
        error.hint = (
            f"{error.hint} Instance {instance_id} costs money; destroy it with {self._command(instance_id)}.".strip()
        )
        return error

    def _given_up(self) -> InstanceFailed:
        tried = " ".join(attempt.sentence for attempt in self.attempts.made if attempt.code != "rented")
        return InstanceFailed(
            f"{self.run} got no usable instance. {tried}",
            hint=f"{NOTHING_LEFT} The attempts cost ${self.attempts.usd():.4f}. Run the command again to try other "
            "machines.",
            code=self.failures[-1].code if self.failures else Failure.RENT_REFUSED,
        )

    def _alone(self, instance: Instance) -> Ensured:
        """Reduce two instances to the oldest, after a rent was carried out twice or by two computers at once."""
        try:
            first, *others = self._there() or [instance]
        except VastError as error:
            raise self._left(error, instance.id) from error
        for surplus in others:
            usd = self._destroy(surplus.id, journal=self.attempts.journal)
            sentence = f"Instance {surplus.id} was a second one for {self.run}; it was destroyed."
            self.attempts.note("surplus", sentence, instance_id=surplus.id, usd=usd)
        if first.id != instance.id:
            return self._adopt(first, dry_run=False)
        return Ensured(instance, changed=True, attempts=tuple(self.attempts.made))
