#!/bin/sh
# diffusers 0.42.1 draws with a LoRA's dropout switched on.
#
# save_lora_weights writes peft's configuration into the header when it is given (transformer_lora_adapter_metadata), the
# lora_dropout of the training with it. load_lora_weights makes its layers of that configuration, in training mode, in a
# model that is in evaluation mode: the same input gives another output at each call, until model.eval() is called again.
# Without the header both calls agree. Exits with 1 when this is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile torch==2.13.0 diffusers==0.42.1 peft==0.21.2 transformers==5.20.2 accelerate==1.15.0
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys

import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from peft import LoraConfig, get_peft_model_state_dict

WIDTH = {"attention_head_dim": 16, "num_attention_heads": 2, "joint_attention_dim": 32, "pooled_projection_dim": 32}
PARTS = ("scheduler", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
PATCHES = {"hidden_states": torch.ones(1, 4, 64), "img_ids": torch.zeros(4, 3), "timestep": torch.ones(1)}
TEXTS = {"encoder_hidden_states": torch.ones(1, 2, 32), "pooled_projections": torch.ones(1, 32), "txt_ids": torch.zeros(2, 3)}


def flux():
    torch.manual_seed(0)
    return FluxTransformer2DModel(in_channels=64, num_layers=1, num_single_layers=1, axes_dims_rope=(4, 6, 6), **WIDTH)


def differs(model):
    with torch.no_grad():
        first, second = (model(**PATCHES, **TEXTS, return_dict=False)[0] for _ in range(2))
    return not torch.equal(first, second)


trained = flux()
trained.add_adapter(LoraConfig(r=4, lora_dropout=0.1, init_lora_weights=False, target_modules=["to_q", "proj_mlp"]))
found = {}
for name, config in {"without the configuration": None, "with the configuration": trained.peft_config["default"]}.items():
    folder = f"{sys.argv[1]}/{name}"
    weights = get_peft_model_state_dict(trained)
    metadata = config and config.to_dict()
    FluxPipeline.save_lora_weights(folder, transformer_lora_layers=weights, transformer_lora_adapter_metadata=metadata)
    model = flux().eval()
    FluxPipeline(**dict.fromkeys(PARTS), transformer=model).load_lora_weights(folder)
    found[name] = differs(model), differs(model.eval())
    print(f"{name}: two calls differ: {found[name][0]}; after another eval(): {found[name][1]}")
sys.exit(found != {"without the configuration": (False, False), "with the configuration": (True, False)})
PYTHON
