"""Renting, waiting and destroying, against answers in a set order and on a clock that only the waiting moves."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fluxlora.errors import InputError, VastError
from fluxlora.money.journal import Event, Journal
from fluxlora.renting import Limits, ensure_instance
from fluxlora.renting.attempts import Attempts, Choice
from fluxlora.renting.destroy import DestroyUnverified, Ensured, ensure_absent, ensure_stopped
from fluxlora.renting.readiness import InstanceFailed, Readiness, Waits
from fluxlora.renting.ssh_probe import Login
from fluxlora.vast.client import Rent, Vast
from fluxlora.vast.errors import NoSuchInstance, Unavailable
from fluxlora.vast.labels import Label
from fluxlora.vast.records import Offer
from remote import greeting
from replay import DROPPED, Replay, replaying

DATA = Path(__file__).parents[1] / "data" / "vast"
ID, MACHINE = 33402296, 43973
RENT = Rent(Label("my-style", ("512", "lokr")), image="vastai/base-image", disk_gb=220)
MINE = "fluxlora/my-style/512+lokr"
FINE, FAILING = (200, {"success": True}), (500, {"error": "oops", "msg": "oops"})
GONE = (404, {"success": False, "error": "no_such_instance", "msg": "gone"})
MADE = (200, {"success": True, "new_contract": ID})
BEGIN = 1_800_000_000.0
# The proportions of the real ones, with fewer looks.
WAITS = Waits(boot=120, appear=60, lost=120, ssh=30, network=20, vanish=180, poll=10)


def sample(name: str) -> dict[str, Any]:
    row: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text())
    return row | {"label": MINE, "disk_space": 220.0}


def page(*rows: dict[str, Any]) -> tuple[int, Any]:
    return 200, {"success": True, "instances": list(rows), "next_token": None}


RUNNING, LOADING = sample("instance_running"), sample("instance_loading")
PORTLESS = sample("instance_running_no_ports_yet")
NONE = page()


class Clock:
    """Seconds since the test began, moved by waiting alone; each wait is noted."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def sleep(self, seconds: float, really: Callable[[float], None] = time.sleep) -> None:
        # Python itself waits for processes in fractions of a second.
        if seconds < 1:
            really(seconds)
        else:
            self.waits.append(seconds)
            self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("time.sleep", made.sleep)
    monkeypatch.setattr("time.monotonic", lambda: 1000.0 + made.now)
    monkeypatch.setattr("time.time", lambda: BEGIN + made.now)
    return made


@contextmanager
def vast(*answers: tuple[int, Any]) -> Iterator[tuple[Vast, Replay]]:
    with replaying(*answers) as replay:
        yield Vast("k", replay.url, attempts=1, timeout_seconds=5), replay


def asked(replay: Replay, *methods: str) -> list[tuple[str, str]]:
    return [(method, path) for method, path, _ in replay.requests if not methods or method in methods]


def arrive(clock: Clock, *answers: tuple[int, Any], **options: Any) -> Any:
    with vast(*answers) as (account, _):
        return Readiness(options.pop("rent", RENT), ID, WAITS, **options).until_reachable(account)


def failing(clock: Clock, *answers: tuple[int, Any], **options: Any) -> InstanceFailed:
    with pytest.raises(InstanceFailed) as raised:
        arrive(clock, *answers, **options)
    assert raised.value.instance_id == ID
    return raised.value


# --- From the rent to an address.


def test_an_instance_that_runs_and_has_an_address_is_there_at_once(clock: Clock) -> None:
    assert arrive(clock, page(RUNNING)).id == ID
    assert clock.waits == []


def test_one_that_still_loads_is_looked_at_every_ten_seconds(clock: Clock) -> None:
    assert arrive(clock, page(LOADING), page(LOADING), page(RUNNING)).status == "running"
    assert clock.waits == [10, 10]


def test_one_that_loads_for_longer_than_it_may_has_failed(clock: Clock) -> None:
    error = failing(clock, page(LOADING))
    assert error.code == "boot_timeout"
    assert clock.now == 120
    message = " ".join(LOADING["status_msg"].split())
    assert str(error) == f"Instance {ID} on machine {MACHINE} is loading ({message}) after 120 s."


def test_one_without_a_state_is_said_so(clock: Clock) -> None:
    bare = {"id": ID, "label": MINE}
    assert "is not started (no message) after 120 s" in str(failing(clock, page(bare)))


def test_one_that_ran_may_be_called_loading_for_as_long_as_a_boot_takes(clock: Clock) -> None:
    answers = [page(PORTLESS)] * 2 + [page(LOADING)] * 3 + [page(RUNNING)]
    assert arrive(clock, *answers).id == ID


@pytest.mark.parametrize("looks", [1, 5])
def test_a_row_that_appears_within_a_minute_is_waited_for(clock: Clock, looks: int) -> None:
    assert arrive(clock, *[NONE] * looks, page(RUNNING)).id == ID


def test_a_row_that_does_not_appear_within_a_minute_is_gone(clock: Clock) -> None:
    error = failing(clock, NONE)
    assert (error.code, clock.now) == ("instance_gone", 60)
    assert str(error) == f"Instance {ID} is not in vast.ai's list."


def test_an_instance_is_not_believed_gone_after_one_look_without_it(clock: Clock) -> None:
    assert arrive(clock, page(LOADING), NONE, NONE, page(LOADING), NONE, page(RUNNING)).id == ID
    clock.waits.clear()
    error = failing(clock, *[page(LOADING)] * 3, NONE)
    assert error.code == "instance_gone"
    assert clock.waits == [10] * 8, "a minute from the last look that has found it"


