"""The stand-in vast.ai behaves as the service does, where that is known to differ from what one would expect."""

from __future__ import annotations

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from conftest import VastServer

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEmExample0000000000000000000000000000000000 me"


def test_unknown_key_is_answered_404_auth_error(vast: VastServer) -> None:
    reply = vast.call("GET", "/api/v1/instances/", key="wrong")
    assert (reply.status_code, reply.json()["error"]) == (404, "auth_error")


def test_search_needs_no_key_and_ignores_a_wrong_one(vast: VastServer) -> None:
    assert vast.call("POST", "/api/v0/bundles/", {}, key="wrong").json()["offers"]


def test_slashes_in_paths_do_not_matter(vast: VastServer) -> None:
    replies = [vast.call("GET", path) for path in ("/api/v0/users/current", "/api/v0/users/current/", "//api/v0/ssh")]
    assert [reply.status_code for reply in replies] == [200, 200, 404]
    assert replies[2].json() == []


def test_body_that_is_no_json_is_refused(vast: VastServer) -> None:
    reply = requests.post(vast.url + "/api/v0/bundles/", data="{", timeout=10)
    assert (reply.status_code, reply.json()["error"]) == (400, "invalid_request")


# Offers


def test_search_compares_numbers_that_come_as_strings(vast: VastServer) -> None:
    offers = vast.offers(cuda_max_good={"gte": "12.8"}, gpu_ram={"gte": 24000.0}, num_gpus={"eq": "1"})
    assert offers
    assert {offer["cuda_max_good"] for offer in offers} <= {12.8, 13.0}
    assert all(offer["gpu_ram"] >= 24000 and offer["num_gpus"] == 1 for offer in offers)


def test_search_finds_places_by_country(vast: VastServer) -> None:
    places = {offer["geolocation"][-2:] for offer in vast.offers(geolocation={"in": ["US", "CA"]})}
    assert places == {"US", "CA"}


def test_search_answers_at_most_64_offers(vast: VastServer) -> None:
    assert len(vast.offers(limit=1000)) == 64


def test_search_sorts_by_several_columns(vast: VastServer) -> None:
    offers = vast.offers(order=[["gpu_name", "desc"], ["dph_total", "asc"]])
    by_price = sorted(offers, key=lambda offer: offer["dph_total"])
    assert offers == sorted(by_price, key=lambda offer: offer["gpu_name"], reverse=True)


def test_search_matches_no_id_but_the_ask_contract_id(vast: VastServer) -> None:
    wanted = vast.offers()[0]["id"]
    assert vast.offers(id={"eq": wanted}) == []
    assert [offer["id"] for offer in vast.offers(ask_contract_id={"eq": wanted})] == [wanted]


def test_price_holds_the_storage_that_is_asked_for(vast: VastServer) -> None:
    small, large = (vast.offers(allocated_storage=gb, order=[["id", "asc"]])[0] for gb in (10, 220))
    assert large["dph_total"] - small["dph_total"] == pytest.approx(small["storage_cost"] * 210 / 720)


def test_bids_are_priced_at_the_least_bid(vast: VastServer) -> None:
    offer = vast.offers(type="bid", allocated_storage=0)[0]
    assert offer["is_bid"]
    assert offer["dph_total"] == offer["min_bid"]


def test_new_search_route_takes_the_query_under_q(vast: VastServer) -> None:
    query = {"select_cols": ["*"], "q": {"gpu_name": {"eq": "H200"}, "limit": 3}}
    offers = vast.call("PUT", "/api/v0/search/asks/", query).json()["offers"]
    assert {offer["gpu_name"] for offer in offers} == {"H200"}


# Renting


def test_rented_offer_is_gone_and_its_machine_has_less_to_offer(vast: VastServer) -> None:
    before = vast.offers(gpu_name={"eq": "RTX 5090"}, num_gpus={"eq": 8})[0]
    vast.rent(before["id"], disk=100)
    left = vast.offers(machine_id={"eq": before["machine_id"]})
    assert left == []


