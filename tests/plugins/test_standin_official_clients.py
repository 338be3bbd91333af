"""The official vastai SDK and command line, version 1.9.1, drive the stand-in as they drive vast.ai."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from requests import HTTPError
from vastai import VastAI

from conftest import VastServer

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEmExample0000000000000000000000000000000000 me"
Cli = Callable[..., str]


@pytest.fixture
def sdk(vast: VastServer) -> Any:
    return VastAI(api_key=vast.api_key, server_url=vast.url)


@pytest.fixture
def cli(vast: VastServer, tmp_path: Path) -> Cli:
    """Runs `vastai ARGUMENTS` with folders of its own; what it printed. It exits 0 whatever happens."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "VAST_URL": vast.url,
        "VAST_API_KEY": vast.api_key,
        "COLUMNS": "300",
    }

    def run(*arguments: str) -> str:
        command = [str(Path(sys.executable).parent / "vastai"), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
        assert done.stderr.strip() in ("", "\x1b[K"), done.stderr
        return done.stdout

    return run


def rent(vast: VastServer, sdk: Any) -> dict[str, Any]:
    """An instance rented with the SDK, as soon as it has ports."""
    offer = sdk.search_offers(query="num_gpus=1 direct_port_count>0 verified=any", order="dph_total", storage=20)[0]
    rented = sdk.create_instance(
        offer["id"],
        image="vastai/base-image",
        disk=20,
        label="fluxlora/my-style/512+lokr",
        env={"GREETING": "hello", "-p 8080:8080": "1"},
        onstart_cmd="touch ~/.no_auto_tmux",
        ssh=True,
        direct=True,
        cancel_unavail=True,
    )
    return vast.until(rented["new_contract"], lambda row: row["ports"])


def test_sdk_searches_with_the_whole_query_language(sdk: Any) -> None:
    offers = sdk.search_offers(
        query="gpu_ram>=24 num_gpus=1 cuda_vers>=12.4 compute_cap>=800 reliability>0.9 geolocation in [US,CA,NO,SE,DE] "
        "inet_down>=50 disk_space>=100 dph<5 cpu_ram>=32 driver_version>=535.86.05 duration>=1 verified=any",
        order="dph_total",
        limit=5,
        storage=100,
    )
    prices = [offer["dph_total"] for offer in offers]
    assert prices
    assert prices == sorted(prices)
    assert all(offer["gpu_ram"] >= 24000 and offer["geolocation"][-2:] in "US CA NO SE DE" for offer in offers)


def test_sdk_searches_by_the_new_route(sdk: Any) -> None:
    assert {offer["gpu_name"] for offer in sdk.search_offers_new(query="gpu_name=H200")} == {"H200"}


def test_sdk_sees_what_it_rented_alone_and_in_the_list(vast: VastServer, sdk: Any) -> None:
    row = rent(vast, sdk)
    alone, listed = sdk.show_instance(row["id"]), sdk.show_instances()
    assert alone["label"] == "fluxlora/my-style/512+lokr"
    assert alone["extra_env"] == {"GREETING": "hello", "-p 8080:8080": "1"}
    assert [(each["id"], each["public_ipaddr"]) for each in listed] == [(row["id"], "127.0.0.1")]


def test_sdk_pages_through_a_long_list(vast: VastServer, sdk: Any) -> None:
    ids = [vast.rent()["new_contract"] for _ in range(26)]
    assert [row["id"] for row in sdk.show_instances()] == ids


def test_sdk_gives_an_ssh_url(vast: VastServer, sdk: Any) -> None:
    row = rent(vast, sdk)
    assert sdk.ssh_url(row["id"]) == f"ssh://root@127.0.0.1:{row['ssh_port']}"


def test_sdk_manages_ssh_keys(vast: VastServer, sdk: Any) -> None:
    key_id = sdk.create_ssh_key(ssh_key=KEY)["key"]["id"]
    shown = [key["key"] for key in sdk.show_ssh_keys()]
    instance_id = rent(vast, sdk)["id"]
    attached = sdk.attach_ssh(instance_id, KEY + "-2")
    detached = sdk.detach_ssh(instance_id, key_id)
    deleted = sdk.delete_ssh_key(key_id)
    keys = json.loads(vast.call("GET", f"/api/v0/instances/{instance_id}/ssh/").json()["ssh_keys"])
    assert shown == [KEY]
    assert all(reply["success"] for reply in (attached, detached, deleted))
    assert [key["public_key"] for key in keys] == [KEY + "-2"]


def test_sdk_labels_stops_starts_reboots_and_destroys(vast: VastServer, sdk: Any) -> None:
    instance_id = rent(vast, sdk)["id"]
    sdk.label_instance(instance_id, "new label")
    sdk.stop_instance(instance_id)
    stopped = vast.until(instance_id, lambda row: row["actual_status"] == "exited")
    sdk.start_instance(instance_id)
    started = vast.until(instance_id, lambda row: row["ports"])
    assert sdk.reboot_instance(instance_id)["success"]
    sdk.destroy_instance(instance_id)
    assert [row["label"] for row in (stopped, started)] == ["new label", "new label"]
    assert f"/api/v0/instances/reboot/{instance_id}" in [request["path"].rstrip("/") for request in vast.requests()]
    assert sdk.show_instance(instance_id) is None
    assert sdk.show_instances() == []


def test_sdk_reads_the_logs(vast: VastServer, sdk: Any) -> None:
    lines = sdk.logs(rent(vast, sdk)["id"], tail="2", filter="running").splitlines()
    assert len(lines) == 1
    assert "success, running vastai/base-image/ssh" in lines[0]


def test_sdk_sees_the_account_its_secrets_and_its_charges(vast: VastServer, sdk: Any) -> None:
    sdk.create_env_var("HF_TOKEN", "hf_x")
    instance_id = rent(vast, sdk)["id"]
    charges = sdk.show_invoices_v1(charges=True)["results"]
    assert 24 < sdk.show_user()["credit"] < 25
    assert sdk.show_env_vars(show_values=True) == {"HF_TOKEN": "hf_x"}
    assert [charge["source"] for charge in charges] == [f"instance-{instance_id}"]


def test_sdk_makes_a_key_of_small_scope_that_is_held_to_it_and_takes_it_back(vast: VastServer, sdk: Any) -> None:
    made = sdk.create_api_key("reader", {"api": {"instance_read": {}}})
    assert [key["name"] for key in sdk.show_api_keys()] == ["reader"]
    reader = VastAI(api_key=made["key"], server_url=vast.url)
    assert reader.show_instances() == []
    with pytest.raises(HTTPError, match="403"):
        reader.show_user()
    sdk.delete_api_key(made["id"])
    with pytest.raises(HTTPError, match="404"):
        reader.show_instances()


def test_sdk_raises_for_a_wrong_key(vast: VastServer) -> None:
    with pytest.raises(HTTPError, match="404"):
        VastAI(api_key="wrong", server_url=vast.url).show_instances()


def test_sdk_rents_again_when_the_reply_is_lost(vast: VastServer, sdk: Any) -> None:
    """Why our own rents go without its retries."""
    vast.fault("rent_then_504")
    with pytest.raises(HTTPError, match="410"):
        rent(vast, sdk)
    assert [request["path"].split("/")[3] for request in vast.requests() if request["method"] == "PUT"] == ["asks"] * 2


def test_command_line_goes_through_a_whole_life(vast: VastServer, cli: Cli) -> None:
    offers = json.loads(cli("search", "offers", "num_gpus=1 direct_port_count>0 verified=any", "--raw"))
    created = json.loads(
        cli("create", "instance", str(offers[0]["id"]), "--image", "vastai/base-image", "--disk", "20", "--ssh",
            "--direct", "--label", "fluxlora/a/512", "--raw")
    )  # fmt: skip
    number = str(created["new_contract"])
    port = vast.until(created["new_contract"], lambda row: row["ports"])["ports"]["22/tcp"][0]["HostPort"]

    assert number in cli("show", "instances")
    assert json.loads(cli("show", "instance", number, "--raw"))["label"] == "fluxlora/a/512"
    assert cli("ssh-url", number).strip() == f"ssh://root@127.0.0.1:{port}"
    assert "ssh-key created" in cli("create", "ssh-key", KEY, "-y")
    keys = json.loads(cli("show", "ssh-keys", "--raw"))
    assert "attached" in cli("attach", "ssh", number, KEY)
    assert "detached" in cli("detach", "ssh", number, str(keys[0]["id"]))
    assert "True" in cli("delete", "ssh-key", str(keys[0]["id"]))
    assert cli("label", "instance", number, "fluxlora/b/512").strip() == f"label for {number} set to fluxlora/b/512."
    assert "success, running" in cli("logs", number)
    assert "stopping" in cli("stop", "instance", number)
    vast.until(created["new_contract"], lambda row: row["actual_status"] == "exited")
    assert "starting" in cli("start", "instance", number)
    vast.until(created["new_contract"], lambda row: row["ports"])
    assert "destroying" in cli("destroy", "instance", number, "-y")
    assert json.loads(cli("show", "instances", "--raw")) == []
    assert vast.ledger()["instances_left"] == 0
