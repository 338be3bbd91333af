"""The rules that the guide and SimpleTuner's documentation state, and a few of our own: one function each.

A rule is a generator of sentences about a draft, decorated with its weight and its source; docs/rules.md lists them.
"""

from __future__ import annotations

from fluxlora.draft import Draft

# Each module enters its rules when it is imported.
from fluxlora.rules import adapter, data, length, machine, validation  # noqa: F401
from fluxlora.rules.rule import RULES, Rule, Source, Verdict, Weight

__all__ = ["RULES", "Rule", "Source", "Verdict", "Weight", "judge"]


def judge(draft: Draft) -> list[Verdict]:
    """What all rules say, nothing twice."""
    return list(dict.fromkeys(verdict for each in RULES for verdict in each.judge(draft)))
