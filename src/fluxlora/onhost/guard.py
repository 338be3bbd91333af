#!/usr/bin/env python3
"""Destroys its own instance if no other computer does: at the end of the lease, or some time after the delivery.

The lease ends at a time that follows from the run's budget and deadline, or when the instance has moved more bytes than
the lease allows. Before that, what is missing on the Hub is sent there: the adapter, or the newest checkpoint of an
unfinished training. The instance's own key, which vast.ai gives to its first process, can destroy only this instance.
Standard library only, python 3.8 or newer: this file is copied to the instance and runs there alone.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HUB = "https://huggingface.co"
GB = 1e9
LOOK_SECONDS = 15
TIMEOUT_SECONDS = 30
ADAPTER = "pytorch_lora_weights.safetensors"
# The progress of a finished adapter, beside it. Without it, the adapter's file may be any checkpoint's.
FINISHED = "fluxlora.json"
# Facts for the header of the adapter's copy, beside the trainer's output.
FACTS = "adapter.json"
# Seconds. A copy of 1 GB is written in seconds; a program that hangs must not delay the end of the lease.
COPY_SECONDS = 120
# If the Hub refuses: seconds until the next try, and the number of tries. After them the lease ends anyway, or the
# adapter that the trainer has pushed itself must be enough.
RETRY_SECONDS = 300
TRIES = 3
# For the python with the trainer's own huggingface_hub. Arguments: repository, folder, ignored patterns, patterns to
# send. All in one commit, so the Hub has everything or nothing.
UPLOAD = """
import sys
from huggingface_hub import HfApi
name, folder, ignored, *patterns = sys.argv[1:]
repo = HfApi().create_repo(name, private=True, exist_ok=True).repo_id
HfApi().upload_folder(repo_id=repo, folder_path=folder, allow_patterns=patterns, ignore_patterns=ignored.split())
"""


def lease_over(now: float, lease: Mapping[str, Any], moved: Mapping[str, float]) -> str | None:
    """Return why the lease is over at this time (seconds since 1970) and with these bytes; None if it is not over."""
    if now >= lease["ends_at"]:
        return "the lease has ended"
    for way, said in (("bytes_down", "downloaded"), ("bytes_up", "uploaded")):
        if moved.get(way, 0) > lease.get(way, float("inf")):
            return f"the lease has ended: {moved[way] / GB:.0f} GB were {said}, {lease[way] / GB:.0f} are paid for"
    return None


def reason_to_end(
    now: float, lease: Mapping[str, Any], progress: Mapping[str, Any], delivered: bool, moved: Mapping[str, float]
) -> str | None:
    """Return why the instance must be destroyed now (times are seconds since 1970); None if it must not."""
    if over := lease_over(now, lease, moved):
        return over
    idle = now - progress.get("updated_at", now)
    if progress.get("phase") == "finished" and delivered and idle >= lease["grace_minutes"] * 60:
        return f"the adapter is delivered, and nobody has fetched it for {idle / 60:.0f} minutes"
    return None


def wants_delivery(now: float, lease: Mapping[str, Any], progress: Mapping[str, Any], over: bool) -> bool:
    """Return whether to send now what is missing on the Hub, because no other computer does."""
    abandoned = now - progress.get("updated_at", now) >= lease["grace_minutes"] * 60
    return over or (progress.get("phase") == "finished" and abandoned)


def delivery_seconds(now: float, lease: Mapping[str, Any], over: bool) -> float:
    """Return the longest time for sending, in seconds: its own time after the lease's end, before that until the
    end."""
    whole = float(lease["delivery_minutes"]) * 60
    return whole if over else max(min(whole, lease["ends_at"] - now), 1.0)


def sendable(progress: Mapping[str, Any]) -> tuple[Any, bool, int]:
    """Return what can be sent: the training, whether it is finished, and its newest checkpoint.

    With this, the same is not sent twice, but a new training's result is.
    """
    return (progress.get("started_at"), progress.get("phase") == "finished", max(progress.get("checkpoints") or [0]))


def deliver(
    lease: Mapping[str, Any], progress: Mapping[str, Any], tokens: Mapping[str, str], seconds: float
) -> tuple[bool | None, str]:
    """Send the finished adapter to the Hub, otherwise the newest complete checkpoint.

    Return True if it was sent, False to retry, None if it is impossible; and a message.
    """
    _, finished, newest = sendable(progress)
    if finished:
        what, ignored, patterns = "the adapter", "checkpoint-*", [ADAPTER, "*.json"]
    elif newest:
        what, ignored, patterns = f"checkpoint-{newest}", "", [f"checkpoint-{newest}/*", FACTS]
    else:
        return None, "there is nothing to deliver"
    if not lease["repo"] or not tokens.get("HF_TOKEN"):
        return None, f"{what} could not be delivered: the run does not push to the Hub"
    copy = copied(lease, [f"--step={progress.get('step') or 0}"] if finished else [f"--checkpoint={newest}"])
    patterns += [copy.name] if copy else []
    command = [lease["hub_python"], "-c", UPLOAD, lease["repo"], lease["output_dir"], ignored, *patterns]
    try:
        if finished:
            (Path(lease["output_dir"]) / FINISHED).write_text(json.dumps(progress), encoding="utf-8")
        subprocess.run(
            command,
            env={**os.environ, **tokens},
            check=True,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return False, f"{what} could not be delivered: {type(error).__name__}"
    finally:
        if copy:
            copy.unlink(missing_ok=True)
    return True, f"{what} was delivered to the Hub"


def copied(lease: Mapping[str, Any], arguments: Sequence[str]) -> Path | None:
    """Write the copy that every program loads, beside the trainer's own file; None if that fails.

    Without it the trainer's own file is still delivered.
    """
    program = str(Path(__file__).with_name("adapter_copy.py"))
    try:
        done = subprocess.run(
            [lease["hub_python"], program, lease["output_dir"], *arguments],
            check=True,
            timeout=COPY_SECONDS,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        return Path(lease["output_dir"]) / done.stdout.splitlines()[0]
    # IndexError: the program succeeded without printing a file, which must not end the guard.
    except (OSError, ValueError, IndexError, subprocess.SubprocessError) as error:
        print(f"No copy for other programs was made: {type(error).__name__}", flush=True)
        return None


def delivered(lease: Mapping[str, Any], progress: Mapping[str, Any], tokens: Mapping[str, str]) -> bool:
    """Return whether the Hub has exactly the local adapter, by its sha256."""
    try:
        digest = hashlib.sha256(Path(str(progress.get("adapter"))).read_bytes()).hexdigest()
        hub = (tokens.get("HF_ENDPOINT") or HUB).rstrip("/")
        bearer = {"Authorization": f"Bearer {tokens['HF_TOKEN']}"}
        repo = lease["repo"]
        if "/" not in repo:
            with _open("GET", f"{hub}/api/whoami-v2", bearer) as answer:
                repo = f"{_object(answer)['name']}/{repo}"
        url = f"{hub}/{repo}/resolve/main/{ADAPTER}"
        with _open("HEAD", url, bearer) as answer:
            return digest in (answer.headers.get("X-Linked-ETag") or answer.headers.get("ETag") or "")
    except (OSError, ValueError, KeyError):
        return False


def destroy(vast: str, own: Mapping[str, str]) -> None:
    """Ask vast.ai to destroy this instance. Raises OSError or ValueError if it does not agree."""
    url = f"{vast.rstrip('/')}/api/v0/instances/{own['CONTAINER_ID']}/"
    with _open("DELETE", url, {"Authorization": f"Bearer {own['CONTAINER_API_KEY']}"}) as answer:
        if not _object(answer).get("success"):
            raise ValueError("vast.ai did not agree")


def identity(environ: Path = Path("/proc/1/environ")) -> dict[str, str]:
    """Return the variables of the instance's first process, which ssh sessions don't get."""
    pairs = environ.read_bytes().decode("utf-8", "replace").split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def counted(meter: Mapping[str, Any], counters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the meter with the kernel's present counters added; they start at 0 with each start of the instance."""
    known = meter.get("counters") or {}
    # At the guard's first count nothing is known, and after a start of the instance all counted bytes are new.
    base = known if known.get("start") == counters["start"] else {} if known else counters
    ways = ("bytes_down", "bytes_up")
    return {
        **{way: meter.get(way, 0) + max(counters[way] - base.get(way, 0), 0) for way in ways},
        "counters": dict(counters),
    }


