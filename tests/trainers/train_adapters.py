"""Trains adapters with SimpleTuner and keeps what the trained model answers; run by a trainer's own python.

usage: python train_adapters.py MODEL QUESTIONS.json

A question is a folder to work in, the folder of the dataset, options over the ones below, and the configuration of
LyCORIS, if any. It leaves SimpleTuner's output folder, whose last checkpoint is of the last step, and
answer.safetensors: what the trained model in memory and the model without the adapter make of the same input.
"""

import json
import os
import sys
import traceback
from pathlib import Path

# One thread each: torch's pools do not survive a fork, and the machine has few cores.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")

STEPS = 3
OPTIONS = {
    "model_family": "flux",
    "model_type": "lora",
    "flux_lora_target": "all+ffs",
    "lora_rank": 4,
    "optimizer": "adamw_bf16",
    # High, so that a few steps change the model's output visibly.
    "learning_rate": 1e-2,
    "lr_scheduler": "constant",
    "lr_warmup_steps": 0,
    "train_batch_size": 1,
    "max_train_steps": STEPS,
    "checkpointing_steps": STEPS,
    "num_train_epochs": 0,
    "mixed_precision": "bf16",
    "resolution_type": "pixel_area",
    "resolution": 64,
    "minimum_image_size": 0,
    "aspect_bucket_rounding": 2,
    "caption_dropout_probability": 0.1,
    "validation_disable": True,
    "disable_benchmark": True,
    "report_to": "none",
    "seed": 42,
}
IMAGES = {
    "id": "images",
    "type": "local",
    "crop": True,
    "crop_aspect": "square",
    "crop_style": "center",
    "resolution": 64,
    "minimum_image_size": 64,
    "maximum_image_size": 64,
    "target_downsample_size": 64,
    "resolution_type": "pixel_area",
    "caption_strategy": "textfile",
    "metadata_backend": "discovery",
    "skip_file_discovery": "",
    "disabled": False,
}
TEXTS = {"id": "text-embeds", "type": "local", "dataset_type": "text_embeds", "default": True, "disabled": False}


def settings(question, model):
    """The trainer's options; the files that they name are written."""
    folder = Path(question["folder"])
    name = folder.name
    images = {"instance_data_dir": question["data"], "cache_dir_vae": str(folder / "vae"), "cache_file_suffix": name}
    backends = folder / "multidatabackend.json"
    backends.write_text(json.dumps([IMAGES | images, TEXTS | {"cache_dir": str(folder / "text")}]))
    places = {"output_dir": str(folder / "output"), "data_backend_config": str(backends)}
    if "lycoris" in question:
        lycoris = folder / "lycoris_config.json"
        lycoris.write_text(json.dumps(question["lycoris"]))
        places |= {"lora_type": "lycoris", "lycoris_config": str(lycoris)}
    return OPTIONS | {"pretrained_model_name_or_path": model} | places | question.get("options", {})


def train(question, model):
    import torch
    from load_adapters import answer, flux
    from safetensors.torch import save_file
    from simpletuner.helpers.training.trainer import Trainer

    found = {"untrained": answer(flux(model))}

    class Asked(Trainer):
        """Asked at the end of the training, before it lets go of its model."""

        def train(self):
            super().train()
            # Without the wrapper that computes in bfloat16, so that only the adapter's own numbers are rounded.
            trained = self.accelerator.unwrap_model(self.model.model, keep_fp32_wrapper=False)
            network = getattr(self.accelerator, "_lycoris_wrapped_network", None)
            for part in filter(None, (trained, network)):
                part.float().cpu().eval()
            found["trained"] = answer(trained)

    (Path(question["folder"]) / "output").mkdir(parents=True)
    options = settings(question, model)
    Asked(config={f"--{name}": value for name, value in options.items()}, exit_on_error=True).run()
    assert torch.isfinite(found["trained"]).all()
    save_file(
        {name: value.contiguous() for name, value in found.items()}, Path(question["folder"], "answer.safetensors")
    )


def main(model, questions):
    import simpletuner.helpers.training.trainer  # noqa: F401  # once, for all the forks

    failed = []
    for question in json.loads(Path(questions).read_text()):
        folder = Path(question["folder"])
        folder.mkdir(parents=True)
        child = os.fork()
        if child:
            if os.waitpid(child, 0)[1]:
                failed.append(f"{folder}:\n{(folder / 'log').read_text(errors='replace')[-3000:]}")
            continue
        # In a process of its own, since the trainer keeps what it knows in classes.
        log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        status = 1
        try:
            train(question, model)
            status = 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(status)
    sys.exit("\n".join(failed) or None)


if __name__ == "__main__":
    main(*sys.argv[1:])
