#!/usr/bin/env python3
"""Runs the trainer on the instance, reports its progress, and decides by its files whether it succeeded.

SimpleTuner 3.1.6 exits with 0 when it fails, so the exit status only decides about a restart: a trainer that was killed
is started again and resumes from its last checkpoint, one that failed by itself is not.

Standard library only, python 3.9 or newer: this file is copied to the instance and runs there alone.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

ADAPTER = "pytorch_lora_weights.safetensors"
# Every process of the trainer inherits this variable. The official command starts its trainer in a new session, so
# neither a process group nor parent ids find all processes if one in the middle has died.
MARK = "FLUXLORA_SUPERVISED"
GRACE_SECONDS = 10
HEARTBEAT_SECONDS = 0.5

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_BAR = re.compile(
    r"Epoch (?P<epoch>\d+)/\d+,? Steps:\s+\d+%\|.*?\| (?P<step>\d+)/(?P<steps>\d+) "
    r"\[[^\]]*?(?P<values>(?:, \w+=[^,\]]+)*)\]"
)
_EXCEPTION = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt|Exit)\b(?::|$)")
_COMPLAINT = re.compile(r"\[(?:ERROR|CRITICAL)\]|^\S+: error: |^Error: ")
# The message of the launcher for one GPU; and for several, where the cause comes after the processes that it ended.
_KILLED = re.compile(r"died with <Signals\.(SIG\w+)|Signal \d+ \((SIG\w+)\) received by PID")
# Parts of names of variables whose values are never printed; settings/credentials.py, which this machine does not have,
# has more.
SECRET_NAMES = "TOKEN|KEY|SECRET|PASSW|PASSPHRASE|CREDENTIAL"
_CAUSE = "Root Cause (first observed failure)"
_LAUNCHERS = ("subprocess.CalledProcessError", "torch.distributed.elastic.multiprocessing.errors.ChildFailedError")
_CHECKPOINT = re.compile(r"checkpoint-(0|[1-9][0-9]{0,8})")
# The trainer's file has some hundred bytes, and the names of the files that it has seen in this epoch.
_LARGEST_STATE_BYTES = 100_000_000
_STAGES = {
    "benchmark_base_model": "validating",
    "final_validation": "validating",
    "validation": "validating",
    "checkpoint_save": "saving",
    "model_save": "saving",
}


class Progress:
    """The progress of the training, in one small file that is replaced in one step."""

    def __init__(self, path: Path, output: Path, secrets: Iterable[str] = ()) -> None:
        now = time.time()
        self.path, self.output = path, output
        self.secrets = [secret for secret in secrets if secret]
        self.lock = threading.RLock()
        self.facts: dict[str, Any] = {
            "phase": "starting",
            "step": 0,
            "steps": 0,
            "epoch": 0,
            "loss": None,
            "first_loss": None,
            "lr": None,
            "seconds_per_step": None,
            "started_at": now,
            "updated_at": now,
            "restarts": 0,
            "checkpoints": [],
            "errors": [],
            "adapter": None,
            "pid": os.getpid(),
        }
        self.complaints: deque[str] = deque(maxlen=10)
        self.traceback: list[str] = []
        self.failure: list[str] = []
        self.killed_by: str | None = None
        self._in_traceback = False
        self._heard = False
        self._last_step: tuple[int, float] | None = None
        self._step_seconds: deque[float] = deque(maxlen=20)

    def new_attempt(self) -> None:
        """Forget the messages of the last attempt; the next one resumes from its last checkpoint."""
        with self.lock:
            self.facts["step"] = max(checkpoints(self.output), default=0)
            self.complaints.clear()
            self.traceback, self.failure, self.killed_by, self._last_step = [], [], None, None

    def hide(self, text: str) -> str:
        """Return the text without the trainer's tokens."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text

    def event(self, event: dict[str, Any]) -> None:
        """Process one of SimpleTuner's raw webhooks."""
        with self.lock:
            kind = event.get("type")
            if kind == "training.status":
                self._status(event)
            elif kind == "lifecycle.stage":
                stage = event.get("stage") or {}
                key, running = str(stage.get("key")), stage.get("status") != "completed"
                if key in _STAGES:
                    self._phase(_STAGES[key] if running else "training")
                elif "cache" in key or "data_backend" in key:
                    self._phase("caching")
                elif key == "training_abort":
                    self.complaints.append(str(event.get("message") or stage.get("label")))
            elif kind == "training.checkpoint":
                self._phase("training")

    def line(self, text: str) -> bool:
        """Process one line of the trainer's output; return whether it belongs in the log."""
        text = _ANSI.sub("", text).rstrip()
        with self.lock:
            if bar := _BAR.search(text):
                values = dict(pair.split("=", 1) for pair in bar["values"].split(", ") if "=" in pair)
                news = int(bar["step"]) != self.facts["step"] or "step_loss" in values
                self._step(int(bar["step"]), int(bar["steps"]), int(bar["epoch"]))
                # The progress bar is rounded; it is only used if the webhooks don't arrive.
                if not self._heard:
                    self._number("lr", values.get("lr"))
                    self._number("loss", values.get("step_loss"))
                return news
            if text.startswith("Traceback (most recent call last)"):
                self._in_traceback, self.traceback = True, []
            elif self._in_traceback and text and not text.startswith(" "):
                self._in_traceback = False
                # The launcher's own exception only says that the trainer has ended.
                self.traceback = [] if text.startswith(_LAUNCHERS) else [*self.traceback[-4:], text]
            elif self._in_traceback:
                self.traceback.append(text)
            elif _COMPLAINT.search(text) or _EXCEPTION.match(text):
                self.complaints.append(text)
            if text.startswith(_CAUSE):
                self.killed_by = None
            elif killed := _KILLED.search(text):
                self.killed_by = killed[1] or killed[2]
        return bool(text)

    def errors(self) -> list[str]:
        """Return the trainer's own error messages, then the exception and the calls before it."""
        with self.lock:
            lines = [*self.complaints, *(self.failure or self.traceback)]
        # Lines of ^ point into the line above them, which is not printed here.
        return [self.hide(line)[:500] for line in dict.fromkeys(lines) if line.strip(" ^~")][-20:]

    def write(self, phase: str | None = None, **facts: Any) -> None:
        """Replace the file by the present progress."""
        with self.lock:
            if phase:
                self._phase(phase)
            self.facts.update(facts, updated_at=time.time(), checkpoints=checkpoints(self.output))
            temporary = self.path.with_suffix(".new")
            temporary.write_text(json.dumps(self.facts) + "\n", encoding="utf-8")
            temporary.replace(self.path)

    def _phase(self, phase: str) -> None:
        self.facts["phase"] = phase

    def _status(self, event: dict[str, Any]) -> None:
        data, progress = event.get("data") or {}, event.get("progress") or {}
        if data.get("status") == "failed":
            self.failure = str(data.get("traceback") or data.get("error")).splitlines()[-5:]
        elif data.get("status") == "running" and progress.get("current") is not None:
            metrics = progress.get("metrics") or {}
            if not self._heard:
                # The progress bar may have had the first loss earlier, but rounded.
                self._heard, self.facts["first_loss"] = True, None
            self._phase("training")
            self._step(int(progress["current"]), int(progress.get("total") or 0), int(metrics.get("epoch") or 0))
            self._number("loss", metrics.get("loss"))
            self._number("lr", metrics.get("learning_rate"))

    def _step(self, step: int, steps: int, epoch: int) -> None:
        now = time.monotonic()
        if step > 0 and self.facts["phase"] in ("starting", "caching"):
            self._phase("training")
        if self._last_step and step > self._last_step[0]:
            self._step_seconds.append((now - self._last_step[1]) / (step - self._last_step[0]))
            # The median, because the time between some steps includes checkpoints and validations.
            self.facts["seconds_per_step"] = round(statistics.median(self._step_seconds), 3)
        if not self._last_step or step > self._last_step[0]:
            self._last_step = (step, now)
        self.facts.update(step=step, steps=steps or self.facts["steps"], epoch=epoch)

    def _number(self, name: str, value: Any) -> None:
        try:
            self.facts[name] = float(value)
        except (TypeError, ValueError):
            return
        if name == "loss" and self.facts["first_loss"] is None:
            self.facts["first_loss"] = self.facts["loss"]


