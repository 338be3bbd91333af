"""The real rsync between two folders; a program called ssh stands in for the network and runs the far end here."""

from __future__ import annotations

import os
import re
import shlex
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fluxlora.delivery.transfer import SshTarget, TransferError, pull, push
from fluxlora.untrusted.files import Bound, HomeError
from fluxlora.vast.ssh import CLOSED

# Takes what OpenSSH takes before the address, notes it, and runs the rest as the far shell would. Where there is a
# program `meanwhile`, the host has it run between its list and its files.
SSH = """#!/bin/sh
printf '%s\\n' "$@" > "$SSH_NOTES"
echo >> "$SSH_NOTES.calls"
here=$(dirname "$0")
[ ! -x "$here/meanwhile" ] || [ "$(wc -l < "$SSH_NOTES.calls")" != 2 ] || "$here/meanwhile"
while [ $# -gt 0 ]; do
  case "$1" in -F|-p|-i|-o|-l) shift 2;; -*) shift;; *) break;; esac
done
shift
exec sh -c "$*"
"""
# The same over a line of 3 MB/s, which counts its bytes.
SLOW_SSH = f"""#!{sys.executable}
import os, subprocess, sys, time
with subprocess.Popen(["sh", "-c", " ".join(sys.argv[sys.argv.index("203.0.113.7") + 1:])], stdout=-1) as far:
    moved = 0
    while some := os.read(far.stdout.fileno(), 65536):
        moved += os.write(1, some)
        time.sleep(0.02)
    with open(os.environ["SSH_NOTES"] + ".bytes", "a") as notes:
        print(moved, file=notes)
"""
STALLING_SSH = SLOW_SSH.replace("0.02", "0.02 if moved < 2_000_000 else 60")
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
    assert pull(TARGET, str(far), home).files == ["checkpoint-4/weights", "secret.env"]
    assert pull(TARGET, str(far), home).files == []
    (far / "checkpoint-8").mkdir()
    (far / "checkpoint-8/weights").write_text("eight")
    assert pull(TARGET, str(far), home).files == ["checkpoint-8/weights"]
    assert (home / "checkpoint-8/weights").read_text() == "eight"


def test_a_pull_keeps_what_the_instance_has_pruned(tmp_path: Path, far: Path) -> None:
    home = tmp_path / "home"
    pull(TARGET, str(far), home)
    (far / "checkpoint-4/weights").unlink()
    pull(TARGET, str(far), home)
    assert (home / "checkpoint-4/weights").read_text() == "four"


def test_excluded_files_stay_and_only_named_ones_come(tmp_path: Path, far: Path) -> None:
    assert pull(TARGET, str(far), tmp_path / "one", excludes=["secret.env"]).files == ["checkpoint-4/weights"]
    (far / "training.log").write_text("step 1")
    assert pull(TARGET, str(far), tmp_path / "two", only=["training.log"]).files == ["training.log"]


def test_a_dry_run_says_what_would_come_and_writes_nothing(tmp_path: Path, far: Path) -> None:
    planned = pull(TARGET, str(far), tmp_path / "home", excludes=["secret.env"], dry_run=True)
    assert planned.files == ["checkpoint-4/weights"]
    assert not (tmp_path / "home").exists()


def test_a_push_deletes_what_is_gone_here_and_spares_what_is_excluded(tmp_path: Path, far: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "a.txt").write_text("a")
    changed = push(TARGET, home, str(far), delete=True, excludes=["secret.env"])
    assert set(changed) == {"a.txt", "checkpoint-4/", "checkpoint-4/weights"}
    assert sorted(each.name for each in far.iterdir()) == ["a.txt", "secret.env"]


def test_a_push_sends_what_links_inside_the_folder_point_at(tmp_path: Path, far: Path) -> None:
    home = tmp_path / "home"
    (home / "set").mkdir(parents=True)
    (home / "set" / "photo.jpg").write_text("pixels")
    (home / "a.jpg").symlink_to("set/photo.jpg")
    (home / "more").symlink_to(home / "set", target_is_directory=True)
    assert sorted(push(TARGET, home, str(far), follow_links=True)) == ["a.jpg", "more/photo.jpg", "set/photo.jpg"]
    assert kinds(far) >= {"file a.jpg", "folder more", "file more/photo.jpg"}


