"""The numbers and names that are promises, written down a second time: whoever changes one has to say so here."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from fluxlora.errors import InputError
from fluxlora.estimates import hours
from fluxlora.money import budget
from fluxlora.money.budget import RunLimits
from fluxlora.money.journal import Journal
from fluxlora.offers import bait, bids, costs, requirements
from fluxlora.offers.avoid import AVOID_FOR, TAKEN, AvoidFor, Failure
from fluxlora.offers.requirements import Requirements
from fluxlora.onhost import guard
from fluxlora.renting import Limits
from fluxlora.renting.readiness import Waits
from fluxlora.renting.ssh_probe import Login
from fluxlora.vast import transport
from fluxlora.vast.errors import shown
from fluxlora.vast.labels import Label

HOURS = 3600.0


# The Hub's tokens have 37 characters, vast.ai's keys 64.
@pytest.mark.parametrize("length", [32, 37, 40, 63, 64, 65])
@pytest.mark.parametrize("letters", ["a", "Z", "7", "_", "-"])
def test_nothing_as_long_as_a_token_is_shown(length: int, letters: str) -> None:
    assert shown(f"Bearer {letters * length} is odd") == "Bearer … is odd"


def test_what_is_shorter_than_every_token_is_shown() -> None:
    assert shown("x" * 31) == "x" * 31


@pytest.mark.parametrize(
    "run",
    [
        "all",
        "ungrouped",
        "localhost",
        "training",
        "rehearsal",
        "vastai",
        "may_spend",
        "preset_x",
    ],
)
def test_a_run_is_never_named_like_a_group_that_the_plays_address(run: str) -> None:
    with pytest.raises(InputError) as refused:
        Label(run)
    assert refused.value.code == "bad_run_name"
    assert "a group has this name" in str(refused.value)
    assert Label.parse(f"fluxlora/{run}/512") is None


def test_a_label_has_at_most_the_256_characters_that_vast_ai_keeps() -> None:
    longest = Label("a", ("p" * (256 - len("fluxlora/a/")),))
    assert len(str(longest)) == 256
    with pytest.raises(InputError) as refused:
        Label("a", (f"{longest.presets[0]}p",))
    assert refused.value.code == "label_too_long"
    assert "256" in str(refused.value)


def test_a_run_has_at_most_64_characters() -> None:
    assert Label("x" * 64).run == "x" * 64
    with pytest.raises(InputError):
        Label("x" * 65)


@pytest.mark.parametrize(
    ("failure", "machine", "host", "address"),
    [
        (Failure.INSTANCE_FAILED, 7 * 24, 0, 0),
        (Failure.RENT_REFUSED, 0, 0, 0),
        (Failure.IMAGE_MISSING, 0, 0, 0),
        (Failure.OUTBID, 0, 0, 0),
        (Failure.OFFLINE, 24, 0, 6),
        (Failure.DISK_TOO_SMALL, 7 * 24, 0, 0),
        (Failure.PRICE_CHANGED, 7 * 24, 24, 0),
        (Failure.NO_PORTS, 7 * 24, 0, 24),
        (Failure.NETWORK_DEAD, 7 * 24, 0, 24),
        (Failure.KEY_REFUSED, 6, 0, 0),
        # The others: a day.
        (Failure.BOOT_TIMEOUT, 24, 0, 0),
        (Failure.NO_SSHD, 24, 0, 0),
        (Failure.GONE, 24, 0, 0),
    ],
)
def test_a_failure_is_held_against_a_machine_for_this_many_hours(
    failure: Failure, machine: int, host: int, address: int
) -> None:
    assert AVOID_FOR.get(failure, AvoidFor()) == AvoidFor(machine * HOURS, host * HOURS, address * HOURS)


def test_a_machine_that_was_taken_away_is_avoided_for_this_many_hours() -> None:
    hours = {Failure.OUTBID: (1, 0), Failure.PREEMPTED: (6, 0), Failure.LOST: (24, 6)}
    assert {
        failure: AvoidFor(machine=machine * HOURS, address=address * HOURS)
        for failure, (machine, address) in hours.items()
    } == TAKEN


def test_the_codes_of_failures_in_journals_that_exist_stay_readable() -> None:
    assert {str(failure) for failure in Failure} == {
        "rent_refused", "boot_timeout", "instance_failed", "image_missing", "instance_offline", "instance_gone",
        "outbid", "preempted", "lost", "disk_too_small", "price_changed", "no_ports", "network_dead", "no_sshd",
        "key_refused", "host_key_changed",
    }  # fmt: skip


def test_an_instance_is_waited_for_as_long_as_vast_ais_own_tool_does() -> None:
    assert Waits() == Waits(boot=2400, appear=60, lost=120, ssh=300, network=60, vanish=180, poll=10)


def test_three_instances_are_tried_and_none_that_is_more_than_a_twentieth_dearer_than_its_offer() -> None:
    assert Limits() == Limits(attempts=3, price_tolerance=0.05, price_per_hour=None)


def test_root_is_logged_in_within_ten_seconds_and_a_journal_is_waited_for_for_five(tmp_path: Path) -> None:
    login = Login(tmp_path, tmp_path)
    assert (login.user, login.connect_seconds) == ("root", 10)
    assert Journal(tmp_path).lock_seconds == 5.0


def test_vast_ai_is_asked_six_times_and_never_waited_for_longer_than_a_minute() -> None:
    assert (transport.ATTEMPTS, transport.LONGEST_WAIT_SECONDS, transport.LONGEST_ASKED_WAIT_SECONDS) == (6, 30.0, 60.0)


def test_the_guard_looks_every_quarter_of_a_minute_and_tries_three_times_five_minutes_apart() -> None:
    assert (guard.LOOK_SECONDS, guard.TIMEOUT_SECONDS, guard.RETRY_SECONDS, guard.TRIES) == (15, 30, 300, 3)
    assert guard.GB == 1_000_000_000
    assert (guard.HUB, guard.ADAPTER) == ("https://huggingface.co", "pytorch_lora_weights.safetensors")
    assert guard.FINISHED == "fluxlora.json"


def test_the_budget_expects_twice_the_planned_bytes_and_ten_gigabytes() -> None:
    terms = RunLimits(20, 24, download_gb=40, upload_gb=26)
    assert (terms.down_limit_gb, terms.up_limit_gb) == (90, 62)


def test_the_end_of_a_run_is_given_its_delivery_ten_minutes_to_destroy_and_the_guards_delay() -> None:
    # One look of 15 s, and three answers that take 30 s each, before the guard acts.
    assert budget.LATE_SECONDS == 105
    assert RunLimits(20, 24, delivery_minutes=30).ending_hours == pytest.approx((105 + 1800 + 600) / 3600)
    # At a gigabit each second moves an eighth of a gigabyte.
    assert pytest.approx(105 / 8) == budget.LATE_GB
    assert budget.IMAGE_GB == 10


def test_the_limits_of_a_run_that_says_nothing_else() -> None:
    assert RunLimits(20, 24) == RunLimits(
        20, 24, download_gb=40, upload_gb=26, delivery_minutes=30, delivery_gb=4, unguarded_hours=0.85
    )


def test_what_a_run_needs_of_a_machine_where_nothing_is_said() -> None:
    need = Requirements()
    assert (need.gpu_ram_gb, need.disk_gb, need.num_gpus, need.cpu_ram_gb) == (40, 220, 1, 32)
    assert (need.cuda_version, need.compute_cap, need.cpu_arch) == (12.8, 800, "amd64")
    assert (need.inet_down_mbps, need.inet_up_mbps, need.direct_ports, need.reliability) == (200, 50, 1, 0.95)
    assert (need.verified, need.interruptible, need.duration_hours) == (True, False, 0)
    assert (need.gpu_names, need.countries, need.excluded_machine_ids) == ((), (), ())
    assert (need.max_price_per_hour, need.budget_usd, need.deadline_hours) == (None, None, None)


def test_torch_has_code_for_compute_capability_12_and_nothing_newer_and_no_line_is_faster_than_100_gigabit() -> None:
    assert requirements.NEWEST_COMPUTE_CAP == 1299
    assert requirements.ABSURD_MBPS == 100_000


def test_a_price_below_three_tenths_of_the_usual_is_bait() -> None:
    assert (bait.BAIT_SHARE, bait.MASS_BAIT_SHARE, bait.ENOUGH) == (0.3, 0.15, 4)


def test_a_bid_at_the_minimum_is_expected_to_be_outbid_three_times_a_day_and_a_tenth_more_halves_that() -> None:
    assert bids.interruptions_per_hour(1.0, 1.0) * 24 == pytest.approx(3 + 0.5)
    assert bids.interruptions_per_hour(1.1, 1.0) * 24 == pytest.approx(1.5 + 0.5)
    assert bids.interruptions_per_hour(1.0, 0.0) * 24 == pytest.approx(0.5)
    assert bids.interruptions_per_hour(math.inf, 1.0) * 24 == pytest.approx(0.5)


def test_how_long_the_parts_of_a_run_are_expected_to_take() -> None:
    assert (hours.BOOT_HOURS, hours.INSTALL_HOURS, hours.LOADING_HOURS) == (0.1, 0.15, 0.1)
    assert (hours.SECONDS_PER_LATENT, hours.SECONDS_PER_EMBED) == (0.5, 0.15)
    assert (hours.DOWN_MBPS, hours.UP_MBPS, costs.HOURS_PER_MONTH) == (4000, 1000, 720)
    assert (costs.SLOW_START, costs.SLOW_LINE, costs.OUTAGE_HOURS) == (3, 2, 6)
