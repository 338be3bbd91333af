"""Adapters written by the safetensors library, and what becomes of spoilt ones."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from fluxlora.delivery import adapter
from fluxlora.delivery.adapter import AdapterError

BLOCK = "transformer.transformer_blocks.0.attn.to_q"


def lora(rank: int = 4, value: float = 0.5, dtype: type = np.float32) -> dict[str, np.ndarray]:
    return {
        f"{BLOCK}.lora_A.weight": np.full((rank, 32), value, dtype),
        f"{BLOCK}.lora_B.weight": np.full((32, rank), value, dtype),
    }


def written(path: Path, tensors: dict[str, np.ndarray], **metadata: str) -> Path:
    save_file(tensors, path / "adapter.safetensors", metadata=metadata or None)
    return path / "adapter.safetensors"


def bf16(path: Path, bits: dict[str, np.ndarray]) -> Path:
    """numpy knows no bfloat16, so the header is written by hand."""
    header, data = {}, b""
    for name, array in bits.items():
        raw = array.astype("<u2").tobytes()
        header[name] = {"dtype": "BF16", "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file = path / "bf16.safetensors"
    file.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return file


def test_a_lora_is_described_with_rank_type_and_digest(tmp_path: Path) -> None:
    file = written(tmp_path, lora(rank=4))
    found = adapter.read(file)
    assert (found.kind, found.rank, found.tensors, found.dtypes, found.learned) == ("lora", 4, 2, ("F32",), True)
    assert found.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert found.size_bytes == file.stat().st_size


def test_both_spellings_of_3_1_6_count_as_lora(tmp_path: Path) -> None:
    tensors = lora(rank=8) | {
        f"{BLOCK[:-1]}k.lora.down.weight": np.ones((16, 32), np.float32),
        f"{BLOCK[:-1]}k.lora.up.weight": np.ones((32, 16), np.float32),
    }
    found = adapter.read(written(tmp_path, tensors))
    assert (found.rank, found.form, "diffusers" in found.loads_in) == (16, "mixed", False)


@pytest.mark.parametrize("half", ["lora_A", "lora_B"])
def test_a_layer_of_which_half_is_missing_is_refused(tmp_path: Path, half: str) -> None:
    tensors = lora() | {f"transformer.proj_out.{half}.weight": np.ones((4, 4), np.float32)}
    with pytest.raises(AdapterError, match=r"proj_out: half the layer is missing") as refused:
        adapter.read(written(tmp_path, tensors))
    assert refused.value.code == "incomplete"


def test_a_lora_with_one_matrix_for_each_layer_is_read(tmp_path: Path) -> None:
    """SingLoRA, as SimpleTuner 4 trains it with peft_lora_mode."""
    halves = {name: tensor for name, tensor in lora().items() if name.endswith(".lora_A.weight")}
    found = adapter.read(written(tmp_path, halves))
    assert (found.kind, found.form, found.loads_in, found.learned) == ("lora", "other", (), True)


def test_the_alpha_of_a_lokr_that_has_a_rank_is_said(tmp_path: Path) -> None:
    tensors = {
        "lycoris_transformer_blocks_0_attn_to_q.alpha": np.array(8.0, np.float32),
        "lycoris_transformer_blocks_0_attn_to_q.lokr_w1": np.ones((4, 4), np.float32),
        "lycoris_transformer_blocks_0_attn_to_q.lokr_w2_a": np.ones((8, 4), np.float32),
        "lycoris_transformer_blocks_0_attn_to_q.lokr_w2_b": np.ones((4, 8), np.float32),
    }
    found = adapter.read(written(tmp_path, tensors))
    assert (found.rank, found.alpha) == (4, 8.0)


def test_a_full_lokr_has_neither_rank_nor_alpha(tmp_path: Path) -> None:
    tensors = {
        "lycoris_transformer_blocks_0_attn_to_q.alpha": np.array(1_000_000.0, np.float32),
        "lycoris_transformer_blocks_0_attn_to_q.lokr_w1": np.ones((4, 4), np.float32),
        "lycoris_transformer_blocks_0_attn_to_q.lokr_w2": np.ones((8, 8), np.float32),
    }
    found = adapter.read(written(tmp_path, tensors))
    assert (found.kind, found.rank, found.alpha, found.learned) == ("lokr", None, None, True)


@pytest.mark.parametrize("alpha", ["NaN", "1e999", "1" + "0" * 399, "-1", '"x"', "[]", "[" * 100_000])
def test_an_alpha_that_is_no_amount_is_unsaid(tmp_path: Path, alpha: str) -> None:
    file = written(tmp_path, lora(), lora_adapter_metadata=f'{{"transformer.lora_alpha": {alpha}}}')
    assert adapter.read(file).alpha is None


def test_alpha_is_read_from_the_metadata_of_peft(tmp_path: Path) -> None:
    file = written(
        tmp_path, lora(), lora_adapter_metadata=json.dumps({"transformer.r": 4, "transformer.lora_alpha": 16})
    )
    assert adapter.read(file).alpha == 16.0


def test_bfloat16_is_read(tmp_path: Path) -> None:
    one = np.full((4, 8), 0x3F80)
    found = adapter.read(bf16(tmp_path, {f"{BLOCK}.lora_A.weight": one, f"{BLOCK}.lora_B.weight": one.T}))
    assert (found.rank, found.dtypes, found.learned) == (4, ("BF16",), True)


@pytest.mark.parametrize("spoilt", [0x7FC0, 0x7F80, 0xFF80], ids=["NaN", "infinity", "minus infinity"])
def test_bfloat16_that_is_not_finite_is_refused_by_name_of_the_tensor(tmp_path: Path, spoilt: int) -> None:
    bits = np.full((4, 8), 0x3F80)
    bits[3, 7] = spoilt
    with pytest.raises(AdapterError, match=r"lora_A\.weight") as refused:
        adapter.read(bf16(tmp_path, {f"{BLOCK}.lora_A.weight": bits}))
    assert refused.value.code == "not_finite"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_number_that_is_not_finite_is_found_in_every_type(tmp_path: Path, dtype: type, value: float) -> None:
    tensors = lora(dtype=dtype)
    tensors[f"{BLOCK}.lora_B.weight"][-1, -1] = value
    with pytest.raises(AdapterError) as refused:
        adapter.read(written(tmp_path, tensors))
    assert refused.value.code == "not_finite"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_largest_finite_numbers_are_no_infinities(tmp_path: Path, dtype: type) -> None:
    assert adapter.read(written(tmp_path, lora(value=float(np.finfo(dtype).max), dtype=dtype))).learned


def test_an_adapter_of_zeros_has_learned_nothing(tmp_path: Path) -> None:
    tensors = lora()
    tensors[f"{BLOCK}.lora_B.weight"] *= -0.0
    assert not adapter.read(written(tmp_path, tensors)).learned


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, keep: int) -> None:
    file = written(tmp_path, lora())
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(AdapterError) as refused:
        adapter.read(file)
    assert refused.value.code == "broken_file"


@pytest.mark.parametrize("content", [b"<html>502</html>" * 9, struct.pack("<Q", 2**62) + b"{}", b"\0" * 64])
def test_something_else_under_its_name_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "adapter.safetensors"
    file.write_bytes(content)
    with pytest.raises(AdapterError) as refused:
        adapter.read(file)
    assert refused.value.code == "broken_file"


def test_a_model_that_is_no_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="none of a LoRA or LoKr") as refused:
        adapter.read(written(tmp_path, {"proj_out.weight": np.ones((2, 2), np.float32)}))
    assert refused.value.code == "no_adapter"


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_regular_file_is_neither_followed_nor_waited_for(tmp_path: Path, kind: str) -> None:
    there = tmp_path / "there.safetensors"
    if kind == "link":
        there.symlink_to(written(tmp_path, lora()))
    elif kind == "pipe":
        os.mkfifo(there)
    else:
        there.mkdir()
    with pytest.raises(AdapterError, match="is a link or no regular file") as refused:
        adapter.read(there)
    assert refused.value.code == "broken_file"


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(AdapterError) as refused:
        adapter.read(tmp_path / "nowhere.safetensors")
    assert refused.value.code == "no_adapter"


def test_another_file_than_the_one_on_the_instance_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, lora())
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert adapter.read(file, sha256=digest.upper()).sha256 == digest
    with pytest.raises(AdapterError) as refused:
        adapter.read(file, sha256="0" * 64)
    assert refused.value.code == "sha256_differs"