@pytest.mark.parametrize("named", ["a.jpg", "set/b", ".hidden/c"])
def test_a_push_refuses_a_link_that_leaves_the_folder_by_its_target_and_sends_nothing(
    tmp_path: Path, notes: Path, named: str
) -> None:
    home = tmp_path / "home"
    (home / named).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "private").write_text("of the user")
    (home / named).symlink_to(tmp_path / "private")
    # What is excluded by its name travels under another that leads to it.
    (home / "way").symlink_to((home / named).parent, target_is_directory=True)
    with pytest.raises(TransferError, match=rf"is a link to {tmp_path}/private") as refused:
        push(TARGET, home, "/anywhere", follow_links=True, excludes=[".*"])
    assert (refused.value.code, notes.exists()) == ("link_in_folder", False)


def test_a_link_that_is_excluded_stays_and_is_no_reason_to_refuse(tmp_path: Path, far: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "a.jpg").write_text("pixels")
    (home / ".trash").symlink_to(tmp_path, target_is_directory=True)
    assert push(TARGET, home, str(far), follow_links=True, excludes=[".*"]) == ["a.jpg"]


@pytest.mark.parametrize("inside", [True, False])
def test_a_checkpoint_with_a_link_is_not_sent_on(tmp_path: Path, notes: Path, inside: bool) -> None:
    checkpoint = tmp_path / "checkpoint-4"
    (checkpoint / "deep").mkdir(parents=True)
    (checkpoint / "weights").write_text("four")
    (tmp_path / "private").write_text("of the user")
    (checkpoint / "deep" / "state").symlink_to("../weights" if inside else tmp_path / "private")
    with pytest.raises(TransferError, match="checkpoint-4/deep/state is a link to") as refused:
        push(TARGET, checkpoint, "/anywhere")
    assert (refused.value.code, notes.exists()) == ("link_in_folder", False)


def test_a_checkpoint_that_is_a_link_or_holds_a_fifo_is_not_sent_on(tmp_path: Path, notes: Path) -> None:
    (tmp_path / "checkpoint-4").mkdir()
    os.mkfifo(tmp_path / "checkpoint-4" / "pipe")
    (tmp_path / "checkpoint-8").symlink_to(tmp_path, target_is_directory=True)
    for step in (4, 8):
        with pytest.raises(TransferError, match=r"is no regular file|is a link to"):
            push(TARGET, tmp_path / f"checkpoint-{step}", "/anywhere")
    assert not notes.exists()


def kinds(folder: Path) -> set[str]:
    """What lies below a folder, each with its kind."""
    names = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
    found = [(path.relative_to(folder), stat.S_IFMT(path.lstat().st_mode)) for path in folder.rglob("*")]
    return {f"{names.get(kind, 'other')} {name}" for name, kind in found}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file of the user's, beside everything."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("of the user")
    return tmp_path / "outside" / "file"