@pytest.mark.parametrize("answer", [FAILING, (429, {"error": "x", "msg": "slow down"})])
def test_a_list_that_is_away_is_no_bad_news_until_all_the_time_is_over(clock: Clock, answer: tuple[int, Any]) -> None:
    assert arrive(clock, answer, answer, page(RUNNING)).id == ID
    clock.now = 0
    with pytest.raises(VastError) as raised:
        arrive(clock, answer)
    assert not isinstance(raised.value, InstanceFailed)
    assert clock.now == 120 + 30


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("instance_oci_failure", "instance_failed", "will not run: Error response from daemon"),
        ("instance_loading_bad_pull", "instance_failed", "will not run: "),
        ("instance_offline", "instance_offline", "will not run: offline"),
        ("instance_outbid", "outbid", "will not run: "),
        ("instance_exited_crash", "instance_failed", "will not run: "),
    ],
)
def test_what_will_never_run_has_failed_at_the_first_look(clock: Clock, name: str, code: str, words: str) -> None:
    error = failing(clock, page(sample(name)))
    assert (error.code, clock.now) == (code, 0)
    assert f"Instance {ID} on machine {MACHINE} {words}" in str(error)
    assert not str(error).endswith("..")


@pytest.mark.parametrize(
    "message", ["Manifest Unknown", "unauthorized: no", "pull access denied for x", "repository does not exist"]
)
def test_an_image_that_no_machine_can_have_is_not_the_machines_fault(clock: Clock, message: str) -> None:
    row = sample("instance_exited_crash") | {"status_msg": message}
    assert failing(clock, page(row)).code == "image_missing"


@pytest.mark.parametrize(("status", "code"), [("unknown", "instance_offline"), ("exited", "instance_failed")])
def test_a_host_that_is_away_is_told_from_a_container_that_ended(clock: Clock, status: str, code: str) -> None:
    row = sample("instance_exited_crash") | {"actual_status": status, "status_msg": ""}
    assert failing(clock, page(row)).code == code


def test_one_that_was_stopped_is_given_a_minute_to_leave_its_old_state(clock: Clock) -> None:
    stopped = page(sample("instance_stopped_by_user"))
    assert arrive(clock, *[stopped] * 6, page(RUNNING), starting=True).id == ID
    assert failing(clock, *[stopped] * 8, starting=True).code == "outbid"
    assert failing(clock, stopped, page(RUNNING)).code == "outbid", "only one that was started"


@pytest.mark.parametrize(("disk", "fits"), [(220.0, True), (215.6, True), (215.5, False), (None, True)])
def test_a_disk_may_be_two_hundredths_smaller_than_it_was_rented(clock: Clock, disk: float | None, fits: bool) -> None:
    answer = page(RUNNING | {"disk_space": disk})
    if fits:
        assert arrive(clock, answer).id == ID
    else:
        error = failing(clock, answer)
        assert error.code == "disk_too_small"
        assert str(error).endswith("has a disk of 215.5 GB, and 220 GB were rented.")


@pytest.mark.parametrize(("price", "fits"), [(0.41, True), (0.4101, False), (None, True)])
def test_one_that_is_dearer_than_it_may_be_has_failed(clock: Clock, price: float | None, fits: bool) -> None:
    answer = page(RUNNING | {"dph_total": price})
    if fits:
        assert arrive(clock, answer, highest_price=0.41).id == ID
        return
    error = failing(clock, answer, highest_price=0.41)
    assert error.code == "price_changed"
    assert str(error).endswith("costs $0.4101 an hour, and $0.4100 is the most it may.")
    assert arrive(clock, answer).id == ID, "where there is no limit"


def test_the_direct_address_is_waited_for_a_minute_and_then_the_proxy_is_taken(clock: Clock) -> None:
    found = arrive(clock, page(LOADING), page(PORTLESS))
    assert not found.endpoint().direct
    assert clock.now == 10 + 60, "from its first look as running"
    clock.waits.clear()
    arrive(clock, page(PORTLESS), rent=replace(RENT, direct=False))
    assert clock.waits == [], "where the direct one is not wanted there is nothing to wait for"
    arrive(clock, page(PORTLESS), page(RUNNING))
    assert clock.waits == [10]


def test_one_that_runs_without_any_address_has_failed_after_a_minute(clock: Clock) -> None:
    error = failing(clock, page(PORTLESS | {"ssh_host": None, "ssh_port": None}))
    assert (error.code, clock.now) == ("no_ports", 60)
    assert str(error).endswith("runs, and has no address for ssh.")


def test_what_an_instance_has_cost_is_its_disk_from_the_rent_on_and_its_gpu_while_it_ran(clock: Clock) -> None:
    row = {"dph_total": 1.0, "storage_total_cost": 0.1}
    with vast(page(LOADING | row), page(RUNNING | row)) as (account, _):
        arrival = Readiness(RENT, ID, WAITS)
        assert arrival.spent_usd() == 0
        arrival.until_reachable(account)
    clock.now = 3600.0
    assert arrival.spent_usd() == pytest.approx(0.1 + 0.9 * 3590 / 3600)
    clock.now = 0.0
    with vast(page(LOADING | row)) as (account, _):
        never = Readiness(RENT, ID, WAITS)
        with pytest.raises(InstanceFailed):
            never.until_reachable(account)
    clock.now = 3600.0
    assert never.spent_usd() == pytest.approx(0.1), "its GPU never ran"


def test_an_instance_whose_prices_are_unknown_costs_nothing_that_is_known(clock: Clock) -> None:
    with vast(page(RUNNING | {"dph_total": None, "storage_total_cost": None})) as (account, _):
        arrival = Readiness(RENT, ID, WAITS)
        arrival.until_reachable(account)
    clock.now = 3600
    assert arrival.spent_usd() == 0


@pytest.mark.parametrize(
    "waits", [{"boot": -1}, {"poll": float("inf")}, {"ssh": float("nan")}, {"lost": float("-inf")}]
)
def test_a_wait_that_is_no_time_is_refused_by_its_name(waits: dict[str, float]) -> None:
    with pytest.raises(InputError) as refused:
        Waits(**waits)
    assert refused.value.code == "bad_wait"
    assert next(iter(waits)) in str(refused.value)
    assert refused.value.hint == "Give 0 or more."


def test_no_wait_at_all_is_one() -> None:
    assert Waits(0, 0, 0, 0, 0, 0, 0).poll == 0


# --- Renting.


def ensure(account: Vast, choices: list[Choice] | None = None, **options: Any) -> Ensured:
    return ensure_instance(
        account, options.pop("rent", RENT), choices or [Choice(Offer(1))], **{"waits": WAITS} | options
    )


