"""The manifest of a run: what came home, what it came from, and what it has cost so far."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluxlora.delivery import adapter
from fluxlora.delivery.adapter import summary
from fluxlora.errors import FluxloraError
from fluxlora.money.journal import Event, Journal
from fluxlora.onhost.supervisor import checkpoints
from fluxlora.untrusted import files
from fluxlora.untrusted.schemas import MalformedError, ManifestRecord, parse, read, read_file

NAME = "manifest.json"
TEXT_NAME = "report.txt"


class ReportError(FluxloraError):
    """What came home cannot be described."""

    code = "no_artifacts"


def build(
    folder: Path,
    *,
    run: str,
    presets: Sequence[str],
    instance: Mapping[str, Any],
    progress: Mapping[str, Any],
    adapter_facts: Mapping[str, Any] | None,
    versions: Mapping[str, str],
    cost: Mapping[str, Any] | None = None,
    problems: Sequence[str] = (),
    copies: Sequence[Mapping[str, Any]] = (),
    now: float | None = None,
) -> dict[str, Any]:
    """Describe what lies in a run's folder; a file that has not changed since the last manifest is not read again.

    `instance` has id, gpu, price_per_hour ($) and started_at (seconds since the epoch), each possibly None; `cost` is
    what the module run_budget_info returned, where it was asked; `problems` are sentences about what came home and
    cannot be used. What a host has written is validated before: see fluxlora.untrusted.schemas.
    `copies` are those that the module adapter_copies returned.
    `delivered` is true when the final adapter is there and was checked. Raises ReportError where there is no folder.
    """
    if not folder.is_dir():
        raise ReportError(f"Nothing of {run} has come home: there is no folder {folder}.")
    now = time.time() if now is None else now
    files = _files(folder, _previous(folder))
    return {
        "run": run,
        "presets": list(presets),
        "made_at": _moment(now),
        "delivered": adapter_facts is not None,
        # The instance that may go, because nothing of it is missing here and nothing more will come.
        "vastai_id": instance.get("id") if adapter_facts or progress.get("phase") == "failed" else None,
        "phase": progress.get("phase"),
        "steps": {"done": progress.get("step"), "asked": progress.get("steps")},
        "loss": {"first": _finite(progress.get("first_loss")), "last": _finite(progress.get("loss"))},
        "seconds_per_step": progress.get("seconds_per_step"),
        "restarts": progress.get("restarts", 0),
        "times": {
            "trained_seconds": _between(progress.get("started_at"), progress.get("updated_at")),
            "rented_seconds": _between(instance.get("started_at"), now),
        },
        "instance": {key: instance.get(key) for key in ("id", "gpu", "price_per_hour", "started_at")},
        "cost_usd": _cost(cost or {}),
        "adapter": _relative(adapter_facts, folder) if adapter_facts else None,
        "copies": list(copies),
        "checkpoints": checkpoints(folder),
        "versions": dict(versions),
        "problems": list(problems),
        "files": files,
    }


def write(folder: Path, manifest: Mapping[str, Any], *, dry_run: bool = False) -> bool:
    """Put the manifest and the report into the folder; False where they said the same already, but for the time."""
    known = _previous(folder)
    passing = ("made_at", "times", "cost_usd")
    if {**known, **dict.fromkeys(passing)} == {**_plain(manifest), **dict.fromkeys(passing)}:
        return False
    if dry_run:
        return True
    _replace(folder / TEXT_NAME, "\n".join(lines(manifest)) + "\n")
    _replace(folder / NAME, json.dumps(manifest, indent=2) + "\n")
    return True


def lines(manifest: Mapping[str, Any]) -> list[str]:
    """The manifest as a person reads it."""
    loss, steps = manifest["loss"], manifest["steps"]
    instance, cost = manifest["instance"], manifest["cost_usd"]
    size = sum(file["size_bytes"] for file in manifest["files"]) / 1e6
    return [
        f"run        {manifest['run']}, presets {' + '.join(manifest['presets']) or 'none'}",
        f"training   {manifest['phase'] or 'unknown'}, step {_or(steps['done'])} of {_or(steps['asked'])}",
        f"loss       {_or(loss['first'])} at first, {_or(loss['last'])} at last",
        *summary.lines(manifest),
        f"instance   {_or(instance['id'])}, {_or(instance['gpu'])}",
        f"cost       {_cost_line(cost)}",
        f"home       {len(manifest['files'])} files, {size:.1f} MB",
        *(f"warning    {problem}" for problem in manifest["problems"]),
    ]


def _files(folder: Path, previous: Mapping[str, Any]) -> list[dict[str, Any]]:
    try:
        known = {file.path: file.model_dump() for file in read(ManifestRecord, previous, NAME).files}
    except MalformedError:
        known = {}  # Every file is read again.
    found = []
    for name, status in files.regular_files(folder):
        if name in (NAME, TEXT_NAME) or {files.PARTIAL, files.STAGING} & set(name.split("/")):
            continue
        facts = {"path": name, "size_bytes": status.st_size, "modified_at": round(status.st_mtime, 3)}
        old = known.get(name, {})
        unchanged = all(old.get(key) == value for key, value in facts.items()) and "sha256" in old
        found.append(facts | {"sha256": old["sha256"] if unchanged else adapter.file_sha256(folder / name)})
    return found


def _previous(folder: Path) -> dict[str, Any]:
    try:
        loaded = parse((folder / NAME).read_bytes(), NAME)
    except (OSError, MalformedError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


@dataclass(frozen=True)
class Proof:
    """What a manifest at home proves: all artifacts of this instance are there; or why it proves nothing."""

    instance_id: int | None = None
    problem: str = ""


def proof(manifest: Path) -> Proof:
    """Of a run's manifest.json, which need not exist."""
    try:
        found = read_file(ManifestRecord, manifest)
    except MalformedError as error:
        return Proof(problem=str(error))
    return Proof(found.vastai_id if found else None)


