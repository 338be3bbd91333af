"""What one caption file holds: its text, and in which encoding it was found."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

# T5 reads 512 tokens, a few KB of text; a caption file beyond this is something else under the name of one.
CAPTION_LIMIT_BYTES = 64 * 1024
# SimpleTuner sets FLUX's tokenizer to this many and cuts off the rest.
TOKEN_LIMIT = 512
# A rule of thumb, for want of T5's vocabulary: 1.3 pieces a word of English, or one for four letters if that is more.
_PIECES_PER_WORD = 1.3
_LETTERS_PER_PIECE = 4
_WORDS = re.compile(r"\w+|[^\w\s]")

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class Caption:
    """One caption file; `encoding` is none where it cannot be read or is too long to be one."""

    encoding: str = ""
    # As they are trained on, without the lines of nothing but white space.
    lines: tuple[str, ...] = ()
    # Lines of white space that SimpleTuner takes for captions.
    blank: int = 0
    size: int = 0
    reason: str = ""

    @property
    def readable(self) -> bool:
        """Whether SimpleTuner can read it."""
        return self.encoding in ("utf-8", "utf-8-sig")


def read(file: Path) -> Caption:
    """Read a caption file in whatever encoding it is; nothing is raised."""
    try:
        with file.open("rb") as opened:
            raw = opened.read(CAPTION_LIMIT_BYTES + 1)
    except OSError as reason:
        return Caption(reason=reason.strerror or str(reason))
    if len(raw) > CAPTION_LIMIT_BYTES:
        return Caption(size=len(raw))
    encoding, text = decode(raw)
    lines = text.split("\n")
    # A file of one line is one caption even where it is white space; of several the empty ones are left out.
    blank = sum(1 for line in lines if line and not line.strip()) if len(lines) > 1 else 0
    return Caption(encoding, tuple(line.strip() for line in lines if line.strip()), blank, len(raw))


def decode(raw: bytes) -> tuple[str, str]:
    """The encoding and the text. Windows-1252 reads anything, so it is the last guess."""
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            return encoding, raw.decode(encoding, errors="replace")
    # Text has no zero bytes, but every second one of UTF-16 is.
    if b"\0" in raw:
        encoding = "utf-16-le" if raw[1::2].count(0) >= raw[::2].count(0) else "utf-16-be"
        return encoding, raw.decode(encoding, errors="replace")
    try:
        return "utf-8", raw.decode("utf-8")
    except UnicodeDecodeError:
        return "windows-1252", raw.decode("cp1252", errors="replace")


def tokens(line: str) -> int:
    """How many tokens T5 makes of a line, estimated without its vocabulary."""
    return round(max(len(_WORDS.findall(line)) * _PIECES_PER_WORD, len(line) / _LETTERS_PER_PIECE))