def refused(*answers: tuple[int, Any], **options: Any) -> tuple[VastError, Replay]:
    with vast(*answers) as (account, replay), pytest.raises(VastError) as raised:
        ensure(account, **options)
    return raised.value, replay


def test_a_run_without_an_instance_gets_one_and_no_more(clock: Clock) -> None:
    with vast(NONE, MADE, page(RUNNING)) as (account, replay):
        ensured = ensure(account)
    assert ensured.changed
    assert ensured.instance is not None
    assert ensured.instance.id == ID
    assert [(attempt.code, attempt.sentence) for attempt in ensured.attempts] == [
        ("rented", f"Rented offer 1 as instance {ID}.")
    ]
    assert (ensured.attempts[0].offer_id, ensured.attempts[0].instance_id) == (1, ID)
    assert asked(replay, "PUT", "DELETE", "POST") == [("PUT", "/api/v0/asks/1/")]


def test_in_a_dry_run_nothing_is_rented_and_the_change_is_said(clock: Clock) -> None:
    with vast(NONE) as (account, replay):
        assert ensure(account, dry_run=True) == Ensured(None, changed=True)
    assert len(replay.requests) == 1


def test_what_is_there_is_taken(clock: Clock) -> None:
    with vast(page(RUNNING)) as (account, replay):
        ensured = ensure(account)
        assert not ensure(account, dry_run=True).changed
    assert not ensured.changed
    assert [(attempt.code, attempt.sentence) for attempt in ensured.attempts] == [("found", f"Found instance {ID}.")]
    assert ensured.attempts[0].instance_id == ID
    assert {method for method, _ in asked(replay)} == {"GET"}


def test_its_disk_and_price_were_judged_when_it_was_rented(clock: Clock) -> None:
    with vast(page(RUNNING | {"disk_space": 10.0, "dph_total": 9.0})) as (account, _):
        assert not ensure(account, limits=Limits(price_per_hour=0.1)).changed


def test_a_stopped_one_is_started_and_that_is_a_change(clock: Clock) -> None:
    stopped = page(sample("instance_stopped_by_user"))
    with vast(stopped) as (account, replay):
        assert ensure(account, dry_run=True).changed
        assert asked(replay, "PUT") == []
    with vast(stopped, FINE, stopped, page(RUNNING)) as (account, replay):
        assert ensure(account).changed
    assert [body for method, _, body in replay.requests if method == "PUT"] == [{"state": "running"}]


def test_without_credit_a_stopped_one_is_named_with_what_its_disk_costs(clock: Clock) -> None:
    broke = (400, {"error": "insufficient_credit", "msg": "no"})
    error, _ = refused(page(sample("instance_stopped_by_user")), broke)
    assert (error.code, error.instance_id) == ("no_credit", ID)
    assert f"vast.ai has stopped instance {ID} of my-style: the account has no credit." in str(error)
    assert "https://cloud.vast.ai/billing/" in error.hint
    assert "Its disk is billed on: " in error.hint
    assert "`fluxlora destroy my-style`" in error.hint


def test_two_of_a_run_are_never_made_three(clock: Clock) -> None:
    error, replay = refused(page(RUNNING | {"id": 9}, RUNNING | {"id": 7}))
    assert (error.code, error.instance_id) == ("duplicate_instances", 7)
    assert "my-style has 2 instances: 7, 9." in str(error)
    assert "`fluxlora destroy my-style` ends the oldest" in error.hint
    assert len(replay.requests) == 1


@pytest.mark.parametrize(("presets", "words"), [("512", "512"), ("", "no presets"), ("512+lokr+x", "512 + lokr + x")])
def test_one_with_other_presets_is_not_taken(clock: Clock, presets: str, words: str) -> None:
    error, _ = refused(page(RUNNING | {"label": f"fluxlora/my-style/{presets}"}))
    assert (error.code, error.instance_id) == ("presets_differ", ID)
    assert f"my-style already has instance {ID}, rented for {words}." in str(error)
    assert "`fluxlora destroy my-style` or `ansible-playbook destroy.yml -e run_name=my-style` ends it." in error.hint
    assert f"instance {ID} costs $0.4100 an hour" in error.hint


def test_the_same_presets_in_another_order_are_the_same(clock: Clock) -> None:
    with vast(page(RUNNING | {"label": "fluxlora/my-style/lokr+512"})) as (account, _):
        assert not ensure(account).changed


def test_an_offer_that_is_gone_makes_room_for_the_next_one(clock: Clock) -> None:
    gone = (410, {"error": "no_such_ask", "msg": "gone"})
    with vast(NONE, gone, MADE, page(RUNNING)) as (account, _replay):
        ensured = ensure(account, [Choice(Offer(1)), Choice(Offer(2))])
    assert [(each.code, each.sentence) for each in ensured.attempts] == [
        ("offer_gone", "Offer 1 was gone."),
        ("rented", f"Rented offer 2 as instance {ID}."),
    ]
    assert ensured.attempts[0].offer_id == 1
    error, _ = refused(NONE, gone)
    assert (error.code, error.instance_id) == ("no_offer", None)
    assert str(error) == "No offer is left for my-style. Offer 1 was gone."
    assert error.hint.startswith("Nothing is left that costs money. Run it again for fresh offers")


def test_a_rent_without_a_reply_is_looked_up_for_two_minutes_and_never_repeated(clock: Clock) -> None:
    with vast(NONE, DROPPED, NONE, FAILING, page(RUNNING)) as (account, replay):
        ensured = ensure(account)
    assert ensured.attempts[0].sentence == f"The reply to renting offer 1 was lost; its label led to instance {ID}."
    assert clock.waits == [2, 2]
    assert len(asked(replay, "PUT")) == 1

    clock.now = 0
    error, replay = refused(NONE, DROPPED, NONE, choices=[Choice(Offer(1)), Choice(Offer(2))])
    assert (error.code, clock.now) == ("rent_unclear", 120)
    assert "vast.ai did not answer the rent of offer 1 for my-style, and no instance of it has appeared." in str(error)
    assert MINE in error.hint
    assert len(asked(replay, "PUT")) == 1

    error, _ = refused(NONE, DROPPED, FAILING)
    assert "The list of instances cannot be read either: vast.ai: oops" in str(error)


