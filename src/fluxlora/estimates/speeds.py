"""How fast which GPU trains FLUX: one table, with the source of each number and how far it may be off.

A card's speed is what it computes of a training's TFLOP in a second, see work.py: the dense bfloat16 rate of NVIDIA's
data sheet, times the share of it that a training reaches. That share was published for a few cards, and is taken from
its nearest relative for the others. docs/speeds.md is made from this file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from fluxlora.estimates.work import Work

# What a batch takes besides: starting the kernels, reading, the optimizer. On an H100 the HF blog's 0.43 s a batch at
# 512 x 768 are 0.19 s of computing.
BATCH_SECONDS = 0.2
# Several GPUs exchange the adapter's gradients, 0.1 to 0.5 GB, and wait for the slowest.
SEVERAL_GPUS_FACTOR = 1.05
# A picture on the way: moving the pipeline in, decoding, saving, and what a step of drawing takes besides. Guesses.
PICTURE_SECONDS, DRAW_STEP_SECONDS = 10.0, 0.05


class Basis(StrEnum):
    """Where a speed comes from."""

    PUBLISHED = "published"
    COMPUTED = "computed"
    ESTIMATED = "estimated"


# The true time is believed to be within this factor of the expected one, both ways.
FACTORS: Mapping[Basis, float] = {Basis.PUBLISHED: 1.5, Basis.COMPUTED: 1.8, Basis.ESTIMATED: 2.5}


@dataclass(frozen=True)
class Share:
    """What cards of one kind reach of their data sheet's rate."""

    kind: str
    share: float
    source: str


FLUX_MD = (
    "SimpleTuner's FLUX.md, on an RTX 4090 in nf4: 1.4 s a step of one picture at 512 pixels and 3.5 s at 1024 (it "
    "also says 1.4 steps a second, which the 3.5 s contradict). The HF blog flux-qlora is faster on the same card: "
    "2800 batches of one 512 x 768 picture with short captions in 41 minutes, 0.88 s each."
)
A6000 = (
    "kohya-ss/sd-scripts#1374 (2024-08-19): RTX A6000, bf16, rank 128, one picture at 1024 pixels: 8.25 s. "
    "ostris/ai-toolkit#145: A40, quantised, 512 to 1024 pixels mixed: 6.5 s for one picture, 22 s for four."
)
H100 = (
    "SimpleTuner#1033 (2024-10-06): H100, bf16, rank 16, torch.compile: 2 steps a second, without saying at which "
    "resolution. The HF blog flux-qlora: 2800 batches of one 512 x 768 picture in 20 minutes, in fp8."
)
ADA = Share("GeForce, Ada", 0.51, FLUX_MD)
AMPERE = Share("GeForce, Ampere", 0.42, "Between the RTX 4090 and the RTX A6000, which has the same chip.")
BLACKWELL = Share("GeForce, Blackwell", 0.45, "As Ada, a little less: its kernels are younger.")
WORKSTATION_AMPERE = Share("workstation, Ampere", 0.21, A6000)
WORKSTATION_ADA = Share("workstation, Ada", 0.25, "As Ampere's, whose limit of 300 W it shares, a little more.")
WORKSTATION_BLACKWELL = Share("workstation, Blackwell", 0.27, "As Ada's.")
HALF_RATE = Share("server, half rate", 0.42, "Half the tensor rate at the same 300 W, so nearer to a GeForce.")
SMALL = Share("server, 60 to 165 W", 0.2, "As Ampere's workstations, with less power for each unit.")
AMPERE_HBM = Share("A100", 0.40, "Between the RTX 4090 and the H100; as common for transformers on this card.")
HOPPER = Share("Hopper", 0.36, H100)
BLACKWELL_HBM = Share("B200", 0.26, "As Hopper, less: a batch of FLUX hardly fills it.")
OLD = Share("before bf16", 0.25, "No bfloat16 in hardware: computed with the float16 rate.")


@dataclass(frozen=True)
class Card:
    """A GPU by vast.ai's name, and what NVIDIA's data sheet says: dense bfloat16 TFLOPS, summed in float32."""

    name: str
    sheet_tflops: float
    share: Share
    basis: Basis = Basis.COMPUTED

    @property
    def tflops(self) -> float:
        """What a training gets of them."""
        return self.sheet_tflops * self.share.share


