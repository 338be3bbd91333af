"""What a run was given when it was begun, kept on this computer so that coming back continues the same run.

A file of variables for each run, `runs/NAME.yml` in the folder of what this computer remembers. An instance's label has
the presets alone, so another computer knows nothing else.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from fluxlora.errors import InputError
from fluxlora.money.journal import Entry, Event, training_began
from fluxlora.settings import presets
from fluxlora.settings.credentials import without_secrets
from fluxlora.settings.guide import as_read
from fluxlora.text import one_line

# What answers whether settings may change: `changed`, those of the call over the kept ones, or `new`, those alone.
ACCEPT = "run_settings"
# What a call is told about itself, and no run is made of.
_OF_A_CALL = frozenset({
    *("run_name", "run_rehearsal", ACCEPT, "destroy_all", "import_files", "import_dir", "render_dir", "enter_asks"),
    *("fluxlora_show_secrets", "fluxlora_state_dir", "vastai_known_hosts_dir", "plan_show", "plan_corrected_copy"),
    *("provision_state", "provision_show_refused", "provision_max_instances", "training_state"),
    *("training_stop_wait_minutes", "enter_apart_from", "run_unfinished"),
})  # fmt: skip
_OF_A_CALL_TOO = ("ansible_", "doctor_", "provision_destroy_", "provision_audit_", "__")
# The shape of what a checkpoint holds, and what it was trained with from its first step.
_FIXED = frozenset({
    *("run_presets", "simpletuner_version", "simpletuner_datasets", "simpletuner_model", "simpletuner_model_family"),
    *("simpletuner_model_flavour", "simpletuner_model_type", "simpletuner_lora_type", "simpletuner_lora_rank"),
    *("simpletuner_lora_alpha", "simpletuner_lycoris", "simpletuner_flux_lora_target", "simpletuner_optimizer"),
})  # fmt: skip
_AT_ONCE = frozenset({"provision_budget_usd", "provision_deadline_hours", "provision_ssh_key_file"})
_EXTRA = "simpletuner_extra_config"
_NOT_SET = "not set"


class Effect(StrEnum):
    """From when on a changed setting counts, in words."""

    FIXED = "fits no checkpoint that was made before"
    NEXT_START = "counts when the trainer next starts"
    NEXT_INSTANCE = "counts for the next instance"
    AT_ONCE = "counts at once"


@dataclass(frozen=True)
class Difference:
    """A setting that was given now and is another than the kept one."""

    name: str
    kept: Any
    now: Any
    effect: Effect

    def __str__(self) -> str:
        return f"{self.name}: {_shown(self.kept)} is kept, {_shown(self.now)} was given now; {self.effect}"

    def as_facts(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "setting": self.name,
            "kept": None if self.kept == _NOT_SET else self.kept,
            "now": self.now,
            "effect": str(self.effect),
        }


@dataclass(frozen=True)
class Kept:
    """The settings of a run's file; `at` is when they were kept, in seconds since the epoch."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    at: float = 0.0

    def goes_on(self, entries: Sequence[Entry], instance_id: int = 0) -> bool:
        """Whether they are those of the training that goes on, by the journal's entries of the run and its instance.

        After a delivery, and after an instance was destroyed by hand, the next training is a new one.
        """
        if not self.at:
            return False
        if training_began(entries) is not None:
            return True
        delivered = [each.instance_id for each in entries if each.event is Event.DELIVERED and each.at >= self.at]
        return bool(instance_id) and (not delivered or instance_id in delivered)


def file_of(folder: Path, run: str) -> Path:
    """The file of a run's settings."""
    return folder / f"{run}.yml"


def read(folder: Path, run: str) -> Kept:
    """What is kept for a run; empty where nothing is. Raises InputError for a file that cannot be used."""
    file = file_of(folder, run)
    try:
        text, at = file.read_text(encoding="utf-8"), file.stat().st_mtime
        settings = yaml.safe_load(text) or {}
        if not isinstance(settings, dict):
            raise ValueError("not a mapping")
    except FileNotFoundError:
        return Kept()
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(
            f"{file}, which keeps what {run} was given, cannot be read.",
            hint="Correct it, or remove it and give the settings again.",
            code="settings_unreadable",
        ) from error
    return Kept(settings, at)


def write(folder: Path, run: str, settings: Mapping[str, Any], *, dry_run: bool = False) -> bool:
    """Keep these for a run, readable by their owner alone; whether that changes anything. Raises InputError."""
    file = file_of(folder, run)
    known = None
    with suppress(InputError):
        known = read(folder, run)
    if known is not None and known.at and dict(known.settings) == dict(settings):
        return False
    if dry_run:
        return True
    text = f"# What `train` was given for {run}, kept so that it goes on with the same. Secrets are left out.\n"
    text += yaml.safe_dump(json.loads(json.dumps(dict(settings))), allow_unicode=True)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # mkstemp's own mode is 0600.
        handle, name = tempfile.mkstemp(dir=folder, prefix=f".{run}-")
        with os.fdopen(handle, "w", encoding="utf-8") as fresh:
            fresh.write(text)
        Path(name).replace(file)
    except OSError as error:
        raise InputError(
            f"{file} cannot be written: {error.strerror}. Nothing was rented.",
            hint="Look at the owner of the folder, and at the space that is left.",
            code="settings_not_kept",
        ) from error
    return True


