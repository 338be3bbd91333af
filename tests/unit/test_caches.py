"""Names and sizes of SimpleTuner's caches, against files that both versions wrote."""

from __future__ import annotations

from fluxlora.dataset import Picture
from fluxlora.trainer import caches
from fluxlora.trainer.buckets import Backend, Batching, assign_buckets


def test_equal_captions_share_an_embed_and_none_is_always_embedded() -> None:
    made = caches.embeds(["same", "same", "other"])
    assert caches.embed_file("same") in made
    assert caches.embed_file("") == "d41d8cd98f00b204e9800998ecf8427e-flux.pt"
    assert len(made) == 3


def test_each_line_is_a_caption_and_3_1_6_keeps_its_spaces() -> None:
    text = " the same \r\n  \n\nand more"
    assert caches.captions(text, "3.1.6") == (" the same \r", "  ", "and more")
    assert caches.captions(text, "4.10.1") == ("the same", "and more")


def test_one_line_without_an_end_is_one_caption() -> None:
    assert caches.captions(" alone ", "3.1.6") == (" alone ",)
    assert caches.captions(" alone ", "4.10.1") == ("alone",)


def test_a_latent_is_as_large_as_the_ones_that_were_weighed() -> None:
    assert caches.latent_shape((832, 1280)) == (16, 160, 104)
    for size, weighed in (((128, 128), 15_915), ((64, 64), 4_500)):
        assert abs(caches.latent_bytes(size) / weighed - 1) < 0.01


def test_only_what_is_kept_has_a_latent() -> None:
    entry = {"id": "b", "crop": True, "resolution": 128, "minimum_image_size": 128}
    pictures = [Picture("a.png", 200, 200, 1), Picture("b.png", 100, 200, 1)]
    made = assign_buckets(pictures, Backend.of(entry), Batching(1))
    assert caches.latents_bytes(made) == caches.latent_bytes((128, 128))
