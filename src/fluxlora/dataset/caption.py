"""The content of one caption file: its text and its encoding."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

# T5 reads 512 tokens, a few KB of text; a larger file is something else with the name of a caption file.
CAPTION_LIMIT_BYTES = 64 * 1024
# SimpleTuner sets FLUX's tokenizer to this number of tokens and cuts off the rest.
TOKEN_LIMIT = 512
# An estimate without T5's vocabulary: 1.3 tokens per word of English, or one per four letters if that is more.
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
    """One caption file; `encoding` is None if it cannot be read or is too long."""

    encoding: str = ""
    # The trained lines, without lines of only white space.
    lines: tuple[str, ...] = ()
    # Lines of white space that SimpleTuner uses as captions.
    blank: int = 0
    size: int = 0
    reason: str = ""

    @property
    def readable(self) -> bool:
        """Whether SimpleTuner can read the file."""
        return self.encoding in ("utf-8", "utf-8-sig")


def read(file: Path) -> Caption:
    """Read a caption file in any encoding; nothing is raised."""
    try:
        with file.open("rb") as opened:
            raw = opened.read(CAPTION_LIMIT_BYTES + 1)
    except OSError as reason:
        return Caption(reason=reason.strerror or str(reason))
    if len(raw) > CAPTION_LIMIT_BYTES:
        return Caption(size=len(raw))
    encoding, text = decode(raw)
    lines = text.split("\n")
    # A file of one line is one caption even if it is white space; of several lines the empty ones are left out.
    blank = sum(1 for line in lines if line and not line.strip()) if len(lines) > 1 else 0
    return Caption(encoding, tuple(line.strip() for line in lines if line.strip()), blank, len(raw))


def decode(raw: bytes) -> tuple[str, str]:
    """Return the encoding and the text. Windows-1252 can decode anything, so it is tried last."""
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            return encoding, raw.decode(encoding, errors="replace")
    # Text has no zero bytes, except in UTF-16, where every second byte is zero.
    if b"\0" in raw:
        encoding = "utf-16-le" if raw[1::2].count(0) >= raw[::2].count(0) else "utf-16-be"
        return encoding, raw.decode(encoding, errors="replace")
    try:
        return "utf-8", raw.decode("utf-8")
    except UnicodeDecodeError:
        return "windows-1252", raw.decode("cp1252", errors="replace")


def tokens(line: str) -> int:
    """Return the estimated number of T5's tokens in a line."""
    return round(max(len(_WORDS.findall(line)) * _PIECES_PER_WORD, len(line) / _LETTERS_PER_PIECE))