def of_run(given: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Of all that a call was given what belongs to its runs, without secrets; and the names of those."""
    own = {name: value for name, value in given.items() if name not in _OF_A_CALL}
    own = {name: value for name, value in own.items() if not name.startswith(_OF_A_CALL_TOO)}
    if isinstance(folder := own.get("dataset_path"), str):
        # The next call may come from another folder.
        own["dataset_path"] = os.path.abspath(os.path.expanduser(folder))  # noqa: PTH100, PTH111  # links stay as given
    cleaned = without_secrets(own)
    return cleaned.value, cleaned.dropped


def compare(kept: Mapping[str, Any], given: Mapping[str, Any], *, alone: bool = False) -> tuple[Difference, ...]:
    """What was given now and is not as it is kept, in the order given.

    What was not given goes on as it is kept, unless the given settings count `alone`.
    """
    before, now = _flat(kept), _flat(given)
    if alone:
        now |= {name: _NOT_SET for name in before if name not in now}
    return tuple(
        Difference(name, before.get(name, _NOT_SET), value, _effect(name))
        for name, value in now.items()
        if name not in before or _meaning(name, before[name]) != _meaning(name, value)
    )


def require(run: str, differences: Sequence[Difference], *, accepted: bool, checkpoint: int | None) -> None:
    """Raises InputError for changes that the training's newest checkpoint cannot take, or that nobody accepted."""
    told = "; ".join(map(str, differences))
    if checkpoint and any(each.effect is Effect.FIXED for each in differences):
        raise InputError(
            f"{run} was begun with other settings, and has got to checkpoint {checkpoint}: {told}.",
            hint=f"Leave out what fits no checkpoint to go on with {run}, give the new training a name of its own, or "
            f"end this one first: fluxlora destroy {run} --unsaved",
            code="settings_fixed",
        )
    if differences and not accepted:
        raise InputError(
            f"{run} was begun with other settings: {told}.",
            hint=f"Leave them out to go on as before; add -e {ACCEPT}=changed to change them, or -e {ACCEPT}=new to "
            f"forget all that was kept. A trainer that runs has read its settings: `fluxlora stop {run}` ends it, and "
            "the next `train` starts it with the new ones.",
            code="settings_differ",
        )


def lines(
    run: str, kept: Kept, differences: Sequence[Difference], *, goes_on: bool, rented: bool, withheld: Sequence[str]
) -> list[str]:
    """What a person should know before the plan of a run."""
    told: list[str] = []
    changed = {each.name for each in differences}
    same = {name: value for name, value in kept.settings.items() if name not in changed} if goes_on else {}
    if same:
        values = ", ".join(f"{name}={_shown(value)}" for name, value in same.items())
        told.append(f"{run} goes on with what it was given before: {values}")
    if rented and not kept.at:
        told.append(
            f"{run} has an instance, and this computer has not kept what it was given: its presets are on its label, "
            "any other setting has to be given again."
        )
    told += [str(each) for each in differences]
    if withheld:
        told.append(f"Not kept, as secrets are not: {', '.join(withheld)}. Each call has to be given them.")
    return told


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """With each further option of the trainer's under a name of its own."""
    extra = settings.get(_EXTRA)
    if not isinstance(extra, Mapping):
        return dict(settings)
    options = {f"{_EXTRA}.{str(name).lstrip('-')}": value for name, value in extra.items()}
    return {**{name: value for name, value in settings.items() if name != _EXTRA}, **options}


def _effect(name: str) -> Effect:
    option = name.replace(f"{_EXTRA}.", "simpletuner_")
    if option in _FIXED:
        return Effect.FIXED
    if option in _AT_ONCE or option.startswith(("artifacts_", "provision_max_")):
        return Effect.AT_ONCE
    return Effect.NEXT_INSTANCE if option.startswith(("provision_", "vastai_")) else Effect.NEXT_START


def _meaning(name: str, value: Any) -> Any:
    """Comparable: 1500 and "1500" alike, presets in any order."""
    if name == "run_presets":
        with suppress(InputError):
            return sorted(presets.parse(value))
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        with suppress(ValueError, RecursionError):
            value = json.loads(value)
    return json.dumps(_as_read(value), sort_keys=True, default=str)


def _as_read(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _as_read(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_read(item) for item in value]
    read = as_read(value)
    return float(read) if isinstance(read, int) and not isinstance(read, bool) else read


def _shown(value: Any) -> str:
    return one_line(value if isinstance(value, str) else json.dumps(value, default=str), limit=80)