def counters(proc: Path = Path("/proc")) -> dict[str, Any]:
    """Return the bytes of the network interfaces since the first process started, and its start (in the kernel's
    ticks).

    Raises OSError.
    """
    rows = [row.split(":") for row in (proc / "net/dev").read_text(encoding="utf-8").splitlines() if ":" in row]
    numbers = [values.split() for name, values in rows if name.strip() != "lo"]
    return {
        "bytes_down": sum(int(columns[0]) for columns in numbers),
        "bytes_up": sum(int(columns[8]) for columns in numbers),
        "start": (proc / "1/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19],
    }


def count(file: Path) -> dict[str, Any]:
    """Read the meter of bytes, add the new ones, and write it."""
    meter = _read(file)
    try:
        meter = counted(meter, counters())
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps(meter), encoding="utf-8")
        fresh.replace(file)
    except (OSError, ValueError, IndexError) as error:
        print(f"The bytes could not be counted: {error!r}", flush=True)
    return meter


@dataclass
class Delivery:
    """What has been sent of a training, and when a failed delivery may be tried again."""

    sent: Any = None
    tries: int = 0
    _of: Any = None
    _next: float = 0.0
    _over_since: float = 0.0

    def check(self, now: float, what: Any, over: bool) -> None:
        """Start counting tries again for a new result, and for the end of the lease."""
        self._over_since = (self._over_since or now) if over else 0.0
        if self._of != (what, over):
            self._of, self.tries, self._next = (what, over), 0, 0.0

    def seconds(self, now: float, lease: Mapping[str, Any], over: bool) -> float:
        """Return how long sending may still take, in seconds."""
        return delivery_seconds(now, lease, over) - (now - self._over_since if over else 0.0)

    def hopeless(self, seconds: float) -> bool:
        """Whether the end of the lease must not wait for the delivery any longer."""
        return self.tries >= TRIES or seconds <= 0

    def due(self, now: float) -> bool:
        """Return whether a try is allowed now, and count it."""
        if now < self._next:
            return False
        self.tries, self._next = self.tries + 1, now + RETRY_SECONDS
        return True

    def note(self, what: Any, arrived: bool | None) -> None:
        """Record the result of a try."""
        if arrived:
            self.sent = what
        elif arrived is None:
            self.tries = TRIES


