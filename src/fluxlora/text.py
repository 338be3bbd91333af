"""Text from a host, the Hub or vast.ai, made safe where it enters: none of it commands a terminal or poses as ours."""

from __future__ import annotations

import re

# Long enough for a path and a reason, short enough for a screen.
LINE_CHARACTERS = 300
CUT_MARK = "…"
# Stands for a lone surrogate, as in Unicode's own conversions.
_REPLACEMENT = "\ufffd"
# Control sequences as ECMA-48 writes them, in 7 and 8 bits. A string that nothing ends is taken to the end of its line.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\r\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
# What Unicode ignores when it displays a text (Default_Ignorable_Code_Point) and Python calls printable all the same,
# and the blank of Braille.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def printable(text: str) -> str:
    """The text without escape sequences and characters that no terminal shows; spaces and alignment are kept.

    Control, bidirectional and zero-width characters go, line breaks too; a tab is as wide as it was.
    """
    plain = _INVISIBLE.sub("", _ESCAPES.sub("", text)).expandtabs()
    letters = (_REPLACEMENT if "\ud800" <= letter <= "\udfff" else letter for letter in plain)
    return "".join(letter for letter in letters if letter.isprintable())


def one_line(value: object, limit: int = LINE_CHARACTERS) -> str:
    """A foreign value as one printable line of at most `limit` characters, which ends with … where more was cut off.

    Runs of white space become one space. None is the empty text.
    """
    if value is None:
        return ""
    try:
        text = value if isinstance(value, str) else str(value)
    # A number of more digits than Python writes, or a nest that is too deep.
    except (ValueError, RecursionError):
        text = f"({type(value).__name__} that cannot be shown)"
    # No more is looked at than may be shown, with room for what is left out.
    looked_at = text[: 16 * limit + 1000]
    line = " ".join(" ".join(printable(part) for part in _ESCAPES.sub("", looked_at).split()).split())
    if len(line) <= limit and len(looked_at) == len(text):
        return line
    return line[: max(limit - len(CUT_MARK), 0)].rstrip() + CUT_MARK
