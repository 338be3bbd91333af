"""Foreign text is shown as one printable, bounded line, whatever it holds."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fluxlora.errors import FluxloraError
from fluxlora.text import one_line, printable

# Lone surrogates and all control characters, too.
TEXTS = st.text(st.characters(exclude_categories=())) | st.text(
    st.sampled_from("\x1b\x9b\x9d\x07[]0;31mHJ\\\n\r\t\u202e\u200b\u2028\ud800 a")
)


@given(TEXTS, st.integers(1, 400))
@example("\x1b]0;title\x07", 1)
@example("a" * 10**6, 300)
def test_any_text_is_one_printable_line_within_its_limit(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert line.isprintable()
    assert len(line) <= limit
    assert line == line.strip()
    assert one_line(line, limit) == line


@given(st.text(st.sampled_from("abcäß漢字🙂.,:;-/()"), max_size=200))
def test_an_ordinary_line_is_shown_as_it_is(text: str) -> None:
    assert one_line(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b[1;31mred\x1b[0m", "red"),
        ("\x9b31mred", "red"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]8;;http://192.0.2.1\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bP1$r\x1b\\text", "text"),
        ("\x1b]0;never ended\nnext", "next"),
        ("\x1b(0text\x1bc", "text"),
        ("gpj.\u202egpj", "gpj.gpj"),
        ("pass\u200bword\ufeff\u2060", "password"),
        ("a\u3164b\ufe0f", "ab"),
        ("one\r\ntwo\x0bthree\u2028four", "one two three four"),
        ("a\0b\x7f", "ab"),
        ("a\udcffb", "a\ufffdb"),
        (None, ""),
        (7, "7"),
    ],
)
def test_what_a_terminal_would_obey_or_hide_is_left_out(text: object, shown: str) -> None:
    assert one_line(text) == shown


def test_what_is_cut_off_is_marked() -> None:
    assert one_line("a" * 10, 10) == "a" * 10
    assert one_line("a" * 11, 10) == "a" * 9 + "…"
    assert one_line("\x1b[m" * 10**6 + "end", 10) == "…"


def test_a_value_that_python_cannot_write_is_named_by_its_kind() -> None:
    deep: list[object] = []
    for _ in range(10**5):
        deep = [deep]
    assert one_line(10**5000) == "(int that cannot be shown)"
    assert one_line(deep) == "(list that cannot be shown)"


@given(TEXTS)
def test_no_control_or_format_character_is_printable(text: str) -> None:
    assert {unicodedata.category(letter) for letter in printable(text)} & {"Cc", "Cf", "Cs", "Zl", "Zp"} == set()


def test_the_alignment_of_a_table_is_kept() -> None:
    assert printable("run        my-style\t!") == "run        my-style     !"


@given(TEXTS, TEXTS)
@example("a\nb", "x" * 10**5)
def test_an_error_is_one_printable_bounded_line_whatever_was_put_into_it(message: str, hint: str) -> None:
    error = FluxloraError(message, hint=hint)
    assert all(text.isprintable() and len(text) <= 2000 for text in (str(error), error.hint))
