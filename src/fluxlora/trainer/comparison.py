"""Whether a run's rendered files fit its SimpleTuner. Messages name the variable in which the user can fix a
problem."""

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
    """What the trainer would refuse or leave out, and what is uncertain, one sentence each."""

    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def compare(
    variables: Mapping[str, Any], config: Mapping[str, Any], backends: Iterable[Mapping[str, Any]] = ()
) -> Comparison:
    """Compare both rendered files with the facts of `simpletuner_version`; they were rendered from the variables."""
    line = str(variables.get("simpletuner_version", "3.1.6"))
    gpu = variables.get("simpletuner_torch_build", "cuda") != "cpu"
    try:
        problems = [*check_config(line, config, gpu=gpu), *_left_out(line, variables)]
    except InputError as error:
        return Comparison((f"simpletuner_version: {error} {error.hint}",))
    found = [(problem.kind, f"{_place(problem.option, variables)}: {problem}") for problem in problems]
    found += [(problem.kind, f"simpletuner_datasets: {problem}") for problem in check_backends(line, backends)]
    return Comparison(tuple(message for _, message in found))


def _left_out(line: str, variables: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield a problem for each option that is set, but that the release does not have and `trainer_options` leaves
    out."""
    for moved in CHANGES:
        wanted = variables.get(f"simpletuner_{moved.old}")
        if moved.new is None and change(line, moved.old) and wanted is not None and _on(wanted) != moved.stands:
            message = f"SimpleTuner {facts(line).version} has no option {moved.old}: {moved.why}."
            yield Problem("removed", moved.old, f"{message} Set it to {str(moved.stands).lower()}.")


def _on(value: Any) -> bool:
    return str(value).lower() in ("true", "yes", "on", "1")


def _place(option: str, variables: Mapping[str, Any]) -> str:
    extra = variables.get("simpletuner_extra_config") or {}
    if isinstance(extra, Mapping) and option in {str(name).lstrip("-") for name in extra}:
        return "simpletuner_extra_config"
    return f"simpletuner_{option}" if f"simpletuner_{option}" in variables else "config.json"
