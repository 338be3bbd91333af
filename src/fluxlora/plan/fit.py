"""Findings about images that depend on the sizes of a run, so on its presets."""

from __future__ import annotations

from collections.abc import Iterator

from fluxlora.dataset import Finding, warning
from fluxlora.plan.figures import Figures

# A square cut from a photograph of 3:2 loses a third, which is common and seldom a problem; from 16:9 it loses 44 %.
_MUCH = 0.4


def findings(figures: Figures) -> Iterator[Finding]:
    """Return findings for images that a data backend leaves out, and for images of which every backend cuts off
    much."""
    backends = [bucketed.backend for bucketed in figures.backends]
    for picture in figures.dataset.pictures:
        takers = [backend for backend in backends if backend.fits(picture)]
        for backend in backends:
            if backend not in takers:
                yield warning(
                    picture.file,
                    "too_small",
                    f"Data backend {backend.id} leaves it out without a message: it is {backend.too_small(picture)}.",
                    "Enlarge it, or choose a preset of a smaller resolution.",
                )
        lost = 1 - _edges(picture.width, picture.height)
        if lost > _MUCH and takers and all(backend.square for backend in takers):
            yield warning(
                picture.file,
                "cropped",
                f"It is trained on as a square of its middle, which leaves out {lost:.0%} of it.",
                "Crop the image yourself, or train with uncropped images with the preset arb.",
            )


def _edges(width: int, height: int) -> float:
    return min(width, height) / max(width, height)
