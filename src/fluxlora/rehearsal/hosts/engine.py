"""The container engine: one that runs, or one installed now, and the image that hosts are started from."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import time
from collections.abc import Mapping
from typing import IO

from fluxlora.errors import RehearsalError
from fluxlora.rehearsal.hosts.command import IMAGE_FOLDER, Engine, Say, install, last_words, run, to_stderr
from fluxlora.rehearsal.hosts.diagnosis import cause, nothing_installed, this_machine
from fluxlora.rehearsal.hosts.owner import Owner, sweep

SUITE = "bookworm"  # its python is 3.11, which SimpleTuner 3.1.6 wants
PUBLIC_BASE = f"docker.io/library/debian:{SUITE}-slim"
HOST_REPOSITORY = "localhost/fluxlora-host"
BASE_REPOSITORY = "localhost/fluxlora-base"
ENGINE_PACKAGES = ("podman", "runc")
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
BASE_PACKAGES = ("openssh-server", "python3", "python3-apt", "ca-certificates", "iproute2", "procps", "tini")


def ensure_image(say: Say = to_stderr) -> None:
    """Have an engine and the hosts' image: a moment, or minutes the first time. Raises RehearsalError."""
    engine = find_engine(say)
    sweep(engine)
    with Owner() as owner:
        host_image(engine, owner, say)


def find_engine(say: Say = to_stderr) -> Engine:
    """Podman, else docker, else a podman installed now. Raises RehearsalError saying what to type."""
    found, complaints = _look()
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        say("No container engine runs here: installing podman with apt.")
        install(*ENGINE_PACKAGES)
        found, complaints = _look()
    if found is None:
        raise _unusable(complaints)
    return found


def _look() -> tuple[Engine | None, dict[str, str]]:
    """The first engine that works; without one, what each of those that are installed says."""
    complaints = {}
    for path in filter(None, map(shutil.which, ("podman", "docker"))):
        engine = Engine(path)
        complaint = engine.complaint()
        if complaint is None:
            return engine, {}
        complaints[str(engine)] = complaint
    return None, complaints


def _unusable(complaints: Mapping[str, str]) -> RehearsalError:
    """What each installed engine lacks, and one command: the first that is known to help."""
    machine = this_machine()
    causes = {engine: cause(engine, complaint, machine) for engine, complaint in complaints.items()}
    if not causes:
        message, remedy = "No container engine is installed.", nothing_installed(machine)
    else:
        reasons = "; ".join(f"{engine} {found.what}" for engine, found in causes.items())
        message = f"No container engine works here: {reasons}."
        remedy = min(causes.values(), key=lambda found: not found.known).remedy
    return RehearsalError(message, hint=f"Type: {remedy}", code="no_container_engine")


def host_image(engine: Engine, owner: Owner, say: Say) -> str:
    """The image's name; it is made now if this engine does not have it. Raises RehearsalError."""
    inputs = sorted(path for path in IMAGE_FOLDER.iterdir() if path.is_file())
    name = f"{HOST_REPOSITORY}:{digest(PUBLIC_BASE, *BASE_PACKAGES, *(path.read_text() for path in inputs))}"
    if _exists(engine, name):
        return name
    with (owner.folder.parent / "image.lock").open("w") as lock:
        _wait_for(lock)
        if not _exists(engine, name):
            _make(engine, owner, name, say)
    return name


def _wait_for(lock: IO[str], within_seconds: float = 1200) -> None:
    """Until no other rehearsal is making the image."""
    deadline = time.monotonic() + within_seconds
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise RehearsalError("Another rehearsal has been making the hosts' image for too long.") from error
            time.sleep(0.2)
        else:
            return


def digest(*texts: str) -> str:
    """What an image made of these is tagged with."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


def _exists(engine: Engine, name: str) -> bool:
    return engine.attempt("image", "inspect", name).returncode == 0


def _make(engine: Engine, owner: Owner, name: str, say: Say) -> None:
    outdated = tags(engine, HOST_REPOSITORY)
    base = _base(engine, owner, say)
    say("Making the hosts' image.")
    container = owner.name("image")
    proxies = [name for name in PROXIES if name in os.environ]
    try:
        engine(
            *("run", "--name", container, owner.label_option(), "--network", "host"),
            *(f"--env={name}" for name in proxies),
            *("--security-opt", "label=disable", "--mount", f"type=bind,source={IMAGE_FOLDER},target=/setup,readonly"),
            *(base, "sh", "/setup/setup.sh", *BASE_PACKAGES),
            within_seconds=600,
        )
        changes = ['CMD ["sh", "/usr/local/sbin/host-init"]', *(f"ENV {name}=" for name in proxies)]
        engine("commit", *(f"--change={change}" for change in changes), container, name, within_seconds=300)
    finally:
        engine.attempt("rm", "-f", "-v", container)
    for tag in outdated:
        engine.attempt("rmi", tag)  # stays while a host of another rehearsal runs from it


def tags(engine: Engine, repository: str) -> list[str]:
    """The images of this repository that the engine has. Raises RehearsalError."""
    listed = engine("images", "--filter", f"reference={repository}:*", "--format", "{{.Repository}}:{{.Tag}}")
    return listed.splitlines()


def _base(engine: Engine, owner: Owner, say: Say) -> str:
    if _exists(engine, PUBLIC_BASE):
        return PUBLIC_BASE
    say(f"Pulling {PUBLIC_BASE}.")
    pulled = _pull(engine)
    if pulled is None:
        return PUBLIC_BASE
    if os.geteuid() or not shutil.which("apt-get"):
        raise RehearsalError(
            f"{PUBLIC_BASE} cannot be pulled: {pulled}",
            hint=f"Check the network and the proxy of {engine}, load an image of Debian 12 under that name with "
            f"`{engine} load`, or rehearse as root on Debian, where the image is made from packages.",
            code="no_base_image",
        )
    return _debootstrap(engine, owner, say)


def _pull(engine: Engine) -> str | None:
    """Nothing, or why not."""
    try:
        done = engine.attempt("pull", "-q", PUBLIC_BASE, within_seconds=120)
    except RehearsalError as error:
        return str(error)
    return last_words(done.stderr) if done.returncode else None


def _debootstrap(engine: Engine, owner: Owner, say: Say) -> str:
    base = f"{BASE_REPOSITORY}:{digest(SUITE, *BASE_PACKAGES)}"
    if _exists(engine, base):
        return base
    say("It cannot be pulled here: making a Debian base with mmdebstrap, about half a minute.")
    if not shutil.which("mmdebstrap"):
        install("mmdebstrap")
    archive = owner.folder / "base.tar"
    # In namespaces of its own, so that whatever ends it ends its children and its mounts with it.
    alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    made = run(
        [*alone, "mmdebstrap", "--variant=minbase", f"--include={','.join(BASE_PACKAGES)}", SUITE, str(archive)],
        within_seconds=900,
        environment={"TMPDIR": str(owner.folder)},
        stop=signal.SIGKILL,
    )
    if made.returncode:
        raise RehearsalError(f"mmdebstrap failed: {last_words(made.stderr)}")
    engine("import", str(archive), base, within_seconds=300)
    archive.unlink()
    return base
