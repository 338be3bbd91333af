"""Manifests of folders as they lie at home after a run."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from fluxlora.delivery import report
from fluxlora.money.journal import Event, Journal

NOW = 1_800_000_000.0
INSTANCE = {"id": 7, "gpu": "RTX A6000", "price_per_hour": 0.5, "started_at": NOW - 7200}
COST = {
    "meters": {"gpu": 0.9, "storage": 0.1, "bytes": 0.25, "total": 1.25, "hours": 2.0, "counted": True},
    "earlier_usd": 0.5, "spent_usd": 1.75, "expected_usd": 2.0, "budget_usd": 20,
}  # fmt: skip
PROGRESS = {"phase": "finished", "step": 12, "steps": 12, "first_loss": 1.5, "loss": 0.25, "started_at": NOW - 600,
            "updated_at": NOW - 60, "restarts": 1}  # fmt: skip

STATE = "checkpoint-4/training_state.json"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "my-style"
    for name in ("pytorch_lora_weights.safetensors", STATE, "checkpoint-12/training_state.json", "wandb/run/log"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f'"{name}"')
    return folder


def built(home: Path, **changes: Any) -> dict[str, Any]:
    facts = {"path": str(home / "pytorch_lora_weights.safetensors"), "sha256": "ab", "size_bytes": 9, "kind": "lora",
             "rank": 16, "alpha": 16.0, "dtypes": ["BF16"], "tensors": 70, "learned": True}  # fmt: skip
    given: dict[str, Any] = {
        "run": "my-style", "presets": ["512"], "instance": INSTANCE, "progress": PROGRESS, "adapter_facts": facts,
        "versions": {"torch": "2.9.1"}, "cost": COST, "now": NOW,
    } | changes  # fmt: skip
    return report.build(home, **given)


def test_a_finished_run_is_described_with_steps_losses_cost_and_times(home: Path) -> None:
    made = built(home)
    assert made["delivered"] is True
    assert made["steps"] == {"done": 12, "asked": 12}
    assert made["loss"] == {"first": 1.5, "last": 0.25}
    assert made["cost_usd"] == {
        "gpu": 0.9, "storage": 0.1, "bytes": 0.25, "earlier": 0.5, "total": 1.75, "expected": 2.0, "budget": 20.0,
        "bytes_counted": True,
    }  # fmt: skip
    assert made["times"] == {"trained_seconds": 540.0, "rented_seconds": 7200.0}
    assert made["adapter"]["path"] == "pytorch_lora_weights.safetensors"
    assert made["checkpoints"] == [4, 12]


def test_only_whole_checkpoints_count(home: Path) -> None:
    for name in ("checkpoint-16/optimizer.bin", "checkpoint-16-rolling/training_state.json"):
        (home / name).parent.mkdir()
        (home / name).write_text("{}")
    assert built(home)["checkpoints"] == [4, 12]


def test_a_checkpoint_that_a_host_named_oddly_or_whose_state_cannot_be_read_is_none(home: Path) -> None:
    for name in (
        "checkpoint-016",
        "checkpoint-\u0661\u0666",
        f"checkpoint-{'1' * 200}",
        "checkpoint--16",
        "checkpoint-18",
    ):
        (home / name).mkdir()
        (home / name / "training_state.json").write_text("[" * 100_000 if name == "checkpoint-18" else "{}")
    assert built(home)["checkpoints"] == [4, 12]


def test_every_file_is_listed_with_size_and_digest(home: Path) -> None:
    files = {file["path"]: file for file in built(home)["files"]}
    assert set(files) == {
        "pytorch_lora_weights.safetensors",
        STATE,
        "checkpoint-12/training_state.json",
        "wandb/run/log",
    }
    assert files[STATE]["sha256"] == hashlib.sha256(f'"{STATE}"'.encode()).hexdigest()
    assert files[STATE]["size_bytes"] == len(STATE) + 2


def test_neither_a_link_nor_a_fifo_nor_what_is_still_arriving_is_listed_or_read(home: Path, tmp_path: Path) -> None:
    listed = built(home)["files"]
    (tmp_path / "private").write_text("of the user")
    (home / "link").symlink_to(tmp_path / "private")
    (home / "folder").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(home / "pipe")
    (home / "checkpoint-16").mkdir()
    os.mkfifo(home / "checkpoint-16" / "training_state.json")
    for name in (".arriving/1/weights", "wandb/.rsync-partial/log"):
        (home / name).parent.mkdir(parents=True)
        (home / name).write_text("half")
    made = built(home)
    assert (made["files"], made["checkpoints"]) == (listed, [4, 12])


def test_a_manifest_is_not_written_through_a_link(home: Path, tmp_path: Path) -> None:
    (tmp_path / "private").write_text("of the user")
    for name in ("manifest.json", ".manifest.json.new", ".report.txt.new"):
        (home / name).symlink_to(tmp_path / "private")
    report.write(home, built(home))
    assert (tmp_path / "private").read_text() == "of the user"
    assert not (home / "manifest.json").is_symlink()


def test_a_manifest_that_is_a_link_proves_nothing(home: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.json").write_text('{"vastai_id": 7}')
    (home / "manifest.json").symlink_to(tmp_path / "elsewhere.json")
    proof = report.proof(home / "manifest.json")
    assert proof.instance_id is None
    assert "manifest.json" in proof.problem


def test_a_second_manifest_of_the_same_folder_changes_nothing(home: Path) -> None:
    assert report.write(home, built(home)) is True
    before = (home / report.NAME).read_text()
    assert report.write(home, built(home, now=NOW + 60)) is False
    assert (home / report.NAME).read_text() == before


def test_a_file_that_changed_is_read_again(home: Path) -> None:
    report.write(home, built(home))
    (home / STATE).write_text("another text")
    files = {file["path"]: file["sha256"] for file in built(home)["files"]}
    assert files[STATE] == hashlib.sha256(b"another text").hexdigest()


def test_a_file_that_did_not_change_is_not_read_again(home: Path) -> None:
    made = built(home)
    report.write(home, made)
    file = home / STATE
    times = file.stat()
    file.write_text(file.read_text().replace("4", "5"))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert built(home)["files"] == made["files"]


@pytest.mark.parametrize(
    ("phase", "adapter", "settled"),
    [("finished", True, 7), ("training", False, None), ("finished", False, None), ("failed", False, 7)],
)
def test_the_instance_may_go_when_its_adapter_is_home_or_nothing_more_will_come(
    home: Path, phase: str, adapter: bool, settled: int | None
) -> None:
    changes: dict[str, Any] = {} if adapter else {"adapter_facts": None}
    assert built(home, progress=PROGRESS | {"phase": phase}, **changes)["vastai_id"] == settled


def test_a_dry_run_writes_nothing(home: Path) -> None:
    assert report.write(home, built(home), dry_run=True) is True
    assert not (home / report.NAME).exists()


def test_the_report_names_the_adapter_its_digest_and_the_cost(home: Path) -> None:
    report.write(home, built(home))
    text = (home / report.TEXT_NAME).read_text()
    assert "lora of rank 16, 70 tensors" in text
    assert "sha256     ab" in text
    assert (
        "cost       $1.750 so far: GPU $0.900, storage $0.100, bytes $0.250, earlier instances $0.500 at most; "
        "$2.00 were expected" in text
    )


def test_an_unfinished_run_without_numbers_is_described_too(home: Path) -> None:
    made = built(home, adapter_facts=None, instance={}, progress={}, cost=None)
    assert made["delivered"] is False
    assert any("the checkpoints are 4, 12" in line for line in report.lines(made))


def test_a_spoilt_manifest_is_written_anew(home: Path) -> None:
    (home / report.NAME).write_text("{broken")
    assert report.write(home, built(home)) is True
    assert json.loads((home / report.NAME).read_text())["run"] == "my-style"


def test_nothing_at_home_is_said(tmp_path: Path) -> None:
    with pytest.raises(report.ReportError, match="my-style"):
        built(tmp_path / "nowhere")


def test_a_delivered_adapter_and_how_fast_it_was_trained_are_remembered_once(home: Path, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.write(Event.RENTED, "my-style", 7, expected_seconds_per_step=2.0)
    made = built(home, progress=PROGRESS | {"seconds_per_step": 3.0})

    report.remember(journal, made)
    report.remember(journal, made)

    _, trained, delivered = journal.entries("my-style")
    assert trained.event is Event.TRAINED
    assert trained.facts == {
        "gpu_name": "RTX A6000", "seconds_per_step": 3.0, "expected_seconds_per_step": 2.0
    }  # fmt: skip
    assert (delivered.event, delivered.instance_id) == (Event.DELIVERED, 7)


def test_what_is_not_finished_or_was_not_measured_is_not_remembered_as_such(home: Path, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    report.remember(journal, built(home, adapter_facts=None))
    assert journal.entries() == []

    report.remember(journal, built(home))
    assert [entry.event for entry in journal.entries()] == [Event.DELIVERED]