def test_a_refusal_that_no_other_offer_changes_ends_it_with_nothing_left(clock: Clock) -> None:
    error, replay = refused(NONE, (403, {"error": "x", "msg": "no"}), choices=[Choice(Offer(1)), Choice(Offer(2))])
    assert error.code == "forbidden"
    assert error.hint.endswith("user_write. Nothing is left that costs money.")
    assert len(asked(replay, "PUT")) == 1


def test_what_a_refused_rent_left_behind_is_destroyed(clock: Clock, tmp_path: Path) -> None:
    left = (200, {"success": False, "error": "invalid_price", "msg": "bid too low", "new_contract": ID})
    journal = Journal(tmp_path / "journal.jsonl")
    attempts = Attempts("my-style", journal)
    answers = (NONE, left, page(sample("instance_outbid")), FINE, NONE, NONE, NONE, MADE, page(RUNNING))
    with vast(*answers) as (account, replay):
        ensured = ensure(account, [Choice(Offer(1)), Choice(Offer(2))], attempts=attempts)
    assert asked(replay, "DELETE") == [("DELETE", f"/api/v0/instances/{ID}/")]
    assert [attempt.code for attempt in ensured.attempts] == ["rent_refused", "rented"]
    assert ensured.attempts[0].sentence == (
        f"The refused rent of offer 1 left instance {ID}, which was destroyed: vast.ai: bid too low"
    )
    assert (ensured.attempts[0].offer_id, ensured.attempts[0].instance_id) == (1, ID)
    events = [(entry.event, entry.facts.get("code")) for entry in journal.entries()]
    assert events == [(Event.FAILED, "rent_refused"), (Event.DESTROYED, None), (Event.RENTED, None)]


CHOICES = [Choice(Offer(number, machine_id=machine)) for number, machine in ((1, MACHINE), (2, MACHINE), (3, 11))]
BROKEN = page(sample("instance_oci_failure"))
# It is destroyed, and looked for twice; then for the run.
ENDED = (BROKEN, FINE, NONE, NONE, NONE)


def test_one_that_fails_is_destroyed_and_the_next_is_tried_on_another_machine(clock: Clock, tmp_path: Path) -> None:
    attempts = Attempts("my-style", Journal(tmp_path / "journal.jsonl"))
    with vast(NONE, MADE, BROKEN, *ENDED, MADE, page(RUNNING)) as (account, replay):
        ensured = ensure(account, list(CHOICES), attempts=attempts)
    assert asked(replay, "PUT", "DELETE") == [
        ("PUT", "/api/v0/asks/1/"), ("DELETE", f"/api/v0/instances/{ID}/"), ("PUT", "/api/v0/asks/3/"),
    ]  # fmt: skip
    assert [attempt.code for attempt in ensured.attempts] == ["rented", "instance_failed", "rented"]
    failed = ensured.attempts[1]
    assert failed.sentence.endswith(f"It was destroyed, and cost ${failed.usd:.4f}.")
    assert (failed.offer_id, failed.instance_id) == (1, ID)
    assert attempts.usd() == failed.usd


def test_no_more_are_tried_than_allowed_and_then_all_that_failed_is_said(clock: Clock) -> None:
    error, replay = refused(NONE, MADE, BROKEN, *ENDED, choices=list(CHOICES), limits=Limits(attempts=1))
    assert error.code == "instance_failed"
    assert len(asked(replay, "PUT")) == 1
    assert str(error).startswith(f"my-style got no usable instance. Instance {ID} on machine {MACHINE} will not run")
    assert "Rented offer" not in str(error)
    assert error.hint.startswith("Nothing is left that costs money. The attempts cost $0.")
    assert error.hint.endswith("Run it again to try other machines.")
    assert error.instance_id is None


def test_where_every_other_offer_is_on_a_machine_that_failed_it_is_given_up(clock: Clock) -> None:
    error, replay = refused(NONE, MADE, BROKEN, *ENDED, choices=CHOICES[:2])
    assert (error.code, len(asked(replay, "PUT"))) == ("instance_failed", 1)


def test_what_no_longer_fits_after_a_failure_is_not_rented(clock: Clock) -> None:
    tight = replace(CHOICES[2], spare_hours=0.0)
    failing_late = (NONE, MADE, page(LOADING), BROKEN, *ENDED)
    error, replay = refused(*failing_late, choices=[CHOICES[0], tight])
    assert "Offer 3 no longer fits into what is left." in str(error)
    assert len(asked(replay, "PUT")) == 1
    with vast(*failing_late, MADE, page(RUNNING)) as (account, _):
        assert ensure(account, [CHOICES[0], replace(CHOICES[2], spare_hours=1.0)]).changed


@pytest.mark.parametrize(
    ("usd", "hours", "fits"), [(1.0, 2.0, True), (1.01, 2.0, False), (1.0, 2.01, False), (0.0, 0.0, True)]
)
def test_a_choice_fits_while_no_more_is_lost_than_it_can_spare(usd: float, hours: float, fits: bool) -> None:
    assert Choice(Offer(1), spare_usd=1.0, spare_hours=2.0).fits_after(usd, hours) is fits
    assert Choice(Offer(1)).fits_after(usd * 1e9, hours * 1e9)


@pytest.mark.parametrize(
    ("offer", "bid", "limit", "price", "rented"),
    [
        (0.40, None, None, 0.42, True),
        (0.40, None, None, 0.421, False),
        (0.40, None, 0.41, 0.41, True),
        (0.40, None, 0.41, 0.415, False),
        (None, None, None, 9.0, True),
        (None, None, 0.5, 0.51, False),
        # A bid is without storage, 0.1 an hour.
        (0.40, 0.2, None, 0.315, True),
        (0.40, 0.2, None, 0.3151, False),
    ],
)
def test_an_instance_costs_no_more_than_a_twentieth_above_its_offer_and_never_more_than_the_limit(
    clock: Clock, offer: float | None, bid: float | None, limit: float | None, price: float, rented: bool
) -> None:
    choice = Choice(Offer(1, price_per_hour=offer, storage_usd_per_hour=0.1), bid_per_hour=bid)
    row = page(RUNNING | {"dph_total": price})
    options = {"choices": [choice], "limits": Limits(attempts=1, price_per_hour=limit)}
    if rented:
        with vast(NONE, MADE, row) as (account, replay):
            assert ensure(account, **options).changed  # type: ignore[arg-type]
        assert [body["price"] for method, _, body in replay.requests if method == "PUT"] == [bid]
    else:
        error, _ = refused(NONE, MADE, row, row, FINE, NONE, NONE, NONE, **options)
        assert error.code == "price_changed"


