"""The collection fluxlora.vastai, built here and installed into an empty folder, against a stand-in vast.ai."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import VastServer

PROJECT = Path(__file__).parents[2]
MODULES = [
    "vastai_api_key",
    "vastai_audit",
    "vastai_instance",
    "vastai_instance_info",
    "vastai_loss_info",
    "vastai_offer_info",
    "vastai_ssh_key",
]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPJUmxgsPBPU4vLlOCRfl6EvVYJzHEvCHeRzLfHTjbm7 anna@laptop"
Run = Callable[..., subprocess.CompletedProcess[str]]


def call(folder: Path, command: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command of Ansible in a folder whose ansible.cfg, if there is one, is all that configures it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VAST_", "ANSIBLE_"))}
    return subprocess.run(
        [str(Path(sys.executable).parent / command), *arguments],
        cwd=folder,
        env={**kept, "HOME": str(folder), "ANSIBLE_NOCOLOR": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collection as a file."""
    folder = tmp_path_factory.mktemp("built")
    built = call(PROJECT, "ansible-galaxy", "collection", "build", "--output-path", str(folder))
    assert built.returncode == 0, built.stdout + built.stderr
    (file,) = folder.iterdir()
    return file


@pytest.fixture(scope="module")
def elsewhere(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of somebody else's project, into which the collection was installed."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "ansible.cfg").write_text("[defaults]\ncollections_path = collections\n")
    installed = call(folder, "ansible-galaxy", "collection", "install", str(archive), "-p", "collections", "--offline")
    assert installed.returncode == 0, installed.stdout + installed.stderr
    return folder


@pytest.fixture
def ansible(elsewhere: Path, vast: VastServer) -> Run:
    """Calls a command of Ansible in that folder, with the stand-in's address and key in the environment."""

    def run(command: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        account = {"VAST_URL": vast.url, "VAST_API_KEY": vast.api_key}
        return call(elsewhere, command, *arguments, **account | environment)

    return run


@pytest.fixture
def no_package(tmp_path: Path) -> dict[str, str]:
    """The environment of a Python without the package fluxlora."""
    (tmp_path / "fluxlora").mkdir()
    (tmp_path / "fluxlora" / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'fluxlora'\")\n")
    return {"PYTHONPATH": str(tmp_path)}


def playbook(folder: Path, *tasks: dict[str, Any], **keywords: Any) -> str:
    path = folder / "play.yml"
    path.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks, **keywords}]))
    return str(path)


def written(path: Path, variable: str) -> dict[str, Any]:
    """A task that writes a variable as JSON."""
    return {"ansible.builtin.copy": {"content": "{{ " + variable + " | to_json }}", "dest": str(path), "mode": "0600"}}


def source(folder: Path, plugin: str) -> str:
    path = folder / "x.vastai.yml"
    path.write_text(f"plugin: {plugin}\n")
    return str(path)


def test_the_collection_holds_what_it_promises_and_nothing_else(archive: Path) -> None:
    with tarfile.open(archive) as opened:
        files = {member.name for member in opened if member.isfile()}
    assert files == {
        "FILES.json",
        "LICENSE",
        "MANIFEST.json",
        "docs/collection.md",
        "meta/runtime.yml",
        "plugins/doc_fragments/account.py",
        "plugins/inventory/vastai.py",
        "plugins/module_utils/account.py",
        "plugins/module_utils/failures.py",
        *(f"plugins/modules/{name}.py" for name in MODULES),
    }


def test_the_page_and_the_group_of_modules_name_each_of_them(archive: Path) -> None:
    page = (PROJECT / "docs" / "collection.md").read_text(encoding="utf-8")
    assert [name for name in MODULES if f"`fluxlora.vastai.{name}`" not in page] == []
    runtime = yaml.safe_load((PROJECT / "meta" / "runtime.yml").read_text(encoding="utf-8"))
    assert runtime["action_groups"]["vastai"] == MODULES


def test_its_inventory_plugin_makes_a_host_of_a_run(ansible: Run, vast: VastServer, tmp_path: Path) -> None:
    row = vast.rent_running(label="fluxlora/my-style/512")
    done = ansible("ansible-inventory", "-i", source(tmp_path, "fluxlora.vastai.vastai"), "--list")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["_meta"]["hostvars"]["my-style"]["vastai_id"] == row["id"]
    assert found["preset_512"]["hosts"] == ["my-style"]


