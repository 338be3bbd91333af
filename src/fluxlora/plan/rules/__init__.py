"""The rules that the guide and SimpleTuner's documentation state, and a few of our own: one function each.

A rule is a generator of sentences about a run, decorated with its weight and its source; docs/rules.md lists them.
"""

from __future__ import annotations

from fluxlora.plan.figures import Figures

# Each module enters its rules when it is imported.
from fluxlora.plan.rules import adapter, data, length, machine, validation  # noqa: F401
from fluxlora.plan.rules.rule import RULES, Rule, Source, Verdict, Weight

__all__ = ["RULES", "Rule", "Source", "Verdict", "Weight", "judge"]


def judge(figures: Figures) -> list[Verdict]:
    """What all rules say, nothing twice."""
    return list(dict.fromkeys(verdict for each in RULES for verdict in each.judge(figures)))
