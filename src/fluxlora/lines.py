"""The SimpleTuners that can be chosen, and what each of them needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fluxlora.errors import InputError


@dataclass(frozen=True)
class Line:
    """One value of `simpletuner_version`."""

    version: str
    # The python that its lock was made with.
    python: str
    # What its torch was built for, so the least that the host's driver must run.
    cuda: str
    # An image of vast.ai's own with that python, and a CUDA that such a driver serves.
    image: str
    # What installs its lock.
    installer: str
    # The release whose parser speaks for its options, see fluxlora.trainer.
    parser: str
    # Found in its environment, and run in its folder.
    command: tuple[str, ...] = ("simpletuner", "train")
    # Whether it embeds an empty text where no caption is dropped. One that does not, and is asked to draw with it, logs
    # an error in place of every validation picture.
    embeds_nothing: bool = True

    def as_facts(self) -> dict[str, Any]:
        """For Ansible, which takes a list for the command."""
        return asdict(self) | {"command": list(self.command)}


LINES: Mapping[str, Line] = {
    line.version: line
    for line in (
        Line(
            "3.1.6",
            python="3.11",
            cuda="12.8",
            image="vastai/pytorch:2.8.0-cuda-12.8.1-py311",
            installer="poetry",
            parser="3.1.6",
        ),
        Line(
            "4.10.1",
            python="3.12",
            cuda="13.0",
            image="vastai/base-image:cuda-13.0.3-cudnn-devel-ubuntu24.04-py312",
            installer="uv",
            parser="4.10.1",
            embeds_nothing=False,
        ),
        Line(
            "git",
            python="3.11",
            cuda="12.8",
            image="vastai/pytorch:2.8.0-cuda-12.8.1-py311",
            installer="poetry",
            # The tag v2.1.3 is on no package index; this followed it within six weeks.
            parser="2.2.0",
            # Without it train.sh installs once more at each start, and whatever is newest.
            command=("env", "DISABLE_UPDATES=true", "bash", "train.sh"),
        ),
    )
}


def line(version: object) -> Line:
    """What is known of it. Raises InputError for a version that is not supported."""
    try:
        return LINES[str(version)]
    except KeyError:
        *others, last = LINES
        raise InputError(
            f"simpletuner_version is {version!r}, which fluxlora has no lock for: "
            f"choose {', '.join(others)} or {last} (docs/trainers.md)."
        ) from None
