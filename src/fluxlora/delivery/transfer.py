"""Folders to and from an instance by rsync over ssh: files and folders, and nothing else that a host may send."""

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

# ssh keeps the first value it is given, so these only fill in what the target's own arguments leave open.
_SSH_DEFAULTS = (
    "ConnectTimeout=10",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
)
# Without one byte for this long the line is dead.
_SILENCE_SECONDS = 60
# rsync: a file went away between listing and reading; the trainer prunes old checkpoints while it runs.
_VANISHED = 24
_NO_CONNECTION = 255
# What dash, bash and busybox say.
_NO_RSYNC = re.compile(r"rsync: (command )?not found")
# `>f+++++++++ 12 name` for a file of 12 bytes, `*deleting   0 name`; and what is left out, being no file or folder.
_ITEM = re.compile(r"(?:[<>]f\S{9}|\*deleting) +(\d+) (.+)")
_IRREGULAR = re.compile(r'skipping non-regular file "(.+)"')
# How rsync prints a byte that the C locale cannot.
_ESCAPED = re.compile(rb"\\#(\d{3})")
# What a host may say: a list of its files may be long, a complaint need not be.
_LISTED_BYTES, _SAID_BYTES = 64 * 2**20, 64 * 1024
# Between two looks at what has arrived.
_TICK_SECONDS = 0.25
# What a host may not have us hold: links, devices, FIFOs and sockets, modes that are not our umask's.
_PLAIN = ("--recursive", "--times", "--omit-dir-times", "--no-links", "--no-devices", "--no-specials", "--no-perms")
_MODES = "--chmod=Dugo=rwx,Fugo=rw"


class TransferError(FluxloraError):
    """Files did not travel between this computer and an instance."""

    code = "transfer_failed"


@dataclass(frozen=True)
class SshTarget:
    """Where sshd listens and how to log in; `ssh_args` is a string of shell words, as Ansible's variables hold them."""

    host: str
    port: int = 22
    user: str = "root"
    key_file: str = ""
    ssh_args: str = ""

    def command(self) -> list[str]:
        """The ssh command without the address, as rsync wants it."""
        identity = ["-i", str(Path(self.key_file).expanduser())] if self.key_file else []
        defaults = [word for option in _SSH_DEFAULTS for word in ("-o", option)]
        return ["ssh", *ssh.CLOSED, "-p", str(int(self.port)), *identity, *shlex.split(self.ssh_args), *defaults]

    def path(self, remote: str) -> str:
        """The folder's contents in rsync's notation."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}:{remote.rstrip('/')}/"


@dataclass(frozen=True)
class Pulled:
    """The files that arrived, relative to the folder, and in sentences what was left out."""

    files: list[str]
    left_out: list[str]
    size_bytes: int = 0

    def left_of(self, bound: Bound) -> Bound:
        """What may still arrive under a bound after this."""
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
    """Bring what changed in the remote folder, or `only` some names of it, into a run's folder or one `into` it.

    Nothing local is deleted. A file appears under its name only when it is whole, and what has arrived of a file is
    gone on from. Only regular files arrive, with modes from our umask; links, names that are ours, and names that leave
    the folder are left out. The host is asked twice, first for a list, and may answer something else the second time:
    so what it sends is kept in a folder apart, where it is counted and looked at.

    Raises TransferError; HomeError where the local folder is or holds a link in the way.
    """
    bound = bound or Bound()
    local = local.absolute()
    files.refuse_links(local, into)
    deadline = time.monotonic() + timeout_seconds
    filters = [*(f"--exclude={each}" for each in excludes)]
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
    # Few are shown, and a name of ours says the most.
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
            _run(target, argv, left, given=names, tick=arriving.look, keep=lock)
            arriving.look()
        finally:
            arriving.settle()
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
    """Make the remote folder hold what the local one holds; with `delete` nothing else but what is excluded.

    With `follow_links` a link that stays inside the folder travels as the file or folder that it names. Any other link,
    and what is no file or folder, is refused before anything is sent.
    Returns the files that travelled or were deleted, relative to the folder. Raises TransferError.
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
    """Raise TransferError where a folder that is sent is or holds anything but regular files and folders."""
    if found := files.first_irregular(folder):
        what = f"a link to {found.readlink()}" if found.is_symlink() else "no regular file"
        raise TransferError(
            f"{found} is {what}. A stranger's host wrote this folder, and only files and folders of it are sent on.",
            hint=f"Remove {found}, or the whole folder to go on from an earlier checkpoint.",
            code="link_in_folder",
        )


def _has_links(folder: Path, excludes: Sequence[str]) -> bool:
    """Whether something that travels is a link. Raises TransferError for one that leaves the folder."""
    root = os.path.realpath(folder)
    # Only what surely matches in rsync too: a class of letters is written differently there.
    patterns = [each.rstrip("/") for each in excludes if not re.search(r"[\[\\ !]|/.", each)]
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
                        f"{entry.path} is a link to {real}, which lies outside {folder}, so nothing was sent.",
                        hint="Put the file itself there, or remove the link.",
                        code="link_in_folder",
                    )
            if entry.is_dir():
                folders.append(entry.path)
    return found


