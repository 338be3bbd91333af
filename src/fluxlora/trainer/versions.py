"""The SimpleTuners that can be chosen, and what each of them needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fluxlora.errors import InputError


@dataclass(frozen=True)
class Release:
    """A release of SimpleTuner that can be chosen: one value of `simpletuner_version`."""

    version: str
    # The python that its lock was made with.
    python: str
    # What its torch was built for, so the least that the host's driver must run.
    cuda: str
    # An image of vast.ai's own with that python, and a CUDA that such a driver serves.
    image: str
    # What installs its lock.
    installer: str
    # Whether it embeds an empty text where no caption is dropped. One that does not, and is asked to draw with it, logs
    # an error in place of every validation picture.
    embeds_nothing: bool = True
    # Whether it pushes every checkpoint's adapter to the Hub where it pushes at all, whatever it is told.
    pushes_all_checkpoints: bool = False
    # Whether the epochs of the config end a training before its steps are done, unless ignore_final_epochs is set.
    ends_by_epochs: bool = False
    # Where the bytecode goes in a rehearsal, whose hosts share the cache that uv links the files of an environment to:
    # what python compiles of them, for a minute, is shared too. Elsewhere hosts would undo each other's work.
    bytecode_dir: str = ""

    def as_facts(self) -> dict[str, Any]:
        """For Ansible."""
        return asdict(self)


RELEASES: Mapping[str, Release] = {
    release.version: release
    for release in (
        Release(
            "3.1.6",
            python="3.11",
            cuda="12.8",
            image="vastai/pytorch:2.8.0-cuda-12.8.1-py311",
            installer="poetry",
            pushes_all_checkpoints=True,
            ends_by_epochs=True,
        ),
        Release(
            "4.10.1",
            python="3.12",
            cuda="13.0",
            image="vastai/base-image:cuda-13.0.3-cudnn-devel-ubuntu24.04-py312",
            installer="uv",
            embeds_nothing=False,
            bytecode_dir="/root/.cache/bytecode",
        ),
    )
}


def release(version: object) -> Release:
    """What is known of it. Raises InputError for a version that is not supported."""
    try:
        return RELEASES[str(version)]
    except KeyError:
        *others, last = RELEASES
        raise InputError(
            f"simpletuner_version is {version!r}, which fluxlora has no lock for: "
            f"choose {', '.join(others)} or {last} (docs/trainers.md)."
        ) from None
