"""Copies folders to and from an instance by rsync over ssh: only files and folders, whatever the host sends."""

from __future__ import annotations

import fcntl
import fnmatch
import itertools
import os
import re
import selectors
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fluxlora.errors import FluxloraError
from fluxlora.text import one_line
from fluxlora.untrusted import files
from fluxlora.untrusted.files import Bound
from fluxlora.vast import ssh

# ssh uses the first value, so these only apply where the target's own arguments say nothing.
_SSH_DEFAULTS = (
    "ConnectTimeout=10",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
)
# If no byte arrives for this many seconds, the connection is dead.
_SILENCE_SECONDS = 60
# rsync: a file was deleted between listing and reading; the trainer deletes old checkpoints while it runs.
_VANISHED = 24
_NO_CONNECTION = 255
# The messages of dash, bash and busybox.
_NO_RSYNC = re.compile(r"rsync: (command )?not found")
# `>f+++++++++ 12 name` for a file of 12 bytes, `*deleting   0 name`; and entries that are neither file nor folder.
_ITEM = re.compile(r"(?:[<>]f\S{9}|\*deleting) +(\d+) (.+)")
_IRREGULAR = re.compile(r'skipping non-regular file "(.+)"')
# How rsync prints a byte that the C locale does not have.
_ESCAPED = re.compile(rb"\\#(\d{3})")
# Limits for a host's output: a list of files may be long, an error message need not be.
_LISTED_BYTES, _SAID_BYTES = 64 * 2**20, 64 * 1024
# Seconds between two checks of the arrived files.
_TICK_SECONDS = 0.25
# What is not accepted from a host: links, devices, FIFOs and sockets, modes that differ from our umask.
_PLAIN = ("--recursive", "--times", "--omit-dir-times", "--no-links", "--no-devices", "--no-specials", "--no-perms")
_MODES = "--chmod=Dugo=rwx,Fugo=rw"


class TransferError(FluxloraError):
    """Files could not be copied between this computer and an instance."""

    code = "transfer_failed"


