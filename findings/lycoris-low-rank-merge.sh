#!/bin/sh
# LyCORIS 4.1.3 applies alpha / rank twice when it merges a LoKr of low rank.
#
# A LoKr with linear_dim 2 and linear_alpha 1 is applied at 1/2. apply_to() of the same weights gives the trained output,
# merge_to() gives half of the trained change. With alpha = rank, or with whole matrices, both agree.
# Seen with lycoris-lora 4.1.3 and 3.4.0. Exits with 1 when this is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile torch==2.13.0 lycoris-lora==4.1.3
"$folder/venv/bin/python" - <<'PYTHON'
import copy
import sys

import torch
from lycoris import LycorisNetwork, create_lycoris, create_lycoris_from_weights


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(64, 64, bias=False)

    def forward(self, numbers):
        return self.layer(numbers)


def share(rank, alpha, way):
    """How much of the trained change is there after loading."""
    torch.manual_seed(0)
    model, numbers = Model(), torch.randn(3, 64)
    fresh, before = copy.deepcopy(model), model(numbers)
    LycorisNetwork.apply_preset({"target_module": ["Linear"]})
    network = create_lycoris(model, 1.0, linear_dim=rank, linear_alpha=alpha, algo="lokr", factor=4)
    network.apply_to()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    weights = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    change = model(numbers) - before
    loaded, _ = create_lycoris_from_weights(1.0, None, fresh, weights_sd=weights)
    loaded.apply_to() if way == "apply_to" else loaded.merge_to(1.0)
    return round(float(((fresh(numbers) - before) * change).sum() / (change * change).sum()), 3)


found = {(rank, alpha, way): share(rank, alpha, way) for rank, alpha in ((2, 2), (2, 1)) for way in ("apply_to", "merge_to")}
for (rank, alpha, way), value in found.items():
    print(f"rank {rank}, alpha {alpha}: {way} gives {value} of the trained change")
sys.exit(list(found.values()) != [1.0, 1.0, 1.0, 0.5])
PYTHON