def test_part_of_a_machine_leaves_the_rest_of_it(vast: VastServer) -> None:
    whole = vast.offers(gpu_name={"eq": "RTX 5090"}, num_gpus={"eq": 8})[0]
    part = vast.offers(machine_id={"eq": whole["machine_id"]}, num_gpus={"eq": 4})[0]
    vast.rent(part["id"], disk=100)
    left = vast.offers(machine_id={"eq": whole["machine_id"]})
    assert {offer["num_gpus"] for offer in left} == {1, 2, 4}
    assert part["id"] not in {offer["id"] for offer in left}
    assert {round(offer["disk_space"]) for offer in left} == {round(whole["disk_space"] - 100)}


def test_destroyed_instance_gives_its_machine_back(vast: VastServer) -> None:
    before = vast.offers(gpu_name={"eq": "H200"}, num_gpus={"eq": 8})[0]
    instance_id = vast.rent(before["id"])["new_contract"]
    vast.call("DELETE", f"/api/v0/instances/{instance_id}/", {})
    after = vast.offers(machine_id={"eq": before["machine_id"]}, num_gpus={"eq": 8})
    assert [offer["disk_space"] for offer in after] == [before["disk_space"]]


@pytest.mark.parametrize(
    ("cancel_unavail", "status", "error"), [(False, 400, "invalid_args"), (True, 410, "no_such_ask")]
)
def test_let_offer_is_refused(vast: VastServer, cancel_unavail: bool, status: int, error: str) -> None:
    offer_id = vast.offers()[0]["id"]
    vast.rent(offer_id)
    wanted = {"image": "x", "cancel_unavail": cancel_unavail}
    reply = vast.call("PUT", f"/api/v0/asks/{offer_id}/", wanted)
    assert (reply.status_code, reply.json()["error"], reply.json()["ask_id"]) == (status, error, offer_id)
    assert "no_such_ask" in reply.json()["msg"]
    assert len(vast.rented_ids()) == 1


def test_offer_that_two_want_at_once_goes_to_one(vast: VastServer) -> None:
    offer_id = vast.offers()[0]["id"]
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: vast.rent(offer_id), range(8)))
    assert sum("new_contract" in reply for reply in replies) == 1


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ({"image": ""}, "invalid_args"),
        ({"env": "-e A=b"}, "invalid_args"),
        ({"disk": 1e9}, "invalid_args"),
        ({"disk": "much"}, "invalid_args"),
        ({"price": 0}, "invalid_price"),
    ],
)
def test_rent_that_makes_no_sense_is_refused(vast: VastServer, wanted: dict[str, Any], error: str) -> None:
    assert vast.rent(**wanted)["error"] == error
    assert vast.rented_ids() == []


def test_bid_below_the_least_says_no_and_leaves_a_stopped_instance(vast: VastServer) -> None:
    reply = vast.rent(price=0.001)
    assert not reply["success"]
    assert vast.instance(reply["new_contract"])["actual_status"] == "stopped"


# Instances


def test_states_come_in_their_order(vast: VastServer) -> None:
    instance_id = vast.rent()["new_contract"]
    vast.until(instance_id, lambda row: row["ports"])
    url = vast.call("PUT", f"/api/v0/instances/request_logs/{instance_id}/", {}).json()["result_url"]
    states = [line.split()[1].rstrip(":") for line in requests.get(url, timeout=10).text.splitlines()]
    assert list(dict.fromkeys(states)) == ["created", "loading", "running"]


def test_new_instance_is_in_the_list_while_the_look_at_it_shows_null(vast: VastServer) -> None:
    vast.fault("slow_to_show")
    instance_id = vast.rent()["new_contract"]
    row = vast.call("GET", "/api/v1/instances/").json()["instances"][0]
    assert vast.instance(instance_id) is None
    assert (row["id"], row["actual_status"], row["ports"]) == (instance_id, None, None)


def test_address_ends_in_a_line_break_and_ports_are_strings(vast: VastServer) -> None:
    row = vast.rent_running()
    assert row["public_ipaddr"] == "127.0.0.1\n"
    assert [each["HostIp"] for each in row["ports"]["22/tcp"]] == ["0.0.0.0", "::"]
    assert row["ports"]["22/tcp"][0]["HostPort"] == str(row["ssh_port"])


def test_proxy_port_of_a_jupyter_instance_is_one_too_low(vast: VastServer) -> None:
    row = vast.rent_running(runtype="jupyter_direc ssh_direc ssh_proxy")
    assert int(row["ports"]["22/tcp"][0]["HostPort"]) == row["ssh_port"] + 1


