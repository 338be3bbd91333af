"""How the pictures of a dataset fit the sizes of a run: the findings that depend on its presets."""

from __future__ import annotations

from collections.abc import Iterator

from fluxlora.dataset import Finding, warning
from fluxlora.plan.figures import Figures

# A photograph of 3:2 loses a third to a square, which is common and seldom hurts; one of 16:9 loses 44 %.
_MUCH = 0.4


def findings(figures: Figures) -> Iterator[Finding]:
    """The pictures that a data backend leaves out, and those of which every one that takes them cuts much off."""
    backends = [each.backend for each in figures.backends]
    for picture in figures.dataset.pictures:
        takers = [backend for backend in backends if backend.fits(picture)]
        for backend in backends:
            if backend not in takers:
                yield warning(
                    picture.file,
                    "too_small",
                    f"Data backend {backend.id} leaves it out without a word: it is {backend.too_small(picture)}.",
                    "Enlarge it, or choose a preset of a smaller resolution.",
                )
        lost = 1 - _edges(picture.width, picture.height)
        if lost > _MUCH and takers and all(backend.square for backend in takers):
            yield warning(
                picture.file,
                "cropped",
                f"It is trained on as a square of its middle, which leaves out {lost:.0%} of it.",
                "Cut out what matters yourself, or train on whole pictures with the preset arb.",
            )


def _edges(width: int, height: int) -> float:
    return min(width, height) / max(width, height)
