"""The inventory plugin through ansible-inventory and ansible, against a stand-in vast.ai."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import VastServer
from replay import DROPPED, replaying

PROJECT = Path(__file__).parents[2]
DATA = PROJECT / "tests" / "data" / "vast"


def ansible(command: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VAST_", "ANSIBLE_"))}
    return subprocess.run(
        [str(Path(sys.executable).parent / command), *arguments],
        cwd=PROJECT,
        env={
            **kept,
            "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "HOME": "/",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def host_row(instance_id: int, label: str | None, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = json.loads((DATA / "instance_running.json").read_text())
    return row | {"id": instance_id, "label": label} | changes


def inventory(url: str, *arguments: str, key: str = "k", source: Path | str = "inventory/vastai.yml") -> Any:
    """The answer of ansible-inventory; its warnings are under the key "stderr"."""
    done = ansible("ansible-inventory", "-i", str(source), *arguments, VAST_URL=url, VAST_API_KEY=key)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) | {"stderr": " ".join(done.stderr.split())}


def listing(*rows: Any) -> tuple[int, Any]:
    return 200, {"success": True, "instances": list(rows), "next_token": None}


def source(folder: Path, text: str) -> Path:
    path = folder / "vastai.yml"
    path.write_text(f"plugin: vastai\n{text}")
    return path


def test_a_run_is_a_host_in_its_groups_with_its_address(vast: VastServer) -> None:
    row = vast.rent_running(label="fluxlora/my-style/512+lokr")
    variables = inventory(vast.url, "--host", "my-style", key=vast.api_key)
    assert variables["ansible_host"] == row["public_ipaddr"].strip()
    assert variables["ansible_port"] == int(row["ports"]["22/tcp"][0]["HostPort"])
    assert variables["ansible_user"] == "root"
    assert variables["vastai_id"] == row["id"]
    assert variables["vastai_presets"] == ["512", "lokr"]
    assert variables["vastai_price_per_hour"] == pytest.approx(row["dph_total"])


def test_a_run_is_in_the_groups_of_its_presets_gpu_and_status(vast: VastServer) -> None:
    row = vast.rent_running(label="fluxlora/my-style/512+lokr")
    found = inventory(vast.url, "--list", key=vast.api_key)
    assert f"gpu_{row['gpu_name'].lower().replace(' ', '_')}" in found
    for group in ("vastai", "preset_512", "preset_lokr", "status_running"):
        assert found[group]["hosts"] == ["my-style"]


def test_the_graph_of_the_project_has_the_run_below_training(vast: VastServer) -> None:
    vast.rent_running(label="fluxlora/my-style/512")
    done = ansible("ansible-inventory", "--graph", "training", VAST_URL=vast.url, VAST_API_KEY=vast.api_key)
    assert done.stdout.split() == ["@training:", "|--@vastai:", "|", "|--my-style"]


def test_presets_beat_the_guides_numbers_and_the_rehearsal_beats_both(tmp_path: Path, vast: VastServer) -> None:
    vast.rent_running(label="fluxlora/my-style/512")
    (tmp_path / "group_vars").mkdir()
    for group in ("training", "preset_512", "rehearsal"):
        (tmp_path / "group_vars" / f"{group}.yml").write_text(
            "".join(
                f"who_{each}: {group}\n" for each in {"training": "abc", "preset_512": "bc", "rehearsal": "c"}[group]
            )
        )
    (tmp_path / "runs.yml").write_text((PROJECT / "inventory" / "runs.yml").read_text())
    (tmp_path / "more.yml").write_text("rehearsal:\n  hosts:\n    my-style:\n")
    sources = [tmp_path / "runs.yml", source(tmp_path, ""), tmp_path / "more.yml"]
    done = ansible(
        "ansible-inventory", *(f"-i{each}" for each in sources), "--host", "my-style",
        VAST_URL=vast.url, VAST_API_KEY=vast.api_key,
    )  # fmt: skip
    variables = json.loads(done.stdout)
    assert [variables[f"who_{each}"] for each in "abc"] == ["training", "preset_512", "rehearsal"]


def test_only_labels_with_the_prefix_count(vast: VastServer) -> None:
    for label in ("fluxlora/mine/512", "mine/other/512", "fluxlorax", ""):
        vast.rent_running(label=label)
    assert list(inventory(vast.url, "--list", key=vast.api_key)["_meta"]["hostvars"]) == ["mine"]


def test_text_from_vast_ai_is_never_templated(tmp_path: Path) -> None:
    trap = "{{ lookup('pipe', 'touch " + str(tmp_path / "owned") + "') }}{{ 7 * 7 }}"
    row = host_row(5, "fluxlora/my-style/512", status_msg=trap, geolocation=trap, gpu_name=trap, ssh_host=trap)
    with replaying(listing(row, host_row(6, f"fluxlora/{trap}/512"))) as replay:
        shown = ansible(
            "ansible", "all", "-i", "inventory/vastai.yml", "-c", "local", "-m", "ansible.builtin.debug",
            "-a", "msg={{ vastai_status_message }}|{{ vastai_geolocation }}|{{ vastai_gpu_name }}|{{ vastai_label }}",
            VAST_URL=replay.url, VAST_API_KEY="k",
        )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("7 * 7") >= 4
    assert "49" not in shown.stdout
    assert not (tmp_path / "owned").exists()


def test_odd_rows_do_not_break_the_others() -> None:
    rows = [
        host_row(1, None),
        host_row(2, "fluxlora/good/512"),
        host_row(3, "fluxlora/loading/512", ports=None, public_ipaddr=None, ssh_host=None, actual_status=None),
        host_row(4, "fluxlora/strange/512\n", actual_status="levi-tating!", start_date=None, extra_env=None),
        host_row(5, "fluxlora/!!/512"),
        {"id": 6, "label": "fluxlora/bare/1024"},
        {"label": "fluxlora/without-id/512"},
    ]
    with replaying(listing(*rows)) as replay:
        found = inventory(replay.url, "--list")
    hosts = found["_meta"]["hostvars"]
    assert set(hosts) == {"good", "loading", "strange", "bare", "vastai-5"}
    assert "ansible_host" not in hosts["loading"]
    assert found["status_levi_tating"]["hosts"] == ["strange"]
    assert set(found["status_unknown"]["hosts"]) == {"loading", "bare"}
    assert "vastai-5" in found["stderr"]
    assert "without an id" in found["stderr"]


def test_a_second_instance_of_a_run_is_seen_and_warned_of() -> None:
    with replaying(listing(host_row(9, "fluxlora/twin/512"), host_row(8, "fluxlora/twin/512"))) as replay:
        found = inventory(replay.url, "--list")
    hosts = found["_meta"]["hostvars"]
    assert (hosts["twin"]["vastai_id"], hosts["twin-9"]["vastai_id"]) == (8, 9)
    assert "twin has more than one instance" in found["stderr"]


def test_nothing_secret_is_shown(vast: VastServer) -> None:
    vast.rent_running(label="fluxlora/my-style/512", env={"HF_TOKEN": "geheim"}, onstart="export KEY=geheim")
    shown = json.dumps(inventory(vast.url, "--list", key=vast.api_key))
    assert "my-style" in shown
    assert "geheim" not in shown
    assert vast.api_key not in shown
    assert "jupyter" not in shown


def test_the_proxy_is_used_when_it_is_asked_for_and_jupyter_shifts_its_port(tmp_path: Path) -> None:
    row = host_row(5, "fluxlora/my-style/512", image_runtype="jupyter_direc ssh_direc ssh_proxy", ssh_port=19840)
    with replaying(listing(row)) as replay:
        found = inventory(replay.url, "--host", "my-style", source=source(tmp_path, "ssh: proxy\n"))
    assert (found["ansible_host"], found["ansible_port"], found["vastai_ssh_direct"]) == ("ssh3.vast.ai", 19841, False)


def test_users_own_groups_variables_and_statuses_are_honoured(tmp_path: Path) -> None:
    options = (
        "statuses: [running]\nuser: trainer\nlabel_prefix: atelier\n"
        "compose:\n  dollars_a_day: vastai_price_per_hour * 24\n"
        "groups:\n  cheap: vastai_price_per_hour < 1\n"
        "keyed_groups:\n  - key: vastai_run\n    prefix: run\n"
    )
    rows = [
        host_row(1, "atelier/a/512"),
        host_row(2, "atelier/b/512", actual_status="exited"),
        host_row(3, "fluxlora/c/1"),
    ]
    with replaying(listing(*rows)) as replay:
        found = inventory(replay.url, "--list", source=source(tmp_path, options))
    assert list(found["_meta"]["hostvars"]) == ["a"]
    assert found["_meta"]["hostvars"]["a"]["dollars_a_day"] == pytest.approx(0.41 * 24)
    assert found["_meta"]["hostvars"]["a"]["ansible_user"] == "trainer"
    assert found["cheap"]["hosts"] == found["run_a"]["hosts"] == ["a"]


def test_after_a_cache_hit_neither_network_nor_key_nor_vast_ais_client_is_touched(tmp_path: Path) -> None:
    cached = source(tmp_path, f"cache: true\ncache_plugin: jsonfile\ncache_connection: {tmp_path / 'cache'}\n")
    broken = tmp_path / "broken" / "vastai"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise RuntimeError('imported')")
    row = host_row(5, "fluxlora/my-style/512", extra_env=[["HF_TOKEN", "geheim"]], status_msg="{{ 7 * 7 }}")
    with replaying(listing(row), DROPPED) as replay:
        first = inventory(replay.url, "--list", source=cached)
        second = ansible(
            "ansible-inventory", "-i", str(cached), "--list", VAST_URL=replay.url, PYTHONPATH=str(broken.parent)
        )
    assert json.loads(second.stdout)["_meta"]["hostvars"] == first["_meta"]["hostvars"], second.stderr
    assert len(replay.requests) == 1
    (kept,) = (tmp_path / "cache").iterdir()
    assert "geheim" not in kept.read_text()
    assert "1111111111" not in kept.read_text()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((404, {"success": False, "error": "auth_error", "msg": "Invalid user key"}), "Check VAST_API_KEY"),
        ((410, {"success": False, "error": "deprecated_endpoint", "msg": "gone"}), "vast.ai: gone"),
        ((200, {"success": True}), "without a list of instances"),
    ],
)
def test_a_listing_that_fails_is_an_error_and_not_an_empty_inventory(answer: Any, says: str, tmp_path: Path) -> None:
    with replaying(answer) as replay:
        # Failures that may pass are repeated for a minute; these are answered once and for all, or by the last attempt.
        done = ansible(
            "ansible-inventory", "-i", "inventory/vastai.yml", "--list", VAST_URL=replay.url, VAST_API_KEY="k"
        )
    assert done.returncode != 0
    assert says in done.stderr


def test_without_a_key_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    done = ansible("ansible-playbook", "plan.yml", "--syntax-check", HOME=str(tmp_path))
    assert done.returncode != 0
    said = " ".join(done.stderr.split())
    assert "No vast.ai API key is configured." in said
    assert "export VAST_API_KEY=" in said
    assert "Traceback" not in done.stderr


def test_space_around_the_key_does_not_count(vast: VastServer) -> None:
    assert inventory(vast.url, "--list", key=f" {vast.api_key} ")["stderr"] == ""


def test_the_documentation_is_readable_by_ansible_doc() -> None:
    done = ansible("ansible-doc", "-t", "inventory", "vastai", "--json")
    options = json.loads(done.stdout)["vastai"]["doc"]["options"]
    assert {"api_key", "url", "label_prefix", "statuses", "ssh", "cache", "compose", "keyed_groups"} <= set(options)
    assert options["api_key"]["env"] == [{"name": "VAST_API_KEY"}]
    assert options["url"]["env"] == [{"name": "VAST_URL"}]