@pytest.mark.parametrize("wanted", [{"runtype": "ssh_proxy"}, {"direct_port_count": 0}], ids=["asked", "machine"])
def test_instance_without_direct_ssh_publishes_no_port(vast: VastServer, wanted: dict[str, Any]) -> None:
    offer = vast.offers(direct_port_count={"eq" if "direct_port_count" in wanted else "gt": 0})[0]
    instance_id = vast.rent(offer["id"], runtype=wanted.get("runtype", "ssh_direc ssh_proxy"))["new_contract"]
    row = vast.until(instance_id, lambda row: row["actual_status"] == "running")
    assert row["ports"] is None


def test_stop_takes_the_ports_and_start_brings_them_back(vast: VastServer) -> None:
    instance_id = vast.rent_running()["id"]
    vast.call("PUT", f"/api/v0/instances/{instance_id}/", {"state": "stopped"})
    stopped = vast.until(instance_id, lambda row: row["actual_status"] == "exited")
    vast.call("PUT", f"/api/v0/instances/{instance_id}/", {"state": "running"})
    started = vast.until(instance_id, lambda row: row["ports"])
    assert (stopped["ports"], stopped["cur_state"], stopped["intended_status"]) == (None, "stopped", "stopped")
    assert (started["actual_status"], started["intended_status"]) == ("running", "running")


@pytest.mark.parametrize("verb", ["reboot", "recycle"])
def test_instance_runs_again_after(vast: VastServer, verb: str) -> None:
    instance_id = vast.rent_running()["id"]
    vast.call("PUT", f"/api/v0/instances/{verb}/{instance_id}/", {})
    row = vast.until(instance_id, lambda row: row["actual_status"] == "running" and row["ports"])
    assert row["id"] == instance_id


def test_destroyed_instance_is_null_alone_absent_from_the_list_and_404_when_destroyed_again(vast: VastServer) -> None:
    instance_id = vast.rent_running()["id"]
    first, second = (vast.call("DELETE", f"/api/v0/instances/{instance_id}/", {}) for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 404)
    assert vast.instance(instance_id) is None
    assert vast.call("GET", "/api/v1/instances/").json()["total_instances"] == 0


def test_old_list_is_gone(vast: VastServer) -> None:
    reply = vast.call("GET", "/api/v0/instances/", owner="me")
    assert (reply.status_code, reply.json()["error"]) == (410, "deprecated_endpoint")


def test_many_are_stopped_and_destroyed_by_one_request(vast: VastServer) -> None:
    ids = [vast.rent_running()["id"] for _ in range(2)]
    vast.call("PUT", "/api/v0/instances/", {"state": "stopped", "ids": ids})
    stopped = [vast.until(each, lambda row: row["actual_status"] == "exited")["id"] for each in ids]
    vast.call("DELETE", "/api/v0/instances/", {"instance_ids": ids})
    assert stopped == ids
    assert vast.ledger()["instances_left"] == 0


def test_bid_changes_what_the_gpu_costs(vast: VastServer) -> None:
    row = vast.rent_running()
    vast.call("PUT", f"/api/v0/instances/bid_price/{row['id']}/", {"client_id": "me", "price": 0.77})
    assert vast.instance(row["id"])["dph_base"] == 0.77


def test_boot_that_fails_is_told_in_the_status(vast: VastServer) -> None:
    vast.fault("boot_fails")
    row = vast.until(vast.rent()["new_contract"], lambda row: row["actual_status"] == "exited")
    assert "OCI runtime create failed" in row["status_msg"]


# The list


def test_list_comes_in_pages_of_25_and_a_cursor_leads_through_all(vast: VastServer) -> None:
    ids = [vast.rent(label=f"many/{number}")["new_contract"] for number in range(27)]
    first = vast.call("GET", "/api/v1/instances/", limit=100).json()
    second = vast.call("GET", "/api/v1/instances/", after_token=first["next_token"]).json()
    assert [row["id"] for page in (first, second) for row in page["instances"]] == ids
    assert (first["instances_found"], first["total_instances"], second["next_token"]) == (25, 27, None)


