"""What may be said of runs in playbooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fluxlora.errors import InputError
from fluxlora.offers.refusal import why_no_offer
from fluxlora.untrusted.schemas import MalformedError, texts
from fluxlora.vast.labels import Label

GUIDE_PRESET = "1024"


def run_name_fault(name: str) -> str:
    """Why a run cannot be called this, and what instead; empty where it can."""
    try:
        Label(name)
    except InputError as error:
        return f"{error} {error.hint}"
    return ""


def written_sums(text: str) -> dict[str, str]:
    """The files that were written before with their checksums; none where the record of them cannot be read.

    Then they count as somebody's own, and are not written over.
    """
    try:
        return texts(text, "The record of the files that were written")
    except MalformedError:
        return {}


def chosen_runs(listed: Sequence[str], run_name: str | None, apart_from: Sequence[str] = ()) -> list[str]:
    """The runs that a call names, or all that the inventory lists; without those that are left out."""
    runs = listed if run_name is None else [name.strip() for name in run_name.split(",")]
    return [run for run in dict.fromkeys(runs) if run not in apart_from]


def chosen_presets(host: Mapping[str, Any], given: Any, before: Mapping[str, Any]) -> Any:
    """The presets of a run: those of this call, else those it was given before, else its own, else its instance's.

    A new run that nobody gave any is trained as the guide does it.
    """
    choices = (given, before.get("run_presets"), host.get("run_presets"), host.get("vastai_presets"))
    return next((presets for presets in choices if presets is not None), GUIDE_PRESET)


def without_instance(hosts: Sequence[str], hostvars: Mapping[str, Any]) -> list[str]:
    """The runs among the hosts that have no instance, or one that was taken away."""
    return [host for host in hosts if not hostvars[host]["provision_found"]["usable"]]


def instance_ids(hosts: Sequence[str], hostvars: Mapping[str, Any]) -> list[int]:
    """The instances of the hosts, as the role provision has found them."""
    found = (hostvars[host]["provision_found"]["instance"] for host in hosts)
    return [instance["id"] for instance in found if instance]


def expected_usd(hosts: Sequence[str], hostvars: Mapping[str, Any]) -> float:
    """What the best offers of the hosts are expected to cost together, in $: one account pays for all of them."""
    offers = (hostvars[host].get("provision_offers", {}).get("offers") for host in hosts)
    return sum(float(best[0]["cost"]["total"]) for best in offers if best)


class FilterModule:
    """What the package decides about runs, for a playbook to refuse or to show."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {
            "chosen_presets": chosen_presets,
            "chosen_runs": chosen_runs,
            "expected_usd": expected_usd,
            "instance_ids": instance_ids,
            "run_name_fault": run_name_fault,
            "why_no_offer": why_no_offer,
            "without_instance": without_instance,
            "written_sums": written_sums,
        }
