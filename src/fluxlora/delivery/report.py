"""The manifest and the report of a run: the downloaded files, their origin, and the cost so far."""

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
    """The downloaded files cannot be described."""

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
    """Describe the files in a run's folder; a file that has not changed since the last manifest is not read again.

    `instance` has id, gpu, price_per_hour ($) and started_at (seconds since the epoch), each possibly None. `cost`
    is the result of the module run_budget_info, if it was called. `problems` are sentences about downloaded files
    that cannot be used. Records of a host must be validated before: see fluxlora.untrusted.schemas. `copies` is the
    result of the module adapter_copies. `delivered` is true if the final adapter exists and was checked. Raises
    ReportError if there is no folder.
    """
    if not folder.is_dir():
        raise ReportError(f"Nothing of {run} is downloaded: there is no folder {folder}.")
    now = time.time() if now is None else now
    files = _files(folder, _previous(folder))
    return {
        "run": run,
        "presets": list(presets),
        "made_at": _moment(now),
        "delivered": adapter_facts is not None,
        # The instance that may be destroyed, because all its files are here and its training has ended.
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
    """Write the manifest and the report into the folder; False if only the time would change."""
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
    """Return the manifest as lines for people."""
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
        known = {}  # Without a valid manifest every file is read again.
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
    """What a local manifest proves: all artifacts of this instance are downloaded; or why it proves nothing."""

    instance_id: int | None = None
    problem: str = ""


def proof(manifest: Path) -> Proof:
    """Return what a run's manifest.json proves; it need not exist."""
    try:
        found = read_file(ManifestRecord, manifest)
    except MalformedError as error:
        return Proof(problem=str(error))
    return Proof(found.vastai_id if found else None)


def _cost(spent: Mapping[str, Any]) -> dict[str, Any]:
    """Return $: the three costs of the instance, the highest cost of earlier ones, the total, and the expected cost."""
    meters = spent.get("meters") or {}
    amounts = {
        **{name: meters.get(name) for name in ("gpu", "storage", "bytes")},
        "earlier": spent.get("earlier_usd"),
        "total": spent.get("spent_usd"),
        "expected": spent.get("expected_usd"),
        "budget": spent.get("budget_usd"),
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
    """Replace a file in one step, so that it is complete or unchanged."""
    fresh = file.with_name(f".{file.name}.new")
    # An interrupted call may have left anything there, even a link.
    fresh.unlink(missing_ok=True)
    with fresh.open("x", encoding="utf-8") as opened:
        opened.write(text)
    fresh.replace(file)


def _between(begin: float | None, end: float | None) -> float | None:
    return round(max(end - begin, 0.0), 1) if begin and end else None


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _finite(loss: float | None) -> float | None:
    """Return a finite number for JSON, or None; the log has the numbers of a training that diverged."""
    return loss if loss is not None and math.isfinite(loss) else None


def _or(value: object) -> object:
    return "unknown" if value is None else value


def remember(journal: Journal, manifest: Mapping[str, Any]) -> None:
    """Record in the journal that the adapter is downloaded, and how fast it was trained; once for each instance's
    adapter."""
    made, run, instance_id = manifest["adapter"], manifest["run"], manifest["instance"]["id"]
    if not made:
        return
    entries = journal.entries(run)
    delivered = [entry for entry in entries if entry.event is Event.DELIVERED and entry.instance_id == instance_id]
    if any(entry.facts.get("sha256") == made["sha256"] for entry in delivered):
        return
    rent = next((entry for entry in entries if entry.event is Event.RENTED and entry.instance_id == instance_id), None)
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