def test_list_is_filtered_sorted_cut_to_columns_and_counted_by_label(vast: VastServer) -> None:
    labels = ["a", "b", None, "b"]
    ids = [vast.rent(label=label)["new_contract"] for label in labels]
    page = vast.call(
        "GET",
        "/api/v1/instances/",
        select_filters=json.dumps({"label": {"in": ["b", None]}}),
        order_by=json.dumps([{"col": "id", "dir": "desc"}]),
        select_cols=json.dumps(["id", "label", "nonsense"]),
    ).json()
    assert [row["id"] for row in page["instances"]] == [ids[3], ids[2], ids[1]]
    assert page["instances"][0] == {"id": ids[3], "label": "b", "nonsense": None}
    assert page["label_counts"] == {"b": 2, "": 1}


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"select_filters": '{"dph_total": {"lt": 1}}'}, "invalid_request"),
        ({"order_by": '[{"col": "nonsense"}]'}, "invalid_request"),
        ({"select_filters": "{"}, "invalid_request"),
        ({"after_token": "nonsense"}, "invalid_token"),
    ],
)
def test_list_refuses_what_it_cannot_do(vast: VastServer, query: dict[str, str], error: str) -> None:
    vast.rent()
    reply = vast.call("GET", "/api/v1/instances/", **query)
    assert (reply.status_code, reply.json()["error"]) == (400, error)


# Keys


def test_account_has_no_key_list_until_it_has_a_key(vast: VastServer) -> None:
    assert vast.call("GET", "/api/v0/ssh/").status_code == 404
    vast.call("POST", "/api/v0/ssh/", {"ssh_key": KEY})
    assert [key["key"] for key in vast.call("GET", "/api/v0/ssh/").json()] == [KEY]


def test_instance_has_the_keys_the_account_had_when_it_was_rented(vast: VastServer) -> None:
    vast.call("POST", "/api/v0/ssh/", {"ssh_key": KEY})
    instance_id = vast.rent()["new_contract"]
    vast.call("POST", "/api/v0/ssh/", {"ssh_key": KEY + "-later"})
    keys = json.loads(vast.call("GET", f"/api/v0/instances/{instance_id}/ssh/").json()["ssh_keys"])
    assert [key["public_key"] for key in keys] == [KEY]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/v0/instances/{id}/", None),
        ("PUT", "/api/v0/instances/{id}/", {"label": "x"}),
        ("PUT", "/api/v0/instances/{id}/", {"state": "stopped"}),
        ("PUT", "/api/v0/instances/{id}/", {"state": "running"}),
        ("DELETE", "/api/v0/instances/{id}/", {}),
    ],
)
def test_key_of_an_instance_is_good_for_itself(vast: VastServer, method: str, path: str, body: Any) -> None:
    rented = vast.rent()
    reply = vast.call(method, path.format(id=rented["new_contract"]), body, key=rented["instance_api_key"])
    assert reply.status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v0/instances/{other}/"),
        ("DELETE", "/api/v0/instances/{other}/"),
        ("PUT", "/api/v0/instances/{other}/"),
        ("PUT", "/api/v0/asks/{offer}/"),
        ("GET", "/api/v1/instances/"),
        ("DELETE", "/api/v0/instances/"),
        ("GET", "/api/v0/users/current"),
        ("GET", "/api/v0/ssh/"),
        ("GET", "/api/v0/secrets/"),
        ("GET", "/api/v0/instances/{id}/ssh/"),
        ("PUT", "/api/v0/instances/reboot/{id}/"),
    ],
)
def test_key_of_an_instance_is_good_for_nothing_else(vast: VastServer, method: str, path: str) -> None:
    rented, other = vast.rent(), vast.rent()["new_contract"]
    offer = vast.offers()[0]["id"]
    place = path.format(id=rented["new_contract"], other=other, offer=offer)
    reply = vast.call(method, place, {"state": "stopped", "instance_ids": [other]}, key=rented["instance_api_key"])
    assert reply.status_code == 403
    assert vast.ledger()["instances_left"] == 2


# Money


def test_charges_name_the_meters_of_each_instance(vast: VastServer) -> None:
    instance_id = vast.rent_running(label="fluxlora/a/512")["id"]
    day = json.dumps({"day": {"gte": 0, "lte": 9999999999}, "type": {"in": ["instance"]}})
    charge = vast.call("GET", "/api/v0/charges/", select_filters=day).json()["results"][0]
    assert (charge["source"], charge["metadata"]) == (f"instance-{instance_id}", {"label": "fluxlora/a/512"})
    assert [item["type"] for item in charge["items"]] == ["gpu", "disk", "bwu", "bwd"]


