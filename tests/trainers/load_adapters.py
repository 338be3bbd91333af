"""What real loaders make of adapters; run by a python that has diffusers and peft, or LyCORIS.

usage: python load_adapters.py MODEL QUESTIONS.json ANSWERS.json

A question is the files of one adapter, which loader of LOADERS loads them, and the answer.safetensors of its training.
Its answer is how many layers the loader changed and how far the model's output is from the trained model's, as a share
of what the adapter changes at all; or why the loader refused.
"""

import json
import os
import sys
import warnings
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")

import torch
from safetensors.torch import load_file

RANK = 8


def flux(model):
    from diffusers import FluxTransformer2DModel

    return FluxTransformer2DModel.from_pretrained(model, subfolder="transformer", torch_dtype=torch.float32).eval()


def answer(transformer):
    """The output for one fixed input of 16 picture tokens and 8 of text, as wide as the tiny FLUX is."""
    chance = torch.Generator().manual_seed(7)
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    with torch.no_grad():
        return transformer(
            hidden_states=torch.randn(1, 16, 64, generator=chance),
            encoder_hidden_states=torch.randn(1, 8, 32, generator=chance),
            pooled_projections=torch.randn(1, 32, generator=chance),
            timestep=torch.tensor([0.5]),
            guidance=torch.tensor([3.5]),
            img_ids=torch.stack([torch.zeros(16), rows.flatten(), columns.flatten()], dim=1),
            txt_ids=torch.zeros(8, 3),
            return_dict=False,
        )[0]


def pipeline(transformer, files):
    """What diffusers documents: load_lora_weights of the pipeline."""
    from diffusers import FluxPipeline

    parts = ("scheduler", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    drawing = FluxPipeline(**dict.fromkeys(parts), transformer=transformer)
    for file in files:
        # By folder and name: offline, older releases take no path.
        drawing.load_lora_weights(Path(file).parent, weight_name=Path(file).name)
    return layers(transformer)


def model(transformer, files):
    """What diffusers has for a model alone: load_lora_adapter, for one adapter after the other, all of them active."""
    names = [f"part{number}" for number in range(len(files))]
    for name, file in zip(names, files, strict=True):
        place = {"pretrained_model_name_or_path_or_dict": Path(file).parent, "weight_name": Path(file).name}
        transformer.load_lora_adapter(**place, prefix="transformer", adapter_name=name)
    transformer.set_adapters(names)
    return layers(transformer)


def lycoris(transformer, files):
    """LyCORIS' own way into any model."""
    from lycoris import create_lycoris_from_weights

    found = 0
    for file in files:
        network, _ = create_lycoris_from_weights(1.0, file, transformer)
        network.apply_to()
        found += len(network.loras)
    return found


def merged(transformer, files):
    """LyCORIS, merging: the weights of the model itself change."""
    from lycoris import create_lycoris_from_weights

    found = 0
    for file in files:
        network, _ = create_lycoris_from_weights(1.0, file, transformer)
        network.merge_to(1.0)
        found += len(network.loras)
    return found


def converted(transformer, files):
    """The LoRA of rank RANK that peft makes of a loaded LoKr."""
    from peft.tuners.lora import convert_to_lora

    model(transformer, files)
    _, tensors = convert_to_lora(transformer, rank=RANK, adapter_name="part0")
    transformer.unload_lora()
    transformer.load_lora_adapter(tensors, prefix=None)
    return layers(transformer)


LOADERS = {loader.__name__: loader for loader in (pipeline, model, lycoris, merged, converted)}


def layers(transformer):
    from peft.tuners.tuners_utils import BaseTunerLayer

    return sum(isinstance(module, BaseTunerLayer) for module in transformer.modules())


def judge(question, folder):
    truth = load_file(question["truth"])
    transformer = flux(folder)
    try:
        changed = LOADERS[question["loader"]](transformer, question["files"])
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    effect = (truth["trained"] - truth["untrained"]).norm()
    return {"layers": changed, "difference": float((answer(transformer) - truth["trained"]).norm() / effect)}


def main(folder, questions, answers):
    warnings.simplefilter("ignore")
    found = [judge(question, folder) for question in json.loads(Path(questions).read_text())]
    Path(answers).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
