"""Rehearses a whole run on this machine: with the stand-ins, the hosts behind them, and the usual playbooks."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluxlora.delivery.adapter.summary import file_to_load
from fluxlora.errors import RehearsalError
from fluxlora.process import private_folder
from fluxlora.project import project_dir
from fluxlora.rehearsal.hosts import engine
from fluxlora.runner.locales import ensure_utf8
from fluxlora.runner.play import Outcome, play
from fluxlora.runner.screen import Screen

Say = Callable[[str], Any]


@dataclass(frozen=True)
class Standin:
    """The addresses of the stand-ins for vast.ai, the Hub and Weights & Biases, and their keys."""

    url: str
    api_key: str
    hub_url: str
    hub_token: str
    wandb_url: str
    wandb_key: str

    def environment(self) -> dict[str, str]:
        """Return the environment in which the playbooks use the stand-ins instead of the real servers."""
        return {
            "VAST_URL": self.url,
            "VAST_API_KEY": self.api_key,
            "HF_ENDPOINT": self.hub_url,
            "HF_TOKEN": self.hub_token,
            "WANDB_MODE": "offline",
        }


@contextmanager
def standin(hosts: str = "containers", *, timeout_seconds: float = 60) -> Iterator[Standin]:
    """Run the stand-ins in their own process, which ends and removes its hosts when this process ends in any way."""
    command = [sys.executable, "-m", "fluxlora", "rehearsal", "serve", "--hosts", hosts, "--until-eof"]
    # Its own session, because Ctrl-C is for this process, which ends the server in order.
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        line = server.stdout.readline()
        if not line:
            raise RehearsalError(
                "The stand-in for vast.ai did not start.", hint=f"Run it separately: {' '.join(command[1:])}"
            )
        yield Standin(**json.loads(line))
    finally:
        server.stdin.close()
        try:
            server.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def rehearse(run: Mapping[str, str], *, say: Say) -> Outcome:
    """Rehearse a whole run for free and print its summary; only the artifacts remain."""
    # SIGINT, too: a shell without job control starts background processes with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    ensure_utf8()
    began = time.monotonic()
    screen = Screen(say=say)
    # Separate from the artifacts of real runs; the last rehearsal of the same name is removed.
    artifacts = project_dir() / "artifacts" / "rehearsals"
    shutil.rmtree(artifacts / run["run_name"], ignore_errors=True)
    try:
        say("== Make the hosts' image")
        engine.ensure_image(say)
        screen.stages["Make the hosts' image"] = time.monotonic() - began
        with private_folder() as folder, standin() as there:
            outcome = play(
                "train",
                {
                    **run,
                    "run_rehearsal": "true",
                    "artifacts_dir": str(artifacts),
                    "provision_ssh_key_file": str(_ssh_key(folder)),
                },
                environment=there.environment() | {"FLUXLORA_STATE_DIR": str(folder)},
                on_event=screen.on_event,
            )
            ledger = _get(there, "/rehearsal/ledger")
    except KeyboardInterrupt:
        outcome = Outcome(code=1, signal=signal.SIGINT)
    if outcome.detached:
        say("Interrupted. The rehearsal's host, its servers and its temporary folder are gone.")
        return outcome
    manifest = None if outcome.code else json.loads((artifacts / run["run_name"] / "manifest.json").read_text())
    for line in _summary(manifest, ledger, screen.stages):
        say(line)
    if manifest:
        say(f"  adapter    {artifacts / run['run_name'] / file_to_load(manifest)}")
    say(f"  time       {time.monotonic() - began:.0f} s in all")
    return outcome


def _summary(
    manifest: Mapping[str, Any] | None, ledger: Mapping[str, Any], stages: Mapping[str, float]
) -> Iterator[str]:
    yield ""
    if manifest is None:
        yield "The rehearsal failed; the reason is above."
    else:
        steps, loss = manifest["steps"], manifest["loss"]
        yield f"The rehearsal of {manifest['run']} is done."
        yield f"  steps      {steps['done']} of {steps['asked']}"
        yield f"  loss       {loss['first']:.4f} first, {loss['last']:.4f} last"
    yield f"  cost       ${ledger['total_usd']:.4f} by the stand-in's ledger; nothing was paid"
    yield f"  instances  {ledger['instances_left']} left"
    yield from (f"  {spent:6.0f} s   {stage}" for stage, spent in stages.items() if spent >= 1)


def _ssh_key(folder: Path) -> Path:
    key = folder / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, timeout=30)
    return key


def _get(there: Standin, path: str) -> Any:
    import requests  # imported late, as a dependency of the vast.ai client

    reply = requests.get(there.url + path, headers={"Authorization": f"Bearer {there.api_key}"}, timeout=10)
    reply.raise_for_status()
    return reply.json()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