@pytest.mark.parametrize("plugin", ["vastai", "fluxlora.vastai.vastai"])
@pytest.mark.parametrize("enabled", ["fluxlora.vastai.vastai", ""], ids=["installed", "in this project"])
def test_a_file_may_name_the_plugin_either_way(
    enabled: str, plugin: str, ansible: Run, vast: VastServer, tmp_path: Path
) -> None:
    vast.rent_running(label="fluxlora/my-style/512")
    chosen = {"ANSIBLE_INVENTORY_ENABLED": enabled} if enabled else {"ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg")}
    done = ansible("ansible-inventory", "-i", source(tmp_path, plugin), "--list", **chosen)
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)["_meta"]["hostvars"]) == ["my-style"]


def test_its_modules_work_by_their_full_names_with_defaults_for_all_of_them(
    ansible: Run, vast: VastServer, tmp_path: Path
) -> None:
    def task(name: str, **options: Any) -> dict[str, Any]:
        return {f"fluxlora.vastai.{name}": options, "register": name}

    rent = {"run": "my-job", "offers": "{{ vastai_offer_info.offers }}", "image": "x", "label_prefix": "example"}
    results = [
        "vastai_offer_info",
        "vastai_ssh_key",
        "vastai_instance",
        "vastai_instance_info",
        "vastai_loss_info",
        "vastai_audit",
    ]
    shown = {name: "{{ " + name + " }}" for name in results}
    done = ansible(
        "ansible-playbook",
        playbook(
            tmp_path,
            task("vastai_offer_info", gpu_ram_gb=24),
            task("vastai_ssh_key", public_key=KEY),
            task("vastai_instance", poll_seconds=0.05, **rent),
            task("vastai_instance_info", run="my-job", label_prefix="example"),
            task("vastai_loss_info", instance_id="{{ vastai_instance.instance.id }}", timeout_seconds=0),
            task("vastai_audit", journal=str(tmp_path / "journal.jsonl"), label_prefix="example"),
            task("vastai_api_key", path=str(tmp_path / "key")),
            written(tmp_path / "shown", "shown"),
            vars={"shown": shown},
            module_defaults={"group/fluxlora.vastai.vastai": {"api_key": vast.api_key, "url": vast.url}},
        ),
        VAST_API_KEY="wrong",
        VAST_URL="http://127.0.0.1:9",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "shown").read_text())
    instance = found["vastai_instance"]["instance"]
    assert vast.rented_ids() == [instance["id"]]
    assert instance["label"] == "example/my-job/"
    assert found["vastai_ssh_key"]["changed"]
    assert found["vastai_instance_info"]["instance"]["id"] == instance["id"]
    assert found["vastai_loss_info"]["loss"] == ""
    assert [finding["instance_id"] for finding in found["vastai_audit"]["findings"]] == [instance["id"]]
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", MODULES)
def test_a_module_without_the_package_says_in_a_sentence_how_to_install_it(
    name: str, ansible: Run, no_package: dict[str, str], tmp_path: Path
) -> None:
    options = {
        "vastai_audit": {"journal": "journal.jsonl"},
        "vastai_instance": {"state": "absent", "run": "my-job"},
        "vastai_instance_info": {"run": "my-job"},
        "vastai_loss_info": {"instance_id": 5},
        "vastai_ssh_key": {"public_key": KEY},
    }
    tasks = [
        {
            f"fluxlora.vastai.{name}": options.get(name, {}),
            "register": "called",
            "environment": no_package,
            "ignore_errors": True,
        },
        written(tmp_path / "called", "called"),
    ]
    done = ansible("ansible-playbook", playbook(tmp_path, *tasks))
    assert done.returncode == 0, done.stdout + done.stderr
    called = json.loads((tmp_path / "called").read_text())
    assert called["failed"]
    assert called["code"] == "no_fluxlora"
    assert "(fluxlora)" in called["msg"]
    assert "pip install" in called["hint"]
    assert "Traceback" not in done.stdout + done.stderr


def test_the_inventory_without_the_package_says_in_a_sentence_how_to_install_it(
    ansible: Run, no_package: dict[str, str], tmp_path: Path
) -> None:
    named = source(tmp_path, "fluxlora.vastai.vastai")
    done = ansible(
        "ansible-inventory", "-i", named, "--list", ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED="1", **no_package
    )
    assert done.returncode != 0
    said = " ".join(done.stderr.split())
    assert "(fluxlora)" in said
    assert "pip install" in said
    assert "Traceback" not in said


def test_ansible_doc_shows_the_options_that_the_modules_share(ansible: Run) -> None:
    names = [f"fluxlora.vastai.{name}" for name in MODULES]
    done = ansible("ansible-doc", "-t", "module", "--json", *names)
    shown = json.loads(done.stdout)
    assert [name for name in names if not {"api_key", "url"} <= set(shown[name]["doc"]["options"])] == []
