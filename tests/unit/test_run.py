"""Which project a call is for, and what its child process needs of this computer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fluxlora.errors import InputError
from fluxlora.project import PROJECT_VARIABLE, project_dir
from fluxlora.runner.play import play


def made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("ansible.cfg", "train.yml"):
        (folder / name).touch()
    return folder


def test_the_nearest_project_counts_even_where_another_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer, inner = made(tmp_path / "outer"), made(tmp_path / "outer" / "inner")
    below = inner / "pictures"
    below.mkdir()
    monkeypatch.setenv(PROJECT_VARIABLE, str(outer))
    for folder, project in ((below, inner), (inner, inner), (outer, outer), (tmp_path, outer)):
        monkeypatch.chdir(folder)
        assert project_dir() == project


def test_playbooks_in_a_folder_above_that_everybody_may_write_to_are_nobodys_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = made(tmp_path / "shared")
    own = shared / "own"
    own.mkdir()
    monkeypatch.chdir(own)
    monkeypatch.delenv(PROJECT_VARIABLE, raising=False)
    assert project_dir() == shared
    shared.chmod(0o1777)
    with pytest.raises(InputError):
        project_dir()
    monkeypatch.chdir(shared)
    assert project_dir() == shared


def test_a_named_project_without_playbooks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(PROJECT_VARIABLE, str(tmp_path / "gone"))
    with pytest.raises(InputError, match=r"names .*gone, which does not hold") as refused:
        project_dir()
    assert refused.value.code == "no_project"


# Threads that other tests have left.
@pytest.mark.filterwarnings("ignore:.*is multi-threaded:DeprecationWarning")
def test_a_call_leaves_the_environment_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    before = dict(os.environ)
    outcome = play("presets", {}, offline=True, environment={"GIVEN": "1"}, on_event=lambda event: None)
    assert outcome.code == 0
    assert dict(os.environ) == before
