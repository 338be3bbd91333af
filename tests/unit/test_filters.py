"""What the filters decide for the playbooks and the roles."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PROJECT = Path(__file__).parents[2]


def loaded(name: str) -> ModuleType:
    """The file of filters, as Ansible loads it."""
    spec = importlib.util.spec_from_file_location(f"filter_{name}", PROJECT / "plugins" / "filter" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RUNS, OPTIONS = loaded("runs"), loaded("options")


@pytest.mark.parametrize(
    ("run_name", "apart_from", "runs"),
    [
        (None, [], ["cat", "dog"]),
        (None, ["dog"], ["cat"]),
        ("new", [], ["new"]),
        ("new, cat,new", ["cat"], ["new"]),
    ],
)
def test_a_call_is_about_the_runs_that_it_names_or_else_about_all(
    run_name: str | None, apart_from: list[str], runs: list[str]
) -> None:
    assert RUNS.chosen_runs(["cat", "dog"], run_name, apart_from) == runs


@pytest.mark.parametrize(
    ("given", "before", "host", "presets"),
    [
        ("512", {"run_presets": "lokr"}, {"run_presets": "arb", "vastai_presets": ["24gb"]}, "512"),
        (None, {"run_presets": "lokr"}, {"run_presets": "arb", "vastai_presets": ["24gb"]}, "lokr"),
        (None, {}, {"run_presets": "arb", "vastai_presets": ["24gb"]}, "arb"),
        (None, {}, {"vastai_presets": ["24gb"]}, ["24gb"]),
        (None, {}, {"vastai_presets": []}, []),
        (None, {}, {}, "1024"),
    ],
)
def test_the_nearest_to_the_call_says_the_presets(
    given: Any, before: dict[str, Any], host: dict[str, Any], presets: Any
) -> None:
    assert RUNS.chosen_presets(host, given, before) == presets


def found(instance: int | None, *, usable: bool, usd: float | None = None) -> dict[str, Any]:
    offers = (
        {} if usd is None else {"provision_offers": {"offers": [{"cost": {"total": usd}}, {"cost": {"total": 99}}]}}
    )
    return {"provision_found": {"instance": {"id": instance} if instance else None, "usable": usable}, **offers}


HOSTS = {
    "there": found(7, usable=True),
    "taken": found(8, usable=False, usd=2.5),
    "new": found(None, usable=False, usd=1.5),
    "nothing": found(None, usable=False) | {"provision_offers": {"offers": []}},
}


def test_what_several_runs_come_to() -> None:
    assert RUNS.without_instance(list(HOSTS), HOSTS) == ["taken", "new", "nothing"]
    assert RUNS.instance_ids(list(HOSTS), HOSTS) == [7, 8]
    assert RUNS.expected_usd(list(HOSTS), HOSTS) == 4.0
    assert RUNS.expected_usd(["there"], HOSTS) == 0


def test_an_empty_variable_hides_nothing() -> None:
    assert OPTIONS.set_only({"A": "1", "B": "", "C": None}) == {"A": "1"}


def test_a_gpu_is_too_old_by_its_number_and_not_by_its_text() -> None:
    gpus = [{"name": name, "compute_capability": own} for name, own in
            (("old", "7.5"), ("same", "8.0"), ("new", "12.0"), ("unknown", None))]  # fmt: skip
    assert OPTIONS.gpus_below(gpus, "8.0") == ["old"]
    assert OPTIONS.gpus_below(gpus, 8.6) == ["old", "same"]


def test_a_file_is_foreign_unless_it_is_as_it_was_written() -> None:
    results = [
        {"item": "ours", "stat": {"exists": True, "checksum": "a"}},
        {"item": "changed", "stat": {"exists": True, "checksum": "b"}},
        {"item": "a link", "stat": {"exists": True}},
        {"item": "absent", "stat": {"exists": False}},
    ]
    assert OPTIONS.foreign_files(results, {"ours": "a", "changed": "old"}) == ["a link", "changed"]
