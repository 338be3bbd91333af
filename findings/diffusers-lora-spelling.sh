#!/bin/sh
# diffusers 0.42.1 loses layers of a LoRA that its own functions wrote, and raises nothing.
#
# convert_state_dict_to_diffusers, which trainers call on peft's state dict before save_lora_weights, renames the keys
# of to_q, to_k, to_v and to_out.0 to .lora.down/.lora.up and leaves all others at .lora_A/.lora_B. load_lora_weights of
# FluxPipeline decides by the file's first key whether to rename, so one of the two spellings is dropped.
# Seen with diffusers 0.42.1 and peft 0.21.2: of 7 layers 3 are loaded. 0.35.2 loses layers of such a file too.
# Exits with 1 when this is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile torch==2.13.0 diffusers==0.42.1 peft==0.21.2 transformers==5.20.2 accelerate==1.15.0
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys

from diffusers import FluxPipeline, FluxTransformer2DModel
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig, get_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer

WIDTH = {"attention_head_dim": 16, "num_attention_heads": 2, "joint_attention_dim": 32, "pooled_projection_dim": 32}
PARTS = ("scheduler", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")


def flux():
    return FluxTransformer2DModel(in_channels=64, num_layers=1, num_single_layers=1, axes_dims_rope=(4, 6, 6), **WIDTH)


def layers(model):
    return sum(isinstance(module, BaseTunerLayer) for module in model.modules())


trained = flux()
trained.add_adapter(LoraConfig(r=4, target_modules=["to_q", "to_k", "proj_mlp", "proj_out"]))
loaded = {}
for name, convert in {"as peft has it": dict, "converted by diffusers": convert_state_dict_to_diffusers}.items():
    folder = f"{sys.argv[1]}/{name}"
    FluxPipeline.save_lora_weights(folder, transformer_lora_layers=convert(get_peft_model_state_dict(trained)))
    pipeline = FluxPipeline(**dict.fromkeys(PARTS), transformer=flux())
    pipeline.load_lora_weights(folder)
    loaded[name] = layers(pipeline.transformer)
    print(f"{name}: {loaded[name]} of {layers(trained)} layers are loaded")
sys.exit(loaded != {"as peft has it": 7, "converted by diffusers": 3})
PYTHON