def checkpoints(output: Path) -> list[int]:
    """Return the steps whose checkpoints are complete: the trainer renames a checkpoint when it is written.

    In a download, training_state.json is the last of a checkpoint's files. A name in another form than the
    trainer's, such as checkpoint-012, does not count, because the folder is later found by its step.
    """
    steps = []
    for state in output.glob("checkpoint-*/training_state.json"):
        name = _CHECKPOINT.fullmatch(state.parent.name)
        try:
            # A FIFO would block.
            if not name or not state.is_file() or state.stat().st_size > _LARGEST_STATE_BYTES:
                continue
            json.loads(state.read_text(encoding="utf-8"))
            steps.append(int(name[1]))
        except (OSError, ValueError, RecursionError):
            continue
    return sorted(steps)


def adapter_problem(path: Path, not_before: float) -> str | None:
    """Return why this is not the adapter of a training that started at this time (epoch seconds); None if it is."""
    try:
        stat = path.stat()
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > stat.st_size - 8:
                return f"{path} is cut off"
            header = json.loads(file.read(length))
    except FileNotFoundError:
        return f"{path} was not written"
    except (OSError, ValueError, struct.error) as error:
        return f"{path} cannot be read: {error}"
    # File systems round times, by less than a second.
    if stat.st_mtime < not_before - 1:
        return f"{path} is older than this training"
    tensors = [value for name, value in header.items() if name != "__metadata__"]
    if not tensors:
        return f"{path} has no tensor"
    if 8 + length + max(tensor["data_offsets"][1] for tensor in tensors) != stat.st_size:
        return f"{path} is cut off"
    return None


