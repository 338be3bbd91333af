"""What SimpleTuner itself decides about data backends; run by a trainer's own python, with the CPU shim on its path.

usage: python scan.py MODEL QUESTIONS.json ANSWERS.json

A question is a folder to work in, options over the ones below, data backends, and how many GPUs. Its answer is what the
unpatched trainer wrote and counted, or why it ended. The trainer goes as far as counting its steps: everything but
encoding images and captions, which two of its own options leave out.
"""

import gzip
import io
import json
import os
import socket
import sys
from pathlib import Path

# One thread each: torch's pools do not survive a fork, and the machine has few cores.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")

OPTIONS = {
    "model_family": "flux",
    "model_type": "lora",
    "lora_rank": 4,
    "optimizer": "adamw_bf16",
    "learning_rate": 1e-4,
    "train_batch_size": 1,
    "max_train_steps": 4,
    "num_train_epochs": 0,
    "mixed_precision": "bf16",
    "resolution_type": "pixel_area",
    "resolution": 1024,
    "minimum_image_size": 0,
    "aspect_bucket_rounding": 2,
    "aspect_bucket_worker_count": 1,
    "caption_dropout_probability": 0.1,
    "validation_disable": True,
    "report_to": "none",
    "seed": 42,
}
# How the trainer ends that has lost images, and sometimes one that has left them out.
LOST = ("did not have its metadata", "no usable samples", "division by zero")


def answer(question, model, rank):
    from simpletuner.helpers.training.state_tracker import StateTracker
    from simpletuner.helpers.training.trainer import Trainer

    folder = Path(question["folder"])
    backends = folder / "multidatabackend.json"
    if rank == 0:
        embeds = {"id": "text-embeds", "type": "local", "dataset_type": "text_embeds", "default": True}
        embeds["cache_dir"] = str(folder / "text")
        (folder / "output").mkdir(parents=True, exist_ok=True)
        backends.write_text(json.dumps([*question["backends"], embeds]))
    options = {
        **OPTIONS,
        "pretrained_model_name_or_path": model,
        "output_dir": str(folder / "output"),
        "data_backend_config": str(backends),
        **question["options"],
    }
    trainer = Trainer(config={f"--{name}": value for name, value in options.items()}, exit_on_error=True)
    if question.get("train"):
        trainer.run()
        return counted(trainer.config, StateTracker) | {"caches": caches(folder)}
    trainer.init_noise_schedule()
    trainer.init_seed()
    trainer.init_huggingface_hub()
    trainer.init_preprocessing_models()
    trainer.accelerator.wait_for_everyone()
    trainer.init_data_backend()
    drawn = {name: draw(backend["sampler"]) for name, backend in image_backends(StateTracker)}
    return counted(trainer.config, StateTracker) | {"drawn": drawn}


def counted(config, state):
    return {
        "batches": {name: len(backend["metadata_backend"]) for name, backend in image_backends(state)},
        "steps_per_epoch": config.num_update_steps_per_epoch,
    }


def image_backends(state):
    return [(name, backend) for name, backend in state.get_data_backends().items() if "sampler" in backend]


def caches(folder):
    """Every cached tensor: its file, bytes on disk, and for each tensor in it the shape and type."""
    import torch

    found = {}
    for file in sorted(folder.rglob("*.pt")):
        raw = file.read_bytes()
        held = torch.load(io.BytesIO(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw), weights_only=False)
        tensors = held if isinstance(held, dict) else {"latents": held}
        found[file.relative_to(folder).as_posix()] = {
            "bytes": len(raw),
            "packed": raw[:2] == b"\x1f\x8b",
            "tensors": {name: [list(t.shape), str(t.dtype)] for name, t in tensors.items() if hasattr(t, "shape")},
        }
    return found


def draw(sampler):
    """Batches until the sampler says that every image has been seen."""
    from simpletuner.helpers.training.exceptions import MultiDatasetExhausted

    batches = 0
    try:
        for _batch in sampler:
            batches += 1
    except MultiDatasetExhausted:
        pass
    return batches


def on_one_gpu(question, model, rank, size, port, out):
    """In a process of its own, since the trainer keeps what it knows in classes."""
    pid = os.fork()
    if pid:
        return pid
    if size > 1:
        os.environ.update(
            ACCELERATE_USE_CPU="true", RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size),
            LOCAL_WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
        )  # fmt: skip
    log = os.open(Path(question["folder"]) / f"log-{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        found = answer(question, model, rank)
    except BaseException as error:
        found = {"error": f"{type(error).__name__}: {error}"}
    if rank == 0:
        out.write_text(json.dumps(found))
    os._exit(0)


def ask(question, model):
    """On a fresh dataset all but the first process see no image in 3.1.6, so one alone looks first."""
    if question["gpus"] == 1:
        return settled(question, model)
    at_first = once(question, model)
    settled(question | {"gpus": 1}, model)
    return once(question, model) | {"at_first": at_first.get("error")}


def settled(question, model):
    """Asked again, on a fresh dataset, as long as the scan may have ended before its threads' queue was empty."""
    found = once(question, model)
    for _ in range(2):
        log = (Path(question["folder"]) / "log-0").read_text(errors="replace")
        if "Metadata not found" not in log and not any(sign in found.get("error", "") for sign in LOST):
            break
        for backend in question["backends"]:
            for kind in ("indices", "metadata"):
                name = f"aspect_ratio_bucket_{kind}_{backend['cache_file_suffix']}.json"
                (Path(backend["instance_data_dir"]) / name).unlink(missing_ok=True)
        found = once(question, model)
    return found


def once(question, model):
    size = question["gpus"]
    folder = Path(question["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    out = folder / "answer.json"
    children = [on_one_gpu(question, model, rank, size, port, out) for rank in range(size)]
    for child in children:
        os.waitpid(child, 0)
    return json.loads(out.read_text())


def main(model, questions, answers):
    import simpletuner.helpers.training.trainer  # noqa: F401  # once, for all the forks

    found = [ask(question, model) for question in json.loads(Path(questions).read_text())]
    Path(answers).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