def _cost(told: Mapping[str, Any]) -> dict[str, Any]:
    """In $: the three meters of the instance, what earlier instances cost at most, all together; and what was meant."""
    meters = told.get("meters") or {}
    amounts = {
        **{name: meters.get(name) for name in ("gpu", "storage", "bytes")},
        "earlier": told.get("earlier_usd"),
        "total": told.get("spent_usd"),
        "expected": told.get("expected_usd"),
        "budget": told.get("budget_usd"),
    }
    rounded = {name: None if usd is None else round(float(usd), 4) for name, usd in amounts.items()}
    return rounded | {"bytes_counted": bool(meters.get("counted"))}


def _cost_line(cost: Mapping[str, Any]) -> str:
    if cost["total"] is None:
        return "unknown"
    meters = (
        f": GPU ${cost['gpu']:.3f}, storage ${cost['storage']:.3f}, bytes ${cost['bytes']:.3f}"
        + ("" if cost["bytes_counted"] else " as planned")
        if cost["gpu"] is not None
        else ""
    )
    earlier = f", earlier instances ${cost['earlier']:.3f} at most" if cost["earlier"] else ""
    expected = f"; ${cost['expected']:.2f} were expected" if cost["expected"] is not None else ""
    return f"${cost['total']:.3f} so far{meters}{earlier}{expected}"


def _relative(facts: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    path = Path(facts["path"]).resolve()
    inside = path.relative_to(folder.resolve()) if path.is_relative_to(folder.resolve()) else path
    return {**facts, "path": inside.as_posix()}


def _plain(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return dict(json.loads(json.dumps(manifest)))


def _replace(file: Path, text: str) -> None:
    """Whole or not at all."""
    fresh = file.with_name(f".{file.name}.new")
    # What an interrupted call has left there may be anything, a link too.
    fresh.unlink(missing_ok=True)
    with fresh.open("x", encoding="utf-8") as opened:
        opened.write(text)
    fresh.replace(file)


def _between(begin: float | None, end: float | None) -> float | None:
    return round(max(end - begin, 0.0), 1) if begin and end else None


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _finite(loss: float | None) -> float | None:
    """JSON has no other numbers; those of a training that diverged stand in its log."""
    return loss if loss is not None and math.isfinite(loss) else None


def _or(value: object) -> object:
    return "unknown" if value is None else value


def remember(journal: Journal, manifest: Mapping[str, Any]) -> None:
    """Note in the journal that the adapter is home, and how fast it was trained; once for each instance's adapter."""
    made, run, instance_id = manifest["adapter"], manifest["run"], manifest["instance"]["id"]
    if not made:
        return
    entries = journal.entries(run)
    delivered = [each for each in entries if each.event is Event.DELIVERED and each.instance_id == instance_id]
    if any(each.facts.get("sha256") == made["sha256"] for each in delivered):
        return
    rent = next((each for each in entries if each.event is Event.RENTED and each.instance_id == instance_id), None)
    expected = rent.facts.get("expected_seconds_per_step") if rent else None
    if manifest["seconds_per_step"] and expected:
        journal.write(
            Event.TRAINED,
            run,
            instance_id,
            gpu_name=manifest["instance"]["gpu"],
            seconds_per_step=manifest["seconds_per_step"],
            expected_seconds_per_step=expected,
        )
    journal.write(Event.DELIVERED, run, instance_id, sha256=made["sha256"])
