"""A UTF-8 locale for Ansible, which refuses every other one, whatever the user's own is."""

from __future__ import annotations

import locale
import os
import subprocess
from collections.abc import Callable, Iterable

from fluxlora.errors import InputError

# Always there with musl and with glibc since 2.35; usual on a Mac.
_COMMON = ("C.UTF-8", "en_US.UTF-8")


def ensure_utf8() -> None:
    """Let child processes have a UTF-8 locale, the user's own where it is one. Raises InputError without any."""
    chosen = choose(is_utf8, _installed)
    if chosen is None:
        raise InputError(
            "This computer has no UTF-8 locale, and Ansible works with no other.",
            hint="Make one: sudo localedef -i en_US -f UTF-8 en_US.UTF-8",
            code="no_utf8_locale",
        )
    if chosen:
        os.environ["LC_ALL"] = chosen


def choose(works: Callable[[str], bool], installed: Callable[[], Iterable[str]]) -> str | None:
    """A locale that works: empty for the one that the environment names, None where no installed one does."""
    for name in ("", *_COMMON):
        if works(name):
            return name
    return next(filter(works, installed()), None)


def is_utf8(name: str) -> bool:
    """Whether a locale can be used here and is one of UTF-8, by Ansible's own look; empty for the environment's."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        locale.setlocale(locale.LC_ALL, name)
        return str(locale.getlocale()[1]).lower().replace("-", "") == "utf8"
    # The latter for names that Python cannot take apart.
    except (locale.Error, ValueError):
        return False
    finally:
        locale.setlocale(locale.LC_ALL, before)


def _installed() -> list[str]:
    try:
        listed = subprocess.run(
            ["locale", "-a"], capture_output=True, text=True, errors="replace", timeout=10, check=False
        )
    except OSError:  # musl has no such program
        return []
    return [name for name in listed.stdout.split() if "utf" in name.lower()]
