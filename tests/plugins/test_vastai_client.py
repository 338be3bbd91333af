"""The client against a stand-in vast.ai over HTTP, and against answers that vast.ai gives on bad days."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import VastServer
from fluxlora.errors import VastError
from fluxlora.money.audit import audit
from fluxlora.money.journal import Event, Journal, JournalError
from fluxlora.offers import Requirements, find
from fluxlora.rehearsal.vast.faults import FAULTS
from fluxlora.renting import Limits, ensure_instance
from fluxlora.renting.attempts import Attempts, Choice
from fluxlora.renting.destroy import ensure_absent, ensure_stopped
from fluxlora.renting.readiness import Waits
from fluxlora.vast.client import Rent, Vast
from fluxlora.vast.credentials import find_api_key
from fluxlora.vast.errors import BadApiKey, NoApiKey, Unavailable
from fluxlora.vast.labels import Label
from fluxlora.vast.records import Instance, Offer
from fluxlora.vast.transport import ATTEMPTS
from replay import DROPPED, replaying

DATA = Path(__file__).parents[1] / "data" / "vast"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPJUmxgsPBPU4vLlOCRfl6EvVYJzHEvCHeRzLfHTjbm7"
WAITS = Waits(boot=5, appear=0.5, lost=0.5, vanish=2, poll=0.05)
EMPTY = (200, {"success": True, "instances": [], "next_token": None})


def client(url: str, key: str = "k", **options: Any) -> Vast:
    return Vast(key, url, **{"first_wait_seconds": 0.01, "timeout_seconds": 5, **options})


def sample(name: str) -> Any:
    return json.loads((DATA / f"{name}.json").read_text())


def running() -> Any:
    """The row of an instance as `rent` asks for it."""
    return sample("instance_running") | {"disk_space": 220.4}


def rent(run: str = "my-style", *presets: str) -> Rent:
    return Rent(Label(run, presets or ("512", "lokr")), image="vastai/base-image", disk_gb=220)


def page(*rows: dict[str, Any], cursor: str | None = None) -> tuple[int, Any]:
    return 200, {"success": True, "instances": list(rows), "next_token": cursor}


@pytest.fixture
def account(vast: VastServer) -> Vast:
    return client(vast.url, vast.api_key)


@pytest.fixture
def offers(account: Vast) -> list[Choice]:
    return [Choice(each.offer) for each in find(account, Requirements()).fitting]


@pytest.fixture
def ensure(account: Vast, offers: list[Choice]) -> Callable[..., Any]:
    def call(*presets: str, **options: Any) -> Any:
        return ensure_instance(account, rent("my-style", *presets), offers, **{"waits": WAITS, **options})

    return call


def test_offers_are_ranked_and_the_others_have_reasons(account: Vast) -> None:
    ranking = find(account, Requirements())
    totals = [each.cost.total for each in ranking.fitting]
    assert len(totals) >= 3
    assert totals == sorted(totals)
    assert ranking.refused
    assert all(each.reason for each in ranking.refused)


def test_a_rented_instance_bears_the_label_runs_and_is_reached_directly(
    vast: VastServer, ensure: Callable[..., Any], offers: list[Choice]
) -> None:
    ensured = ensure()
    assert ensured.changed
    assert ensured.instance.label == "fluxlora/my-style/512+lokr"
    assert ensured.instance.status == "running"
    assert ensured.instance.endpoint().direct
    assert vast.rented_ids() == [ensured.instance.id]


def test_the_rent_says_what_the_design_says(vast: VastServer, ensure: Callable[..., Any]) -> None:
    with replaying(EMPTY, (200, sample("create_ok")), page(running())) as replay:
        ensure_instance(client(replay.url), rent(), [Choice(Offer(7))], waits=WAITS)
    method, path, body = replay.requests[1]
    assert (method, path) == ("PUT", "/api/v0/asks/7/")
    assert body["cancel_unavail"] is True
    assert "ssh_direc" in body["runtype"]
    assert (body["disk"], body["label"], body["price"]) == (220, "fluxlora/my-style/512+lokr", None)
    assert body["onstart"] == "touch ~/.no_auto_tmux"


def test_a_bid_is_sent_as_the_price() -> None:
    with replaying((200, sample("create_ok"))) as replay:
        client(replay.url).rent(7, replace(rent(), bid_per_hour=0.31))
    assert replay.requests[0][2]["price"] == 0.31


def test_a_second_call_finds_the_instance_and_rents_nothing(vast: VastServer, ensure: Callable[..., Any]) -> None:
    first, second = ensure(), ensure()
    assert not second.changed
    assert second.instance.id == first.instance.id
    assert vast.rented_ids() == [first.instance.id]


def test_a_rent_that_times_out_after_the_server_acted_is_adopted_not_repeated(
    vast: VastServer, ensure: Callable[..., Any]
) -> None:
    vast.fault("rent_then_504")
    assert [ensure().instance.id] == vast.rented_ids()


def test_a_dropped_rent_is_sent_once_and_looked_up(vast: VastServer) -> None:
    row = running() | {"label": "fluxlora/my-style/512+lokr"}
    with replaying(EMPTY, DROPPED, page(row)) as replay:
        ensured = ensure_instance(client(replay.url), rent(), [Choice(Offer(1)), Choice(Offer(2))], waits=WAITS)
    assert ensured.instance is not None
    assert ensured.instance.id == row["id"]
    assert sum(method == "PUT" for method, _, _ in replay.requests) == 1


def test_a_lost_rent_that_never_shows_up_is_an_error_and_not_a_second_rent() -> None:
    with replaying(EMPTY, DROPPED, EMPTY) as replay, pytest.raises(VastError) as raised:
        ensure_instance(client(replay.url), rent(), [Choice(Offer(1)), Choice(Offer(2))], waits=WAITS)
    assert raised.value.code == "rent_unclear"
    assert "fluxlora/my-style/512+lokr" in raised.value.hint
    assert sum(method == "PUT" for method, _, _ in replay.requests) == 1


def test_an_offer_that_is_gone_makes_room_for_the_next(vast: VastServer, ensure: Callable[..., Any]) -> None:
    vast.fault("offer_gone")
    ensured = ensure()
    assert ensured.attempts[0].code == "offer_gone"
    assert len(vast.rented_ids()) == 1


@pytest.mark.parametrize(
    ("status", "name"), [(400, "create_gone_400"), (404, "create_gone_400"), (410, "create_gone_410")]
)
def test_when_every_offer_is_gone_nothing_is_rented(status: int, name: str) -> None:
    with replaying(EMPTY, (status, sample(name))) as replay, pytest.raises(VastError) as raised:
        ensure_instance(client(replay.url), rent(), [Choice(Offer(1)), Choice(Offer(2))], waits=WAITS)
    assert raised.value.code == "no_offer"
    assert [path for method, path, _ in replay.requests if method == "PUT"] == ["/api/v0/asks/1/", "/api/v0/asks/2/"]


def test_a_rate_limited_rent_is_repeated_for_it_did_nothing() -> None:
    limited, created = (429, "API requests too frequent"), (200, sample("create_ok"))
    with replaying(EMPTY, limited, created, page(running())) as replay:
        ensured = ensure_instance(client(replay.url), rent(), [Choice(Offer(1))], waits=WAITS)
    assert ensured.instance is not None


def test_a_refused_rent_that_left_an_instance_behind_is_cleaned_up() -> None:
    refused = (200, {"success": False, "error": "invalid_price", "msg": "bid too low", "new_contract": 33402296})
    destroyed = (200, {"success": True})
    listed = page(sample("instance_outbid"))
    with replaying(EMPTY, refused, listed, destroyed, EMPTY) as replay, pytest.raises(VastError) as raised:
        ensure_instance(client(replay.url), rent(), [Choice(Offer(1))], waits=WAITS)
    assert ("DELETE", "/api/v0/instances/33402296/", {}) in replay.requests
    assert raised.value.code == "no_offer"
    assert "bid too low" in str(raised.value)
    assert raised.value.instance_id is None


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((400, sample("create_insufficient_credit_400")), "no_credit"),
        ((404, sample("auth_error_404")), "bad_api_key"),
        ((403, {"error": "forbidden", "msg": "no"}), "forbidden"),
    ],
)
def test_a_rent_that_cannot_succeed_is_tried_once(answer: Any, code: str) -> None:
    with replaying(EMPTY, answer) as replay, pytest.raises(VastError) as raised:
        ensure_instance(client(replay.url), rent(), [Choice(Offer(1)), Choice(Offer(2))], waits=WAITS)
    assert raised.value.code == code
    assert len(replay.requests) == 2


@pytest.mark.parametrize("fault", ["boot_fails", "stuck_loading"])
def test_an_instance_that_does_not_start_is_destroyed_and_the_error_names_it(
    vast: VastServer, ensure: Callable[..., Any], fault: str
) -> None:
    vast.fault(fault)
    with pytest.raises(VastError) as raised:
        ensure(waits=Waits(boot=1, appear=0.5, vanish=2, poll=0.05), limits=Limits(attempts=1))
    (rented,) = vast.rented_ids()
    assert str(rented) in str(raised.value)
    assert vast.instance(rented) is None
    assert raised.value.code in ("instance_failed", "boot_timeout")


def test_another_offer_is_tried_after_a_failure_only_when_more_rents_are_allowed(
    vast: VastServer, ensure: Callable[..., Any]
) -> None:
    vast.fault("boot_fails")
    with pytest.raises(VastError):
        ensure(limits=Limits(attempts=1))
    assert vast.ledger()["instances_left"] == 0
    vast.fault("boot_fails")
    ensured = ensure(limits=Limits(attempts=2))
    _, failed, running = vast.rented_ids()
    assert ensured.instance.id == running
    assert vast.instance(failed) is None


# A failed one may be billed for its image, 10 GB at two thousandths of a dollar or more.
@pytest.mark.parametrize("spare", [{"spare_usd": 0.01}, {"spare_hours": 0.0}], ids=["money", "time"])
def test_after_a_failure_nothing_is_rented_that_no_longer_fits_into_what_is_left(
    vast: VastServer, account: Vast, offers: list[Choice], spare: dict[str, float]
) -> None:
    vast.fault("boot_fails")
    first, *others = offers
    tight = [replace(each, **spare) for each in others]
    with pytest.raises(VastError, match="no longer fits into what is left"):
        ensure_instance(account, rent(), [first, *tight], waits=WAITS, limits=Limits(attempts=2))
    assert len(vast.rented_ids()) == 1
    assert vast.ledger()["instances_left"] == 0


@pytest.mark.parametrize("row", [{}, {"machine_id": None, "host_id": None}])
def test_the_machine_that_failed_is_not_tried_again(row: dict[str, Any]) -> None:
    created, gone = (200, sample("create_ok")), (404, sample("gone_404"))
    failed = page(sample("instance_oci_failure") | row)
    offers = [Choice(Offer(number, machine_id=machine)) for number, machine in ((1, 43973), (2, 43973), (3, 11))]
    ended = (failed, gone, EMPTY, EMPTY)
    with replaying(EMPTY, created, failed, *ended, EMPTY, created, page(running())) as replay:
        ensure_instance(client(replay.url), rent(), offers, waits=WAITS)
    assert [path for method, path, _ in replay.requests if method == "PUT"] == ["/api/v0/asks/1/", "/api/v0/asks/3/"]


def test_an_adopted_instance_that_fails_is_kept_and_its_price_said() -> None:
    row = sample("instance_exited_crash") | {"label": "fluxlora/my-style/512+lokr"}
    with replaying(page(row)) as replay, pytest.raises(VastError) as raised:
        ensure_instance(client(replay.url), rent(), [Choice(Offer(1))], waits=WAITS)
    assert raised.value.instance_id == row["id"]
    assert "$0.41" in raised.value.hint
    assert "destroy" in raised.value.hint
    assert {method for method, _, _ in replay.requests} == {"GET"}


def test_an_adopted_instance_that_is_ended_elsewhere_meanwhile_is_not_called_kept() -> None:
    row = running() | {"label": "fluxlora/my-style/512+lokr"}
    with replaying(page(row), EMPTY) as replay, pytest.raises(VastError) as raised:
        ensure_instance(client(replay.url), rent(), [Choice(Offer(1))], waits=WAITS)
    assert (raised.value.code, raised.value.instance_id) == ("instance_gone", None)
    assert "it costs nothing" in raised.value.hint


@pytest.mark.parametrize("public_key", ["", KEY])
def test_what_is_there_is_named_with_the_command_that_ends_it_when_vast_ai_fails_then(public_key: str) -> None:
    row = running() | {"label": "fluxlora/my-style/512+lokr"}
    waits = replace(WAITS, boot=0.1, ssh=0.1)
    with replaying(page(row), (500, "Internal Server Error")) as replay, pytest.raises(VastError) as raised:
        ensure_instance(client(replay.url), rent(), [Choice(Offer(1))], waits=waits, public_ssh_key=public_key)
    assert (raised.value.code, raised.value.instance_id) == ("unavailable", row["id"])
    assert f"Instance {row['id']} costs money; end it with `fluxlora destroy my-style`." in raised.value.hint


def test_a_running_instance_without_direct_ports_is_reached_through_the_proxy_after_a_while() -> None:
    row = sample("instance_running_no_ports_yet") | {"label": "fluxlora/my-style/512+lokr"}
    with replaying(page(row)) as replay:
        ensured = ensure_instance(client(replay.url), rent(), [], waits=WAITS)
    assert ensured.instance is not None
    endpoint = ensured.instance.endpoint()
    assert endpoint
    assert not endpoint.direct
    assert len(replay.requests) > 1


def test_an_instance_that_is_outbid_before_it_runs_is_replaced_on_another_machine() -> None:
    stopped = sample("instance_outbid") | {"disk_space": 220.4, "machine_id": 10}
    choices = [Choice(Offer(number, machine_id=9 + number), bid_per_hour=0.5) for number in (1, 2)]
    created, ended = (200, sample("create_ok")), (page(stopped), (404, sample("gone_404")), EMPTY, EMPTY)
    with replaying(EMPTY, created, page(stopped), *ended, EMPTY, created, page(running())) as replay:
        ensured = ensure_instance(client(replay.url), rent(), choices, waits=WAITS)
    assert [attempt.code for attempt in ensured.attempts] == ["rented", "outbid", "rented"]


def test_an_instance_may_be_a_little_dearer_than_its_offer_and_never_above_the_limit(
    vast: VastServer, ensure: Callable[..., Any], offers: list[Choice]
) -> None:
    price = offers[0].offer.price_per_hour
    assert price
    assert ensure(limits=Limits(attempts=1, price_per_hour=price * 1.01)).attempts[-1].code == "rented"
    vast.call("POST", "/rehearsal/reset")
    with pytest.raises(VastError) as raised:
        ensure_instance(
            client(vast.url, vast.api_key), rent(), [Choice(replace(offers[1].offer, price_per_hour=None))],
            limits=Limits(attempts=1, price_per_hour=0.01), waits=WAITS,
        )  # fmt: skip
    assert raised.value.code == "price_changed"
    assert vast.ledger()["instances_left"] == 0


def test_two_computers_that_rent_at_once_end_up_with_one_instance(vast: VastServer, offers: list[Choice]) -> None:
    both = threading.Barrier(2)

    def computer(choice: Choice) -> int | None:
        account = client(vast.url, vast.api_key)
        account.instances()
        both.wait()
        ensured = ensure_instance(account, rent(), [choice, *offers[2:]], waits=WAITS)
        return ensured.instance and ensured.instance.id

    with ThreadPoolExecutor(2) as computers:
        first, second = computers.map(computer, offers[:2])
    left = [each["id"] for each in vast.ledger()["instances"] if not each["closed"]]
    assert [first] == [second] == left


# Not those that end every call at its first question.
ACTING = sorted(set(FAULTS) - {"search_quota", "auth_401", "auth_404", "forbidden_403"})


@pytest.mark.parametrize("number", range(12))
def test_whatever_faults_meet_one_instance_at_most_is_left_and_it_is_named(
    vast: VastServer, offers: list[Choice], number: int
) -> None:
    chance = random.Random(number)
    for name in chance.sample(ACTING, 4):
        vast.fault(name, times=chance.choice((1, 1, 2, 5)))
    account = client(vast.url, vast.api_key, timeout_seconds=0.5)
    waits = Waits(boot=0.5, appear=0.3, lost=1, vanish=3, poll=0.02)
    try:
        named = ensure_instance(account, rent(), offers, waits=waits).instance
        instance_id = named and named.id
    except VastError as error:
        instance_id = error.instance_id
    vast.call("DELETE", "/rehearsal/faults")
    left = [each["id"] for each in vast.ledger()["instances"] if not each["closed"]]
    assert left == ([instance_id] if left else []), f"{instance_id} is named"


def test_a_run_with_other_presets_is_refused(vast: VastServer, ensure: Callable[..., Any]) -> None:
    ensure("512")
    with pytest.raises(VastError) as raised:
        ensure("1024")
    assert raised.value.code == "presets_differ"
    assert len(vast.rented_ids()) == 1


def test_an_instance_whose_rent_was_never_answered_is_remembered_once_it_is_found(
    vast: VastServer, ensure: Callable[..., Any], tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    row = vast.rent_running(label="fluxlora/my-style/512+lokr", disk=220)
    for _ in range(2):
        ensure(attempts=Attempts("my-style", journal))
    (entry,) = journal.entries("my-style")
    assert (entry.event, entry.instance_id, entry.at) == (Event.RENTED, row["id"], row["start_date"])
    assert entry.facts["price_per_hour"] == row["dph_total"]


@pytest.mark.parametrize("fault", ["rent_refused_but_made", "rent_made_twice", "boot_fails"])
def test_what_was_ended_on_the_way_is_no_riddle_to_the_audit(
    vast: VastServer, account: Vast, ensure: Callable[..., Any], tmp_path: Path, fault: str
) -> None:
    journal, now = Journal(tmp_path / "journal.jsonl"), time.time()
    vast.fault(fault)
    ensure(attempts=Attempts("my-style", journal))
    charges = account.charges(now - 86_400, now + 86_400)
    assert len(charges) == len(vast.rented_ids()) == 2
    assert audit(account.instances(), journal.entries(), charges, now=now, lease_hours=24).findings == ()


def test_a_journal_that_cannot_be_written_keeps_from_renting_and_not_from_what_is_there(
    vast: VastServer, ensure: Callable[..., Any], tmp_path: Path
) -> None:
    # A folder stands where the file should.
    with pytest.raises(JournalError):
        ensure(attempts=Attempts("my-style", Journal(tmp_path)))
    assert vast.rented_ids() == []

    ensure()
    found = ensure(attempts=Attempts("my-style", Journal(tmp_path)))
    assert [attempt.code for attempt in found.attempts] == ["found", "not_remembered"]


def test_what_ends_an_instance_of_another_prefix_is_not_the_command_that_would_not_find_it(
    account: Vast, offers: list[Choice]
) -> None:
    first, other = (replace(rent(), label=Label("my-style", (preset,), "example")) for preset in ("512", "1024"))
    ensured = ensure_instance(account, first, offers, waits=WAITS)
    with pytest.raises(VastError) as raised:
        ensure_instance(account, other, offers, waits=WAITS)
    assert f"`vastai destroy instance {ensured.instance and ensured.instance.id}` ends it." in raised.value.hint
    assert "fluxlora destroy" not in raised.value.hint


def test_two_instances_of_a_run_are_said_and_no_third_is_rented(vast: VastServer, ensure: Callable[..., Any]) -> None:
    for _ in range(2):
        vast.rent_running(label="fluxlora/my-style/512+lokr")
    with pytest.raises(VastError) as raised:
        ensure()
    assert raised.value.code == "duplicate_instances"
    assert len(vast.rented_ids()) == 2


def test_a_stopped_instance_is_started_again(vast: VastServer, account: Vast, ensure: Callable[..., Any]) -> None:
    rented = ensure().instance.id
    assert ensure_stopped(account, "my-style", waits=WAITS).changed
    assert not ensure_stopped(account, "my-style", waits=WAITS).changed
    ensured = ensure()
    assert ensured.changed
    assert (ensured.instance.id, ensured.instance.status) == (rented, "running")


def test_a_start_that_is_only_queued_is_cancelled() -> None:
    queued, fine = (200, sample("start_queued_200")), (200, {"success": True})
    with replaying(queued, fine) as replay, pytest.raises(VastError) as raised:
        client(replay.url).set_state(5, "running")
    assert [body for _, _, body in replay.requests] == [{"state": "running"}, {"state": "stopped"}]
    assert raised.value.instance_id == 5


def test_a_dry_run_says_what_would_change_and_changes_nothing(vast: VastServer, ensure: Callable[..., Any]) -> None:
    assert ensure(dry_run=True).changed
    assert vast.rented_ids() == []


def test_a_key_is_let_into_the_instance_once(vast: VastServer, account: Vast, ensure: Callable[..., Any]) -> None:
    rented = ensure().instance.id
    assert not account.has_ssh_key(rented, KEY)
    assert ensure(public_ssh_key=f"{KEY} anna").changed
    assert account.has_ssh_key(rented, KEY)
    assert not ensure(public_ssh_key=f"{KEY} anna").changed


def test_account_keys_are_added_found_without_their_comment_and_removed(account: Vast) -> None:
    assert account.ssh_keys() == {}
    account.add_ssh_key(f"{KEY} anna@laptop\n")
    (key_id,) = account.ssh_keys().values()
    assert set(account.ssh_keys()) == {KEY}
    account.remove_ssh_key(key_id)
    assert account.ssh_keys() == {}


def test_a_key_that_is_refused_with_status_200_is_not_called_registered() -> None:
    refused = (200, {"success": False, "error": "invalid_args", "msg": "This key is too short."})
    with replaying(refused, refused, refused) as replay:
        vast = client(replay.url)
        for call in (
            lambda: vast.add_ssh_key(KEY),
            lambda: vast.attach_ssh_key(7, KEY),
            lambda: vast.remove_ssh_key(7),
        ):
            with pytest.raises(VastError, match="too short"):
                call()


def test_a_run_is_destroyed_and_gone_from_the_list(vast: VastServer, account: Vast, ensure: Callable[..., Any]) -> None:
    other = vast.rent_running(label="fluxlora/other/512")["id"]
    ensure()
    assert ensure_absent(account, "my-style", waits=WAITS).changed
    assert [instance.id for instance in account.instances()] == [other]
    assert not ensure_absent(account, "my-style", waits=WAITS).changed


def test_an_instance_is_destroyed_by_its_id(vast: VastServer, account: Vast) -> None:
    rented = vast.rent_running()["id"]
    assert ensure_absent(account, rented, waits=WAITS).changed
    assert not ensure_absent(account, rented, waits=WAITS).changed


def test_what_is_known_by_its_id_is_destroyed_though_the_list_is_away(vast: VastServer, account: Vast) -> None:
    instance_id = vast.rent_running(label="fluxlora/my-style/512")["id"]
    vast.fault("list_500", times=ATTEMPTS)
    ensured = ensure_absent(account, instance_id, waits=WAITS)
    assert (ensured.changed, vast.ledger()["instances_left"]) == (True, 0)


def test_an_id_that_nobody_knows_is_not_called_gone_while_the_list_is_away(vast: VastServer, account: Vast) -> None:
    vast.fault("list_500", times=999)
    with pytest.raises(VastError) as raised:
        ensure_absent(account, 7, waits=replace(WAITS, vanish=0.2))
    assert raised.value.code == "destroy_unverified"


def test_a_destroy_that_needs_two_is_repeated(vast: VastServer, account: Vast) -> None:
    rented = vast.rent_running()["id"]
    vast.fault("destroy_needs_two")
    assert len(ensure_absent(account, rented, waits=WAITS).attempts) == 2
    assert vast.instance(rented) is None


def test_an_instance_that_stays_listed_is_an_error_with_its_price() -> None:
    listed = page(sample("instance_running"))
    answers = [listed, *[(200, {"success": True}), listed] * 100]
    with replaying(*answers) as replay, pytest.raises(VastError) as raised:
        ensure_absent(client(replay.url), 33402296, waits=Waits(vanish=0.3, poll=0.05))
    assert raised.value.code == "destroy_unverified"
    assert raised.value.instance_id == 33402296
    assert "$0.41" in str(raised.value)


def test_the_list_is_read_over_all_pages(vast: VastServer, account: Vast) -> None:
    asked = [offer["id"] for offer in vast.offers(num_gpus={"eq": 1})][:27]
    rented = [vast.rent(offer_id)["new_contract"] for offer_id in asked]
    assert len(rented) == 27
    assert [instance.id for instance in account.instances()] == sorted(rented)


def test_a_repeated_cursor_ends_in_an_error() -> None:
    with replaying(page({"id": 1}, cursor="same")) as replay, pytest.raises(VastError) as raised:
        client(replay.url).instances()
    assert raised.value.code == "unavailable"
    assert len(replay.requests) == 2


@pytest.mark.parametrize(
    "answer",
    [
        (200, "<html>maintenance</html>"),
        (502, "<html>Bad gateway</html>"),
        (500, {"error": "oops", "msg": "oops"}),
        (200, {"success": True}),
        (200, {"success": False, "error": "x", "msg": "y", "instances": []}),
        (200, {"instances": None}),
        (200, []),
        (410, sample("v0_list_410")),
        (404, sample("auth_error_404")),
        (404, "<html>not found</html>"),
        DROPPED,
    ],
)
def test_a_list_that_fails_is_an_error_and_never_empty(answer: Any) -> None:
    with replaying(answer) as replay, pytest.raises(VastError):
        client(replay.url, attempts=2).instances()


def test_a_list_that_fails_once_is_asked_again(vast: VastServer, account: Vast) -> None:
    rented = vast.rent_running()["id"]
    vast.fault("list_500", times=2)
    assert [instance.id for instance in account.instances()] == [rented]


def test_a_failing_list_rents_nothing(vast: VastServer, ensure: Callable[..., Any]) -> None:
    vast.fault("list_500", times=50)
    with pytest.raises(VastError):
        ensure()
    vast.fault("list_500", times=0)
    assert vast.rented_ids() == []


def test_odd_rows_do_not_break_the_others() -> None:
    odd = [
        {"id": 1},
        sample("instance_running") | {"id": 2, "start_date": None, "extra_env": None, "label": None, "ports": None},
        {"id": None},
        "row",
        sample("instance_running") | {"id": 3, "actual_status": "levitating"},
    ]
    with replaying(page(*odd)) as replay:
        account = client(replay.url)
        assert [instance.id for instance in account.instances()] == [1, 2, 3]
    assert len(account.warnings) == 2


def test_a_single_null_record_is_not_asked_for_proof(vast: VastServer, account: Vast) -> None:
    vast.fault("slow_to_show")
    rented = vast.rent()["new_contract"]
    assert vast.instance(rented) is None
    assert isinstance(account.instance(rented), Instance)


def test_a_wrong_key_says_what_to_check(vast: VastServer) -> None:
    with pytest.raises(VastError) as raised:
        client(vast.url, "wrong").user()
    assert raised.value.code == "bad_api_key"
    assert "VAST_API_KEY" in raised.value.hint


@pytest.mark.parametrize("key", ["…", "two words", "two\nlines", "\udce9" * 9, "caf\u00e9"])
def test_a_key_that_no_request_can_carry_is_refused_without_being_repeated(key: str) -> None:
    with pytest.raises(BadApiKey) as caught:
        Vast(key, "http://127.0.0.1:1")
    assert key not in str(caught.value)
    assert "export VAST_API_KEY=" in caught.value.hint


def test_space_around_a_key_does_not_count_and_space_alone_is_no_key(vast: VastServer, tmp_path: Path) -> None:
    assert Vast(f" {vast.api_key}\n", vast.url).instances() == []
    with pytest.raises(NoApiKey):
        find_api_key({"VAST_API_KEY": " ", "XDG_CONFIG_HOME": str(tmp_path)})


@pytest.mark.parametrize("url", ["http://[::1", "nonsense", "http://127.0.0.1:99999"])
def test_an_address_that_is_none_is_told(url: str) -> None:
    with pytest.raises(Unavailable) as caught:
        Vast("k", url, attempts=1).instances()
    assert "VAST_URL" in caught.value.hint


def test_a_server_that_is_not_there_is_an_error_in_bounded_time() -> None:
    with pytest.raises(VastError) as raised:
        client("http://127.0.0.1:9", attempts=2).user()
    assert raised.value.code == "unavailable"


def test_importing_the_client_does_not_import_vast_ais_own() -> None:
    code = "import sys, fluxlora.vast.client, fluxlora.renting, fluxlora.offers; sys.exit('vastai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == 0


def test_without_any_key_the_error_says_where_to_put_one(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    code = "from fluxlora.vast.client import Vast; Vast()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert "NoApiKey: No vast.ai API key is configured." in done.stderr


def charged(number: int, usd: float) -> dict[str, Any]:
    metadata = {"label": f"fluxlora/run{number}/"}
    return {
        "start": 1,
        "end": 2,
        "type": "instance",
        "source": f"instance-{number}",
        "amount": usd,
        "metadata": metadata,
    }


def bill(*rows: Any, cursor: str | None = None) -> tuple[int, Any]:
    return 200, {"success": True, "results": list(rows), "next_token": cursor}


def test_charges_are_read_over_all_pages_and_other_rows_are_passed_over() -> None:
    other = {"type": "volume", "source": "volume-9", "amount": 1.0, "metadata": {}}
    with replaying(bill(charged(7, 0.5), other, cursor="a"), bill(charged(8, 1.5), "odd")) as server:
        found = client(server.url).charges(0, 100)
    assert [(each.instance_id, each.label, each.usd) for each in found] == [
        (7, "fluxlora/run7/", 0.5),
        (8, "fluxlora/run8/", 1.5),
    ]


@pytest.mark.parametrize("answers", [[bill(cursor="a")], [(200, {"success": False})], [(200, {"results": None})]])
def test_charges_that_cannot_be_read_are_never_none(answers: list[tuple[int, Any]]) -> None:
    with replaying(*answers) as server, pytest.raises(VastError) as raised:
        client(server.url, attempts=2).charges(0, 100)
    assert raised.value.code == "unavailable"


def test_the_charges_of_an_instance_are_those_of_the_ledger(vast: VastServer, account: Vast) -> None:
    number = vast.rent_running(label="fluxlora/my-style/512")["id"]
    account.destroy(number)
    (found,) = account.charges(time.time() - 3600, time.time())
    assert (found.instance_id, found.label) == (number, "fluxlora/my-style/512")
    assert found.usd == pytest.approx(vast.ledger()["total_usd"], abs=0.001)
