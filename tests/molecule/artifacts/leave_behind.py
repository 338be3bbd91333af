"""Writes the files of a finished training, the adapter a real safetensors file with two tensors of ones."""

import json
import struct
from pathlib import Path

ROWS, COLUMNS = 4, 8
NUMBERS = struct.pack("<f", 1.0) * ROWS * COLUMNS


def adapter():
    size = len(NUMBERS)
    header = {
        "block.lora_A.weight": {"dtype": "F32", "shape": [ROWS, COLUMNS], "data_offsets": [0, size]},
        "block.lora_B.weight": {"dtype": "F32", "shape": [COLUMNS, ROWS], "data_offsets": [size, 2 * size]},
    }
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + NUMBERS * 2


PROGRESS = {
    "phase": "finished",
    "step": 8,
    "steps": 8,
    "first_loss": 1.5,
    "loss": 0.5,
    "started_at": 1,
    "updated_at": 61,
}
FILES = {
    "SimpleTuner/output/models/checkpoint-4/pytorch_lora_weights.safetensors": adapter(),
    "SimpleTuner/output/models/checkpoint-4/training_state.json": b"{}",
    "SimpleTuner/output/models/checkpoint-8/pytorch_lora_weights.safetensors": adapter(),
    "SimpleTuner/output/models/checkpoint-8/training_state.json": b"{}",
    "SimpleTuner/output/models/checkpoint-12-tmp/training_state.json": b"{}",
    "SimpleTuner/output/models/validation_images/step_8.png": b"pixels",
    "SimpleTuner/output/models/logs/events": b"of TensorBoard",
    "SimpleTuner/config/config.json": b"{}",
    "SimpleTuner/wandb/offline-run-1/run.wandb": b"curves",
    ".fluxlora/training.log": b"step 8/8\n",
    ".fluxlora/progress.json": json.dumps(PROGRESS).encode(),
    ".fluxlora/train.env": b"HF_TOKEN=hf_secret\n",
    "SimpleTuner/output/models/pytorch_lora_weights.safetensors": adapter(),
}
for name, content in FILES.items():
    file = Path("/root", name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
