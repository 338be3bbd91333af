"""What only shows when the files of a dataset are compared: copies, and words that some captions lack."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import PurePosixPath

import numpy as np

from fluxlora.dataset.caption import Caption
from fluxlora.dataset.finding import Finding, warning
from fluxlora.dataset.picture import Look

# Bits of 128 by which a picture and its recompressed copy may differ; other photographs differ by 40 and more.
_ALIKE_BITS = 12
# Likenesses that are compared with all others at a time; 20,000 of them then take 80 MB.
_ROWS = 256


@dataclass(frozen=True)
class Wanted:
    """What the user means the dataset to be."""

    # The word that calls the subject or style; captions of other pictures do not have it.
    trigger_word: str = ""
    # File names of pictures that show other things, as a shell would write it.
    regularisation_pattern: str = ""
    # The SimpleTuner that will read it.
    simpletuner_version: str = "3.1.6"

    @property
    def modern(self) -> bool:
        """Whether it is the line that begins with version 4."""
        return self.simpletuner_version[:1].isdigit() and int(self.simpletuner_version.split(".")[0]) >= 4

    def regularises(self, name: str) -> bool:
        """Whether a picture is there to show what the subject is not."""
        pattern = self.regularisation_pattern
        return bool(pattern) and (fnmatch(name, pattern) or fnmatch(PurePosixPath(name).name, pattern))


def exact(looks: Mapping[str, Look]) -> dict[str, str]:
    """Each file that is the same to the byte as an earlier one, and that one."""
    first: dict[str, str] = {}
    return {
        name: kept
        for name, look in sorted(looks.items())
        if look.digest and (kept := first.setdefault(look.digest, name)) != name
    }


def near(looks: Mapping[str, Look]) -> dict[str, str]:
    """Each picture that looks like an earlier one, and that one."""
    names = [name for name, look in sorted(looks.items()) if look.likeness]
    if not names:
        return {}
    bits = np.array([np.frombuffer(bytes.fromhex(looks[name].likeness), np.uint64) for name in names])
    found: dict[str, str] = {}
    for start in range(0, len(names), _ROWS):
        block, rest = bits[start : start + _ROWS], bits[start:]
        apart = np.zeros((len(block), len(rest)), np.uint8)
        for half in range(2):
            apart += np.bitwise_count(block[:, half, None] ^ rest[None, :, half])
        alike = np.triu(apart <= _ALIKE_BITS, 1)
        for other in np.flatnonzero(alike.any(axis=0)):
            found.setdefault(names[start + other], names[start + int(alike[:, other].argmax())])
    return found


def copies(looks: Mapping[str, Look]) -> Iterator[Finding]:
    """Pictures that are there twice."""
    same = exact(looks)
    for name, kept in same.items():
        yield warning(
            name,
            "duplicate",
            f"It is a copy of {kept}, so the picture counts twice in the training.",
            "Remove one of them; to weigh a picture more, use `repeats`.",
        )
    alike = near({name: look for name, look in looks.items() if name not in same})
    for name, kept in alike.items():
        yield warning(
            name,
            "near_duplicate",
            f"It looks like {kept}, so what both show counts twice in the training.",
            "Keep the better one, unless the likeness is meant.",
        )


def words(captions: Mapping[str, Caption], wanted: Wanted) -> Iterator[Finding]:
    """Captions by the picture they belong to: does each say what it should?"""
    others = [name for name in captions if wanted.regularises(name)]
    if wanted.regularisation_pattern and captions:
        yield from _balance(len(captions) - len(others), len(others), wanted)
    if not wanted.trigger_word:
        return
    trigger = re.compile(rf"(?<!\w){re.escape(wanted.trigger_word)}(?!\w)")
    for name, caption in captions.items():
        having = sum(1 for line in caption.lines if trigger.search(line))
        if name in others:
            if having:
                yield warning(
                    name,
                    "trigger_in_regularisation",
                    f"A caption of this regularisation picture has the trigger word {wanted.trigger_word!r}, which "
                    "then comes to mean this picture too.",
                    "Take the word out of it.",
                )
        elif lacking := len(caption.lines) - having:
            yield warning(
                name,
                "no_trigger",
                f"{lacking} of its {len(caption.lines)} captions lack the trigger word {wanted.trigger_word!r}, so "
                "what it shows is learnt for every prompt.",
                "Write the word into each, in the same letters.",
            )


def _balance(subject: int, others: int, wanted: Wanted) -> Iterator[Finding]:
    if not others:
        yield warning(
            wanted.regularisation_pattern,
            "regularisation",
            "No picture has a name like this, so none keeps the adapter from changing everything else too.",
            "Correct plan_regularisation_pattern, or add some pictures of other things.",
        )
    elif others > subject:
        yield warning(
            wanted.regularisation_pattern,
            "regularisation",
            f"{others} regularisation pictures stand beside {subject} of the subject, so most steps train "
            "something else.",
            "Use at most as many as there are pictures of the subject.",
        )
