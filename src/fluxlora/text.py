"""Text from a host, the Hub or vast.ai, made safe where it enters: it cannot control a terminal or imitate our
output."""

from __future__ import annotations

import re

# Long enough for a path and a reason, short enough for a screen.
LINE_CHARACTERS = 300
CUT_MARK = "…"
# Replaces a lone surrogate, as in Unicode's own conversions.
_REPLACEMENT = "\ufffd"
# Control sequences of ECMA-48, in 7 and 8 bits. A string without an end is removed up to the end of its line.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\r\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
# Characters that are not displayed (Default_Ignorable_Code_Point) although Python calls them printable, and the blank
# of Braille.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def printable(text: str) -> str:
    """Return the text without escape sequences and invisible characters; spaces and alignment are kept.

    Control, bidirectional and zero-width characters and line breaks are removed; a tab keeps its width.
    """
    plain = _INVISIBLE.sub("", _ESCAPES.sub("", text)).expandtabs()
    letters = (_REPLACEMENT if "\ud800" <= letter <= "\udfff" else letter for letter in plain)
    return "".join(letter for letter in letters if letter.isprintable())


def one_line(value: object, limit: int = LINE_CHARACTERS) -> str:
    """Return a foreign value as one printable line of at most `limit` characters, ending with … if it was cut off.

    Several spaces become one. None becomes the empty text.
    """
    if value is None:
        return ""
    try:
        text = value if isinstance(value, str) else str(value)
    # A number with more digits than Python prints, or data that is nested too deeply.
    except (ValueError, RecursionError):
        text = f"({type(value).__name__} that cannot be shown)"
    # Only a little more than the limit is read, because some of it may be removed.
    looked_at = text[: 16 * limit + 1000]
    line = " ".join(" ".join(printable(part) for part in _ESCAPES.sub("", looked_at).split()).split())
    if len(line) <= limit and len(looked_at) == len(text):
        return line
    return line[: max(limit - len(CUT_MARK), 0)].rstrip() + CUT_MARK
