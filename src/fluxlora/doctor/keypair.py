"""The pair of ssh keys: that both halves are what and where they are said to be, and open without a question."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

from fluxlora.doctor.checks import Check, failed, ok
from fluxlora.errors import InputError
from fluxlora.vast.public_key import public_key

NAME = "ssh key"
# What `init` makes when it is told no other.
DEFAULT = Path("~/.ssh/id_ed25519")


class Refused(Exception):
    """What is wrong with the pair."""

    def __init__(self, check: Check) -> None:
        super().__init__(check.sentence)
        self.check = check


def examine(file: Path) -> tuple[Check, str | None]:
    """What the pair at `file` and `file`.pub is worth, and the public key where there is one to be sent."""
    try:
        own, locked = _private(file)
        public = _public(file)
        if own is not None and own != public:
            raise _refused(f"{file}.pub does not belong to {file}", _remade(file), "key_mismatch")
        if locked and public not in _agent():
            raise _refused(
                f"{file} has a passphrase and no agent holds it: every login would wait for it",
                f"eval $(ssh-agent) && ssh-add {_quoted(file)}",
                "key_locked",
            )
    except Refused as error:
        return error.check, None
    except FileNotFoundError as error:
        return failed(NAME, f"{error.filename} is not installed", "sudo apt install openssh-client", "no_program"), None
    except OSError as error:
        sentence = f"{error.filename} cannot be read: {error.strerror}"
        return failed(NAME, sentence, f"sudo chown $USER {_quoted(error.filename)}", "key_unreadable"), None
    return ok(NAME, f"{file}, {public.split(' ')[0]}" + (", held by the agent" if locked else "")), public


def _quoted(file: Path | str) -> str:
    return shlex.quote(str(file))


def _made(file: Path) -> str:
    """The command that makes a pair."""
    return "fluxlora init" + ("" if file == DEFAULT.expanduser() else f" -e provision_ssh_key_file={_quoted(file)}")


def _remade(file: Path) -> str:
    """The command that makes the public half anew."""
    return f"ssh-keygen -y -f {_quoted(file)} > {_quoted(f'{file}.pub')}"


def _another(file: Path) -> str:
    return f"name another with provision_ssh_key_file, or move both halves away and call: {_made(file)}"


def _refused(sentence: str, remedy: str, code: str) -> Refused:
    return Refused(failed(NAME, sentence, remedy, code))


def _private(file: Path) -> tuple[str | None, bool]:
    """The public half as the private one tells it, None where it is locked; and whether it is."""
    if file.suffix == ".pub":
        raise _refused(
            f"{file} is the public half; provision_ssh_key_file names the private one",
            f"set provision_ssh_key_file to {file.with_suffix('')}",
            "public_for_private",
        )
    if not file.is_file():
        lonely = Path(f"{file}.pub").exists()
        remedy = _another(file) if lonely else _made(file)
        raise _refused(f"there is no {file}" + (", only its public half" if lonely else ""), remedy, "no_key")
    if "PRIVATE KEY" not in _text(file):
        what = "a public key" if _is_public(_text(file)) else "no key"
        raise _refused(f"{file} holds {what}, and the private key belongs there", _another(file), "not_a_private_key")
    if file.stat().st_mode & 0o077:
        raise _refused(f"others may read {file}, so ssh will not use it", f"chmod 600 {_quoted(file)}", "key_open")
    done = _keygen("-y", "-P", "", "-f", str(file))
    if done.returncode == 0:
        return public_key(done.stdout), False
    if "passphrase" in done.stderr.lower():
        return None, True
    raise _refused(f"ssh-keygen cannot read {file}", _another(file), "key_unreadable")


def _public(file: Path) -> str:
    half = Path(f"{file}.pub")
    if not half.is_file():
        raise _refused(f"there is no {half}", _remade(file), "no_public_key")
    text = _text(half)
    try:
        return public_key(text)
    except InputError as error:
        what = "a private key; it was sent nowhere" if error.code == "private_key" else "no public key"
        raise _refused(f"{half} holds {what}", _remade(file), error.code) from error


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")


def _is_public(text: str) -> bool:
    try:
        return bool(public_key(text))
    except InputError:
        return False


def _agent() -> str:
    return subprocess.run(["ssh-add", "-L"], capture_output=True, text=True, timeout=15, check=False).stdout


def _keygen(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ssh-keygen", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )
