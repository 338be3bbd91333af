"""Forms of a LoKr that other loaders read; the loaders themselves are asked in tests/trainers/test_loaders.py."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from fluxlora.delivery import adapter
from fluxlora.delivery.adapter import lokr
from fluxlora.delivery.adapter.lokr import LokrError

TO_Q = "lycoris_transformer_blocks_0_attn_to_q"
FEED_FORWARD = "lycoris_transformer_blocks_0_ff_context_net_0_proj"
Tensors = dict[str, np.ndarray]


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def layer(name: str, factor: int, out: int = 64, into: int = 32) -> Tensors:
    return {
        f"{name}.alpha": np.array(1_000_000, np.float32),
        f"{name}.lokr_w1": random(factor, factor, seed=1),
        f"{name}.lokr_w2": random(out // factor, into // factor, seed=2),
    }


def saved(folder: Path, tensors: Tensors, **metadata: str) -> Path:
    save_file(tensors, folder / "lokr.safetensors", metadata=metadata or None)
    return folder / "lokr.safetensors"


def change(tensors: Tensors, name: str, scale: float = 1.0) -> np.ndarray:
    """What the LoKr adds to the weight of a layer."""
    w1 = tensors[f"{name}.lokr_w1"]
    w2 = tensors.get(f"{name}.lokr_w2")
    return np.kron(w1, tensors[f"{name}.lokr_w2_a"] @ tensors[f"{name}.lokr_w2_b"] if w2 is None else w2) * scale


@pytest.mark.parametrize(
    ("lycoris", "diffusers"),
    [
        (TO_Q, "transformer.transformer_blocks.0.attn.to_q"),
        (FEED_FORWARD, "transformer.transformer_blocks.0.ff_context.net.0.proj"),
        (
            "lycoris_transformer_blocks_18_norm1_context_linear",
            "transformer.transformer_blocks.18.norm1_context.linear",
        ),
        ("lycoris_transformer_blocks_3_attn_add_k_proj", "transformer.transformer_blocks.3.attn.add_k_proj"),
        ("lycoris_transformer_blocks_3_attn_to_out_0", "transformer.transformer_blocks.3.attn.to_out.0"),
        ("lycoris_single_transformer_blocks_37_proj_mlp", "transformer.single_transformer_blocks.37.proj_mlp"),
        ("lycoris_x_embedder", None),
        ("lycoris_transformer_blocks_0_attn_to_z", None),
        ("transformer_blocks_0_attn_to_q", None),
    ],
)
def test_a_layer_has_its_name_in_diffusers(lycoris: str, diffusers: str | None) -> None:
    assert lokr.diffusers_name(lycoris) == diffusers


def test_a_lokr_of_one_factor_is_copied_into_one_file_bit_for_bit(tmp_path: Path) -> None:
    tensors = layer(TO_Q, 4) | layer(FEED_FORWARD, 4)
    copies = lokr.copy_for_diffusers(saved(tmp_path, tensors, made_by="SimpleTuner"), tmp_path, "my-style")
    assert [(Path(copy.path).name, copy.layers, copy.factor) for copy in copies] == [
        ("my-style-diffusers.safetensors", 2, 4)
    ]
    copied = load_file(copies[0].path)
    assert sorted(copied) == [
        f"transformer.transformer_blocks.0.{name}.{part}"
        for name in ("attn.to_q", "ff_context.net.0.proj")
        for part in ("lokr_w1", "lokr_w2")
    ]
    np.testing.assert_array_equal(
        copied["transformer.transformer_blocks.0.attn.to_q.lokr_w2"], tensors[f"{TO_Q}.lokr_w2"]
    )
    with safe_open(copies[0].path, framework="numpy") as opened:
        assert opened.metadata()["made_by"] == "SimpleTuner"


def test_a_lokr_of_two_factors_is_copied_into_a_file_for_each(tmp_path: Path) -> None:
    source = saved(tmp_path, layer(TO_Q, 16, 256, 256) | layer(FEED_FORWARD, 8))
    copies = lokr.copy_for_diffusers(source, tmp_path, "my-style")
    assert {Path(copy.path).name: (copy.layers, copy.factor) for copy in copies} == {
        "my-style-diffusers-16.safetensors": (1, 16),
        "my-style-diffusers-8.safetensors": (1, 8),
    }
    assert len(load_file(copies[0].path)) == 2


def test_the_scale_of_a_low_rank_is_in_the_copy(tmp_path: Path) -> None:
    tensors = layer(TO_Q, 4)
    del tensors[f"{TO_Q}.lokr_w2"]
    tensors |= {f"{TO_Q}.lokr_w2_a": random(16, 3), f"{TO_Q}.lokr_w2_b": random(3, 8)}
    tensors[f"{TO_Q}.alpha"] = np.array(1.5, np.float32)
    copied = load_file(lokr.copy_for_diffusers(saved(tmp_path, tensors), tmp_path, "a")[0].path)
    renamed = {f"x.{key.rpartition('.')[2]}": tensor for key, tensor in copied.items()}
    np.testing.assert_allclose(change(renamed, "x"), change(tensors, TO_Q, scale=0.5), rtol=1e-5)


def test_a_lora_of_full_rank_is_the_lokr(tmp_path: Path) -> None:
    tensors = layer(TO_Q, 4) | layer(FEED_FORWARD, 2)
    (made,) = lokr.extract_lora(saved(tmp_path, tensors), tmp_path, "my-style", rank=32)
    assert (Path(made.path).name, made.layers, made.rank) == ("my-style-lora-32.safetensors", 2, 32)
    assert made.difference < 1e-6
    lora = load_file(made.path)
    name = "transformer.transformer_blocks.0.attn.to_q"
    product = lora[f"{name}.lora_B.weight"].astype(np.float32) @ lora[f"{name}.lora_A.weight"].astype(np.float32)
    np.testing.assert_allclose(product, change(tensors, TO_Q), atol=0.05)
    assert adapter.read(Path(made.path)).loads_in == ("diffusers", "ComfyUI")


def test_the_difference_of_a_lora_is_that_of_the_best_of_its_rank(tmp_path: Path) -> None:
    tensors = layer(TO_Q, 4) | layer(FEED_FORWARD, 2)
    (made,) = lokr.extract_lora(saved(tmp_path, tensors), tmp_path, "my-style", rank=5)
    lora = load_file(made.path)
    left = whole = best = 0.0
    for old in (TO_Q, FEED_FORWARD):
        exact, name = change(tensors, old), lokr.diffusers_name(old)
        up, down = (lora[f"{name}.lora_{part}.weight"].astype(np.float32) for part in "BA")
        left, whole = left + np.linalg.norm(exact - up @ down) ** 2, whole + np.linalg.norm(exact) ** 2
        best += float((np.linalg.svd(exact, compute_uv=False)[5:] ** 2).sum())
    assert made.difference == pytest.approx(math.sqrt(left / whole), rel=1e-2)
    assert made.difference == pytest.approx(math.sqrt(best / whole), rel=1e-4)
    assert 0.1 < made.difference < 0.9


def test_a_rank_above_the_layers_own_is_what_the_layer_has(tmp_path: Path) -> None:
    (made,) = lokr.extract_lora(saved(tmp_path, layer(TO_Q, 4)), tmp_path, "a", rank=1000)
    assert load_file(made.path)["transformer.transformer_blocks.0.attn.to_q.lora_A.weight"].shape == (32, 32)


def test_a_first_matrix_that_is_not_square_has_no_copy_for_diffusers_but_a_lora(tmp_path: Path) -> None:
    tensors = layer(TO_Q, 4) | {f"{TO_Q}.lokr_w1": random(6, 4)}
    source = saved(tmp_path, tensors)
    with pytest.raises(LokrError, match="6 x 4") as raised:
        lokr.copy_for_diffusers(source, tmp_path, "a")
    assert raised.value.code == "lokr_not_square"
    assert [made.layers for made in lokr.extract_lora(source, tmp_path, "a", rank=4)] == [1]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a-lora-4.safetensors", "lokr.safetensors"]


@pytest.mark.parametrize(
    "tensors",
    [
        layer("lycoris_x_embedder", 4),
        layer(TO_Q, 4) | {f"{TO_Q}.dora_scale": np.ones((64, 1), np.float32)},
        {f"{TO_Q}.lokr_w1": np.ones((4, 4), np.float32)},
        {f"{TO_Q}.lokr_w1": np.ones((4, 4, 1, 1), np.float32), f"{TO_Q}.lokr_w2": np.ones((4, 4), np.float32)},
        {f"{TO_Q}.hada_w1_a": np.ones((4, 4), np.float32)},
        {f"{TO_Q}.lokr_w1": np.ones((4, 4), np.int64), f"{TO_Q}.lokr_w2": np.ones((4, 4), np.float32)},
    ],
    ids=["another layer", "dora", "half", "convolution", "loha", "integers"],
)
def test_what_is_no_lokr_of_flux_is_refused_and_nothing_written(tmp_path: Path, tensors: Tensors) -> None:
    source = saved(tmp_path, tensors)
    with pytest.raises(LokrError):
        lokr.copy_for_diffusers(source, tmp_path, "a")
    with pytest.raises(LokrError):
        lokr.extract_lora(source, tmp_path, "a", rank=4)
    assert list(tmp_path.iterdir()) == [source]


def test_no_rank_makes_no_lora(tmp_path: Path) -> None:
    with pytest.raises(LokrError, match="at least 1"):
        lokr.extract_lora(saved(tmp_path, layer(TO_Q, 4)), tmp_path, "a", rank=0)
