"""Behaves as SimpleTuner does towards its supervisor: webhooks, bar, checkpoints, final file.

It exits 0 on failure, as 3.1.6 does, and hears of a wanted checkpoint, as 4.10.1 does.

It saves at step 2 and then each so many.

usage: trainer.py BEHAVIOUR OUTPUT [STEPS [EACH]]
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

behaviour, output, numbers = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
steps, each = map(int, [*numbers, *("6", "2")[len(numbers) :]])
output.mkdir(parents=True, exist_ok=True)
webhook = json.loads(Path(os.environ["SIMPLETUNER_WEBHOOK_CONFIG"]).read_text())[0]


def post(**event: object) -> None:
    request = urllib.request.Request(webhook["callback_url"], json.dumps(event).encode(), method="POST")
    urllib.request.urlopen(request, timeout=5).close()


def save(folder: Path, *, cut: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    header = json.dumps({"a.lora_A.weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    content = struct.pack("<Q", len(header)) + header + bytes(8)
    (folder / "pytorch_lora_weights.safetensors").write_bytes(content[: len(content) - cut])


def asked() -> int:
    signals = Path(os.environ.get("SIMPLETUNER_ACCELERATE_SIGNAL_FILE", "/no/such/file"))
    return int(json.loads(signals.read_text()).get("manual_checkpoint", 0)) if signals.exists() else 0


def done() -> int:
    return max((int(path.parent.name[11:]) for path in output.glob("checkpoint-*[0-9]/training_state.json")), default=0)


if behaviour == "session":
    # As the official command line does: the trainer proper in a session of its own, and the exit status handed on.
    child = subprocess.Popen([sys.executable, __file__, "slow", str(output), *numbers], start_new_session=True)
    (output / "pids").write_text(f"{os.getpid()} {child.pid}")
    sys.exit(child.wait())

print("[RANK 0] 2026-01-01 00:00:00,000 [INFO] token is " + os.environ.get("HF_TOKEN", "unset"), flush=True)
post(type="lifecycle.stage", stage={"key": "init_vae_cache", "status": "running"})
if behaviour == "fails":
    print("[RANK 0] 2026-01-01 00:00:00,000 [ERROR] The dataset is empty", flush=True)
    print('Traceback (most recent call last):\n  File "train.py", line 1, in <module>\n    train()\n    ^^^^^^^')
    print("ValueError: no pictures", flush=True)
    sys.exit(0)
if behaviour == "killed-once" and done():
    behaviour = "works"
answered = 0
for step in range(done() + 1, steps + 1):
    print(
        f"\rEpoch 1/2, Steps:  50%|████▊ | {step}/{steps} [00:01<00:00,  1.82it/s, lr=0.0001, step_loss={step}.5]",
        end="",
        file=sys.stderr,
        flush=True,
    )
    if behaviour != "no-webhooks":
        metrics = {"loss": step + 0.25, "learning_rate": 1e-4, "epoch": 1}
        post(
            type="training.status",
            data={"status": "running"},
            progress={"current": step, "total": steps, "metrics": metrics},
        )
    wanted = asked() > answered
    if wanted:
        answered = asked()
        print(f"\nA checkpoint was asked for, at step {step}", flush=True)
        # As 3.1.6 with a large one: the oldest goes first, and saving takes longer than from one look to the next.
        oldest = min((int(path.name[11:]) for path in output.glob("checkpoint-*")), default=0)
        shutil.rmtree(output / f"checkpoint-{oldest}", ignore_errors=True)
        time.sleep(7)
    if wanted or step == 2 or step % each == 0:
        post(type="lifecycle.stage", stage={"key": "checkpoint_save", "status": "running"})
        unfinished = output / f"checkpoint-{step}-tmp"
        unfinished.mkdir(exist_ok=True)
        (unfinished / "training_state.json").write_text(json.dumps({"global_step": step}))
        save(unfinished)
        unfinished.rename(output / f"checkpoint-{step}")
    if behaviour in ("killed", "killed-once") and step == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if behaviour == "slow":
        time.sleep(0.2)
    if behaviour == "stops-early" and step == 4:
        break
save(output, cut=4 if behaviour == "cut-off" else 0)
