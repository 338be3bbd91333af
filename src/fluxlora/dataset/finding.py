"""What is said about a dataset: one finding a file, the weightiest first, and in print no more than a person reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum

# Of each kind this many are told; a large dataset may have thousands.
SHOWN = 5

# Every kind of finding, the weightiest first.
WEIGHT = (
    # The run ends, or trains on something else than the picture.
    "name_not_utf8", "not_a_file", "link_loop", "link_outside", "video", "unreadable", "damaged", "too_large",
    "same_stem", "no_caption", "empty_caption", "not_utf8", "caption_too_long",
    # The picture is not trained on, or not as it is.
    "rotated", "too_small", "upper_case_suffix", "unknown_suffix", "sixteen_bit", "alpha", "cropped", "animated",
    # It is trained on, and teaches something else.
    "no_trigger", "trigger_in_regularisation", "regularisation", "duplicate", "near_duplicate", "caption_cut",
    "blank_caption", "byte_order_mark", "palette",
    # Nothing happens here, and perhaps elsewhere.
    "caption_alone", "wrong_suffix", "name_clash", "odd_name", "link",
)  # fmt: skip
# The kinds that `fluxlora check --fix` does away with, in a copy.
MENDED = frozenset(WEIGHT) - {
    "link_outside", "no_caption", "empty_caption", "caption_too_long", "too_small", "unknown_suffix", "cropped",
    "no_trigger", "trigger_in_regularisation", "regularisation", "near_duplicate", "caption_cut",
}  # fmt: skip


class Severity(StrEnum):
    """An error ends the plan; a warning is printed."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """One thing about one file: what will happen because of it, and what mends it."""

    file: str
    effect: str
    fix: str
    severity: Severity
    code: str

    def __str__(self) -> str:
        return printable(f"{self.file}: {self.effect} {self.fix}")

    def as_facts(self) -> dict[str, str]:
        """For JSON and for Ansible, which keeps no type but JSON's own."""
        return asdict(self) | {"severity": self.severity.value}


def error(file: str, code: str, effect: str, fix: str) -> Finding:
    """What ends the plan."""
    return Finding(printable(file), effect, fix, Severity.ERROR, code)


def warning(file: str, code: str, effect: str, fix: str) -> Finding:
    """What is printed, and no more."""
    return Finding(printable(file), effect, fix, Severity.WARNING, code)


def by_weight(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The weightiest kind first, within a kind by name."""
    return tuple(sorted(findings, key=lambda each: (WEIGHT.index(each.code), each.file, each.effect)))


def told(findings: Iterable[Finding]) -> list[tuple[Severity, str]]:
    """A sentence for each finding, the weightiest first; of many of a kind the first, and how many more there are."""
    kinds: dict[str, list[Finding]] = {}
    for finding in by_weight(findings):
        kinds.setdefault(finding.code, []).append(finding)
    sentences: list[tuple[Severity, str]] = []
    for code, same in kinds.items():
        sentences += [(finding.severity, str(finding)) for finding in same[:SHOWN]]
        if len(same) > SHOWN:
            sentences.append((same[0].severity, f"... and {len(same) - SHOWN} more of this kind ({code})."))
    return sentences


def printable(text: str) -> str:
    """Foreign text on one line: control characters and bytes that are no UTF-8 are written out."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
