"""The real rsync between two folders; a program called ssh stands in for the network and runs the far end here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fluxlora.transfer import SshTarget, TransferError, pull, push

# Takes what OpenSSH takes before the address, notes it, and runs the rest as the far shell would.
SSH = """#!/bin/sh
printf '%s\\n' "$@" > "$SSH_NOTES"
while [ $# -gt 0 ]; do
  case "$1" in -p|-i|-o|-l) shift 2;; -*) shift;; *) break;; esac
done
shift
exec sh -c "$*"
"""
TARGET = SshTarget("203.0.113.7", 40022, key_file="/keys/my key")


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(SSH)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SSH_NOTES", str(tmp_path / "notes"))
    return tmp_path / "notes"


@pytest.fixture
def far(tmp_path: Path, notes: Path) -> Path:
    folder = tmp_path / "far away"
    (folder / "checkpoint-4").mkdir(parents=True)
    (folder / "checkpoint-4/weights").write_text("four")
    (folder / "secret.env").write_text("token")
    return folder


def test_a_pull_brings_what_changed_and_nothing_the_second_time(tmp_path: Path, far: Path) -> None:
    home = tmp_path / "home"
    assert sorted(pull(TARGET, str(far), home)) == ["checkpoint-4/weights", "secret.env"]
    assert pull(TARGET, str(far), home) == []
    (far / "checkpoint-8").mkdir()
    (far / "checkpoint-8/weights").write_text("eight")
    assert pull(TARGET, str(far), home) == ["checkpoint-8/weights"]
    assert (home / "checkpoint-8/weights").read_text() == "eight"


def test_a_pull_keeps_what_the_instance_has_pruned(tmp_path: Path, far: Path) -> None:
    home = tmp_path / "home"
    pull(TARGET, str(far), home)
    (far / "checkpoint-4/weights").unlink()
    pull(TARGET, str(far), home)
    assert (home / "checkpoint-4/weights").read_text() == "four"


def test_excluded_files_stay_and_only_named_ones_come(tmp_path: Path, far: Path) -> None:
    assert pull(TARGET, str(far), tmp_path / "one", excludes=["secret.env"]) == ["checkpoint-4/weights"]
    (far / "training.log").write_text("step 1")
    assert pull(TARGET, str(far), tmp_path / "two", only=["training.log"]) == ["training.log"]


def test_a_dry_run_says_what_would_come_and_writes_nothing(tmp_path: Path, far: Path) -> None:
    assert pull(TARGET, str(far), tmp_path / "home", excludes=["secret.env"], dry_run=True) == ["checkpoint-4/weights"]
    assert not (tmp_path / "home").exists()


def test_a_push_deletes_what_is_gone_here_and_spares_what_is_excluded(tmp_path: Path, far: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "a.txt").write_text("a")
    changed = push(TARGET, home, str(far), delete=True, excludes=["secret.env"])
    assert set(changed) == {"a.txt", "checkpoint-4/", "checkpoint-4/weights"}
    assert sorted(each.name for each in far.iterdir()) == ["a.txt", "secret.env"]


def test_a_push_sends_what_links_point_at(tmp_path: Path, far: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "photo.jpg").write_text("pixels")
    (home / "a.jpg").symlink_to(tmp_path / "photo.jpg")
    assert push(TARGET, home, str(far)) == ["a.jpg"]
    assert not (far / "a.jpg").is_symlink()


def test_names_with_spaces_quotes_and_shell_signs_travel(tmp_path: Path, far: Path) -> None:
    name = 'it\'s "$(touch pwned)" & more; é.txt'
    (far / name).write_text("safe")
    pull(TARGET, str(far), tmp_path / "home")
    assert (tmp_path / "home" / name).read_text() == "safe"
    assert not list(tmp_path.rglob("pwned"))


def test_ssh_gets_port_key_and_the_callers_options_before_ours(tmp_path: Path, far: Path, notes: Path) -> None:
    target = SshTarget("host", 1234, "jane", "/keys/my key", '-o UserKnownHostsFile="/known hosts/7" -o BatchMode=no')
    pull(target, str(far), tmp_path / "home")
    words = notes.read_text().splitlines()
    assert words[:4] == ["-p", "1234", "-i", "/keys/my key"]
    assert "UserKnownHostsFile=/known hosts/7" in words
    assert words.index("BatchMode=no") < words.index("BatchMode=yes")
    # rsync turns user@host into ssh's own option.
    assert words[words.index("-l") + 1 : words.index("-l") + 3] == ["jane", "host"]


def test_a_missing_remote_folder_is_said_in_a_sentence(tmp_path: Path, far: Path) -> None:
    with pytest.raises(TransferError, match=r"203\.0\.113\.7:40022.*No such file") as refused:
        pull(TARGET, str(tmp_path / "nowhere"), tmp_path / "home")
    assert refused.value.code == "transfer_failed"


def test_a_missing_local_folder_is_refused_before_anything_is_called(tmp_path: Path, notes: Path) -> None:
    with pytest.raises(TransferError) as refused:
        push(TARGET, tmp_path / "nowhere", "/anywhere")
    assert refused.value.code == "no_such_folder"
    assert not notes.exists()


def test_a_host_that_refuses_is_unreachable_with_sshs_own_reason(tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="refused") as refused:
        pull(SshTarget("127.0.0.1", 1), "/anywhere", tmp_path / "home")
    assert refused.value.code == "unreachable"


def test_an_instance_without_rsync_is_said_to_lack_it(tmp_path: Path, far: Path) -> None:
    (tmp_path / "bin" / "ssh").write_text("#!/bin/sh\nPATH=/nowhere\nrsync --server\n")
    with pytest.raises(TransferError) as refused:
        pull(TARGET, str(far), tmp_path / "home")
    assert refused.value.code == "no_rsync"


def test_a_transfer_that_takes_too_long_is_ended(tmp_path: Path, far: Path) -> None:
    slow = tmp_path / "bin" / "ssh"
    slow.write_text("#!/bin/sh\nexec sleep 30\n")
    with pytest.raises(TransferError) as refused:
        pull(TARGET, str(far), tmp_path / "home", timeout_seconds=0.3)
    assert refused.value.code == "timeout"
