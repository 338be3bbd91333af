"""Every module says what it takes, and takes what it says: what `ansible-doc` shows is all that others have of it."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from fluxlora.doctor.account import LEAST

PROJECT = Path(__file__).parents[2]
MODULES = sorted((PROJECT / "plugins" / "modules").glob("*.py"))
# What is done on this computer and on the host stands in the action of the same name, which takes the options itself.
ACTIONS = {path.name for path in (PROJECT / "plugins" / "action").glob("*.py")}
each_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)


def constants(path: Path) -> dict[str, Any]:
    module = ast.parse(path.read_text(encoding="utf-8"))
    assigned = (node for node in module.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant))
    return {target.id: node.value.value for node in assigned for target in node.targets if isinstance(target, ast.Name)}


def documentation(path: Path) -> dict[str, Any]:
    """What it says and what the fragments add that it names."""
    told: dict[str, Any] = yaml.safe_load(constants(path)["DOCUMENTATION"])
    if name := told.get("extends_documentation_fragment"):
        fragment = importlib.import_module(f"plugins.doc_fragments.{name.removeprefix('fluxlora.vastai.')}")
        shared = yaml.safe_load(fragment.ModuleDocFragment.DOCUMENTATION)
        told["options"] = told.get("options", {}) | shared["options"]
    return told


def call_of_ansible(path: Path) -> ast.Call:
    """Where the module hands its options to Ansible."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return next(
        node for node in nodes if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "AnsibleModule"
    )


def specification(path: Path) -> dict[str, dict[str, Any]]:
    """The options that Ansible is given, evaluated where the module would."""
    call = call_of_ansible(path)
    given = call.args[0] if call.args else next(each.value for each in call.keywords if each.arg == "argument_spec")
    module = importlib.import_module(f"plugins.modules.{path.stem}")
    options: dict[str, dict[str, Any]] = eval(compile(ast.Expression(given), str(path), "eval"), vars(module))
    return options


def shape(options: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What a caller has to know of each option."""
    return {
        name: (
            option.get("type", "str"),
            option.get("elements"),
            option.get("default"),
            sorted(map(str, option.get("choices") or [])),
            bool(option.get("required")),
        )
        for name, option in options.items()
    }


@pytest.fixture(autouse=True)
def project_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules import each other's parts as the package `plugins`."""
    monkeypatch.syspath_prepend(PROJECT)


@each_module
def test_a_module_has_documentation_examples_and_return_values_that_can_be_read(path: Path) -> None:
    told = constants(path)
    names = ("DOCUMENTATION", "EXAMPLES", "RETURN")
    document, examples, returned = (yaml.safe_load(told[name]) for name in names)
    assert document["module"] == path.stem
    assert all(option.get("description") for option in document.get("options", {}).values())
    assert any(path.stem in task for task in examples)
    assert all(value.get("description") and value.get("returned") for value in returned.values())
    text = path.read_text(encoding="utf-8")
    assert "fail_json" not in text
    if "module_utils.failures" in text:
        assert {returned[name]["type"] for name in ("code", "hint")} == {"str"}
        assert returned["hint"]["description"] == "What to do next, for people."


@each_module
def test_a_module_says_what_it_does_in_check_mode(path: Path) -> None:
    support = documentation(path)["attributes"]["check_mode"]["support"]
    if path.name not in ACTIONS:
        assert support == "full"
        assert any(each.arg == "supports_check_mode" for each in call_of_ansible(path).keywords)


@pytest.mark.parametrize("path", [path for path in MODULES if path.name not in ACTIONS], ids=lambda path: path.stem)
def test_a_module_takes_the_options_that_it_documents(path: Path) -> None:
    assert shape(specification(path)) == shape(documentation(path).get("options", {}))


def test_the_key_that_is_made_may_do_what_the_doctor_asks_for_and_no_more() -> None:
    path = PROJECT / "plugins" / "modules" / "vastai_api_key.py"
    assert documentation(path)["options"]["permissions"]["default"] == list(LEAST)
