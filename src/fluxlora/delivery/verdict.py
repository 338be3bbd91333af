"""Whether an instance may be destroyed: the one place that decides it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fluxlora.delivery.report import NAME, proof
from fluxlora.vast.records import Instance


@dataclass(frozen=True)
class Verdict:
    """Whether an instance may be destroyed, whether all that it made was downloaded, and if not why not."""

    may_destroy: bool
    downloaded: bool
    refusal: str = ""


def verdict(name: str, instance: Instance | None, folder: Path, *, discard: bool = False) -> Verdict:
    """Of the instance behind the inventory's host `name`, by the manifest in the folder of its artifacts.

    The manifest must name this very instance: that of another one proves nothing. With `discard` its artifacts may be
    lost. Where there is no instance nothing is lost.
    """
    if instance is None:
        return Verdict(may_destroy=True, downloaded=True)
    shown = proof(folder / NAME)
    downloaded = shown.instance_id == instance.id
    if downloaded or discard:
        return Verdict(may_destroy=True, downloaded=downloaded)
    problem = f"{shown.problem} " if shown.problem else ""
    return Verdict(
        may_destroy=False,
        downloaded=False,
        refusal=(
            f"{problem}The artifacts of {name} were not downloaded, and instance {instance.id} costs "
            f"${instance.price_per_hour or 0:.3f}/h. Download them with "
            f"`ansible-playbook fetch.yml -e run_name={name}`, or lose them with "
            f"`ansible-playbook destroy.yml -e run_name={name} -e provision_destroy_unsaved=true`."
        ),
    )