@pytest.mark.parametrize(
    "limits", [{"attempts": 0}, {"price_tolerance": -0.1}, {"price_tolerance": float("nan")},
               {"price_per_hour": -1.0}, {"price_per_hour": float("nan")}],
)  # fmt: skip
def test_a_limit_that_limits_nothing_is_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(InputError) as raised:
        Limits(**limits)
    assert raised.value.code == "bad_limit"
    assert raised.value.hint
    assert Limits(attempts=1, price_tolerance=0, price_per_hour=0).attempts == 1


def test_an_instance_that_was_found_and_fails_is_kept_with_its_price(clock: Clock) -> None:
    error, replay = refused(page(sample("instance_exited_crash")))
    assert (error.code, error.instance_id) == ("instance_failed", ID)
    assert error.hint.startswith(f"It was kept, for it may hold checkpoints, and instance {ID} costs $0.41")
    assert asked(replay, "DELETE", "PUT") == []


def test_one_that_was_found_and_is_gone_meanwhile_costs_nothing(clock: Clock) -> None:
    error, _ = refused(page(RUNNING), NONE)
    assert (error.code, error.instance_id) == ("instance_gone", None)
    assert "so it costs nothing. Run it again for another." in error.hint


def test_a_fault_of_vast_ai_while_one_is_there_names_it_and_the_command_that_ends_it(clock: Clock) -> None:
    for answers in ((page(RUNNING), FAILING), (NONE, MADE, FAILING), (NONE, MADE, page(RUNNING), FAILING)):
        error, _ = refused(*answers)
        assert (error.code, error.instance_id) == ("unavailable", ID)
        assert error.hint == (
            f"Try again in a minute. Instance {ID} costs money; end it with `fluxlora destroy my-style`."
        )


def test_a_key_is_attached_to_a_fresh_instance_and_to_a_found_one_that_lacks_it(clock: Clock) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPJUmxgsPBPU4vLlOCRfl6EvVYJzHEvCHeRzLfHTjbm7"
    with vast(NONE, MADE, page(RUNNING), FINE, page(RUNNING)) as (account, replay):
        ensure(account, public_ssh_key=key)
    assert ("POST", f"/api/v0/instances/{ID}/ssh/", {"ssh_key": key}) in replay.requests

    lacks, has = (200, {"ssh_keys": []}), (200, {"ssh_keys": [{"public_key": key}]})
    with vast(page(RUNNING), lacks, page(RUNNING), (400, {"error": "x", "msg": "no"})) as (account, replay):
        found = ensure(account, public_ssh_key=key)
    assert found.changed
    assert [attempt.code for attempt in found.attempts] == ["found", "key_not_attached"]
    assert found.attempts[1].sentence == "The key was not attached: vast.ai: no"
    assert found.attempts[1].instance_id == ID
    with vast(page(RUNNING), has, page(RUNNING)) as (account, replay):
        assert not ensure(account, public_ssh_key=key).changed
    with vast(page(RUNNING), lacks) as (account, replay):
        assert ensure(account, public_ssh_key=key, dry_run=True).changed
    assert asked(replay, "POST") == []