class Listener(BaseHTTPRequestHandler):
    """Receives SimpleTuner's raw webhooks."""

    progress: Progress
    timeout = 5  # s, for a client that connects and sends nothing

    def do_POST(self) -> None:
        """Answer immediately, because the trainer waits for it."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(204)
        self.end_headers()
        try:
            event = json.loads(body)
        except ValueError:
            return
        if isinstance(event, dict):
            self.progress.event(event)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: each request would be a line between the trainer's own."""


def listen(progress: Progress) -> HTTPServer:
    """Yield a listener on a free port of the loopback address."""
    # One request after the other: with threads, a step could be processed before the previous one.
    server = HTTPServer(("127.0.0.1", 0), type("BoundListener", (Listener,), {"progress": progress}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def supervised(state: Path) -> list[int]:
    """Return the running processes of the trainer that is, or was, supervised with this folder."""
    mark, found = f"{MARK}={state}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0") and int(folder.name) != os.getpid():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def end_all(state: Path) -> None:
    """End every process of the trainer, first with SIGTERM; zombies have no environment and so don't count."""
    for number, seconds in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, GRACE_SECONDS)):
        for pid in supervised(state):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        until = time.monotonic() + seconds
        while supervised(state):
            if time.monotonic() > until:
                break
            time.sleep(0.1)
        else:
            return


def environment(file: Path | None, venv: Path | None) -> dict[str, str]:
    """Return the variables of a file of NAME=VALUE lines, quoted for the shell, and those of an active environment."""
    words = shlex.split(file.read_text(encoding="utf-8"), comments=True) if file else []
    variables = dict(word.split("=", 1) for word in words)
    if venv:
        variables["VIRTUAL_ENV"] = str(venv)
        variables["PATH"] = f"{venv}/bin:{variables.get('PATH') or os.environ.get('PATH', os.defpath)}"
    return variables


@contextlib.contextmanager
def shown(token: str, path: Path) -> Iterator[None]:
    """Make a token readable under a path for this time: SimpleTuner 3.1.6 pushes only with the token that it reads
    there.

    The file behind the link has no name, so nothing of it remains when this program ends in any way.
    """
    memory = Path("/dev/shm")
    with tempfile.TemporaryFile("w", dir=memory if memory.is_dir() else None) as nameless:
        nameless.write(token)
        nameless.flush()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        fresh.symlink_to(f"/proc/{os.getpid()}/fd/{nameless.fileno()}")
        fresh.replace(path)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