def watch(state: Path) -> None:
    """Poll until there is a reason, deliver, then ask vast.ai until the instance is gone, and this program with it."""
    # The container's start runs a guard, too, see destroy_unless_guarded.py: it waits here until the other one is gone.
    alone = (state / "guard.lock").open("w", encoding="utf-8")
    fcntl.flock(alone, fcntl.LOCK_EX)
    said, hub_has_it, delivery = "", False, Delivery()
    while True:
        lease, progress = _read(state / "lease.json"), _read(state / "progress.json")
        moved = count(state / "meter.json")
        now, tokens, what = time.time(), _variables(state / "train.env"), sendable(progress)
        _, finished, _ = what
        # A result on the Hub stays there, so once is enough.
        hub_has_it = finished and (hub_has_it or delivered(lease, progress, tokens))
        if "ends_at" in lease:
            # By the clock of the computer that wrote the lease.
            lease["ends_at"] += lease.get("clock_ahead_seconds", 0)
            over = lease_over(now, lease, moved) is not None
            delivery.check(now, what, over)
            seconds = delivery.seconds(now, lease, over)
            # An adapter that the trainer has pushed itself is already there, but not marked as finished.
            wanted = delivery.sent != what and wants_delivery(now, lease, progress, over)
            waits = wanted and over and not delivery.hopeless(seconds)
            if (waits or (wanted and not over)) and delivery.due(now):
                _end_training(lease)
                arrived, sentence = deliver(lease, progress, tokens, seconds)
                delivery.note(what, arrived)
                said = _say(sentence, said)
                # This took some time: the lease may have been extended, and another training may be running.
                continue
            done = delivery.sent == what or (hub_has_it and delivery.tries >= TRIES)
            reason = None if waits else reason_to_end(now, lease, progress, finished and done, moved)
            if reason:
                # Nothing more is sent, and another customer may get this disk.
                (state / "train.env").unlink(missing_ok=True)
                said = _say(f"{reason}: {_destroyed(lease)}", said)
        time.sleep(LOOK_SECONDS)


def _end_training(lease: Mapping[str, Any]) -> None:
    """End the training, so that no checkpoint is replaced while it is sent; the supervisor ends the trainer in
    seconds."""
    command = ["tmux", "kill-session", "-t", f"={lease['training_session']}"]
    # Without tmux no training runs.
    with contextlib.suppress(OSError):
        subprocess.run(command, check=False, stderr=subprocess.DEVNULL)


def _destroyed(lease: Mapping[str, Any]) -> str:
    try:
        destroy(lease["vast_url"], identity())
    except (OSError, ValueError, KeyError) as error:
        return f"vast.ai did not destroy this instance, trying again: {error!r}"
    return "vast.ai agreed to destroy this instance"


def _say(text: str, said: str) -> str:
    """Print a message, but not the same one twice."""
    if text != said:
        print(f"{time.strftime('%F %T')} {text}", flush=True)
    return text


def main() -> int:
    """Return 0 if a check finds that the instance can destroy itself, 1 if it cannot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["watch", "check"])
    parser.add_argument("--state", type=Path, required=True, help="folder of lease.json and progress.json")
    args = parser.parse_args()
    if args.verb == "check":
        missing = {"CONTAINER_API_KEY", "CONTAINER_ID"} - identity().keys()
        print("missing: " + ", ".join(sorted(missing)) if missing else "ready")
        return 1 if missing else 0
    watch(args.state)
    return 0


@contextlib.contextmanager
def _open(method: str, url: str, headers: Mapping[str, str]) -> Iterator[Any]:
    """Yield the answer for reading. Raises OSError, also for an answer that breaks off or is not HTTP."""
    request = urllib.request.Request(url, headers=dict(headers), method=method)
    try:
        with urllib.request.build_opener(_KeepToken).open(request, timeout=TIMEOUT_SECONDS) as answer:
            yield answer
    except http.client.HTTPException as error:
        raise OSError(repr(error)) from error


def _object(answer: Any) -> dict[str, Any]:
    content = json.load(answer)
    if not isinstance(content, dict):
        raise ValueError("the answer is not an object")
    return content


class _KeepToken(urllib.request.HTTPRedirectHandler):
    """Redirects are not followed: the Hub's own answer names the hash, and the storage must not see the token."""

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        return fp

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _variables(path: Path) -> dict[str, str]:
    try:
        words = shlex.split(path.read_text(encoding="utf-8"), comments=True)
    except (OSError, ValueError):
        return {}
    return dict(word.split("=", 1) for word in words if "=" in word)


if __name__ == "__main__":
    sys.exit(main())