def test_destroyed_instance_costs_no_more(vast: VastServer) -> None:
    instance_id = vast.rent_running()["id"]
    vast.call("DELETE", f"/api/v0/instances/{instance_id}/", {})
    spent = vast.ledger()["total_usd"]
    assert spent > 0
    assert vast.ledger()["total_usd"] == spent


# What a rehearsal adds


def test_requests_are_recorded_with_their_time_and_caller_but_no_secret(vast: VastServer) -> None:
    rented = vast.rent(env={"HF_TOKEN": "hf_secret"})
    vast.call("GET", f"/api/v0/instances/{rented['new_contract']}/", key=rented["instance_api_key"])
    asked = vast.requests()
    rent, look = asked[-2:]
    assert (rent["method"], rent["status"], rent["caller"]) == ("PUT", 200, "account")
    assert look["caller"] == f"instance {rented['new_contract']}"
    assert rent["at"] <= look["at"]
    assert rent["body"]["env"] == {"HF_TOKEN": "****"}
    assert "hf_secret" not in json.dumps(asked)


def test_unknown_fault_is_refused_and_the_known_ones_are_named(vast: VastServer) -> None:
    reply = vast.call("POST", "/rehearsal/faults", {"name": "nonsense"})
    assert reply.status_code == 404
    assert "rent_then_504" in reply.json()["msg"]


def test_rent_then_504_rents_and_loses_the_reply(vast: VastServer) -> None:
    vast.fault("rent_then_504")
    offer_id = vast.offers(num_gpus={"eq": 1})[0]["id"]
    reply = vast.call("PUT", f"/api/v0/asks/{offer_id}/", {"image": "x", "label": "mine"})
    labels = vast.call("GET", "/api/v1/instances/").json()["label_counts"]
    assert (reply.status_code, labels) == (504, {"mine": 1})


def test_offer_gone_refuses_once_and_rents_nothing(vast: VastServer) -> None:
    vast.fault("offer_gone")
    assert vast.rent()["error"] == "invalid_args"
    assert vast.rented_ids() == []
    assert vast.rent()["success"]


def test_list_500_fails_as_often_as_it_is_told_to(vast: VastServer) -> None:
    vast.fault("list_500", times=2)
    assert [vast.call("GET", "/api/v1/instances/").status_code for _ in range(3)] == [500, 500, 200]


def test_stuck_loading_stays_there_and_can_be_destroyed(vast: VastServer) -> None:
    vast.fault("stuck_loading")
    instance_id = vast.rent()["new_contract"]
    vast.until(instance_id, lambda row: row["actual_status"] == "loading")
    vast.call("DELETE", f"/api/v0/instances/{instance_id}/", {})
    assert vast.ledger()["instances"][0]["gpu_hours"] == 0
    assert vast.ledger()["instances_left"] == 0


def test_destroy_needs_two_says_done_and_is_not(vast: VastServer) -> None:
    vast.fault("destroy_needs_two")
    instance_id = vast.rent()["new_contract"]
    first = vast.call("DELETE", f"/api/v0/instances/{instance_id}/", {}).json()
    left = vast.ledger()["instances_left"]
    second = vast.call("DELETE", f"/api/v0/instances/{instance_id}/", {}).json()
    assert (first, left) == (second, 1)
    assert vast.ledger()["instances_left"] == 0


def test_never_ssh_runs_and_refuses_where_others_answer(vast: VastServer) -> None:
    answering = vast.rent_running()
    vast.fault("never_ssh")
    refusing = vast.rent_running()
    time.sleep(0.5)  # sshd is up some milliseconds after the ports are known
    socket.create_connection(("127.0.0.1", answering["ssh_port"]), 5).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", refusing["ssh_port"]), 5)
    assert vast.instance(refusing["id"])["actual_status"] == "running"


def test_vanished_instance_is_silent_and_still_running_for_vast(vast: VastServer) -> None:
    row = vast.rent_running()
    time.sleep(0.5)
    vast.call("POST", f"/rehearsal/instances/{row['id']}/vanish", {}).raise_for_status()
    with socket.create_connection(("127.0.0.1", row["ssh_port"]), 5) as ssh:
        ssh.settimeout(0.5)
        with pytest.raises(TimeoutError):
            ssh.recv(100)
    assert vast.instance(row["id"])["actual_status"] == "running"