def test_files_and_folders_come_and_nothing_else(tmp_path: Path, far: Path, outside: Path) -> None:
    (far / "link").symlink_to(outside)
    (far / "folder").symlink_to(outside.parent, target_is_directory=True)
    (far / "checkpoint-4" / "deep").symlink_to("weights")
    os.mkfifo(far / "pipe")
    if os.geteuid() == 0:
        os.mknod(far / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    pulled = pull(TARGET, str(far), tmp_path / "home")
    assert kinds(tmp_path / "home") == {"folder checkpoint-4", "file checkpoint-4/weights", "file secret.env"}
    assert [sentence for sentence in pulled.left_out if "'link'" in sentence] == [
        "'link' was left on the host: it is a link or no regular file."
    ]


def test_what_comes_has_the_modes_of_our_umask(tmp_path: Path, far: Path) -> None:
    (far / "secret.env").chmod(0o6777)
    (far / "checkpoint-4" / "weights").chmod(0o400)
    (far / "checkpoint-4").chmod(0o3711)
    before = os.umask(0o027)
    try:
        pull(TARGET, str(far), tmp_path / "home")
    finally:
        os.umask(before)
    modes = {path.name: oct(path.lstat().st_mode & 0o7777) for path in (tmp_path / "home").rglob("*")}
    assert modes == {"secret.env": "0o640", "weights": "0o640", "checkpoint-4": "0o750"}


def test_a_link_on_the_host_does_not_lead_a_later_pull_out_of_the_folder(
    tmp_path: Path, far: Path, outside: Path
) -> None:
    home = tmp_path / "home"
    (far / "config").symlink_to(outside.parent, target_is_directory=True)
    (far / "checkpoint-8").symlink_to(outside.parent, target_is_directory=True)
    (far / "again").symlink_to(outside)
    pull(TARGET, str(far), home)
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "file").write_text("of the host")
    for name in ("again", "checkpoint-8"):
        (far / name).unlink()
    (far / "again").write_text("of the host")
    (far / "checkpoint-8").mkdir()
    (far / "checkpoint-8" / "file").write_text("of the host")
    pull(TARGET, str(far), home)
    pull(TARGET, str(tmp_path / "settings"), home, into="config")
    assert outside.read_text() == "of the user"
    assert (home / "config" / "file").read_text() == (home / "again").read_text() == "of the host"


@pytest.mark.parametrize("name", ["", "checkpoint-4", "checkpoint-4/weights", "secret.env", ".arriving"])
def test_a_link_at_home_that_is_in_the_way_is_refused_by_name(
    tmp_path: Path, far: Path, outside: Path, name: str
) -> None:
    home = tmp_path / "home"
    (home / name).parent.mkdir(parents=True, exist_ok=True)
    (home / name).symlink_to(outside if name in ("checkpoint-4/weights", "secret.env") else outside.parent)
    with pytest.raises(HomeError, match=re.escape(str(home / name).rstrip("/")) + " is a link to ") as refused:
        pull(TARGET, str(far), home)
    assert refused.value.code == "link_at_home"
    assert (outside.read_text(), kinds(outside.parent)) == ("of the user", {"file file"})


def test_a_folder_that_is_pulled_into_and_is_a_link_is_refused_by_name(
    tmp_path: Path, far: Path, outside: Path
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "config").symlink_to(outside.parent)
    with pytest.raises(HomeError, match="home/config is a link to"):
        pull(TARGET, str(far), tmp_path / "home", into="config")
    assert kinds(outside.parent) == {"file file"}


def test_a_link_at_home_that_nothing_arrives_at_stays_and_is_not_followed(
    tmp_path: Path, far: Path, outside: Path
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "best").symlink_to(outside)
    assert pull(TARGET, str(far), tmp_path / "home").files == ["checkpoint-4/weights", "secret.env"]
    assert (tmp_path / "home" / "best").readlink() == outside


def test_names_that_fluxlora_writes_itself_are_not_taken_from_a_host(tmp_path: Path, far: Path) -> None:
    home = tmp_path / "my-style"
    home.mkdir()
    (home / "manifest.json").write_text("ours")
    for name in ("manifest.json", "MANIFEST.json", "report.txt", ".manifest.json.new", "my-style.safetensors"):
        (far / name).write_text("of the host")
    (far / "report.txt.").mkdir()
    (far / "report.txt." / "file").write_text("of the host")
    pulled = pull(TARGET, str(far), home)
    assert pulled.files == ["checkpoint-4/weights", "secret.env"]
    assert len(pulled.left_out) == 6
    assert (home / "manifest.json").read_text() == "ours"
    assert kinds(home) == {"folder checkpoint-4", "file checkpoint-4/weights", "file secret.env", "file manifest.json"}
    assert pull(TARGET, str(far), home, into="config").files != [], "below the top these names mean nothing"


def test_more_than_was_expected_is_refused_before_it_comes(tmp_path: Path, far: Path) -> None:
    for bound in (Bound(files=1), Bound(size_bytes=8)):
        with pytest.raises(TransferError, match=r"2 files of 0\.0 GB") as refused:
            pull(TARGET, str(far), tmp_path / "home", bound=bound)
        assert (refused.value.code, (tmp_path / "home").exists()) == ("too_much", False)


