"""What the header of a delivered adapter says of the run, under the keys that programs read.

`modelspec.*` is version 1.0.1 of https://github.com/Stability-AI/ModelSpec; `ss_*` and `sshs_*` are what sd-scripts
writes (train_network.py), and what ComfyUI and Civitai show. `fluxlora.*` is what neither has a key for. All values are
text. No prompt, path, repository of the user's or token is among them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from fluxlora.dataset import Dataset
from fluxlora.dataset.caption import Caption
from fluxlora.dataset.names import stem
from fluxlora.dataset.picture import Look
from fluxlora.text import one_line

# SimpleTuner's option, and sd-scripts' key for the same.
_SAME: Mapping[str, str] = {
    "learning_rate": "ss_learning_rate",
    "lr_scheduler": "ss_lr_scheduler",
    "lr_warmup_steps": "ss_lr_warmup_steps",
    "optimizer": "ss_optimizer",
    "max_train_steps": "ss_max_train_steps",
    "gradient_accumulation_steps": "ss_gradient_accumulation_steps",
    "gradient_checkpointing": "ss_gradient_checkpointing",
    "train_batch_size": "ss_batch_size_per_device",
    "mixed_precision": "ss_mixed_precision",
    "max_grad_norm": "ss_max_grad_norm",
    "caption_dropout_probability": "ss_caption_dropout_rate",
    "flux_guidance_value": "ss_guidance_scale",
    "seed": "ss_seed",
}
# The rest of what decides what is learned.
_SETTINGS = (
    "model_flavour", "lora_type", "lora_rank", "lora_alpha", "flux_lora_target", "base_model_precision", "resolution",
    "resolution_type", "flow_schedule_auto_shift", "flow_schedule_shift", "use_ema", "use_dora",
)  # fmt: skip
_FLAVOURS = {"dev": "flux-1-dev", "schnell": "flux-1-schnell"}


def facts(
    config: Mapping[str, Any],
    *,
    run: str,
    presets: Sequence[str],
    trigger_word: str,
    dataset: Dataset,
    lycoris: Mapping[str, Any] | None = None,
    version: str = "",
) -> dict[str, Any]:
    """What goes to the instance as adapter.json: the run's name, its alpha, and the header as far as it is known.

    `config` is the rendered config.json; `lycoris` is LyCORIS' own settings where it is used.
    """
    options = {name.lstrip("-"): value for name, value in config.items()}
    alpha = None if lycoris else options.get("lora_alpha") or options.get("lora_rank")
    model = str(options.get("pretrained_model_name_or_path") or "")
    flavour = str(options.get("model_flavour") or "")
    header = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{_FLAVOURS.get(flavour, 'flux-1')}/lora",
        # Whose names the tensors have.
        "modelspec.implementation": "diffusers",
        "modelspec.title": run,
        "modelspec.description": _description(options, lycoris, len(dataset.pictures), version),
        "ss_output_name": run,
        "ss_base_model_version": "flux1",
        "ss_sd_model_name": model.rstrip("/").rpartition("/")[2] if model.startswith(("/", "~", ".")) else model,
        "ss_network_module": "lycoris.kohya" if lycoris else "networks.lora_flux",
        "ss_num_train_images": len(dataset.pictures),
        "fluxlora.settings.presets": " ".join(presets),
        "fluxlora.simpletuner": version,
        "fluxlora.dataset_sha256": dataset_sha256(dataset),
        "fluxlora.settings.merged": json.dumps({name: options[name] for name in _SETTINGS if name in options}),
    }
    header |= {key: options[option] for option, key in _SAME.items() if option in options}
    if size := _size(options):
        header |= {"modelspec.resolution": f"{size}x{size}", "ss_resolution": f"({size}, {size})"}
    if trigger_word:
        count = sum(1 for picture in dataset.pictures if _has(dataset, picture.file, trigger_word))
        header |= {
            "modelspec.trigger_phrase": trigger_word,
            "modelspec.usage_hint": f"Trigger word: {trigger_word}",
            "ss_tag_frequency": json.dumps({run: {trigger_word: count}}),
        }
    if lycoris:
        plain = {name: value for name, value in lycoris.items() if isinstance(value, str | int | float)}
        header["ss_network_args"] = json.dumps(plain)
    written = {key: _text(value) for key, value in header.items() if value not in ("", None)}
    return {"run": run, "alpha": alpha, "header": written}


def dataset_sha256(dataset: Dataset) -> str:
    """The digest of what is trained on: SHA-256 over the pictures, each as one line, sorted.

    A line has the first 32 digits of the BLAKE2b-512 of the picture's file, then its captions as JSON. Neither names
    nor the order of the files count.
    """
    rows = []
    for picture in dataset.pictures:
        look, caption = dataset.facts.get(picture.file), dataset.facts.get(f"{stem(picture.file)}.txt")
        digest = look.digest if isinstance(look, Look) else ""
        lines = list(caption.lines) if isinstance(caption, Caption) else []
        rows.append(f"{digest} {json.dumps(lines)}\n")
    return hashlib.sha256("".join(sorted(rows)).encode("utf-8")).hexdigest()


def _description(options: Mapping[str, Any], lycoris: Mapping[str, Any] | None, images: int, version: str) -> str:
    kind = f"LyCORIS ({lycoris.get('algo', 'unknown')})" if lycoris else f"LoRA of rank {options.get('lora_rank')}"
    return f"{kind} for FLUX.1, trained with SimpleTuner {version} on {images} images."


def _size(options: Mapping[str, Any]) -> int | None:
    """The edge in pixels; None where it is none."""
    edge = options.get("resolution")
    in_pixels = isinstance(edge, int) and not isinstance(edge, bool) and options.get("resolution_type") != "area"
    return edge if in_pixels and isinstance(edge, int) else None


def _has(dataset: Dataset, picture: str, word: str) -> bool:
    caption = dataset.facts.get(f"{stem(picture)}.txt")
    return isinstance(caption, Caption) and any(word in line for line in caption.lines)


def _text(value: object) -> str:
    return one_line(str(value), 4096)
