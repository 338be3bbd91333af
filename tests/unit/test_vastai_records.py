"""Records as vast.ai sends them, odd ones too, become instances; refusals become errors that say what to do."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from fluxlora.errors import InputError
from fluxlora.vast.credentials import find_api_key
from fluxlora.vast.errors import refusal
from fluxlora.vast.public_key import public_key
from fluxlora.vast.records import Endpoint, Instance

DATA = Path(__file__).parents[1] / "data" / "vast"
ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPJUmxgsPBPU4vLlOCRfl6EvVYJzHEvCHeRzLfHTjbm7"


def sample(name: str, **changes: Any) -> Any:
    return json.loads((DATA / f"{name}.json").read_text()) | changes


def test_a_running_instance_is_reached_directly_at_its_stripped_address() -> None:
    instance = Instance.from_record(sample("instance_running"))
    assert instance.endpoint() == Endpoint("203.0.113.42", 41022, direct=True)
    assert instance.endpoint(direct=False) == Endpoint("ssh3.vast.ai", 12296, direct=False)
    assert (instance.status, instance.price_per_hour, instance.gpu_ram_mb) == ("running", 0.41, 24564)


@pytest.mark.parametrize("ports", [None, [], [8080, 8081], {}, {"22/tcp": []}, {"22/tcp": [{"HostPort": "x"}]}, "22"])
def test_without_a_mapped_port_the_proxy_is_the_way(ports: Any) -> None:
    instance = Instance.from_record(sample("instance_running", ports=ports))
    assert instance.endpoint() == Endpoint("ssh3.vast.ai", 12296, direct=False)


@pytest.mark.parametrize("address", ["-oProxyCommand=id", "192.0.2.1 -o x", "{{ 1 / 0 }}", "\x1b[2J", "a\nb"])
def test_an_address_that_ssh_could_take_for_an_option_is_none(address: str) -> None:
    row = sample("instance_running", public_ipaddr=address, ssh_host=address)
    assert Instance.from_record(row).endpoint() is None


@pytest.mark.parametrize("address", ["192.0.2.1\n", "2001:db8::1", "::1", "ssh3.vast.ai"])
def test_an_address_may_be_of_either_kind_or_a_name(address: str) -> None:
    endpoint = Instance.from_record(sample("instance_running", public_ipaddr=address)).endpoint()
    assert endpoint
    assert endpoint.host == address.strip()


def test_every_text_of_an_instance_but_its_label_is_one_printable_line() -> None:
    odd = {
        name: f"{value}\x1b[2J\nfine" for name, value in sample("instance_running").items() if isinstance(value, str)
    }
    instance = Instance.from_record(sample("instance_running", **odd | {"label": "fluxlora/my-style/512"}))
    assert all(str(value).isprintable() for value in asdict(instance).values())
    assert instance.status == "running fine"


def test_the_proxys_sshd_is_one_port_further_where_jupyter_runs() -> None:
    record = sample("instance_running", image_runtype="jupyter_direc ssh_direc ssh_proxy", ssh_port=19840)
    assert Instance.from_record(record).endpoint(direct=False) == Endpoint("ssh3.vast.ai", 19841, direct=False)


def test_an_instance_without_any_address_has_no_endpoint() -> None:
    record = sample("instance_just_created", ports=None, ssh_host=None, ssh_port=None)
    assert Instance.from_record(record).endpoint() is None


def test_a_record_of_nothing_but_an_id_is_an_instance() -> None:
    assert Instance.from_record({"id": 7}).id == 7


@pytest.mark.parametrize("odd", [None, "", [], {}, "?", -1, True])
def test_no_odd_value_of_any_field_breaks_the_reading(odd: Any) -> None:
    whole = sample("instance_running")
    for name in whole.keys() - {"id"}:
        assert Instance.from_record(whole | {name: odd}).id == whole["id"]


def test_nothing_secret_of_a_record_is_kept() -> None:
    record = sample("instance_running", extra_env=[["HF_TOKEN", "hf_geheim"]], onstart="export K=geheim")
    kept = json.dumps(asdict(Instance.from_record(record)))
    assert "geheim" not in kept
    assert "1111111111" not in kept


@pytest.mark.parametrize(
    ("name", "fails"),
    [
        ("instance_just_created", False),
        ("instance_created", False),
        ("instance_loading", False),
        ("instance_scheduling", True),
        ("instance_running", False),
        ("instance_running_no_ports_yet", False),
        ("instance_loading_bad_pull", True),
        ("instance_oci_failure", True),
        ("instance_exited_crash", True),
        ("instance_offline", True),
        ("instance_outbid", True),
        ("instance_stopped_by_user", True),
    ],
)
def test_an_instance_that_will_never_run_is_told_from_one_that_may(name: str, fails: bool) -> None:
    assert bool(Instance.from_record(sample(name)).failure) == fails


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (404, sample("auth_error_404"), "bad_api_key"),
        (401, {"error": "auth_error", "msg": "Unauthorized"}, "bad_api_key"),
        (403, {"error": "forbidden", "msg": "no"}, "forbidden"),
        (400, sample("create_gone_400"), "offer_gone"),
        (404, sample("create_gone_400"), "offer_gone"),
        (410, sample("create_gone_410"), "offer_gone"),
        (400, sample("create_insufficient_credit_400"), "no_credit"),
        (404, sample("gone_404"), "no_such_instance"),
        (429, sample("quota_429"), "search_quota_exceeded"),
        (429, {"detail": "API requests too frequent"}, "rate_limited"),
        (429, None, "rate_limited"),
        (502, None, "unavailable"),
        (200, None, "unavailable"),
        (404, None, "unavailable"),
        (500, {"error": "x", "msg": "y"}, "unavailable"),
        (410, sample("v0_list_410"), "deprecated_endpoint"),
        (400, sample("v1_bad_filter_400"), "invalid_request"),
    ],
)
def test_a_refusal_is_classed_by_what_it_says(status: int, body: Any, code: str) -> None:
    assert refusal(status, body, "API requests too frequent" if status == 429 else "<html>").code == code


def test_a_refused_rent_that_left_an_instance_names_it() -> None:
    body = {"success": False, "error": "invalid_price", "msg": "bid too low", "new_contract": 42}
    assert refusal(400, body, "").instance_id == 42


def test_a_public_key_is_known_without_its_comment() -> None:
    assert public_key(f"{ED25519} anna@laptop\n") == ED25519


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("-----BEGIN OPENSSH " + "PRIVATE KEY-----\nb3BlbnNz\n", "private_key"),
        ("~/.ssh/id_ed25519.pub", "not_a_public_key"),
        ("", "not_a_public_key"),
        ("ssh-ed25519", "not_a_public_key"),
        ("ssh-ed25519 AAAA", "not_a_public_key"),
        (ED25519.replace("ssh-ed25519", "ssh-rsa"), "not_a_public_key"),
        (f"{ED25519}\n{ED25519}", "not_a_public_key"),
    ],
)
def test_what_is_no_public_key_is_refused_before_it_is_sent(text: str, code: str) -> None:
    with pytest.raises(InputError) as refused:
        public_key(text)
    assert refused.value.code == code


def test_the_key_of_the_environment_comes_before_the_clients_files(tmp_path: Path) -> None:
    (tmp_path / "vastai").mkdir()
    (tmp_path / "vastai" / "vast_api_key").write_text("from-file\n")
    assert find_api_key({"VAST_API_KEY": "from-env", "XDG_CONFIG_HOME": str(tmp_path)}) == "from-env"
    assert find_api_key({"VAST_API_KEY": "", "XDG_CONFIG_HOME": str(tmp_path)}) == "from-file"
