"""The copy that loaders read, made of files like those that the trainers write."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from fluxlora.delivery import adapter
from fluxlora.onhost import adapter_copy
from fluxlora.onhost.adapter_copy import UnusableAdapter, copy

Q, OUT = "transformer.transformer_blocks.0.attn.to_q", "transformer.proj_out"
AB, DOWN_UP = (".lora_A.weight", ".lora_B.weight"), (".lora.down.weight", ".lora.up.weight")


def layer(name: str, endings: tuple[str, str], rank: int = 4, seed: int = 0) -> dict[str, np.ndarray]:
    made = np.random.default_rng(seed)
    return {
        name + endings[0]: made.normal(size=(rank, 8)).astype(np.float32),
        name + endings[1]: made.normal(size=(6, rank)).astype(np.float32),
    }


def peft(alpha: float | None, **more: Any) -> dict[str, str]:
    return {adapter_copy.PEFT: json.dumps({"transformer.r": 4, "transformer.lora_alpha": alpha, **more})}


def saved(path: Path, tensors: Mapping[str, np.ndarray], metadata: dict[str, str] | None = None) -> Path:
    file = path / "pytorch_lora_weights.safetensors"
    save_file(dict(tensors), file, metadata=metadata)
    return file


def raw(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file = path / "raw.safetensors"
    file.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return file


def bf16(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """The upper halves of float32 numbers; numpy knows no bfloat16."""
    header, data = {}, b""
    for name, array in arrays.items():
        bits = (array.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
        header[name] = {"dtype": "BF16", "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(bits)]}
        data += bits
    return raw(path, header, data)


def delta(file: Path, name: str, scale: float = 1.0, endings: tuple[str, str] = AB) -> np.ndarray:
    tensors = load_file(file)
    return np.asarray(scale * (tensors[name + endings[1]] @ tensors[name + endings[0]]))


def metadata(file: Path) -> dict[str, str]:
    with safe_open(file, framework="numpy") as opened:
        return dict(opened.metadata())


def test_a_checkpoint_with_two_spellings_becomes_one_with_every_layer(tmp_path: Path) -> None:
    source = saved(tmp_path, layer(Q, DOWN_UP) | layer(OUT, AB, seed=1), peft(4.0))
    copied = copy(source, tmp_path / "run.safetensors", {})
    found = load_file(tmp_path / "run.safetensors")
    assert set(found) == {name + ending for name in (Q, OUT) for ending in AB}
    assert (copied.layers, copied.rank, copied.alpha, copied.scale, copied.notes) == (2, 4, 4.0, 1.0, ())
    assert np.array_equal(found[Q + AB[0]], load_file(source)[Q + DOWN_UP[0]])
    assert adapter.read(tmp_path / "run.safetensors").loads_in == ("diffusers", "ComfyUI")


def test_the_trainers_own_file_stays_as_it_is(tmp_path: Path) -> None:
    source = saved(tmp_path, layer(Q, DOWN_UP), peft(8.0))
    before = source.read_bytes()
    copy(source, tmp_path / "run.safetensors", {})
    assert source.read_bytes() == before


@pytest.mark.parametrize("alpha", [1.0, 8.0, 6.0])
def test_the_trained_strength_is_in_the_weights_and_no_alpha_beside_them(tmp_path: Path, alpha: float) -> None:
    source = saved(tmp_path, layer(Q, DOWN_UP), peft(alpha))
    copied = copy(source, tmp_path / "run.safetensors", {})
    assert copied.scale == alpha / 4
    expected = delta(source, Q, alpha / 4, DOWN_UP)
    assert np.allclose(delta(tmp_path / "run.safetensors", Q), expected, rtol=1e-5, atol=1e-6)
    assert adapter_copy.PEFT not in metadata(tmp_path / "run.safetensors")


def test_a_final_file_that_says_no_alpha_has_the_configured_one(tmp_path: Path) -> None:
    source = saved(tmp_path, layer(Q, AB))
    copied = copy(source, tmp_path / "run.safetensors", {}, alpha=8.0)
    assert (copied.alpha, copied.scale, copied.notes) == (8.0, 2.0, ())
    assert np.allclose(delta(tmp_path / "run.safetensors", Q), delta(source, Q, 2.0), rtol=1e-6)


def test_keys_for_alpha_are_multiplied_in(tmp_path: Path) -> None:
    comfy = {name.replace("transformer.", "diffusion_model.", 1): each for name, each in layer(Q, AB).items()}
    source = saved(tmp_path, comfy | {f"diffusion_model.{Q[12:]}.alpha": np.array(2.0, np.float32)})
    copied = copy(source, tmp_path / "run.safetensors", {}, alpha=2.0)
    assert (copied.alpha, copied.scale) == (2.0, 0.5)
    assert set(load_file(tmp_path / "run.safetensors")) == {Q + ending for ending in AB}


def test_the_file_is_believed_where_it_contradicts_the_configuration(tmp_path: Path) -> None:
    copied = copy(saved(tmp_path, layer(Q, AB), peft(8.0)), tmp_path / "run.safetensors", {}, alpha=4.0)
    assert copied.scale == 2.0
    assert copied.notes == (
        "pytorch_lora_weights.safetensors was trained at alpha 8, by its own data; 4 is configured",
    )


def test_an_alpha_that_nobody_says_is_taken_for_the_rank_and_said_to_be(tmp_path: Path) -> None:
    copied = copy(saved(tmp_path, layer(Q, AB)), tmp_path / "run.safetensors", {})
    assert (copied.alpha, copied.scale) == (None, 1.0)
    assert "has no alpha" in copied.notes[0]


def test_rslora_divides_by_the_root_of_the_rank(tmp_path: Path) -> None:
    source = saved(tmp_path, layer(Q, AB), peft(4.0, **{"transformer.use_rslora": True}))
    assert copy(source, tmp_path / "run.safetensors", {}).scale == 2.0


def test_layers_of_different_ranks_have_their_own_scale(tmp_path: Path) -> None:
    source = saved(tmp_path, layer(Q, AB, rank=4) | layer(OUT, AB, rank=8))
    copied = copy(source, tmp_path / "run.safetensors", {}, alpha=8.0)
    assert (copied.rank, copied.scale) == (8, None)
    assert np.allclose(delta(tmp_path / "run.safetensors", Q), delta(source, Q, 2.0), rtol=1e-6)
    assert np.array_equal(delta(tmp_path / "run.safetensors", OUT), delta(source, OUT))


@pytest.mark.parametrize(("alpha", "dtype"), [(4.0, "BF16"), (8.0, "BF16"), (1.0, "BF16"), (6.0, "F32")])
def test_bfloat16_stays_where_the_ratio_is_exact_in_it(tmp_path: Path, alpha: float, dtype: str) -> None:
    source = bf16(tmp_path, layer(Q, AB))
    copy(source, tmp_path / "run.safetensors", {}, alpha=alpha)
    tensors, _ = adapter_copy.read_header(tmp_path / "run.safetensors")
    assert {tensor.dtype for tensor in tensors} == {dtype}
    originals, data = adapter_copy.read_header(source)[0], source.read_bytes()
    made = (tmp_path / "run.safetensors").read_bytes()
    for tensor in tensors:
        old = next(each for each in originals if each.name == tensor.name)
        numbers = (np.frombuffer(data[old.begin : old.end], "<u2").astype("<u4") << 16).view("<f4")
        scaled = numbers * np.float32(alpha / 4 if "lora_B" in tensor.name else 1.0)
        whole = scaled.tobytes() if dtype == "F32" else (scaled.view("<u4") >> 16).astype("<u2").tobytes()
        assert made[tensor.begin : tensor.end] == whole


def test_the_header_is_kept_with_the_digest_of_the_tensors(tmp_path: Path) -> None:
    import hashlib

    target = tmp_path / "run.safetensors"
    copy(saved(tmp_path, layer(Q, AB)), target, {"modelspec.title": "my-style"}, alpha=8.0)
    data = target.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    digest, found = hashlib.sha256(data[8 + length :]).hexdigest(), metadata(target)
    assert (found["modelspec.title"], found["format"]) == ("my-style", "pt")
    assert (found["modelspec.hash_sha256"], found["sshs_model_hash"]) == (f"0x{digest}", digest)
    assert (found["ss_network_dim"], found["ss_network_alpha"]) == ("4", "8")
    assert "use it at strength 1" in found["ss_training_comment"]


def test_a_lokr_keeps_its_tensors_and_gains_the_header(tmp_path: Path) -> None:
    tensors = {
        "lycoris_proj_out.alpha": np.array(1e6, np.float32),
        "lycoris_proj_out.lokr_w1": np.ones((4, 4), np.float32),
        "lycoris_proj_out.lokr_w2": np.ones((8, 8), np.float32),
    }
    copied = copy(saved(tmp_path, tensors), tmp_path / "run.safetensors", {"modelspec.title": "my-style"})
    found = load_file(tmp_path / "run.safetensors")
    assert {name: each.tobytes() for name, each in found.items()} == {n: each.tobytes() for n, each in tensors.items()}
    assert (copied.rank, copied.alpha, copied.layers) == (None, None, 1)
    assert metadata(tmp_path / "run.safetensors")["modelspec.title"] == "my-style"


def test_the_copy_is_as_old_as_its_source_and_open_as_the_umask_says(tmp_path: Path) -> None:
    source = saved(tmp_path, layer(Q, AB))
    os.utime(source, (1_700_000_000, 1_700_000_000))
    before = os.umask(0o027)
    try:
        copy(source, tmp_path / "run.safetensors", {})
    finally:
        os.umask(before)
    status = (tmp_path / "run.safetensors").stat()
    assert (status.st_mtime, status.st_mode & 0o777) == (1_700_000_000, 0o640)


def test_a_copy_that_fails_leaves_the_earlier_one_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "run.safetensors"
    target.write_text("the earlier one")
    huge = {name: np.full_like(each, 3e38) for name, each in layer(Q, AB).items()}
    with pytest.raises(UnusableAdapter) as refused:
        copy(saved(tmp_path, huge), target, {}, alpha=16.0)
    assert refused.value.code == "not_finite"
    assert target.read_text() == "the earlier one"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["pytorch_lora_weights.safetensors", target.name]


def test_a_link_in_the_copys_place_is_replaced_and_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("not ours")
    for name in ("run.safetensors", ".run.safetensors.new"):
        (tmp_path / name).symlink_to(elsewhere)
    copy(saved(tmp_path, layer(Q, AB)), tmp_path / "run.safetensors", {})
    assert elsewhere.read_text() == "not ours"
    assert not (tmp_path / "run.safetensors").is_symlink()


@pytest.mark.parametrize("alpha", [0, -1, True, "8", None, [], 10**400, float("inf"), float("nan")])
def test_an_alpha_that_is_none_is_not_used(alpha: Any) -> None:
    assert adapter_copy.alpha_of({"alpha": alpha}) is None


@pytest.mark.parametrize("half", [0, 1])
def test_half_a_layer_is_refused_by_name(tmp_path: Path, half: int) -> None:
    tensors = layer(Q, AB) | {OUT + AB[half]: np.ones((4, 4), np.float32)}
    with pytest.raises(UnusableAdapter, match="proj_out: half the layer is missing") as refused:
        copy(saved(tmp_path, tensors), tmp_path / "run.safetensors", {})
    assert refused.value.code == "bad_layers"


def test_a_layer_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableAdapter, match="twice"):
        copy(saved(tmp_path, layer(Q, AB) | layer(Q, DOWN_UP)), tmp_path / "run.safetensors", {})


def test_halves_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    tensors = {Q + AB[0]: np.ones((4, 8), np.float32), Q + AB[1]: np.ones((6, 5), np.float32)}
    with pytest.raises(UnusableAdapter, match=r"\[4, 8\] and \[6, 5\]"):
        copy(saved(tmp_path, tensors), tmp_path / "run.safetensors", {})


def test_a_key_that_no_trainer_writes_is_refused_and_shown_on_one_line(tmp_path: Path) -> None:
    tensors = layer(Q, AB) | {"text_encoder.\x1b[2Jx.lora_A.weight": np.ones((4, 4), np.float32)}
    with pytest.raises(UnusableAdapter, match=r"text_encoder.\\x1b\[2Jx") as refused:
        copy(saved(tmp_path, tensors), tmp_path / "run.safetensors", {})
    assert refused.value.code == "unknown_form"


ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("header", "data", "length"),
    [
        (b"{}", b"", 2**62),
        (b"{}", b"", 99),
        (b"[]", b"", None),
        (b"{", b"", None),
        (b"[" * 100_000, b"", None),
        ({"a": 1}, b"", None),
        ({"a": {**ENTRY, "dtype": ["F32"]}}, b"1234", None),
        ({"a": {**ENTRY, "dtype": "F31"}}, b"1234", None),
        ({"a": {**ENTRY, "shape": [-1]}}, b"1234", None),
        ({"a": {**ENTRY, "shape": [True]}}, b"1234", None),
        ({"a": {**ENTRY, "shape": [2]}}, b"1234", None),
        ({"a": {**ENTRY, "data_offsets": [4, 0]}}, b"1234", None),
        ({"a": {**ENTRY, "data_offsets": [0]}}, b"1234", None),
        ({"a": ENTRY, "b": ENTRY}, b"1234", None),
        ({"a": ENTRY, "b": {**ENTRY, "data_offsets": [8, 12]}}, b"123456789012", None),
        ({"a": ENTRY}, b"12345", None),
        ({"a": ENTRY}, b"123", None),
        ({"__metadata__": {"format": 1}, "a": ENTRY}, b"1234", None),
        ({"__metadata__": "text", "a": ENTRY}, b"1234", None),
    ],
)
def test_a_malformed_header_is_refused(tmp_path: Path, header: object, data: bytes, length: int | None) -> None:
    with pytest.raises(UnusableAdapter) as refused:
        adapter_copy.read_header(raw(tmp_path, header, data, length))
    assert refused.value.code == "broken_file"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=50, deadline=None)
@given(JSON)
def test_no_header_makes_the_reader_fail_in_another_way(tmp_path_factory: pytest.TempPathFactory, header: Any) -> None:
    file = raw(tmp_path_factory.mktemp("random"), header)
    try:
        tensors, _ = adapter_copy.read_header(file)
    except UnusableAdapter:
        return
    assert all(tensor.begin == tensor.end for tensor in tensors)


@settings(max_examples=30, deadline=None)
@given(JSON)
def test_no_facts_of_a_host_make_the_copy_fail(tmp_path_factory: pytest.TempPathFactory, known: Any) -> None:
    folder = tmp_path_factory.mktemp("facts")
    source = saved(folder, layer(Q, AB))
    (folder / adapter_copy.FACTS).write_text(json.dumps({"header": known, "alpha": known}), encoding="utf-8")
    facts = adapter_copy.facts(folder)
    header = adapter_copy.header_of(facts, source, 7)
    copy(source, folder / "run.safetensors", header, alpha=adapter_copy.alpha_of(facts))
    assert metadata(folder / "run.safetensors")["ss_steps"] == "7"
