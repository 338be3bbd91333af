"""The tiny FLUX that the rehearsal serves: whole, small, and of the real one's shape."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest
from safetensors import safe_open

FOLDER = Path(__file__).parents[2] / "src/fluxlora/rehearsal/tiny_flux"
INDEX = json.loads((FOLDER / "model_index.json").read_text())
WEIGHTS = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.safetensors"))


def config(part: str) -> dict:
    return json.loads((FOLDER / part / "config.json").read_text())


def raw(weights: str) -> dict[str, tuple[str, bytes]]:
    """Each tensor's type and bytes: numpy has no bfloat16."""
    content = (FOLDER / weights).read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    header.pop("__metadata__", None)
    return {name: (told["dtype"], data[slice(*told["data_offsets"])]) for name, told in header.items()}


def test_it_is_small_enough_to_ship():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 1_000_000


def test_it_has_the_parts_of_the_real_pipeline():
    parts = {name for name in INDEX if not name.startswith("_")}
    assert INDEX["_class_name"] == "FluxPipeline"
    assert parts == {path.name for path in FOLDER.iterdir() if path.is_dir()}


def test_latents_fit_the_transformer():
    patch = 2 * 2
    assert config("transformer")["in_channels"] == config("vae")["latent_channels"] * patch == 64


def test_embeddings_fit_the_transformer():
    transformer = config("transformer")
    assert transformer["joint_attention_dim"] == config("text_encoder_2")["d_model"]
    assert transformer["pooled_projection_dim"] == config("text_encoder")["hidden_size"]
    assert sum(transformer["axes_dims_rope"]) == transformer["attention_head_dim"]


def test_tokens_fit_the_encoders():
    clip = json.loads((FOLDER / "tokenizer/vocab.json").read_text())
    t5 = json.loads((FOLDER / "tokenizer_2/tokenizer.json").read_text())
    highest = max(token["id"] for token in t5["added_tokens"])
    assert len(clip) == config("text_encoder")["vocab_size"]
    assert highest + 1 == config("text_encoder_2")["vocab_size"]


@pytest.mark.parametrize("weights", WEIGHTS)
def test_weights_are_finite_numbers_in_bfloat16(weights):
    for name, (kind, content) in raw(weights).items():
        # bfloat16 is the upper half of a float32.
        numbers = (numpy.frombuffer(content, "<u2").astype("<u4") << 16).view("<f4")
        assert (kind, bool(numpy.isfinite(numbers).all())) == ("BF16", True), name


@pytest.mark.parametrize("weights", WEIGHTS)
def test_weights_can_be_opened_by_the_library(weights):
    with safe_open(FOLDER / weights, "numpy") as opened:
        assert list(opened.keys())