def test_of_two_that_were_rented_at_once_the_older_stays(clock: Clock, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    both, second = page(RUNNING, RUNNING | {"id": ID + 1}), RUNNING | {"id": ID + 1}
    with vast(NONE, MADE, page(RUNNING), both, page(second), FINE, NONE, NONE) as (account, replay):
        ensured = ensure(account, attempts=Attempts("my-style", journal))
    assert ensured.instance is not None
    assert ensured.instance.id == ID
    assert asked(replay, "DELETE") == [("DELETE", f"/api/v0/instances/{ID + 1}/")]
    assert ensured.attempts[-1].code == "surplus"
    assert ensured.attempts[-1].sentence == f"Instance {ID + 1} was a second one for my-style; it was destroyed."
    assert (Event.DESTROYED, ID + 1) in [(entry.event, entry.instance_id) for entry in journal.entries()]

    made = (200, {"success": True, "new_contract": ID + 1})
    answers = (NONE, made, page(second), both, page(second), FINE, NONE, NONE, page(RUNNING))
    with vast(*answers) as (account, replay):
        ensured = ensure(account)
    assert ensured.instance is not None
    assert (ensured.instance.id, ensured.changed) == (ID, False)


def test_one_of_another_prefix_is_ended_with_vast_ais_own_command(clock: Clock) -> None:
    rent = replace(RENT, label=Label("my-style", ("512", "lokr"), "other"))
    error, _ = refused(NONE, MADE, FAILING, rent=rent)
    assert f"end it with `vastai destroy instance {ID}`." in error.hint
    error, _ = refused(page(RUNNING | {"label": "other/my-style/512"}), rent=rent)
    assert error.hint.endswith(f"`vastai destroy instance {ID}` ends it.")


def test_a_rent_is_written_down_with_all_that_later_runs_want_to_know(clock: Clock, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    offer = Offer(
        5, gpu_name="RTX 4090", machine_id=11, host_id=12, address="203.0.113.9", price_per_hour=0.5,
        storage_usd_per_hour=0.02, inet_down_usd_per_gb=0.003, inet_up_usd_per_gb=0.004,
    )  # fmt: skip
    choice = Choice(offer, 0.3, expected_usd=7.0, expected_hours=9.0, expected_seconds_per_step=6.0)
    attempts = Attempts("my-style", journal)
    attempts.rented(choice, ID)
    attempts.rented(replace(choice, bid_per_hour=None), ID + 1)
    bid, on_demand = journal.entries()
    assert (bid.event, bid.run, bid.instance_id, bid.at) == (Event.RENTED, "my-style", ID, BEGIN)
    assert bid.facts == {
        "offer_id": 5, "expected_usd": 7.0, "expected_hours": 9.0, "expected_seconds_per_step": 6.0,
        "price_per_hour": 0.5, "storage_usd_per_hour": 0.02, "inet_down_usd_per_gb": 0.003,
        "inet_up_usd_per_gb": 0.004, "gpu_name": "RTX 4090", "machine_id": 11, "host_id": 12,
        "address": "203.0.113.9", "bid_per_hour": 0.3, "is_bid": True,
    }  # fmt: skip
    assert (on_demand.facts["bid_per_hour"], on_demand.facts["is_bid"]) == (None, False)


def test_a_failure_is_written_down_with_the_machine_that_the_list_or_the_offer_names(
    clock: Clock, tmp_path: Path
) -> None:
    from fluxlora.vast.records import Instance

    journal = Journal(tmp_path / "journal.jsonl")
    attempts = Attempts("my-style", journal)
    seen = Instance(ID, machine_id=21, host_id=22, direct_host="203.0.113.2")
    offers = [Offer(5, machine_id=11, host_id=12, address="203.0.113.9"), Offer(5)]
    for offer, row in ((offers[0], None), (offers[0], seen), (offers[1], seen), (offers[1], None)):
        attempts.failed("no_sshd", "why", choice=Choice(offer), instance_id=ID, seen=row, usd=0.25)
    failed = [entry.facts for entry in journal.entries() if entry.event is Event.FAILED]
    where = [(facts["machine_id"], facts["host_id"], facts["address"]) for facts in failed]
    assert where == [
        (11, 12, "203.0.113.9"), (21, 22, "203.0.113.9"), (21, 22, "203.0.113.2"), (None, None, ""),
    ]  # fmt: skip
    assert (failed[0]["code"], failed[0]["reason"]) == ("no_sshd", "why")
    ends = [entry for entry in journal.entries() if entry.event is Event.DESTROYED]
    assert [(end.instance_id, dict(end.facts)) for end in ends] == [(ID, {"spent_usd": 0.25})] * 4
    assert attempts.usd() == 1.0
    assert attempts.avoid().machine_ids == {11, 21}
    assert [attempt.usd for attempt in attempts.made] == [0.25] * 4


def test_what_was_found_is_remembered_once_with_what_the_list_says(clock: Clock, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    for _ in range(2):
        with vast(page(RUNNING)) as (account, _):
            ensure(account, attempts=Attempts("my-style", journal))
    (entry,) = journal.entries()
    assert (entry.event, entry.instance_id, entry.at) == (Event.RENTED, ID, RUNNING["start_date"])
    assert entry.facts == {
        "price_per_hour": 0.41, "storage_usd_per_hour": 0.0208, "inet_down_usd_per_gb": 0.002,
        "inet_up_usd_per_gb": 0.002, "gpu_name": "RTX 4090", "machine_id": MACHINE, "host_id": 307092,
        "address": "203.0.113.42", "is_bid": False,
    }  # fmt: skip


def test_one_that_failed_and_cannot_be_destroyed_is_named_with_what_ends_it(clock: Clock) -> None:
    error, replay = refused(NONE, MADE, BROKEN, FAILING)
    assert (error.code, error.instance_id) == ("unavailable", ID)
    assert f"Instance {ID} costs money; end it with `fluxlora destroy my-style`." in error.hint
    assert len(asked(replay, "PUT")) == 1


def test_where_every_rent_was_refused_that_is_the_reason(clock: Clock) -> None:
    left = (200, {"success": False, "error": "invalid_price", "msg": "bid too low", "new_contract": ID})
    ended = (page(sample("instance_outbid")), FINE, NONE, NONE, NONE)
    error, _ = refused(NONE, left, *ended, limits=Limits(attempts=1))
    assert (error.code, error.instance_id) == ("rent_refused", None)
    assert "bid too low" in str(error)


# --- Destroying and stopping.


def absent(*answers: tuple[int, Any], target: int | str = "my-style", **options: Any) -> tuple[Ensured, Replay]:
    with vast(*answers) as (account, replay):
        return ensure_absent(account, target, **options), replay


def test_an_instance_is_gone_when_two_looks_have_not_found_it_and_not_after_one(clock: Clock) -> None:
    ensured, replay = absent(page(RUNNING), FINE, NONE, page(RUNNING), FINE, NONE, NONE)
    assert ensured.changed
    assert ensured.instance is None
    assert [method for method, _ in asked(replay)] == ["GET", "DELETE", "GET", "GET", "DELETE", "GET", "GET"]
    assert clock.waits == [5, 5, 5, 5]
    assert [(attempt.code, attempt.sentence) for attempt in ensured.attempts] == [
        ("destroyed", f"Instance {ID} was destroyed."),
        ("asked_again", "vast.ai was asked 2 times until the list agreed."),
    ]


def test_where_one_request_was_enough_nothing_is_said_of_more(clock: Clock) -> None:
    ensured, _ = absent(page(RUNNING), FINE, NONE, NONE)
    assert [attempt.code for attempt in ensured.attempts] == ["destroyed"]
    assert clock.waits == [5, 5]


def test_a_shorter_poll_is_kept(clock: Clock) -> None:
    absent(page(RUNNING), FINE, NONE, NONE, waits=Waits(poll=1))
    assert clock.waits == [1, 1]


def test_where_there_is_none_nothing_is_asked_of_a_run_and_an_id_is_asked_for_all_the_same(clock: Clock) -> None:
    ensured, replay = absent(NONE)
    assert (ensured, len(replay.requests)) == (Ensured(None, changed=False), 1)
    ensured, replay = absent(NONE, GONE, target=ID)
    assert (ensured, asked(replay)[-1][0]) == (Ensured(None, changed=False), "DELETE")
    ensured, _ = absent(NONE, FINE, NONE, NONE, target=ID)
    assert ensured.changed
    assert [(attempt.code, attempt.sentence, attempt.instance_id) for attempt in ensured.attempts] == [
        ("destroyed", f"Instance {ID}, which was not listed, was destroyed.", ID)
    ]


@pytest.mark.parametrize("target", ["my-style", ID])
def test_a_dry_run_of_destroying_only_looks(clock: Clock, target: int | str) -> None:
    for answer, changed in ((page(RUNNING), True), (NONE, False)):
        ensured, replay = absent(answer, target=target, dry_run=True)
        assert ensured.changed is changed
        assert (ensured.instance is not None) is changed
        assert len(replay.requests) == 1


@pytest.mark.parametrize(("target", "dry_run"), [("my-style", False), (ID, True)])
def test_a_list_that_cannot_be_read_is_an_error_and_never_the_end(
    clock: Clock, target: int | str, dry_run: bool
) -> None:
    with pytest.raises(Unavailable):
        absent(FAILING, target=target, dry_run=dry_run)


def test_an_id_is_destroyed_though_the_list_is_away(clock: Clock) -> None:
    ensured, replay = absent(FAILING, FINE, FAILING, NONE, NONE, target=ID)
    assert ensured.changed
    assert [method for method, _ in asked(replay)] == ["GET", "DELETE", "GET", "GET", "GET"]
    # vast.ai knows no such instance, which is not yet proof.
    ensured, _ = absent(FAILING, GONE, NONE, NONE, target=ID)
    assert not ensured.changed


def test_one_that_stays_listed_is_an_error_after_three_minutes_with_its_price(clock: Clock) -> None:
    listed = page(RUNNING)
    with pytest.raises(DestroyUnverified) as raised:
        absent(listed, *[FINE, listed] * 100)
    assert clock.now == 180
    assert (raised.value.code, raised.value.instance_id) == ("destroy_unverified", ID)
    assert str(raised.value) == (f"After 180 s instance {ID} is still listed: instance {ID} costs $0.4100 an hour.")
    assert raised.value.hint == "Destroy it on https://cloud.vast.ai/instances/."


def test_one_that_cannot_be_seen_to_be_gone_is_not_called_gone(clock: Clock) -> None:
    with pytest.raises(DestroyUnverified) as raised:
        absent(FAILING, FINE, FAILING, target=ID)
    assert clock.now == 180
    assert f"instance {ID} was told to end, but not seen to be gone. vast.ai: oops" in str(raised.value)
    assert raised.value.instance_id == ID
    # One look without it and then silence proves nothing.
    with pytest.raises(DestroyUnverified):
        absent(page(RUNNING), FINE, NONE, FAILING)
    with pytest.raises(DestroyUnverified) as raised:
        absent(page(RUNNING), FAILING)
    assert raised.value.instance_id == ID


def test_the_two_looks_are_waited_for_though_the_time_is_over(clock: Clock) -> None:
    ensured, _ = absent(page(RUNNING), FINE, NONE, NONE, waits=Waits(vanish=0))
    assert ensured.changed


def test_all_of_a_run_are_destroyed_and_nobody_elses(clock: Clock) -> None:
    rows = [RUNNING | {"id": 2}, RUNNING | {"id": 1}, RUNNING | {"id": 3, "label": "fluxlora/other/512"}]
    ensured, replay = absent(page(*rows), FINE, FINE, page(rows[2]), page(rows[2]))
    assert asked(replay, "DELETE") == [("DELETE", "/api/v0/instances/1/"), ("DELETE", "/api/v0/instances/2/")]
    assert [attempt.instance_id for attempt in ensured.attempts] == [1, 2]


def test_one_that_appears_while_others_are_destroyed_is_destroyed_with_them(clock: Clock) -> None:
    late = RUNNING | {"id": ID + 1}
    ensured, replay = absent(page(RUNNING), FINE, page(late), FINE, NONE, NONE)
    assert [attempt.instance_id for attempt in ensured.attempts[:2]] == [ID, ID + 1]
    assert len(asked(replay, "DELETE")) == 2


def test_the_end_is_written_down_with_the_price_of_all_its_time(clock: Clock, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    row = RUNNING | {"start_date": BEGIN - 3600, "dph_total": 0.5}
    clock.now = -10.0
    ensured, _ = absent(page(row), FINE, NONE, NONE, journal=journal, target=ID, lost="outbid")
    failed, ended = journal.entries()
    assert (failed.event, failed.run, failed.instance_id) == (Event.FAILED, "my-style", ID)
    assert failed.facts == {
        "code": "outbid", "reason": "It was outbid.", "used": True, "machine_id": MACHINE, "host_id": 307092,
        "address": "203.0.113.42",
    }  # fmt: skip
    assert (ended.event, ended.run, ended.instance_id) == (Event.DESTROYED, "my-style", ID)
    assert ended.facts == {
        "spent_usd": pytest.approx(0.5), "rented_at": BEGIN - 3600, "price_per_hour": 0.5,
        "storage_usd_per_hour": 0.0208, "inet_down_usd_per_gb": 0.002, "inet_up_usd_per_gb": 0.002,
    }  # fmt: skip
    assert ensured.attempts[0].usd == pytest.approx(0.5)
    for odd in ({"start_date": None}, {"start_date": BEGIN + 9999}, {"dph_total": None}):
        assert absent(page(row | odd), FINE, NONE, NONE)[0].attempts[0].usd == 0
    assert len(journal.entries()) == 2


def test_a_run_of_another_prefix_is_another_run(clock: Clock) -> None:
    ensured, _ = absent(page(RUNNING), prefix="other")
    assert not ensured.changed


STOPPED = sample("instance_stopped_by_user")


def test_a_run_is_stopped_when_the_list_says_so(clock: Clock) -> None:
    stopping = RUNNING | {"intended_status": "stopped"}
    with vast(page(RUNNING), FINE, page(RUNNING), page(stopping), page(STOPPED)) as (account, replay):
        ensured = ensure_stopped(account, "my-style")
    assert ensured.changed
    assert ensured.instance is not None
    assert ensured.instance.intended_status == "stopped"
    assert clock.waits == [10, 10]
    assert [body for method, _, body in replay.requests if method == "PUT"] == [{"state": "stopped"}]


def test_a_stopped_run_is_left_alone_and_a_dry_run_only_says(clock: Clock) -> None:
    for row, options, changed in ((STOPPED, {}, False), (RUNNING, {"dry_run": True}, True)):
        with vast(page(row)) as (account, replay):
            ensured = ensure_stopped(account, "my-style", **options)
        assert ensured.changed is changed
        assert ensured.instance is not None
        assert ensured.instance.id == ID
        assert len(replay.requests) == 1


def test_a_run_that_is_not_there_cannot_be_stopped(clock: Clock) -> None:
    with vast(page(RUNNING)) as (account, _):
        with pytest.raises(NoSuchInstance) as raised:
            ensure_stopped(account, "other")
        with pytest.raises(NoSuchInstance):
            ensure_stopped(account, "my-style", prefix="other")
    assert str(raised.value) == "other has no instance."
    assert raised.value.hint == "There is nothing to stop."


def test_one_that_disappears_while_it_is_stopped_is_stopped(clock: Clock) -> None:
    with vast(page(RUNNING), FINE, NONE) as (account, _):
        assert ensure_stopped(account, "my-style") == Ensured(None, changed=True)


def test_one_that_will_not_stop_is_named_after_three_minutes_with_how_to_end_it(clock: Clock) -> None:
    with vast(page(RUNNING), FINE, page(RUNNING)) as (account, _), pytest.raises(InstanceFailed) as raised:
        ensure_stopped(account, "my-style")
    assert clock.now == 180
    assert (raised.value.code, raised.value.instance_id) == ("stop_timeout", ID)
    assert str(raised.value) == f"Instance {ID} still runs 180 s after it was stopped."
    assert "`fluxlora destroy my-style`" in raised.value.hint


# --- From an address to a login.


@pytest.fixture
def login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Login:
    """A way in, whose ssh complains and ends as the files of these names say."""
    (tmp_path / "ssh").write_text(f"#!/bin/sh\ncat {tmp_path}/complaint >&2\nexit $(cat {tmp_path}/status)\n")
    (tmp_path / "ssh").chmod(0o755)
    (tmp_path / "key").touch()
    (tmp_path / "complaint").write_text("banner\n")
    (tmp_path / "status").write_text("0")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return Login(tmp_path / "key", tmp_path / "hosts", connect_seconds=0.05)


@pytest.fixture
def port() -> Iterator[int]:
    """Where somebody greets as sshd does."""
    with greeting() as endpoint:
        yield endpoint.port


def at(port: int) -> tuple[int, Any]:
    mapped = {"22/tcp": [{"HostIp": "0.0.0.0", "HostPort": str(port)}]}
    return page(RUNNING | {"public_ipaddr": "127.0.0.1", "ports": mapped})


def enter(clock: Clock, login: Login, *answers: tuple[int, Any]) -> Any:
    with vast(*answers) as (account, _):
        arrival = Readiness(RENT, ID, WAITS)
        arrival.until_reachable(account)
        return arrival.until_let_in(account, login)


def kept_out(clock: Clock, login: Login, *answers: tuple[int, Any]) -> InstanceFailed:
    with pytest.raises(InstanceFailed) as raised:
        enter(clock, login, *answers)
    return raised.value


def test_an_instance_that_lets_in_is_there(clock: Clock, login: Login, port: int) -> None:
    assert enter(clock, login, at(port)).id == ID
    assert clock.waits == []


def test_a_key_that_arrives_late_is_waited_for(
    clock: Clock, login: Login, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "status").write_text("255")

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if clock.now == 20:
            (tmp_path / "status").write_text("0")

    monkeypatch.setattr("time.sleep", sleep)
    assert enter(clock, login, at(port)).id == ID
    assert clock.now == 20


@pytest.mark.parametrize(
    ("complaint", "code", "words"),
    [
        ("Permission denied (publickey).", "key_refused", "refuses the key at 127.0.0.1 port {port} after 30 s"),
        ("closed by remote host", "no_sshd", "has no sshd at 127.0.0.1 port {port} after 30 s"),
    ],
)
def test_one_that_keeps_refusing_has_failed_after_its_time(
    clock: Clock, login: Login, port: int, tmp_path: Path, complaint: str, code: str, words: str
) -> None:
    (tmp_path / "status").write_text("255")
    (tmp_path / "complaint").write_text(complaint)
    error = kept_out(clock, login, at(port))
    assert (error.code, clock.now) == (code, 30)
    assert str(error).endswith(f"{words.format(port=port)} ({complaint}).")


def test_one_without_words_is_said_without_them(clock: Clock, login: Login, port: int, tmp_path: Path) -> None:
    (tmp_path / "status").write_text("255")
    (tmp_path / "complaint").write_text("")
    assert str(kept_out(clock, login, at(port))).endswith(f"port {port} after 30 s.")


def test_another_host_key_is_not_waited_for(clock: Clock, login: Login, port: int, tmp_path: Path) -> None:
    (tmp_path / "status").write_text("255")
    (tmp_path / "complaint").write_text("Host key verification failed.")
    error = kept_out(clock, login, at(port))
    assert (error.code, clock.now) == ("host_key_changed", 0)
    assert f"shows another host key at 127.0.0.1 port {port} than before (Host key" in str(error)

    error, _ = refused(page(at(port)[1]["instances"][0]), login=login)
    assert error.hint.startswith(
        f"If it was recycled, remove {login.known_hosts_dir / str(ID)} and run it again. It was"
    )


def test_a_port_that_swallows_everything_is_given_up_sooner(clock: Clock, login: Login) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        error = kept_out(clock, login, at(port))
    assert (error.code, clock.now) == ("network_dead", 20)
    assert f"has not answered at 127.0.0.1 port {port} for 20 s (timed out)" in str(error)


def test_a_rented_one_is_entered_before_it_is_called_usable_and_a_key_that_is_missing_is_known_before(
    clock: Clock, login: Login, port: int, tmp_path: Path
) -> None:
    with vast(NONE, MADE, at(port)) as (account, _):
        assert ensure(account, login=login).changed
    (tmp_path / "key").unlink()
    with vast(NONE) as (account, replay):
        with pytest.raises(InputError):
            ensure(account, login=login)
        assert replay.requests == []
        assert ensure(account, login=login, dry_run=True).changed
