"""What each supported SimpleTuner knows of its own options, and whether a configuration fits it."""

from fluxlora.trainer.changes import CHANGES, Change, change
from fluxlora.trainer.check import Problem, check_backends, check_config
from fluxlora.trainer.comparison import Comparison, compare
from fluxlora.trainer.facts import Facts, Option, facts

__all__ = [
    "CHANGES",
    "Change",
    "Comparison",
    "Facts",
    "Option",
    "Problem",
    "change",
    "check_backends",
    "check_config",
    "compare",
    "facts",
]
