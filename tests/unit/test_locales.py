"""Which locale Ansible is called with."""

from __future__ import annotations

import locale

import pytest

from fluxlora.runner.locales import choose, ensure_utf8, is_utf8


@pytest.mark.parametrize(
    ("there", "chosen"),
    [
        ({"", "C.UTF-8"}, ""),
        ({"C.UTF-8", "en_US.UTF-8"}, "C.UTF-8"),
        ({"en_US.UTF-8", "de_DE.utf8"}, "en_US.UTF-8"),
        # A machine without C.UTF-8.
        ({"de_DE.utf8"}, "de_DE.utf8"),
        (set(), None),
    ],
)
def test_the_users_own_locale_is_kept_where_it_will_do_and_else_the_first_that_is_there(
    there: set[str], chosen: str | None
) -> None:
    assert choose(there.__contains__, lambda: ["de_DE.utf8", "fr_FR.utf8"]) == chosen


def test_a_look_at_a_locale_leaves_this_processes_own() -> None:
    before = locale.setlocale(locale.LC_ALL)
    assert [is_utf8(name) for name in ("C", "POSIX", "xx_XX.UTF-8", "no locale at all")] == [False] * 4
    assert locale.setlocale(locale.LC_ALL) == before


@pytest.mark.parametrize("own", ["C", "POSIX", "xx_XX.UTF-8"])
def test_a_child_gets_a_locale_of_this_computer_that_is_utf8(own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", own)
    ensure_utf8()
    assert is_utf8("")
