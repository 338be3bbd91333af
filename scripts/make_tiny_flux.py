"""Makes the tiny FLUX: a pipeline of FLUX.1-dev's shape with random weights, small enough to ship.

It runs in the trainer's environment, not in fluxlora's, needs no network, and gives the same files every time:
`python scripts/make_tiny_flux.py src/fluxlora/rehearsal/tiny_flux`. Made with transformers 4.57 and diffusers 0.35.
"""

from __future__ import annotations

import json
import string
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import sentencepiece  # type: ignore[import-not-found]
import torch  # type: ignore[import-not-found]
from diffusers import (  # type: ignore[import-not-found]
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxTransformer2DModel,
)
from transformers import (  # type: ignore[import-not-found]
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

WIDTH = 32  # of every embedding: the real one has 768 (CLIP), 4096 (T5) and 3072 (transformer)
SENTENCES = [
    "a photo of a red leaf on a wet stone",
    "a close up of a yellow flower in soft light",
    "a painting of a green hill, a river and two trees",
    "the style of the picture: detailed, calm, with much blue sky",
    "five wizards jump quickly over the lazy brown fox's box",
    " ".join(string.ascii_lowercase + string.digits + string.punctuation),
    " ".join(string.ascii_uppercase),
]
PARTS = {
    "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler"),
    "text_encoder": ("transformers", "CLIPTextModel"),
    "text_encoder_2": ("transformers", "T5EncoderModel"),
    "tokenizer": ("transformers", "CLIPTokenizer"),
    "tokenizer_2": ("transformers", "T5TokenizerFast"),
    "transformer": ("diffusers", "FluxTransformer2DModel"),
    "vae": ("diffusers", "AutoencoderKL"),
}


def main(folder: Path) -> None:
    """Write the pipeline into `folder`; its README is not touched."""
    torch.manual_seed(0)
    clip, t5 = clip_tokenizer(folder / "tokenizer"), t5_tokenizer(folder / "tokenizer_2")
    made = {
        "tokenizer": clip,
        "tokenizer_2": t5,
        "text_encoder": clip_encoder(clip),
        "text_encoder_2": t5_encoder(len(t5)),
        "transformer": transformer(),
        "vae": autoencoder(),
        "scheduler": scheduler(),
    }
    for name, part in made.items():
        # The real one is published in bfloat16 too.
        (part.to(torch.bfloat16) if isinstance(part, torch.nn.Module) else part).save_pretrained(folder / name)
    index = {"_class_name": "FluxPipeline", "_diffusers_version": "0.35.2", **PARTS}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def clip_tokenizer(folder: Path) -> Any:
    """Byte pairs without pairs, or nearly: every byte, alone and at the end of a word."""
    merges = ["a n", "o f</w>", "t h", "th e</w>"]
    letters = byte_letters()
    words = [*letters, *(f"{letter}</w>" for letter in letters), *(merge.replace(" ", "") for merge in merges)]
    vocabulary = {word: number for number, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    folder.mkdir(parents=True, exist_ok=True)
    names, pairs = folder / "vocab.json", folder / "merges.txt"
    names.write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    pairs.write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    return CLIPTokenizer(str(names), str(pairs), model_max_length=77)


def byte_letters() -> list[str]:
    """A printable letter for each byte, as CLIP's vocabulary has them: those that print, then the rest from U+0100."""
    printing = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = 256 - len(printing)
    return [chr(code) for code in [*printing, *range(256, 256 + rest)]]


def t5_tokenizer(folder: Path) -> Any:
    """A SentencePiece unigram model learnt from the few sentences above."""
    learnt = BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 20),
        model_writer=learnt,
        model_type="unigram",
        vocab_size=160,
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",  # the tables of the usual one are twice the size of all weights
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spiece.model").write_bytes(learnt.getvalue())
    return T5TokenizerFast(str(folder / "spiece.model"), extra_ids=100, model_max_length=512)


def clip_encoder(tokenizer: Any) -> Any:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=2 * WIDTH,
            projection_dim=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=77,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def t5_encoder(vocabulary: int) -> Any:
    return T5EncoderModel(
        T5Config(
            vocab_size=vocabulary,
            d_model=WIDTH,
            d_kv=8,
            d_ff=2 * WIDTH,
            num_layers=2,
            num_heads=4,
            feed_forward_proj="gated-gelu",
            decoder_start_token_id=0,
        )
    )


def transformer() -> Any:
    """Two blocks of each kind; 64 channels are the 16 latent ones of a 2x2 patch, as in the real one."""
    return FluxTransformer2DModel(
        in_channels=64,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=True,
        axes_dims_rope=(4, 6, 6),
    )


def autoencoder() -> Any:
    """Four levels, so that an edge shrinks to an eighth; scaling and shift are the real one's."""
    channels = (8, 8, 16, 16)
    return AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * len(channels),
        up_block_types=["UpDecoderBlock2D"] * len(channels),
        block_out_channels=channels,
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=4,
        sample_size=64,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def scheduler() -> Any:
    return FlowMatchEulerDiscreteScheduler(
        shift=3.0,
        use_dynamic_shifting=True,
        base_shift=0.5,
        max_shift=1.15,
        base_image_seq_len=256,
        max_image_seq_len=4096,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