class _Arriving:
    """The folder into which rsync writes, and from which whole files are moved to their names at home."""

    def __init__(
        self, folder: Path, local: Path, into: str, wanted: frozenset[str], bound: Bound, target: SshTarget
    ) -> None:
        self._folder, self._local, self._into, self._wanted = folder, local, into, wanted
        self._bound, self._target = bound, target
        self.placed: dict[str, int] = {}

    def look(self) -> None:
        """Move what is whole, unless more has arrived than may. Raises TransferError."""
        found = dict(files.regular_files(self._folder))
        number = len(found) + len(self.placed)
        size = sum(status.st_size for status in found.values()) + sum(self.placed.values())
        if excess := self._bound.exceeded(number, size):
            shutil.rmtree(self._folder)
            raise _too_much(self._target, f"More came than it had listed: {excess}")
        files.require_room(self._local, 0)
        # What says that its folder is whole waits for one more look, which then has the others too.
        self._place(found, [name for name in found if not files.last_of_its_folder(name)])

    def settle(self) -> None:
        """Move all that is whole."""
        found = dict(files.regular_files(self._folder))
        self._place(found, sorted(found, key=files.last_of_its_folder))

    def _place(self, found: dict[str, os.stat_result], names: Iterable[str]) -> None:
        for name in names:
            if name in self._wanted:
                staged, status = self._folder / name, found[name]
                # rsync is asked for neither, and does what it is asked.
                if status.st_mode & 0o7000 or status.st_nlink > 1:
                    raise TransferError(f"rsync made {staged} a program of its owner's, or a second name of a file.")
                files.place(staged, self._local, f"{self._into}/{name}".lstrip("/"))
                self.placed[name] = status.st_size


@contextmanager
def _staging(local: Path) -> Iterator[tuple[Path, int]]:
    """A folder for what arrives, and its lock: that of an interrupted call, unless another process works in it."""
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
    """What would come, by name, with its size as the host says it; and what is no file or folder."""
    with tempfile.TemporaryDirectory() as empty:
        here = local if local.is_dir() else Path(empty)
        argv = [*_rsync(target), *_PLAIN, "--dry-run", *filters, target.path(remote), f"{here}/"]
        lines = _run(target, argv, seconds).splitlines()
    offered = {_name(found[2]): int(found[1]) for line in lines if (found := _ITEM.match(line))}
    irregular = [_name(found[1]) for line in lines if (found := _IRREGULAR.match(line))]
    return offered, [_left_out(name, "it is a link or no regular file") for name in irregular]


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
    """What rsync prints, which ends when `tick` raises; `keep` stays open as long as it runs. Raises TransferError."""
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
    """Both outputs of rsync, neither longer than it may be."""
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
                    f"{target.host}:{target.port} lists files without end, so nothing more was asked of it.",
                    code="too_much",
                )
            if time.monotonic() > end:
                raise TransferError(
                    f"Copying to or from {target.host}:{target.port} took more than {seconds:.0f} s and was ended",
                    hint="What has arrived is kept; the same call again goes on from there.",
                    code="timeout",
                )
            if time.monotonic() > looked + _TICK_SECONDS:
                tick()
                looked = time.monotonic()
    said = [each.decode("utf-8", "replace") for each in outputs.values()]
    return said[0], said[1]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End rsync, if it has not ended, in time for it to keep what has arrived of a file."""
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
    """The name that rsync has printed."""
    escaped = printed.encode("utf-8", "surrogateescape")
    return os.fsdecode(_ESCAPED.sub(lambda found: bytes([int(found[1], 8) & 0xFF]), escaped))


def _left_out(name: str, reason: str) -> str:
    return f"{one_line(name)!r} was left on the host: {reason}."


def _too_much(target: SshTarget, excess: str) -> TransferError:
    return TransferError(
        f"What {target.host}:{target.port} sends is refused. {excess}", hint=files.RAISE_BOUND, code="too_much"
    )


def _failure(target: SshTarget, status: int, complained: str) -> TransferError:
    """rsync's first complaint is the cause; where the line itself failed, ssh's last word is."""
    if _NO_RSYNC.search(complained):
        return TransferError(
            f"rsync is not installed on {target.host}:{target.port}",
            hint="The role base installs it: run `train.yml` again, it goes on where the run is.",
            code="no_rsync",
        )
    said = [line.strip() for line in complained.splitlines() if line.strip()]
    ours = [line for line in said if line.startswith("rsync:")]
    sshs = [line for line in said if not line.startswith("rsync")]
    if status == _NO_CONNECTION or any("connection unexpectedly closed" in line for line in ours[:1]):
        reason = one_line(next(reversed(sshs or ours), "the line was closed"))
        return TransferError(
            f"No ssh connection to {target.user}@{target.host}:{target.port}: {reason}",
            hint="An instance that boots refuses for a minute or more; one that is gone shows in `fluxlora status`.",
            code="unreachable",
        )
    reason = one_line(next(iter(ours or sshs), f"rsync ended with {status}"))
    return TransferError(f"Copying to or from {target.host}:{target.port} failed: {reason}")
