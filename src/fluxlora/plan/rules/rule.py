"""A rule: a check of a run's figures, with a weight, and a source that its message cites."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, IntEnum

from fluxlora.plan.figures import Figures

Check = Callable[[Figures], Iterator[str]]

_DOCUMENTATION = "https://github.com/bghira/SimpleTuner/blob/main/documentation"


class Weight(IntEnum):
    """How serious the message of a rule is; the most serious is printed first."""

    HINT = 1
    LOSS = 2
    SPOILT = 3
    REFUSED = 4

    @property
    def meaning(self) -> str:
        """One sentence for docs/rules.md."""
        return {
            Weight.HINT: "The run works, but could be better.",
            Weight.LOSS: "Images, time or money are wasted.",
            Weight.SPOILT: "The adapter will probably not be what you want.",
            Weight.REFUSED: "The trainer would end the run, so the plan is refused.",
        }[self]


class Source(Enum):
    """The source of a rule: its name in a message, and its address."""

    GUIDE = ("the guide", "")
    QUICK_START = ("SimpleTuner's FLUX quick start", f"{_DOCUMENTATION}/quickstart/FLUX.md")
    OPTIONS = ("SimpleTuner's OPTIONS.md", f"{_DOCUMENTATION}/OPTIONS.md")
    DATALOADER = ("SimpleTuner's DATALOADER.md", f"{_DOCUMENTATION}/DATALOADER.md")
    LYCORIS = ("SimpleTuner's LYCORIS.md", f"{_DOCUMENTATION}/LYCORIS.md")
    # Not documented; seen in its code or behaviour.
    TRAINER = ("SimpleTuner 3.1.6 itself", "")
    # Seen when the loaders were run.
    LOADERS = ("docs/loaders.md", "loaders.md")
    OURS = ("our own calculation", "")

    @property
    def cited(self) -> str:
        """The name that a message cites."""
        return self.value[0]

    @property
    def url(self) -> str:
        """The address; empty if there is none."""
        return self.value[1]


@dataclass(frozen=True)
class Verdict:
    """The message of one rule about one run."""

    weight: Weight
    message: str


@dataclass(frozen=True)
class Rule:
    """A check with its weight and source; the check's docstring states the rule."""

    weight: Weight
    source: Source
    check: Check

    @property
    def name(self) -> str:
        """The name of the check's function."""
        return self.check.__name__

    @property
    def purpose(self) -> str:
        """The rule as one sentence, for docs/rules.md."""
        return self.check.__doc__ or ""

    def judge(self, figures: Figures) -> Iterator[Verdict]:
        """Yield a verdict for each message of the check."""

        for message in self.check(figures):
            yield Verdict(self.weight, f"{message.removesuffix('.')} ({self.source.cited}).")


RULES: list[Rule] = []


def rule(weight: Weight, source: Source) -> Callable[[Check], Check]:
    """Return a decorator that adds a check to the rules."""

    def enter(check: Check) -> Check:
        RULES.append(Rule(weight, source, check))
        return check

    return enter