P = Basis.PUBLISHED
CARDS = (
    Card("RTX 3060", 25.5, AMPERE),
    Card("RTX 3060 Ti", 32.4, AMPERE),
    Card("RTX 3070", 40.6, AMPERE),
    Card("RTX 3080", 59.5, AMPERE),
    Card("RTX 3080 Ti", 68.2, AMPERE),
    Card("RTX 3090", 71.2, AMPERE),
    Card("RTX 3090 Ti", 80.0, AMPERE),
    Card("RTX 4060 Ti", 44.1, ADA),
    Card("RTX 4070", 58.3, ADA),
    Card("RTX 4070S", 70.9, ADA),
    Card("RTX 4070 Ti", 80.2, ADA),
    Card("RTX 4070S Ti", 88.2, ADA),
    Card("RTX 4080", 97.5, ADA),
    Card("RTX 4080S", 104.4, ADA),
    Card("RTX 4090", 165.2, ADA, P),
    Card("RTX 4090D", 147.1, ADA),
    Card("RTX 5060 Ti", 47.4, BLACKWELL),
    Card("RTX 5070", 61.7, BLACKWELL),
    Card("RTX 5070 Ti", 87.9, BLACKWELL),
    Card("RTX 5080", 112.6, BLACKWELL),
    Card("RTX 5090", 209.5, BLACKWELL),
    Card("RTX A4000", 76.7, WORKSTATION_AMPERE),
    Card("RTX A4500", 94.6, WORKSTATION_AMPERE),
    Card("RTX A5000", 111.1, WORKSTATION_AMPERE),
    Card("RTX A6000", 154.8, WORKSTATION_AMPERE, P),
    Card("A40", 149.7, WORKSTATION_AMPERE, P),
    Card("RTX 4000Ada", 106.9, WORKSTATION_ADA),
    Card("RTX 4500Ada", 158.7, WORKSTATION_ADA),
    Card("RTX 5000Ada", 261.1, WORKSTATION_ADA),
    Card("RTX 5880Ada", 277.3, WORKSTATION_ADA),
    Card("RTX 6000Ada", 364.2, WORKSTATION_ADA),
    Card("L40S", 362.1, WORKSTATION_ADA),
    Card("RTX PRO 4000", 187.0, WORKSTATION_BLACKWELL),
    Card("RTX PRO 4500", 219.0, WORKSTATION_BLACKWELL),
    Card("RTX PRO 5000", 294.0, WORKSTATION_BLACKWELL),
    Card("RTX PRO 6000 S", 480.0, WORKSTATION_BLACKWELL),
    Card("RTX PRO 6000 WS", 503.8, WORKSTATION_BLACKWELL),
    Card("L40", 181.0, HALF_RATE),
    Card("A10", 125.0, SMALL),
    Card("A30", 165.0, SMALL),
    Card("L4", 121.0, SMALL),
    Card("A100 PCIE", 312.0, replace(AMPERE_HBM, share=0.36)),
    Card("A100 SXM4", 312.0, AMPERE_HBM),
    Card("H100 PCIE", 756.0, replace(HOPPER, share=0.32)),
    Card("H100 NVL", 835.0, HOPPER),
    Card("H100 SXM", 989.0, HOPPER, P),
    Card("GH200 SXM", 989.0, HOPPER),
    Card("H200", 989.0, replace(HOPPER, share=0.37)),
    Card("H200 NVL", 835.0, replace(HOPPER, share=0.37)),
    Card("B200", 2250.0, BLACKWELL_HBM),
    Card("Tesla V100", 125.0, OLD),
    Card("Q RTX 6000", 130.5, OLD),
    Card("Q RTX 8000", 130.5, OLD),
    Card("Tesla T4", 65.0, OLD),
)  # fmt: skip
# What the plan's hours are said for, before there is an offer.
REFERENCE = next(card for card in CARDS if card.name == "A100 SXM4")

# On the known cards a unit of vast.ai's benchmark stands for 0.6 to 2.6 TFLOPS of training, and one of its total_flops,
# which are float32's, for 0.8 to 8: the slow ends, for no card may win by being unknown.
TFLOPS_PER_DLPERF, TFLOPS_PER_FLOPS = 0.6, 0.8

# As long as that a run's own speed still differs from the next one's: the host's processor, its heat, its disk.
LEAST_FACTOR = 1.15


@dataclass(frozen=True)
class Correction:
    """What your own runs say of a GPU: their time as a multiple of the table's, and how many there were."""

    factor: float
    runs: int


@dataclass(frozen=True)
class Speed:
    """TFLOPS that a training gets of one GPU; `table_tflops` is without your own runs."""

    tflops: float
    table_tflops: float
    basis: Basis
    # The true time is within this factor of the expected one.
    factor: float
    runs: int = 0

    def step_seconds(self, work: Work, gpus: int = 1) -> float:
        """One step of training, expected."""
        return step_seconds(work, self.tflops, gpus)

    def draw_seconds(self, work: Work) -> float:
        """One picture on the way; only the first GPU draws."""
        return PICTURE_SECONDS + work.inference_steps * (work.draw_tflop / self.tflops + DRAW_STEP_SECONDS)


def step_seconds(work: Work, tflops: float, gpus: int = 1) -> float:
    """One step of training at this rate for each GPU."""
    seconds = work.accumulation * (work.batch_tflop / tflops + BATCH_SECONDS)
    return seconds * (SEVERAL_GPUS_FACTOR if gpus > 1 else 1.0)


def speed_of(
    name: str,
    *,
    gpus: int = 1,
    dlperf: float | None = None,
    total_flops: float | None = None,
    own: Mapping[str, Correction] | None = None,
) -> Speed | None:
    """By the table, else by the figures that the offer shows of all its GPUs together; None where it shows none."""
    card = _BY_NAME.get(plain_name(name))
    if card:
        tflops, basis = card.tflops, card.basis
    else:
        figures = ((dlperf, TFLOPS_PER_DLPERF), (total_flops, TFLOPS_PER_FLOPS))
        guesses = [figure / max(gpus, 1) * rate for figure, rate in figures if figure is not None and figure > 0]
        if not guesses or not all(math.isfinite(guess) for guess in guesses):
            return None
        # The slower of the two, and never faster than any card that exists.
        tflops, basis = min(*guesses, FASTEST.tflops), Basis.ESTIMATED
    correction = (own or {}).get(plain_name(name), Correction(1.0, 0))
    factor = FACTORS[basis] ** (1 / (1 + correction.runs))
    return Speed(
        tflops=tflops / correction.factor,
        table_tflops=tflops,
        basis=basis,
        factor=max(factor, LEAST_FACTOR),
        runs=correction.runs,
    )


def plain_name(name: str) -> str:
    """vast.ai writes "RTX 6000Ada" and in its queries "RTX_6000Ada"."""
    return name.replace(" ", "").replace("_", "").casefold()


_BY_NAME = {plain_name(card.name): card for card in CARDS}
FASTEST = max(CARDS, key=lambda card: card.tflops)
