"""Whether a run's rendered files fit the SimpleTuner that was chosen for it, told where the user can mend it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fluxlora.errors import InputError
from fluxlora.trainer.changes import CHANGES, change
from fluxlora.trainer.check import Problem, check_backends, check_config
from fluxlora.trainer.facts import facts


@dataclass(frozen=True)
class Comparison:
    """What the trainer would refuse or leave out, and what cannot be said for certain, one sentence each."""

    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def compare(
    variables: Mapping[str, Any], config: Mapping[str, Any], backends: Iterable[Mapping[str, Any]] = ()
) -> Comparison:
    """Both rendered files against the facts of `simpletuner_version`; the variables are what rendered them."""
    line = str(variables.get("simpletuner_version", "3.1.6"))
    gpu = variables.get("simpletuner_torch_build", "cuda") != "cpu"
    try:
        problems = [*check_config(line, config, gpu=gpu), *_left_out(line, variables)]
    except InputError as error:
        return Comparison((f"simpletuner_version: {error} {error.hint}",))
    told = [(each.kind, f"{_place(each.option, variables)}: {each}") for each in problems]
    told += [(each.kind, f"simpletuner_datasets: {each}") for each in check_backends(line, backends)]
    return Comparison(tuple(message for _, message in told))


def _left_out(line: str, variables: Mapping[str, Any]) -> Iterator[Problem]:
    """Options of our own that are wanted otherwise, and that `trainer_options` leaves out because the line has none."""
    for each in CHANGES:
        wanted = variables.get(f"simpletuner_{each.old}")
        if each.new is None and change(line, each.old) and wanted is not None and _on(wanted) != each.stands:
            message = f"SimpleTuner {facts(line).version} has no option {each.old}: {each.why}."
            yield Problem("removed", each.old, f"{message} Set it to {str(each.stands).lower()}.")


def _on(value: Any) -> bool:
    return str(value).lower() in ("true", "yes", "on", "1")


def _place(option: str, variables: Mapping[str, Any]) -> str:
    extra = variables.get("simpletuner_extra_config") or {}
    if isinstance(extra, Mapping) and option in {str(name).lstrip("-") for name in extra}:
        return "simpletuner_extra_config"
    return f"simpletuner_{option}" if f"simpletuner_{option}" in variables else "config.json"
