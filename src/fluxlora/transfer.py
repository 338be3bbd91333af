"""Folders to and from an instance by rsync over ssh."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fluxlora.errors import FluxloraError

# ssh keeps the first value it is given, so these only fill in what the target's own arguments leave open.
_SSH_DEFAULTS = (
    "BatchMode=yes",
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
# `>f+++++++++ name` for a file that came, `cL+++++++++ name -> target` for a link, `*deleting   name`.
_ITEM = re.compile(r"(?:[<>ch][fLDS]\S{9} |\*deleting +)(.+)")


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
        identity = ["-i", str(Path(self.key_file).expanduser()), "-o", "IdentitiesOnly=yes"] if self.key_file else []
        defaults = [word for option in _SSH_DEFAULTS for word in ("-o", option)]
        return ["ssh", "-p", str(int(self.port)), *identity, *shlex.split(self.ssh_args), *defaults]

    def path(self, remote: str) -> str:
        """The folder's contents in rsync's notation."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}:{remote.rstrip('/')}/"


def pull(
    target: SshTarget,
    remote: str,
    local: Path,
    *,
    excludes: Sequence[str] = (),
    only: Sequence[str] = (),
    timeout_seconds: float = 1800,
    dry_run: bool = False,
) -> list[str]:
    """Bring what changed in the remote folder into the local one, or `only` some names; nothing local is deleted.

    Returns the files that travelled, relative to the folder. A file appears under its name only when it is whole.
    Raises TransferError.
    """
    if not dry_run:
        local.mkdir(parents=True, exist_ok=True)
    filters = [*(f"--include={name}" for name in only), *(["--exclude=*"] if only else [])]
    return _rsync(target, [*filters, target.path(remote), f"{local.resolve()}/"], excludes, timeout_seconds, dry_run)


def push(
    target: SshTarget,
    local: Path,
    remote: str,
    *,
    excludes: Sequence[str] = (),
    delete: bool = False,
    timeout_seconds: float = 3600,
    dry_run: bool = False,
) -> list[str]:
    """Make the remote folder hold what the local one holds; with `delete` nothing else but what is excluded.

    Links travel as the files they point at.
    Returns the files that travelled or were deleted, relative to the folder. Raises TransferError.
    """
    if not local.is_dir():
        raise TransferError(f"{local} is not a folder, nothing can be sent from it", code="no_such_folder")
    extra = ["--copy-links", *(["--delete-delay"] if delete else [])]
    return _rsync(target, [*extra, f"{local.resolve()}/", target.path(remote)], excludes, timeout_seconds, dry_run)


def _rsync(
    target: SshTarget, arguments: list[str], excludes: Sequence[str], timeout_seconds: float, dry_run: bool
) -> list[str]:
    argv = [
        "rsync",
        "--archive",
        "--no-owner",
        "--no-group",
        "--protect-args",
        "--partial-dir=.rsync-partial",
        f"--timeout={_SILENCE_SECONDS}",
        "--out-format=%i %n",
        f"--rsh={shlex.join(target.command())}",
        *(["--dry-run"] if dry_run else []),
        *(f"--exclude={pattern}" for pattern in excludes),
        *arguments,
    ]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=timeout_seconds
        )
    except FileNotFoundError as error:
        raise TransferError(
            "rsync is not installed on this computer", hint="Install it: apt install rsync", code="no_rsync"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise TransferError(
            f"Copying to or from {target.host}:{target.port} took more than {timeout_seconds:.0f} s and was ended",
            hint="What has arrived is kept; the same call again goes on from there.",
            code="timeout",
        ) from error
    if done.returncode in (0, _VANISHED):
        return _changed(done.stdout)
    raise _failure(target, done)


def _changed(itemized: str) -> list[str]:
    """The files that travelled or were deleted; folders whose times changed don't count."""
    return [found[1] for line in itemized.splitlines() if (found := _ITEM.match(line))]


def _failure(target: SshTarget, done: subprocess.CompletedProcess[str]) -> TransferError:
    """rsync's first complaint is the cause; where the line itself failed, ssh's last word is."""
    if _NO_RSYNC.search(done.stderr):
        return TransferError(
            f"rsync is not installed on {target.host}:{target.port}",
            hint="The role base installs it: run `train.yml` again, it goes on where the run is.",
            code="no_rsync",
        )
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    ours = [line for line in said if line.startswith("rsync:")]
    sshs = [line for line in said if not line.startswith("rsync")]
    if done.returncode == _NO_CONNECTION or any("connection unexpectedly closed" in line for line in ours[:1]):
        reason = next(reversed(sshs or ours), "the line was closed")
        return TransferError(
            f"No ssh connection to {target.user}@{target.host}:{target.port}: {reason}",
            hint="An instance that boots refuses for a minute or more; one that is gone shows in `fluxlora status`.",
            code="unreachable",
        )
    reason = next(iter(ours or sshs), f"rsync ended with {done.returncode}")
    return TransferError(f"Copying to or from {target.host}:{target.port} failed: {reason}")
