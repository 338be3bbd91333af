"""The doctor's modules through ansible-playbook: what each finding is called, and a key that nobody is told."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_modules_vastai import PROJECT, Results, changes
from test_modules_vastai import play as play

from conftest import VastServer
from fluxlora.doctor import Findings, Tokens, Wish, examine, lines
from fluxlora.doctor.account import LEAST, SCOPES, look
from fluxlora.doctor.minting import ensure
from fluxlora.errors import VastError
from fluxlora.vast.client import Vast
from remote import keygen
from replay import replaying

LOCK = PROJECT / "requirements.lock"


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    return keygen(tmp_path / "id_ed25519")


def found(findings: Findings) -> dict[str, str]:
    """What was not well, by its name; each has a remedy, and the table has it too."""
    bad = [check for check in findings.checks if check.code]
    for check in bad:
        assert f"-> {check.remedy}" in "\n".join(lines(findings.checks))
    return {check.name: check.code for check in bad}


@pytest.mark.parametrize(
    ("wish", "tokens", "expected"),
    [
        ({}, {}, {}),
        ({}, {"vast": "nobodys"}, {"vast.ai key": "bad_api_key"}),
        ({"expected_usd": 25.5}, {}, {"credit": "no_credit"}),
        ({"budget_usd": 40.0}, {}, {"credit": "low_credit"}),
        ({"ssh_key_file": Path("/nowhere/key")}, {}, {"ssh key": "no_key"}),
        ({"model": "black-forest-labs/FLUX.1-Fill-dev"}, {}, {"hub model": "gated"}),
        ({"push_to": "somebody/else"}, {}, {"hub repository": "no_write"}),
        ({}, {"hub": ""}, {"hub token": "no_token"}),
        ({}, {"wandb": "0" * 40}, {"wandb key": "bad_key"}),
        ({"wandb_mode": "offline"}, {"wandb": "0" * 40}, {}),
        ({"report_to": "tensorboard"}, {"wandb": "short"}, {}),
        ({"artifacts_gb": 1e6}, {}, {"disk": "no_room"}),
        (
            {"artifacts_gb": 1e6, "ssh_key_file": Path("/nowhere/key")},
            {"vast": "nobodys", "hub": "hf_nobodys", "wandb": "short"},
            {
                "vast.ai key": "bad_api_key",
                "ssh key": "no_key",
                "hub token": "bad_token",
                "wandb key": "bad_key",
                "disk": "no_room",
            },
        ),
    ],
)
def test_each_finding_is_told_by_name_with_its_remedy_and_all_at_once(
    vast: VastServer, pair: Path, wish: dict[str, Any], tokens: dict[str, str], expected: dict[str, str]
) -> None:
    vast.call("POST", "/api/v0/ssh/", {"ssh_key": Path(f"{pair}.pub").read_text()})
    asked = {"ssh_key_file": pair, "artifacts_dir": pair.parent, "lock": LOCK, "push_to": "my-style"}
    known = {"vast": vast.api_key, "hub": vast.hub_token, "wandb": vast.wandb_key}
    urls = {"vast_url": vast.url, "hub_url": vast.hub_url, "wandb_url": vast.wandb_url}
    seen = examine(Wish(**asked | wish), Tokens(**known | urls | tokens))
    assert found(seen) == expected
    for secret in (*known.values(), "nobodys", "BEGIN OPENSSH"):
        assert secret not in str(seen)


@pytest.mark.parametrize(
    ("permissions", "expected"),
    [
        (LEAST, {}),
        (["misc", "user_read"], {"permissions": "key_scope"}),
        (["misc", "instance_read", "instance_write"], {"permissions": "key_scope", "credit": "no_credit_seen"}),
    ],
)
def test_a_key_of_too_small_a_scope_is_told(
    vast: VastServer, tmp_path: Path, permissions: list[str], expected: dict[str, str]
) -> None:
    wish = Wish(ssh_key_file=tmp_path, artifacts_dir=tmp_path, lock=LOCK)
    assert found(examine(wish, Tokens(vast.scoped_key(*permissions), vast.url), ["vastai"])) == expected


def test_the_module_tells_the_findings_fails_on_none_and_is_the_same_in_check_mode(
    vast: VastServer, play: Callable[..., Results], tmp_path: Path
) -> None:
    wish = {"lock": str(LOCK), "subjects": ["vastai", "computer"], "artifacts_dir": str(tmp_path)}
    no_key = wish | {"environment": {"VAST_API_KEY": ""}, "artifacts_gb": 1e6}
    everything = wish | {"subjects": ["everything"]}
    sound, checked, bad, refused = play("doctor_info", wish, wish | {"check_mode": True}, no_key, everything)
    assert (sound["failures"], sound["credit_usd"], sound["changed"]) == ([], 25.0, False)
    # Of the disk alone the sentence may differ: others write on it meanwhile.
    alike = [
        [check for check in each["checks"] if check["state"] != "ok" or check["name"] != "disk"]
        for each in (sound, checked)
    ]
    assert alike[0] == alike[1]
    assert bad["failures"] == ["vast.ai key", "disk"]
    assert [check["code"] for check in bad["checks"] if check["code"]] == ["no_api_key", "no_room"]
    assert refused["failed"]


def test_a_key_of_small_scope_is_made_once_and_only_in_earnest(
    vast: VastServer, play: Callable[..., Results], tmp_path: Path
) -> None:
    file = tmp_path / "vast_api_key"
    file.write_text("theoldone\n")
    wish = {"path": str(file)}
    lesser = {"path": str(tmp_path / "other"), "api_key": vast.scoped_key(*LEAST)}
    results = play("vastai_api_key", wish | {"check_mode": True}, wish, wish, lesser, {"path": str(file / "below")})
    checked, real, again, forbidden, unwritable = results
    assert changes([checked, real, again]) == [True, True, False]
    assert (checked["key_id"], again["key_id"]) == (None, real["key_id"])
    assert (forbidden["code"], unwritable["code"]) == ("forbidden", "no_file")
    assert forbidden["hint"]
    names = [key["name"] for key in vast.call("GET", "/api/v0/auth/apikeys/").json()["apikeys"]]
    assert names == ["scoped", "fluxlora"]
    key = file.read_text().strip()
    assert set(look(Vast(key, vast.url)).lacks) == set(SCOPES) - set(LEAST)
    assert key not in json.dumps(results)
    assert (Path(real["backup"]).read_text(), again["backup"]) == ("theoldone\n", "")
    assert {stat.S_IMODE(each.stat().st_mode) for each in (file, Path(real["backup"]))} == {0o600}


def test_a_new_key_that_does_not_work_is_not_put_in_the_place_of_one_that_does(tmp_path: Path) -> None:
    file = tmp_path / "vast_api_key"
    made, refused = (200, {"id": 7, "key": "k" * 64}), (403, {"success": False, "error": "forbidden", "msg": "no"})
    with replaying(made, refused) as server, pytest.raises(VastError) as error:
        ensure(Vast("all-mighty", server.url), file, name="fluxlora", permissions=LEAST)
    assert error.value.code == "key_scope"
    assert "7" in str(error.value)
    assert "k" * 64 not in f"{error.value} {error.value.hint}"
    assert not file.exists()


def test_a_file_that_holds_no_key_at_all_makes_room_for_one_and_is_kept(vast: VastServer, tmp_path: Path) -> None:
    file = tmp_path / "vast_api_key"
    file.write_bytes(b"\xff\xfe no key")
    made = ensure(Vast(vast.api_key, vast.url), file, name="fluxlora", permissions=LEAST)
    assert made.backup
    assert made.backup.read_bytes() == b"\xff\xfe no key"
    assert Vast(file.read_text(), vast.url).instances() == []


def test_no_key_is_made_where_it_could_not_be_kept(vast: VastServer, tmp_path: Path) -> None:
    (tmp_path / "vast_api_key").mkdir()
    with pytest.raises(IsADirectoryError):
        ensure(Vast(vast.api_key, vast.url), tmp_path / "vast_api_key", name="fluxlora", permissions=LEAST)
    assert vast.call("GET", "/api/v0/auth/apikeys/").json()["apikeys"] == []
