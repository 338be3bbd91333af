#!/bin/sh
# diffusers 0.42.1 reads the alpha of a FLUX.1 LoRA from keys or from metadata, refuses both together, and forgets it for
# one of the spellings that it loads.
#
# A layer of rank 4 and alpha 8 has the scale 2. Spelt .lora_A/.lora_B it has it from LAYER.alpha as from the header's
# lora_adapter_metadata; a file with both is refused though they agree; spelt .lora_down/.lora_up (with the prefix
# transformer.) the alpha is dropped and the layer is applied at scale 1, without an error.
# Exits with 1 when this is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile torch==2.13.0 diffusers==0.42.1 peft==0.21.2 transformers==5.20.2 accelerate==1.15.0
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - "$folder" <<'PYTHON'
import json
import sys

import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from safetensors.torch import save_file

WIDTH = {"attention_head_dim": 16, "num_attention_heads": 2, "joint_attention_dim": 32, "pooled_projection_dim": 32}
PARTS = ("scheduler", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
LAYER = "transformer_blocks.0.attn.to_q"
ALPHA = {f"transformer.{LAYER}.alpha": torch.tensor(8.0)}
CONFIG = {"transformer.r": 4, "transformer.lora_alpha": 8, "transformer.target_modules": [LAYER]}
METADATA = {"lora_adapter_metadata": json.dumps(CONFIG)}


def scale(down, up, others, metadata=None):
    tensors = {f"transformer.{LAYER}.{down}.weight": torch.ones(4, 32), f"transformer.{LAYER}.{up}.weight": torch.ones(32, 4)}
    save_file(tensors | others, f"{sys.argv[1]}/lora.safetensors", metadata=metadata)
    model = FluxTransformer2DModel(in_channels=64, num_layers=1, num_single_layers=1, axes_dims_rope=(4, 6, 6), **WIDTH)
    pipeline = FluxPipeline(**dict.fromkeys(PARTS), transformer=model)
    try:
        pipeline.load_lora_weights(sys.argv[1], weight_name="lora.safetensors")
    except ValueError as error:
        return str(error)
    return float(*model.transformer_blocks[0].attn.to_q.scaling.values())


found = {
    "lora_A, alpha in a key": scale("lora_A", "lora_B", ALPHA),
    "lora_A, alpha in the metadata": scale("lora_A", "lora_B", {}, METADATA),
    "lora_A, alpha in both": scale("lora_A", "lora_B", ALPHA, METADATA),
    "lora_down, alpha in a key": scale("lora_down", "lora_up", ALPHA),
}
for name, value in found.items():
    print(f"{name}: {value}")
refused = str(found.pop("lora_A, alpha in both")).startswith("Both `network_alphas` and `metadata`")
sys.exit(not refused or list(found.values()) != [2.0, 2.0, 1.0])
PYTHON
