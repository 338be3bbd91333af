"""Findings about the files of a dataset, the most serious first; only some of each kind are printed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum

# This many of each kind are printed; a large dataset may have thousands.
SHOWN = 5

# Every kind of finding, the most serious first.
WEIGHT = (
    # The run ends, or trains something else than the image.
    "name_not_utf8", "not_a_file", "link_loop", "link_outside", "video", "unreadable", "damaged", "too_large",
    "same_stem", "no_caption", "empty_caption", "not_utf8", "caption_too_long",
    # The image is not trained, or is changed.
    "rotated", "too_small", "upper_case_suffix", "unknown_suffix", "sixteen_bit", "alpha", "cropped", "animated",
    # It is trained, but with a wrong effect.
    "no_trigger", "trigger_in_regularisation", "regularisation", "duplicate", "near_duplicate", "caption_cut",
    "blank_caption", "byte_order_mark", "palette",
    # No effect here, but perhaps on other systems.
    "caption_alone", "wrong_suffix", "name_clash", "odd_name", "link",
)  # fmt: skip
# The kinds that `fluxlora check --fix` removes in a copy.
FIXABLE = frozenset(WEIGHT) - {
    "link_outside", "no_caption", "empty_caption", "caption_too_long", "too_small", "unknown_suffix", "cropped",
    "no_trigger", "trigger_in_regularisation", "regularisation", "near_duplicate", "caption_cut",
}  # fmt: skip


class Severity(StrEnum):
    """An error ends the plan; a warning is printed."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """One problem of one file: its effect and its fix."""

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
    """Return a finding that makes the plan fail."""
    return Finding(printable(file), effect, fix, Severity.ERROR, code)


def warning(file: str, code: str, effect: str, fix: str) -> Finding:
    """Return a finding that is only printed."""
    return Finding(printable(file), effect, fix, Severity.WARNING, code)


def by_weight(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sort by the most serious kind, within a kind by name."""
    return tuple(sorted(findings, key=lambda finding: (WEIGHT.index(finding.code), finding.file, finding.effect)))


def messages(findings: Iterable[Finding]) -> list[tuple[Severity, str]]:
    """Return a sentence for each finding, the most serious first; of many of a kind the first ones and their number."""
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
    """Return foreign text on one line, with control characters and bytes that are not UTF-8 escaped."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