@dataclass(frozen=True)
class SshTarget:
    """Address of sshd and login; `ssh_args` is a string of shell words, as in Ansible's variables."""

    host: str
    port: int = 22
    user: str = "root"
    key_file: str = ""
    ssh_args: str = ""

    def command(self) -> list[str]:
        """The ssh command without the address, as rsync needs it."""
        identity = ["-i", str(Path(self.key_file).expanduser())] if self.key_file else []
        defaults = [word for option in _SSH_DEFAULTS for word in ("-o", option)]
        return ["ssh", *ssh.CLOSED, "-p", str(int(self.port)), *identity, *shlex.split(self.ssh_args), *defaults]

    def path(self, remote: str) -> str:
        """Return the folder's contents in rsync's notation."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}:{remote.rstrip('/')}/"


@dataclass(frozen=True)
class Pulled:
    """The downloaded files, relative to the folder, and a sentence for each refused one."""

    files: list[str]
    left_out: list[str]
    size_bytes: int = 0

    def left_of(self, bound: Bound) -> Bound:
        """Return what remains of a limit after this download."""
        return Bound(max(bound.files - len(self.files), 0), max(bound.size_bytes - self.size_bytes, 0))


def pull(
    target: SshTarget,
    remote: str,
    local: Path,
    *,
    into: str = "",
    excludes: Sequence[str] = (),
    only: Sequence[str] = (),
    bound: Bound | None = None,
    timeout_seconds: float = 1800,
    dry_run: bool = False,
) -> Pulled:
    """Download what changed in the remote folder, or `only` some of its names, into a run's folder or one `into`
    it.

    Nothing local is deleted. A file gets its name only when it is complete, and an incomplete file is resumed. Only
    regular files are accepted, with modes from our umask; links, reserved names, and names outside of the folder
    are refused. The host is asked twice, first for a list, and may answer differently the second time. Therefore
    its files are first stored in a separate folder, where they are counted and checked.

    Raises TransferError; HomeError if the local folder is a link, or contains one in the path.
    """
    bound = bound or Bound()
    local = local.absolute()
    files.refuse_links(local, into)
    deadline = time.monotonic() + timeout_seconds
    filters = [*(f"--exclude={pattern}" for pattern in excludes)]
    filters += [*(f"--include={name}" for name in only), *(["--exclude=*"] if only else [])]
    offered, irregular = _listed(target, remote, local / into, filters, timeout_seconds)
    wanted: dict[str, int] = {}
    left_out: list[str] = []
    for name, size in offered.items():
        if reason := files.refusal(f"{into}/{name}".lstrip("/"), local.name):
            left_out.append(_left_out(name, reason))
        elif not only or name in only:
            files.refuse_links(local, f"{into}/{name}".lstrip("/"))
            wanted[name] = size
    # Only a few are printed, and a reserved name is the most important one.
    left_out += irregular
    total = sum(wanted.values())
    if excess := bound.exceeded(len(wanted), total):
        raise _too_much(target, excess)
    if not wanted or dry_run:
        return Pulled(list(wanted), left_out, total)
    local.mkdir(parents=True, exist_ok=True)
    files.require_room(local, total)
    with _staging(local) as (folder, lock):
        arriving = _Arriving(folder, local, into, frozenset(wanted), bound, target)
        try:
            argv = [*_rsync(target), *_PLAIN, _MODES, "--partial-dir=" + files.PARTIAL, "--from0", "--files-from=-"]
            names = b"".join(os.fsencode(name) + b"\0" for name in wanted)
            left = deadline - time.monotonic()
            argv += [target.path(remote), f"{folder}/"]
            _run(target, argv, left, given=names, tick=arriving.check, keep=lock)
            arriving.check()
        finally:
            arriving.move_all()
        shutil.rmtree(folder)
    return Pulled(sorted(arriving.placed), left_out, sum(arriving.placed.values()))


def push(
    target: SshTarget,
    local: Path,
    remote: str,
    *,
    excludes: Sequence[str] = (),
    delete: bool = False,
    follow_links: bool = False,
    timeout_seconds: float = 3600,
    dry_run: bool = False,
) -> list[str]:
    """Copy the local folder to the remote one; with `delete` other files there are deleted, except excluded ones.

    With `follow_links` a link to a target inside the folder is sent as that file or folder. Any other link, and
    everything that is neither file nor folder, is refused before anything is sent. Returns the files that were sent
    or deleted, relative to the folder. Raises TransferError.
    """
    if not local.is_dir():
        raise TransferError(f"{local} is not a folder, nothing can be sent from it", code="no_such_folder")
    if not follow_links:
        refuse_irregular(local)
    linked = follow_links and _has_links(local, excludes)
    argv = [
        *_rsync(target),
        "--recursive",
        "--times",
        "--perms",
        "--no-devices",
        "--no-specials",
        "--copy-links" if linked else "--no-links",
        "--partial-dir=" + files.PARTIAL,
        *(["--delete-delay"] if delete else []),
        *(["--dry-run"] if dry_run else []),
        *(f"--exclude={pattern}" for pattern in excludes),
        f"{local.resolve()}/",
        target.path(remote),
    ]
    done = _run(target, argv, timeout_seconds)
    return [_name(found[2]) for line in done.splitlines() if (found := _ITEM.match(line))]


def refuse_irregular(folder: Path) -> None:
    """Raise TransferError if a folder to be sent is or contains anything but regular files and folders."""
    if found := files.first_irregular(folder):
        what = f"a link to {found.readlink()}" if found.is_symlink() else "not a regular file"
        raise TransferError(
            f"{found} is {what}. A stranger's host wrote this folder, and only its files and folders are sent to "
            "another host.",
            hint=f"Remove {found}, or the whole folder to resume from an earlier checkpoint.",
            code="link_in_folder",
        )


def _has_links(folder: Path, excludes: Sequence[str]) -> bool:
    """Return whether something to be sent is a link. Raises TransferError for a link out of the folder."""
    root = os.path.realpath(folder)
    # Only patterns that certainly match in rsync, too: classes of letters are written differently there.
    patterns = [pattern.rstrip("/") for pattern in excludes if not re.search(r"[\[\\ !]|/.", pattern)]
    found = False
    entered: set[str] = set()
    folders = [str(folder)]
    while folders:
        if (real := os.path.realpath(above := folders.pop())) in entered:
            continue
        entered.add(real)
        with os.scandir(above) as listing:
            entries = list(listing)
        for entry in entries:
            if any(fnmatch.fnmatchcase(entry.name, pattern) for pattern in patterns):
                continue
            if entry.is_symlink():
                found, real = True, os.path.realpath(entry.path)
                if os.path.commonpath((real, root)) != root:
                    raise TransferError(
                        f"{entry.path} is a link to {real}, which is outside of {folder}, so nothing was sent.",
                        hint="Put the file itself there, or remove the link.",
                        code="link_in_folder",
                    )
            if entry.is_dir():
                folders.append(entry.path)
    return found


class _Arriving:
    """The folder into which rsync writes, and from which complete files are moved to their final names."""

    def __init__(
        self, folder: Path, local: Path, into: str, wanted: frozenset[str], bound: Bound, target: SshTarget
    ) -> None:
        self._folder, self._local, self._into, self._wanted = folder, local, into, wanted
        self._bound, self._target = bound, target
        self.placed: dict[str, int] = {}

    def check(self) -> None:
        """Move complete files, if not more has arrived than allowed. Raises TransferError."""
        found = dict(files.regular_files(self._folder))
        number = len(found) + len(self.placed)
        size = sum(status.st_size for status in found.values()) + sum(self.placed.values())
        if excess := self._bound.exceeded(number, size):
            shutil.rmtree(self._folder)
            raise _too_much(self._target, f"More arrived than it had listed: {excess}")
        files.require_room(self._local, 0)
        # A file that marks its folder as complete waits for one more check, when the others have arrived, too.
        self._place(found, [name for name in found if not files.last_of_its_folder(name)])

    def move_all(self) -> None:
        """Move all complete files."""
        found = dict(files.regular_files(self._folder))
        self._place(found, sorted(found, key=files.last_of_its_folder))

    def _place(self, found: dict[str, os.stat_result], names: Iterable[str]) -> None:
        for name in names:
            if name in self._wanted:
                staged, status = self._folder / name, found[name]
                # rsync was told to create neither of these.
                if status.st_mode & 0o7000 or status.st_nlink > 1:
                    raise TransferError(f"rsync made {staged} a setuid or setgid file, or a hard link.")
                files.place(staged, self._local, f"{self._into}/{name}".lstrip("/"))
                self.placed[name] = status.st_size


@contextmanager
def _staging(local: Path) -> Iterator[tuple[Path, int]]:
    """Yield a folder for arriving files, and its lock: that of an interrupted call, unless another process uses it."""
    above = local / files.STAGING
    files.refuse_links(local, files.STAGING)
    for number in itertools.count(1):
        folder = above / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if folder.exists() and os.path.samestat(folder.lstat(), os.fstat(lock)):
                    yield folder, lock
                    return
        finally:
            os.close(lock)
            with suppress(OSError):
                above.rmdir()


def _listed(
    target: SshTarget, remote: str, local: Path, filters: Sequence[str], seconds: float
) -> tuple[dict[str, int], list[str]]:
    """Return the files that would be sent, with their sizes according to the host; and entries that are not files
    or folders."""
    with tempfile.TemporaryDirectory() as empty:
        here = local if local.is_dir() else Path(empty)
        argv = [*_rsync(target), *_PLAIN, "--dry-run", *filters, target.path(remote), f"{here}/"]
        lines = _run(target, argv, seconds).splitlines()
    offered = {_name(found[2]): int(found[1]) for line in lines if (found := _ITEM.match(line))}
    irregular = [_name(found[1]) for line in lines if (found := _IRREGULAR.match(line))]
    return offered, [_left_out(name, "it is a link or not a regular file") for name in irregular]


def _rsync(target: SshTarget) -> list[str]:
    return [
        "rsync",
        "--protect-args",
        f"--timeout={_SILENCE_SECONDS}",
        "--out-format=%i %l %n",
        f"--rsh={shlex.join(target.command())}",
    ]


def _run(
    target: SshTarget,
    argv: Sequence[str],
    seconds: float,
    *,
    given: bytes = b"",
    tick: Callable[[], None] = lambda: None,
    keep: int | None = None,
) -> str:
    """Return rsync's output. rsync ends if `tick` raises; `keep` stays open as long as it runs. Raises
    TransferError."""
    with tempfile.TemporaryFile() as names:
        names.write(given)
        names.seek(0)
        try:
            process = subprocess.Popen(
                argv,
                stdin=names if given else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "LC_ALL": "C"},
                pass_fds=[] if keep is None else [keep],
            )
        except FileNotFoundError as error:
            raise TransferError(
                "rsync is not installed on this computer", hint="Install it: apt install rsync", code="no_rsync"
            ) from error
    try:
        printed, complained = _read(target, process, seconds, tick)
        process.wait()
    finally:
        _end(process)
    if process.returncode in (0, _VANISHED):
        return printed
    raise _failure(target, process.returncode, complained)


def _read(
    target: SshTarget, process: subprocess.Popen[bytes], seconds: float, tick: Callable[[], None]
) -> tuple[str, str]:
    """Return both outputs of rsync, with limited length."""
    assert process.stdout
    assert process.stderr
    end = time.monotonic() + seconds
    outputs: dict[IO[bytes], bytearray] = {process.stdout: bytearray(), process.stderr: bytearray()}
    with selectors.DefaultSelector() as waiting:
        for output in outputs:
            waiting.register(output, selectors.EVENT_READ, output)
        looked = time.monotonic()
        while waiting.get_map():
            for key, _ in waiting.select(_TICK_SECONDS):
                some = os.read(key.fd, 65536)
                if not some:
                    waiting.unregister(key.fileobj)
                elif key.data is process.stdout or len(outputs[process.stderr]) < _SAID_BYTES:
                    outputs[key.data] += some
            if len(outputs[process.stdout]) > _LISTED_BYTES:
                raise TransferError(
                    f"{target.host}:{target.port} sends an endless list of files, so the download was ended.",
                    code="too_much",
                )
            if time.monotonic() > end:
                raise TransferError(
                    f"Copying to or from {target.host}:{target.port} took more than {seconds:.0f} s and was ended",
                    hint="What has arrived is kept; the same command resumes from there.",
                    code="timeout",
                )
            if time.monotonic() > looked + _TICK_SECONDS:
                tick()
                looked = time.monotonic()
    said = [output.decode("utf-8", "replace") for output in outputs.values()]
    return said[0], said[1]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End rsync if it runs, in such a way that it keeps the arrived part of a file."""
    for output in (process.stdout, process.stderr):
        if output:
            output.close()
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _name(printed: str) -> str:
    """Return the name that rsync has printed."""
    escaped = printed.encode("utf-8", "surrogateescape")
    return os.fsdecode(_ESCAPED.sub(lambda found: bytes([int(found[1], 8) & 0xFF]), escaped))


