"""When an interruptible instance counts as taken away, and from where its training goes on."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from fluxlora.delivery.checkpoint import checkpoint_at_home
from fluxlora.money.journal import Entry, Event, replacements
from fluxlora.renting.losses import loss
from fluxlora.vast.records import Instance

SAMPLES = Path(__file__).parents[1] / "data" / "vast"
BEGIN = 1_800_000_000.0


def instance(sample: str, *, is_bid: bool = True) -> Instance:
    record = json.loads((SAMPLES / f"instance_{sample}.json").read_text(encoding="utf-8"))
    return replace(Instance.from_record(record.get("instances", record)), is_bid=is_bid)


@pytest.mark.parametrize(
    ("sample", "how"),
    [
        ("running", ""),
        ("running_no_ports_yet", ""),
        ("loading", ""),
        ("just_created", ""),
        ("outbid", "outbid"),
        ("scheduling", "preempted"),
        ("offline", "lost"),
        ("exited_crash", "lost"),
    ],
)
def test_a_bid_that_no_longer_runs_was_taken_away(sample, how):
    assert loss(instance(sample)) == how


@pytest.mark.parametrize("sample", ["outbid", "scheduling", "offline", "exited_crash"])
def test_what_was_rented_at_a_fixed_price_never_was(sample):
    assert loss(instance(sample, is_bid=False)) == ""


def entry(event: Event, hours: float, instance_id: int, **facts: object) -> Entry:
    return Entry(event, "my-style", BEGIN + hours * 3600, instance_id, facts)


RENTED = entry(Event.RENTED, 0, 1)
LOST = [entry(Event.FAILED, 2, 1, code="outbid", used=True), entry(Event.DESTROYED, 2, 1)]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Checkpoints 4 and 8 of this training, half of 12, and 500 of an older one."""
    for step, hours in ((4, 0.5), (8, 1.0), (500, -100.0)):
        state = tmp_path / f"checkpoint-{step}" / "training_state.json"
        state.parent.mkdir()
        state.write_text("{}")
        os.utime(state, (BEGIN + hours * 3600,) * 2)
    (tmp_path / "checkpoint-12").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    "entries",
    [
        [RENTED, *LOST],
        [RENTED, *LOST, entry(Event.RENTED, 3, 2)],
        [RENTED],
        [RENTED, entry(Event.RENTED, 3, 2)],
        [RENTED, entry(Event.DESTROYED, 2, 1, charged=True)],
        [entry(Event.RENTED, -9, 3), entry(Event.DESTROYED, -8, 3), RENTED, *LOST],
        [RENTED, *LOST, entry(Event.RENTED, 3, 2), entry(Event.FAILED, 3, 2), entry(Event.DESTROYED, 3, 2)],
    ],
    ids=["lost", "replaced", "ended unseen", "ended by its guard", "audited", "begun anew", "failed to replace"],
)
def test_what_nobody_threw_away_goes_on_from_its_newest_whole_checkpoint_at_home(home, entries):
    assert checkpoint_at_home(home, entries) == 8


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [entry(Event.RENTED, 2, 1)],
        [RENTED, entry(Event.DESTROYED, 2, 1)],
        [RENTED, entry(Event.FAILED, 2, 1, code="boot_timeout"), entry(Event.DESTROYED, 2, 1)],
        [RENTED, *LOST, entry(Event.RENTED, 3, 2), entry(Event.DESTROYED, 4, 2)],
        [RENTED, *LOST, entry(Event.DELIVERED, 5, 2)],
    ],
    ids=["no journal", "first", "thrown away", "never booted", "thrown away later", "another training"],
)
def test_what_is_new_or_was_thrown_away_begins_anew(home, entries):
    assert checkpoint_at_home(home, entries) is None


def test_losses_are_counted_for_each_training(home):
    second = [entry(Event.RENTED, 3, 2), entry(Event.FAILED, 4, 2, code="lost", used=True)]
    assert replacements([RENTED, *LOST, *second]) == 2
    assert replacements([RENTED, *LOST, entry(Event.DELIVERED, 2.5, 1), *second]) == 1
