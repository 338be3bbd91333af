"""Whether an instance may be destroyed: only what was downloaded from this very one, or may be lost, goes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fluxlora.delivery.verdict import verdict
from fluxlora.vast.records import Instance

INSTANCE = Instance(id=7, price_per_hour=0.5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "my-style"


def manifest(folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / "manifest.json").write_text(text)


def test_what_was_downloaded_from_this_instance_may_be_destroyed(folder: Path) -> None:
    manifest(folder, json.dumps({"vastai_id": 7}))
    found = verdict("my-style", INSTANCE, folder)
    assert (found.may_destroy, found.downloaded, found.refusal) == (True, True, "")


@pytest.mark.parametrize(
    "text", [None, '{"vastai_id": 8}', '{"vastai_id": null}', "{}", '{"vastai_id": "7"}', "{", ""],
    ids=["no manifest", "of another", "not all is here", "of none", "no number", "cut off", "empty"],
)  # fmt: skip
def test_without_a_manifest_of_this_instance_it_is_kept_and_the_two_ways_out_are_said(
    folder: Path, text: str | None
) -> None:
    if text is not None:
        manifest(folder, text)
    found = verdict("my-style", INSTANCE, folder)
    assert (found.may_destroy, found.downloaded) == (False, False)
    assert "The artifacts of my-style were not downloaded, and instance 7 costs $0.500/h." in found.refusal
    assert "fetch.yml -e run_name=my-style`" in found.refusal
    assert "destroy.yml -e run_name=my-style -e provision_destroy_unsaved=true`" in found.refusal


def test_a_manifest_that_cannot_be_used_is_said(folder: Path) -> None:
    manifest(folder, "{")
    found = verdict("my-style", INSTANCE, folder)
    assert found.refusal.startswith(f"{folder / 'manifest.json'} cannot be used")


def test_what_may_be_lost_may_be_destroyed_and_is_not_called_downloaded(folder: Path) -> None:
    found = verdict("my-style", INSTANCE, folder, discard=True)
    assert (found.may_destroy, found.downloaded, found.refusal) == (True, False, "")


def test_without_an_instance_nothing_is_lost(folder: Path) -> None:
    assert verdict("my-style", None, folder).may_destroy


def test_an_instance_without_a_price_is_kept_all_the_same(folder: Path) -> None:
    assert "costs $0.000/h" in verdict("my-style", Instance(id=7), folder).refusal