def _left_out(name: str, reason: str) -> str:
    return f"{one_line(name)!r} was left on the host: {reason}."


def _too_much(target: SshTarget, excess: str) -> TransferError:
    return TransferError(
        f"What {target.host}:{target.port} sends is refused. {excess}", hint=files.RAISE_BOUND, code="too_much"
    )


def _failure(target: SshTarget, status: int, complained: str) -> TransferError:
    """Return the cause: rsync's first message, or ssh's last one if the connection itself failed."""
    if _NO_RSYNC.search(complained):
        return TransferError(
            f"rsync is not installed on {target.host}:{target.port}",
            hint="The role base installs it: run `train.yml` again, which resumes the run.",
            code="no_rsync",
        )
    said = [line.strip() for line in complained.splitlines() if line.strip()]
    ours = [line for line in said if line.startswith("rsync:")]
    sshs = [line for line in said if not line.startswith("rsync")]
    if status == _NO_CONNECTION or any("connection unexpectedly closed" in line for line in ours[:1]):
        reason = one_line(next(reversed(sshs or ours), "the connection was closed"))
        return TransferError(
            f"No ssh connection to {target.user}@{target.host}:{target.port}: {reason}",
            hint="A booting instance refuses connections for a minute or more; `fluxlora status` shows one that is "
            "gone.",
            code="unreachable",
        )
    reason = one_line(next(iter(ours or sshs), f"rsync ended with {status}"))
    return TransferError(f"Copying to or from {target.host}:{target.port} failed: {reason}")
