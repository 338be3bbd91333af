#!/bin/sh
# diffusers 0.42.1 loads a LyCORIS LoKr into FLUX.2's pipeline and refuses the like in FLUX.1's.
#
# load_lora_weights of Flux2Pipeline converts LyCORIS' keys (lycoris_transformer_blocks_0_...); that of FluxPipeline ends
# in "Invalid LoRA checkpoint". Under diffusers' names the model's own load_lora_adapter takes the same tensors for FLUX.1
# while every layer has one factor, and refuses a LoKr whose layers have two, such as LyCORIS writes with module_algo_map.
# Two calls, one for each factor, load that one whole. Exits with 1 when this is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile torch==2.13.0 diffusers==0.42.1 peft==0.21.2 transformers==5.20.2 accelerate==1.15.0
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - <<'PYTHON'
import sys

import torch
from diffusers import Flux2Pipeline, FluxPipeline, FluxTransformer2DModel

WIDTH = {"attention_head_dim": 16, "num_attention_heads": 2, "joint_attention_dim": 32, "pooled_projection_dim": 32}


def layer(name, factor, out, into):
    return {f"{name}.lokr_w1": torch.ones(factor, factor), f"{name}.lokr_w2": torch.ones(out // factor, into // factor)}


def tried(load, *arguments, **options):
    try:
        load(*arguments, **options)
    except ValueError as error:
        return str(error).split(".")[0]
    return "loaded"


def model():
    return FluxTransformer2DModel(in_channels=64, num_layers=1, num_single_layers=1, axes_dims_rope=(4, 6, 6), **WIDTH)


of_lycoris = layer("lycoris_transformer_blocks_0_attn_to_q", 4, 32, 32)
to_q, feed_forward = layer("transformer_blocks.0.attn.to_q", 4, 32, 32), layer("transformer_blocks.0.ff.net.2", 2, 32, 128)
whole = model()
found = {
    "LyCORIS' keys, FLUX.2": tried(Flux2Pipeline.lora_state_dict, dict(of_lycoris)) ,
    "LyCORIS' keys, FLUX.1": tried(FluxPipeline.load_lora_weights, FluxPipeline(*[None] * 6, model()), dict(of_lycoris)),
    "diffusers' keys, one factor": tried(model().load_lora_adapter, dict(to_q), prefix=None),
    "diffusers' keys, two factors": tried(model().load_lora_adapter, to_q | feed_forward, prefix=None),
    "first of two calls": tried(whole.load_lora_adapter, dict(to_q), prefix=None, adapter_name="a"),
    "second of two calls": tried(whole.load_lora_adapter, dict(feed_forward), prefix=None, adapter_name="b"),
}
for name, value in found.items():
    print(f"{name}: {value}")
loads = [value == "loaded" for value in found.values()]
sys.exit(loads != [True, False, True, False, True, True])
PYTHON