class Supervisor:
    """One training from its start to its result."""

    def __init__(self, state: Path, output: Path, command: list[str], env: dict[str, str]) -> None:
        self.state, self.output, self.command, self.env = state, output, command, env
        secrets = [value for name, value in env.items() if re.search(SECRET_NAMES, name)]
        self.progress = Progress(state / "progress.json", output, secrets)
        self.stopped: str | None = None

    def run(self, restarts: int) -> bool:
        """Train, and return whether the training ended with a complete adapter."""
        end_all(self.state)
        self.progress.write()
        server = listen(self.progress)
        webhook = self.state / "webhook.json"
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        webhook.write_text(json.dumps([{"webhook_type": "raw", "callback_url": url, "log_level": "info"}]), "utf-8")
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, self._stop)
        try:
            for restart in range(restarts + 1):
                self.progress.new_attempt()
                self.progress.write("starting", restarts=restart)
                began, code = time.time(), self._attempt()
                problem = self._problem(began)
                killed = self.progress.killed_by or killer(code)
                if problem is None or self.stopped or not killed:
                    break
                self._say(
                    f"The trainer was killed by {killed}; its last checkpoint is {checkpoints(self.output)[-1:]}."
                )
        finally:
            server.shutdown()
        if problem is None:
            self.progress.write("finished", adapter=str(self.output / ADAPTER), errors=self.progress.errors())
            return True
        reason = f"The training was stopped by {self.stopped}." if self.stopped else None
        if killed and not self.stopped:
            reason = f"The trainer was killed by {killed}; often the host has too little memory."
        self.progress.write("failed", errors=[*self.progress.errors(), *([reason] if reason else []), problem])
        return False

    def _attempt(self) -> int:
        env = {**os.environ, **self.env, MARK: str(self.state)}
        env["SIMPLETUNER_WEBHOOK_CONFIG"] = str(self.state / "webhook.json")
        child = subprocess.Popen(
            [shutil.which(self.command[0], path=env.get("PATH")) or self.command[0], *self.command[1:]],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert child.stdout is not None
        reader = threading.Thread(target=self._read, args=(child.stdout,), daemon=True)
        reader.start()
        while child.poll() is None:
            if self.stopped:
                end_all(self.state)
            self.progress.write()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(HEARTBEAT_SECONDS)
        # A process that survived its parent must neither train beside the next attempt nor keep the pipe open.
        end_all(self.state)
        reader.join(GRACE_SECONDS)
        return child.returncode

    def _read(self, stream: Any) -> None:
        with (self.state / "training.log").open("a", encoding="utf-8") as log:
            rest = ""
            while chunk := stream.read1(65536):
                text = self.progress.hide(rest + chunk.decode("utf-8", "replace"))
                *lines, rest = re.split(r"[\r\n]", text)
                sys.stdout.write("".join(f"{line}\n" for line in lines if self._keep(line, log)))
                sys.stdout.flush()
            self._keep(rest, log)

    def _keep(self, line: str, log: Any) -> bool:
        if not self.progress.line(line):
            return False
        log.write(_ANSI.sub("", line).rstrip() + "\n")
        log.flush()
        return True

    def _problem(self, began: float) -> str | None:
        facts = self.progress.facts
        if problem := adapter_problem(self.output / ADAPTER, began):
            return problem
        if facts["step"] < max(facts["steps"], 1):
            return f"The trainer ended at step {facts['step']} of {facts['steps']}."
        return None

    def _stop(self, number: int, frame: Any) -> None:
        self.stopped = signal.Signals(number).name

    def _say(self, text: str) -> None:
        with (self.state / "training.log").open("a", encoding="utf-8") as log:
            log.write(text + "\n")


def killer(code: int) -> str | None:
    """Return the signal behind an exit status: a negative one, or that of a shell (128 + n) or of sys.exit(-n)."""
    number = -code if code < 0 else code - 128 if 128 < code <= 192 else 256 - code if code > 192 else 0
    try:
        return signal.Signals(number).name if number else None
    except ValueError:
        return None


def main() -> int:
    """Return 0 if the training ended with a complete adapter, 1 if not, 3 if another one runs with the same folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["run"])
    parser.add_argument("--state", type=Path, required=True, help="folder of progress.json and training.log")
    parser.add_argument("--output", type=Path, required=True, help="the trainer's output_dir")
    parser.add_argument("--env-file", type=Path, help="NAME=VALUE lines only for the trainer")
    parser.add_argument("--hub-token", type=Path, help="where the trainer looks for the Hub's token")
    parser.add_argument("--venv", type=Path, help="virtual environment with the trainer's programs")
    parser.add_argument("--restarts", type=int, default=2, help="how often a killed trainer is started again")
    cut = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    args, command = parser.parse_args(sys.argv[1:cut]), sys.argv[cut + 1 :]
    if not command:
        parser.error("the trainer's command is missing; it comes after --")
    os.umask(0o077)
    state = args.state.resolve()
    state.mkdir(parents=True, exist_ok=True)
    with (state / "progress.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"A training is already supervised with {state}.", file=sys.stderr)
            return 3
        variables = environment(args.env_file, args.venv)
        supervisor = Supervisor(state, args.output, command, variables)
        token = variables.get("HF_TOKEN", "") if args.hub_token else ""
        with shown(token, args.hub_token.expanduser()) if token else contextlib.nullcontext():
            return 0 if supervisor.run(args.restarts) else 1


if __name__ == "__main__":
    sys.exit(main())
