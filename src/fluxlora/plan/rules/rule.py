"""What a rule is: a check of a run's figures, with a weight and a source that its message cites."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, IntEnum

from fluxlora.plan.figures import Figures

Check = Callable[[Figures], Iterator[str]]

_DOCUMENTATION = "https://github.com/bghira/SimpleTuner/blob/main/documentation"


class Weight(IntEnum):
    """How much it matters when a rule speaks; the heaviest is said first."""

    HINT = 1
    LOSS = 2
    SPOILT = 3
    REFUSED = 4

    @property
    def meaning(self) -> str:
        return {
            Weight.HINT: "The run is sound, and could be better.",
            Weight.LOSS: "Pictures, time or money are lost.",
            Weight.SPOILT: "The adapter will hardly be what is wanted.",
            Weight.REFUSED: "The trainer would end the run, so the plan is refused.",
        }[self]


class Source(Enum):
    """Who says so: as a message cites it, and where it can be read."""

    GUIDE = ("the guide", "")
    QUICK_START = ("SimpleTuner's FLUX quick start", f"{_DOCUMENTATION}/quickstart/FLUX.md")
    OPTIONS = ("SimpleTuner's OPTIONS.md", f"{_DOCUMENTATION}/OPTIONS.md")
    DATALOADER = ("SimpleTuner's DATALOADER.md", f"{_DOCUMENTATION}/DATALOADER.md")
    LYCORIS = ("SimpleTuner's LYCORIS.md", f"{_DOCUMENTATION}/LYCORIS.md")
    # Documented nowhere, and found in what it does.
    TRAINER = ("SimpleTuner 3.1.6 itself", "")
    # What was seen when the loaders were run.
    LOADERS = ("docs/loaders.md", "loaders.md")
    OURS = ("our own reckoning", "")

    @property
    def cited(self) -> str:
        return self.value[0]

    @property
    def url(self) -> str:
        return self.value[1]


@dataclass(frozen=True)
class Verdict:
    """What one rule says of one run."""

    weight: Weight
    message: str


@dataclass(frozen=True)
class Rule:
    """A check by its name; its docstring says what it watches over."""

    weight: Weight
    source: Source
    check: Check

    @property
    def name(self) -> str:
        return self.check.__name__

    @property
    def purpose(self) -> str:
        return self.check.__doc__ or ""

    def judge(self, figures: Figures) -> Iterator[Verdict]:
        for message in self.check(figures):
            yield Verdict(self.weight, f"{message.removesuffix('.')} ({self.source.cited}).")


RULES: list[Rule] = []


def rule(weight: Weight, source: Source) -> Callable[[Check], Check]:
    """Enter a check into the rules."""

    def enter(check: Check) -> Check:
        RULES.append(Rule(weight, source, check))
        return check

    return enter
