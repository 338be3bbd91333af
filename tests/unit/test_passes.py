"""How often train.yml is played in one call of the command."""

from __future__ import annotations

import signal

import pytest

from fluxlora.runner.passes import INTERRUPTED, PASSES, play_to_the_end
from fluxlora.runner.play import Outcome


@pytest.mark.parametrize(
    ("outcomes", "played"),
    [
        ([Outcome(0)], 1),
        ([Outcome(2), Outcome(0)], 1),
        ([Outcome(4), Outcome(0)], 1),
        ([Outcome(INTERRUPTED), Outcome(0)], 2),
        ([Outcome(INTERRUPTED), Outcome(2), Outcome(0)], 2),
        ([Outcome(INTERRUPTED, signal=signal.SIGINT), Outcome(0)], 1),
        ([Outcome(INTERRUPTED)] * 9, PASSES),
    ],
    ids=["finished", "failed", "unreachable", "replaced", "failed on the second", "left by the user", "taken for ever"],
)
def test_only_an_interruption_is_followed_by_another_pass_and_no_more_than_four_are_played(
    outcomes: list[Outcome], played: int
) -> None:
    left = list(outcomes)
    last = play_to_the_end(lambda: left.pop(0))
    assert len(outcomes) - len(left) == played
    assert last == outcomes[played - 1]


def test_the_status_of_an_interruption_is_the_one_in_the_docs_and_none_of_ansibles() -> None:
    assert (INTERRUPTED, PASSES) == (75, 4)
