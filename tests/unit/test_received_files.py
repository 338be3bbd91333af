"""What may arrive in a run's folder, under which names, and that no link in it is followed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fluxlora.untrusted import files
from fluxlora.untrusted.files import Bound, HomeError


@pytest.mark.parametrize(
    "name",
    [
        "pytorch_lora_weights.safetensors",
        "checkpoint-4/training_state.json",
        "validation_images/café n° 1.png",
        "über.png",
        "config/manifest.json",
        "wandb/my-style.safetensors",
        "manifest.json.txt",
        "a..b/c",
    ],
)
def test_what_a_training_leaves_behind_may_arrive(name: str) -> None:
    assert files.refusal(name, "my-style") == ""


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../a", "a/../../b", "/etc/passwd", "a//b", "a/./b", "checkpoint-4/"],
)
def test_a_name_that_leaves_the_folder_may_not(name: str) -> None:
    assert "leaves the folder" in files.refusal(name, "my-style")


@pytest.mark.parametrize(
    "name",
    [
        "manifest.json",
        "Manifest.JSON",
        "manifest.json/inside",
        "report.txt",
        "report.txt.",
        "My-Style.safetensors",
        "my-style-step00000500.safetensors",
        "My-Style-Step7.safetensors",
        "manife\u017ft.json",
        "manife\ufb06.json",
        "\uff4danifest.json",
        "manifest.js\u00f6n",
        "manifest\u034f.json",
    ],
)
def test_a_name_of_ours_or_what_a_file_system_may_take_for_it_may_not(name: str) -> None:
    assert "fluxlora writes" in files.refusal(name, "my-style")


@pytest.mark.parametrize("name", [".manifest.json.new", ".arriving/x", "a/.rsync-partial/b", "a/.Arriving", ".env"])
def test_a_name_for_what_is_not_whole_yet_may_not(name: str) -> None:
    assert files.refusal(name, "my-style")


@pytest.mark.parametrize("name", ["bell\x07", "two\nlines", "man\u200difest.json", "\u202egpj.exe", "byte\udcff"])
def test_a_name_that_cannot_be_printed_may_not(name: str) -> None:
    assert "printed" in files.refusal(name, "my-style")


def test_a_file_is_moved_to_its_name_and_replaces_an_older_one(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for content in ("one", "two"):
        (tmp_path / "staged").write_text(content)
        files.place(tmp_path / "staged", tmp_path / "run", "a/b/file")
        assert (tmp_path / "run" / "a" / "b" / "file").read_text() == content
        assert not (tmp_path / "staged").exists()


@pytest.mark.parametrize("way", ["a", "a/b", "a/b/file"])
@pytest.mark.parametrize("kind", ["link", "other"])
def test_a_file_is_moved_neither_through_a_link_nor_over_something_else(tmp_path: Path, way: str, kind: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "staged").write_text("of a host")
    there = tmp_path / "run" / way
    there.parent.mkdir(parents=True)
    if kind == "link":
        there.symlink_to(tmp_path / "outside")
    elif way == "a/b/file":
        there.mkdir()
    else:
        there.write_text("of the user")
    with pytest.raises(HomeError, match=f"{there} is "):
        files.place(tmp_path / "staged", tmp_path / "run", "a/b/file")
    assert list((tmp_path / "outside").iterdir()) == []
    assert (tmp_path / "staged").read_text() == "of a host"


def test_regular_files_are_found_and_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "run" / "a").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    for name in ("run/a/file", "run/b", "outside/private"):
        (tmp_path / name).write_text("12345")
    (tmp_path / "run" / "link").symlink_to(tmp_path / "outside" / "private")
    (tmp_path / "run" / "folder").symlink_to(tmp_path / "outside", target_is_directory=True)
    os.mkfifo(tmp_path / "run" / "pipe")
    assert [(name, status.st_size) for name, status in files.regular_files(tmp_path / "run")] == [
        ("a/file", 5),
        ("b", 5),
    ]


@pytest.mark.timeout(20)
def test_only_a_regular_file_is_opened_to_be_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    with files.open_regular(tmp_path / "file") as opened:
        assert opened.read() == b"content"
    for name in ("link", "pipe", "none", "."):
        with pytest.raises(OSError):  # noqa: PT011  # which one is the system's to say
            files.open_regular(tmp_path / name)


def test_a_disk_is_not_filled(tmp_path: Path) -> None:
    files.require_room(tmp_path / "not" / "there", 1)
    with pytest.raises(HomeError) as refused:
        files.require_room(tmp_path / "not" / "there", 10**18)
    assert refused.value.code == "disk_full"


def test_a_bound_is_kept_in_files_and_in_bytes() -> None:
    bound = Bound(2, 10)
    assert bound.exceeded(2, 10) == ""
    assert "3 files" in bound.exceeded(3, 10)
    assert "2 files" in bound.exceeded(2, 11)
