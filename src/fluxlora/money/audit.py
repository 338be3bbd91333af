"""The audit: what this computer remembers, what vast.ai lists and what it charged, held against each other.

The list alone tells what exists. The journal tells what should not exist any more, the charges what the rest came to.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fluxlora.errors import InputError
from fluxlora.money.journal import Entry, Event
from fluxlora.vast.labels import PREFIX, Label, command_to_end
from fluxlora.vast.records import DEAD, Charge, Instance, number_of

DAY_SECONDS = 86_400
# A row of the list may come this much later than the rent that made it, and a run takes no longer to give back what it
# has delivered.
LAG_SECONDS = 300
# After two days a rent that was never charged has cost nothing.
UNCHARGED_SECONDS = 2 * DAY_SECONDS
# What the guard may take after the lease's end to deliver and to be obeyed.
OVERTIME_SECONDS = 3600


class Kind(StrEnum):
    """Why an instance costs money that it should not."""

    RETURNED = "returned"
    UNKNOWN = "unknown"
    UNREADABLE = "unreadable"
    DUPLICATE = "duplicate"
    STOPPED = "stopped"
    DELIVERED = "delivered"
    OVERDUE = "overdue"
    CHARGED = "charged"


@dataclass(frozen=True)
class Finding:
    """One instance that needs a decision. `usd_per_hour` is what it costs on, None when vast.ai does not say."""

    kind: Kind
    instance_id: int
    run: str
    usd_per_hour: float | None
    text: str


@dataclass(frozen=True)
class Settlement:
    """An instance that ended elsewhere, and what it was charged ($)."""

    run: str
    instance_id: int
    spent_usd: float


@dataclass(frozen=True)
class Training:
    """What one training was expected to cost and has cost ($), over all its instances."""

    run: str
    instance_ids: tuple[int, ...]
    expected_usd: float | None
    actual_usd: float | None
    # Whether vast.ai says the actual cost, and not this computer alone.
    charged: bool
    running: bool


@dataclass(frozen=True)
class Audit:
    """What was found. `foreign` instances are of others, counted and left alone."""

    findings: tuple[Finding, ...]
    settlements: tuple[Settlement, ...]
    trainings: tuple[Training, ...]
    ours: tuple[Instance, ...]
    foreign: int
    notes: tuple[str, ...] = ()

    @property
    def lines(self) -> list[str]:
        """As a person reads it."""
        rate = sum(usd_per_hour(each) or 0 for each in self.ours)
        mine = f"{_count(len(self.ours), 'instance')} of yours" + (f", ${rate:.3f} an hour" if self.ours else "")
        others = f"; {_count(self.foreign, 'instance')} of others left alone" if self.foreign else ""
        return [
            f"{mine}{others}.",
            *(f"{each.kind}: {each.text}" for each in self.findings),
            *(f"closed: {each.run}: instance {each.instance_id}, ${each.spent_usd:.3f}" for each in self.settlements),
            *self.notes,
            *_table(self.trainings),
        ]


def since(entries: Sequence[Entry], now: float, days: float) -> float:
    """From when on charges matter: so many days back, and further for an instance whose end is not known yet.

    Raises InputError.
    """
    if not 0 < days < now / DAY_SECONDS:
        message = f"provision_audit_days is {days:g}, which is no number of days to look back."
        raise InputError(message, hint="Give a number above 0, such as 30.", code="bad_days")
    return min([now - days * DAY_SECONDS, *(each.at - DAY_SECONDS for each in _open(entries).values())])


def audit(
    instances: Sequence[Instance],
    entries: Sequence[Entry],
    charges: Sequence[Charge] | None,
    *,
    now: float,
    lease_hours: float,
    begin: float = 0,
    prefix: str = PREFIX,
) -> Audit:
    """Hold the three against each other. `charges` since `begin` are None when vast.ai does not tell them.

    Times are seconds since the epoch; an instance may live `lease_hours` and the guard's hour to end it.
    """
    ours = [each for each in instances if each.label.startswith(f"{prefix}/")]
    listed = {each.id for each in instances}
    known = {each.instance_id for each in entries if each.instance_id is not None}
    unknown = [each for each in charges or () if each.instance_id not in listed | known]
    strays = [(each, label) for each in unknown if (label := Label.parse(each.label, prefix))]
    settlements, notes = _settled(entries, listed, charges, now)
    return Audit(
        findings=(
            *(each for one in ours for each in _judged(one, ours, entries, now, lease_hours, prefix)),
            *(_stray(charge, label) for charge, label in strays),
        ),
        settlements=(*settlements, *(Settlement(label.run, each.instance_id, each.usd) for each, label in strays)),
        trainings=tuple(_trainings(entries, listed, charges, begin)),
        ours=tuple(ours),
        foreign=len(instances) - len(ours),
        notes=(*notes, *(() if charges is not None else ("vast.ai does not say what was charged.",))),
    )


def usd_per_hour(instance: Instance) -> float | None:
    """What it costs while it stays as it is: one that does not run bills its disk alone."""
    return instance.storage_usd_per_hour if _stands(instance) else instance.price_per_hour


def _stands(instance: Instance) -> bool:
    return instance.status in DEAD or instance.intended_status == "stopped"


def _judged(
    instance: Instance,
    ours: Sequence[Instance],
    entries: Sequence[Entry],
    now: float,
    lease_hours: float,
    prefix: str,
) -> Iterator[Finding]:
    """Everything that is wrong with an instance of ours."""
    label = Label.parse(instance.label, prefix)
    run = label.run if label else f"vastai-{instance.id}"
    rate = usd_per_hour(instance)
    costs = "costs money" if rate is None else f"costs ${rate:.3f} an hour"
    what = f"instance {instance.id} ({instance.gpu_name or 'GPU unknown'}) of {run} {costs}"
    twins = [each.id for each in ours if label and (other := Label.parse(each.label, prefix)) and other.run == run]
    younger = len(twins) > 1 and instance.id != min(twins)
    # By the run's name alone the older one would be ended, which is the one that works.
    end = f"{command_to_end(f'{run}-{instance.id}' if younger else run, instance.id, prefix)} ends it."

    def found(kind: Kind, text: str) -> Finding:
        return Finding(kind, instance.id, run, rate, f"{text} {end}")

    about = [each for each in entries if each.instance_id == instance.id]
    if label is None:
        yield found(Kind.UNREADABLE, f"{what}, and its label names no run.")
    if any(each.event is Event.DESTROYED for each in about):
        yield found(Kind.RETURNED, f"{what}, though it was destroyed and gone from the list.")
    elif not about:
        yield found(Kind.UNKNOWN, f"{what}, and was not rented from this computer.")
    if younger:
        yield found(Kind.DUPLICATE, f"{what}, which has instance {min(twins)} already.")
    if _stands(instance):
        yield found(Kind.STOPPED, f"{what} for its disk: it is {instance.failure or 'stopped'}.")
    elif instance.started_at and now > instance.started_at + lease_hours * 3600 + OVERTIME_SECONDS:
        hours = (now - instance.started_at) / 3600
        yield found(Kind.OVERDUE, f"{what}, for {hours:.0f} hours, and its lease was {lease_hours:g}.")
    rented = max((each.at for each in about if each.event is Event.RENTED), default=None)
    if rented is not None and any(
        each.event is Event.DELIVERED and each.run == run and rented < each.at < now - LAG_SECONDS for each in entries
    ):
        yield found(Kind.DELIVERED, f"{what}, and its adapter is at home.")


def _stray(charge: Charge, label: Label) -> Finding:
    text = (
        f"instance {charge.instance_id} of {label.run} was charged ${charge.usd:.3f}, last at {_moment(charge.end)}; "
        "it is not listed, and was not rented from this computer."
    )
    return Finding(Kind.CHARGED, charge.instance_id, label.run, None, text)


def _open(entries: Sequence[Entry]) -> dict[int, Entry]:
    """The rents whose end was not written down, by instance."""
    rents = {each.instance_id: each for each in entries if each.event is Event.RENTED and each.instance_id is not None}
    ended = {each.instance_id for each in entries if each.event is Event.DESTROYED}
    return {number: each for number, each in rents.items() if number not in ended}


def _settled(
    entries: Sequence[Entry], listed: set[int], charges: Sequence[Charge] | None, now: float
) -> tuple[list[Settlement], list[str]]:
    """The rents that ended where this computer did not see it, and what cannot be settled yet."""
    settled, notes = [], []
    charged = {each.instance_id: each.usd for each in charges or ()}
    for number, rent in _open(entries).items():
        if number in listed or now - rent.at < LAG_SECONDS:
            continue
        if number in charged or (charges is not None and now - rent.at > UNCHARGED_SECONDS):
            settled.append(Settlement(rent.run, number, charged.get(number, 0.0)))
        else:
            notes.append(f"{rent.run}: instance {number} is gone, and what it cost is not known yet.")
    return settled, notes


def _trainings(
    entries: Sequence[Entry], listed: set[int], charges: Sequence[Charge] | None, begin: float
) -> Iterator[Training]:
    """The trainings that were paid for since `begin`, the oldest first; a delivery ends one, whatever its name."""
    charged = {each.instance_id: each.usd for each in charges or ()}
    for group in _by_training(entries):
        rents = {
            each.instance_id: each for each in group if each.event is Event.RENTED and each.instance_id is not None
        }
        noted = {
            each.instance_id: number_of(each.facts.get("spent_usd")) for each in group if each.event is Event.DESTROYED
        }
        if not rents or max(each.at for each in group) < begin:
            continue
        costs = [charged.get(number, noted.get(number)) for number in rents]
        yield Training(
            run=group[0].run,
            instance_ids=tuple(rents),
            # Of the first rent: what later ones expect is only what was left to do.
            expected_usd=number_of(next(iter(rents.values())).facts.get("expected_usd")),
            actual_usd=sum(cost for cost in costs if cost is not None) if any(c is not None for c in costs) else None,
            charged=all(number in charged for number in rents),
            running=not listed.isdisjoint(rents),
        )


def _by_training(entries: Sequence[Entry]) -> list[list[Entry]]:
    """The events of each training; the end of an instance belongs to the one that rented it."""
    groups: list[list[Entry]] = []
    current: dict[str, list[Entry]] = {}
    owner: dict[int | None, list[Entry]] = {}
    for entry in sorted(entries, key=lambda each: each.at):
        group = owner.get(entry.instance_id) if entry.event is Event.DESTROYED else None
        if group is None and (group := current.get(entry.run)) is None:
            group = current[entry.run] = []
            groups.append(group)
        group.append(entry)
        if entry.event is Event.RENTED:
            owner[entry.instance_id] = group
        if entry.event is Event.DELIVERED:
            current.pop(entry.run, None)
    return groups


def _table(trainings: Sequence[Training]) -> list[str]:
    if not trainings:
        return []
    width = max(len("run"), *(len(each.run) for each in trainings))
    return [f"{'run':{width}}  predicted   actual", *(_row(each, width) for each in trainings)]


def _row(training: Training, width: int) -> str:
    expected, actual = training.expected_usd, training.actual_usd
    remarks = [
        "so far" if training.running else _difference(expected, actual),
        "" if training.charged or actual is None else "as this computer noted",
        _count(len(training.instance_ids), "instance") if len(training.instance_ids) > 1 else "",
    ]
    return (
        f"{training.run:{width}}  {_dollars(expected):>9}  {_dollars(actual):>7}  {', '.join(filter(None, remarks))}"
    ).rstrip()


def _difference(expected: float | None, actual: float | None) -> str:
    return f"{100 * (actual / expected - 1):+.0f} %" if expected and actual is not None else ""


def _dollars(amount: float | None) -> str:
    return "?" if amount is None else f"${amount:.2f}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _moment(seconds: float | None) -> str:
    return "an unknown time" if seconds is None else time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def as_facts(found: Audit) -> Mapping[str, object]:
    """For Ansible."""
    return {
        "findings": [vars(each) | {"kind": str(each.kind)} for each in found.findings],
        "settlements": [vars(each) for each in found.settlements],
        "trainings": [vars(each) | {"instance_ids": list(each.instance_ids)} for each in found.trainings],
        "foreign": found.foreign,
        "lines": found.lines,
    }
