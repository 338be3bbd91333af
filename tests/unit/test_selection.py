"""Which runs a call is about: a verb that matches none is refused, and where nothing is rented that is said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxlora.runner.selection import NEEDING_INSTANCES, PLANNING, WITHOUT_RUNS, Call

VERBS = sorted({*PLANNING, *NEEDING_INSTANCES, *WITHOUT_RUNS, "doctor"})


@pytest.mark.parametrize("verb", [*sorted(PLANNING), "fetch", "stop"])
def test_a_verb_without_a_run_is_refused(verb: str) -> None:
    assert f"There is no run to {verb}" in Call(verb).refusal()


@pytest.mark.parametrize("verb", ["status", "destroy", "audit", "doctor", "init", "presets", "import"])
def test_where_nothing_is_rented_looking_and_ending_everything_is_no_mistake(verb: str) -> None:
    assert Call(verb).refusal() == ""


@pytest.mark.parametrize("verb", [*sorted(PLANNING), "doctor", "fetch", "stop"])
def test_a_name_that_is_new_is_a_new_run_or_is_looked_for_by_the_verb(verb: str) -> None:
    assert Call(verb, "my-style").refusal() == ""


@pytest.mark.parametrize("verb", ["status", "destroy"])
def test_a_run_that_nobody_knows_is_misspelt(verb: str) -> None:
    refusal = Call(verb, "my-stlye", rented=("my-style",)).refusal()
    assert "my-stlye has no instance: nothing of it costs money." in refusal
    assert "Did you mean my-style?" in refusal
    several = Call(verb, "my-style,nobody,someone", rented=("my-style",)).refusal()
    assert "nobody and someone have no instance" in several


@pytest.mark.parametrize("known", ["listed", "rented", "remembered"])
@pytest.mark.parametrize("verb", ["status", "destroy"])
def test_a_run_that_the_inventory_vast_ai_or_the_journal_knows_is_none(verb: str, known: str) -> None:
    assert Call(verb, "my-style", **{known: ("my-style",)}).refusal() == ""


@pytest.mark.parametrize("name", ["", " ", "a,,b", "My Style", "my-*", "all", "localhost"])
@pytest.mark.parametrize("verb", ["train", "status", "destroy", "stop", "fetch", "doctor"])
def test_a_name_that_no_run_can_have_is_refused_by_every_verb(verb: str, name: str) -> None:
    refusal = Call(verb, name).refusal()
    assert "is not a name for a run" in refusal or "cannot be called" in refusal


def test_what_vast_ai_lists_is_there_whatever_it_is_called() -> None:
    assert Call("destroy", "vastai-7", rented=("vastai-7",)).refusal() == ""


@pytest.mark.parametrize("verb", sorted(NEEDING_INSTANCES))
def test_nothing_is_said_of_instances_that_nobody_asked_for(verb: str) -> None:
    assert "needs the inventory of vast.ai" in Call(verb, "my-style", asked=False).refusal()
    assert Call("check", "my-style", asked=False).refusal() == ""


@pytest.mark.parametrize("verb", VERBS)
def test_a_limit_that_leaves_out_localhost_is_refused_for_nothing_would_be_done(verb: str) -> None:
    call = Call(verb, None, listed=("a",), rented=("b",), limit="a", left=frozenset({"a"}))
    assert "--limit a leaves out localhost" in call.refusal()


@given(
    st.sampled_from(VERBS),
    st.sets(st.sampled_from("abcd")),
    st.sets(st.sampled_from("abcd")),
    st.sets(st.sampled_from(["a", "b", "c", "d", "localhost"])),
)
def test_a_limit_is_refused_exactly_where_none_of_the_runs_is_left(
    verb: str, listed: set[str], rented: set[str], left: set[str]
) -> None:
    call = Call(verb, None, tuple(listed - rented), tuple(rented), limit="x", left=frozenset(left))
    unlimited = Call(verb, None, tuple(listed - rented), tuple(rented))
    works = "localhost" in left and (not call.runs or bool(left & set(call.runs)))
    assert (call.refusal() == "") == (works and unlimited.refusal() == "")