def test_a_file_that_has_grown_since_it_was_listed_is_not_taken(tmp_path: Path, far: Path) -> None:
    changed_meanwhile(tmp_path, f"truncate -s 50M '{far}/secret.env'")
    with pytest.raises(TransferError, match="More came than it had listed") as refused:
        pull(TARGET, str(far), tmp_path / "home", bound=Bound(size_bytes=10**6))
    assert refused.value.code == "too_much"
    assert "file secret.env" not in kinds(tmp_path / "home")
    assert sum(path.stat().st_size for path in (tmp_path / "home").rglob("*") if path.is_file()) < 10**6


def test_a_file_that_has_become_a_link_since_it_was_listed_does_not_come(
    tmp_path: Path, far: Path, outside: Path
) -> None:
    changed_meanwhile(tmp_path, f"ln -sf '{outside}' '{far}/secret.env'")
    pull(TARGET, str(far), tmp_path / "home")
    assert kinds(tmp_path / "home") == {"folder checkpoint-4", "file checkpoint-4/weights"}


def changed_meanwhile(tmp_path: Path, command: str) -> None:
    program = tmp_path / "bin" / "meanwhile"
    program.write_text(f"#!/bin/sh\n{command}\n")
    program.chmod(0o755)


def test_what_arrived_before_a_line_broke_is_home_and_half_a_file_is_gone_on_from(
    tmp_path: Path, far: Path, notes: Path
) -> None:
    home, size = tmp_path / "home", 6_000_000
    (far / "weights").write_bytes(os.urandom(size))
    (tmp_path / "bin" / "ssh").write_text(STALLING_SSH)
    with pytest.raises(TransferError) as refused:
        pull(TARGET, str(far), home, timeout_seconds=1.8)
    assert refused.value.code == "timeout"
    assert {name for name in kinds(home) if ".arriving" not in name} == {"file secret.env"}

    (tmp_path / "bin" / "ssh").write_text(SLOW_SSH)
    assert pull(TARGET, str(far), home).files == ["checkpoint-4/weights", "weights"]
    assert (home / "weights").read_bytes() == (far / "weights").read_bytes()
    assert not (home / ".arriving").exists()
    moved = int(notes.with_name("notes.bytes").read_text().split()[-1])
    assert moved < size - 500_000, "the rest alone was sent"


def test_two_that_bring_the_same_home_at_once_are_not_in_each_others_way(tmp_path: Path, far: Path) -> None:
    (far / "weights").write_bytes(os.urandom(2_000_000))
    (tmp_path / "bin" / "ssh").write_text(SLOW_SSH)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: pull(TARGET, str(far), tmp_path / "home").files, range(2)))
    assert both == [["checkpoint-4/weights", "secret.env", "weights"]] * 2
    assert (tmp_path / "home" / "weights").read_bytes() == (far / "weights").read_bytes()
    assert not (tmp_path / "home" / ".arriving").exists()


def test_names_with_spaces_quotes_and_shell_signs_travel(tmp_path: Path, far: Path) -> None:
    name = 'it\'s "$(touch pwned)" & more; é.txt'
    (far / name).write_text("safe")
    pull(TARGET, str(far), tmp_path / "home")
    assert (tmp_path / "home" / name).read_text() == "safe"
    assert not list(tmp_path.rglob("pwned"))


def test_ssh_gets_port_key_and_the_callers_options_before_ours(tmp_path: Path, far: Path, notes: Path) -> None:
    proxy = """ProxyCommand=sh -c 'exec nc "$0" "$1"' %h %p"""
    args = f'-o UserKnownHostsFile="/known hosts/7" -o ConnectTimeout=3 -o {shlex.quote(proxy)}'
    target = SshTarget("host", 1234, "jane", "/keys/my key", args)
    pull(target, str(far), tmp_path / "home")
    words = notes.read_text().splitlines()[len(CLOSED) :]
    assert words[:4] == ["-p", "1234", "-i", "/keys/my key"]
    assert "UserKnownHostsFile=/known hosts/7" in words
    assert proxy in words
    assert words.index("ConnectTimeout=3") < words.index("ConnectTimeout=10")
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
