"""The copies that are delivered: `RUN.safetensors` of the finished adapter, `RUN-step00000500.safetensors` of a
checkpoint.

They lie at the top of the run's folder. The trainer's own files stay as they are, for it resumes from its own spelling.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from fluxlora.delivery import adapter
from fluxlora.delivery.adapter import AdapterError, lokr
from fluxlora.delivery.adapter.loaders import LOKR_COPY_LOADERS, loads_in
from fluxlora.delivery.adapter.lokr import LokrError
from fluxlora.onhost import adapter_copy
from fluxlora.onhost.adapter_copy import ADAPTER, FACTS, Copied, UnusableAdapter, copy_name
from fluxlora.onhost.supervisor import checkpoints
from fluxlora.text import one_line
from fluxlora.untrusted.schemas import MalformedError, parse


@dataclass(frozen=True)
class Delivered:
    """One copy. `path` is relative to the run's folder; `step` is that of a checkpoint, None for the final adapter."""

    path: str
    step: int | None
    kind: str
    rank: int | None
    # At which it was trained, where it means something; `scale` is what of it is multiplied into the weights.
    alpha: float | None
    scale: float | None
    layers: int
    size_bytes: int
    # What the header names.
    trigger_word: str
    loads_in: tuple[str, ...]
    # Of a form of a LoKr: what it was made of; for a LoRA how much it leaves out of all weights' change, 0 to 1.
    made_of: str = ""
    difference: float = 0.0


@dataclass(frozen=True)
class Copies:
    """All copies of a run, the final one first, then the newest checkpoint; `problems` are sentences."""

    copies: tuple[Delivered, ...]
    problems: tuple[str, ...]
    changed: bool

    def as_facts(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "copies": [asdict(made) for made in self.copies],
            "problems": list(self.problems),
            "changed": self.changed,
        }


def deliver(
    folder: Path, run: str, *, finished: bool, step: int | None = None, lora_rank: int = 0, dry_run: bool = False
) -> Copies:
    """Write the copies of a run's folder that are missing or older than what they were made from.

    `finished` says whether the adapter at the top of the folder is this training's, finished at `step`. What cannot be
    copied becomes a problem, and the trainer's own file is what is delivered; nothing is raised for it.
    The first copy, where it is a LoKr, comes in forms that diffusers loads too; above 0, `lora_rank` asks for a LoRA.
    """
    known = _known(folder, run)
    alpha = adapter_copy.alpha_of(known)
    steps: list[int | None] = [None] if finished and (folder / ADAPTER).is_file() else []
    steps += [number for number in reversed(checkpoints(folder)) if _source(folder, number).is_file()]
    made, problems, changed = [], [], False
    for number in steps:
        source, target = _source(folder, number), folder / copy_name(run, number)
        header = adapter_copy.header_of(known, source, step if number is None else number)
        try:
            copied = adapter_copy.describe(source, alpha=alpha)
            if not _is_fresh(target, source, adapter_copy.whole_header(header, copied)):
                changed = True
                if not dry_run:
                    adapter_copy.copy(source, target, header, alpha=alpha)
                    _check(target)
            if not dry_run:
                made.append(_delivered(target, number, copied, header))
            problems += [f"{one_line(note)}." for note in copied.notes]
        except (UnusableAdapter, AdapterError, OSError) as error:
            where = "the adapter" if number is None else f"checkpoint {number}"
            problems.append(
                f"There is no copy of {where} that every program loads: {one_line(error)} Take the trainer's own file."
            )
    if made and made[0].kind == "lokr":
        forms, more, written = _forms(folder, made[0], lora_rank)
        made, problems, changed = made + forms, problems + more, changed or written
    return Copies(tuple(made), tuple(dict.fromkeys(problems)), changed)


def _forms(folder: Path, delivered: Delivered, lora_rank: int) -> tuple[list[Delivered], list[str], bool]:
    """What is made of a LoKr's copy: the copies for diffusers and the LoRA; what cannot be; whether any was written."""
    source = folder / delivered.path
    before = _versions(folder, source)
    found, problems = [], []
    makers = [partial(lokr.copy_for_diffusers, source, folder, source.stem)]
    if lora_rank:
        makers.append(partial(lokr.extract_lora, source, folder, source.stem, lora_rank))
    for make in makers:
        try:
            found += make()
        except (LokrError, OSError) as error:
            problems.append(one_line(error))
    forms = [
        replace(
            delivered,
            path=Path(form.path).name,
            kind="lokr" if form.rank is None else "lora",
            rank=form.rank,
            layers=form.layers,
            size_bytes=Path(form.path).stat().st_size,
            loads_in=LOKR_COPY_LOADERS if form.rank is None else loads_in("lora"),
            made_of=delivered.path,
            difference=form.difference,
        )
        for form in found
    ]
    return forms, problems, _versions(folder, source) != before


def _versions(folder: Path, source: Path) -> dict[str, tuple[int, int]]:
    """Time and size of the forms that are there; they have the time of what they were made of."""
    found = {file.name: file.stat() for file in folder.glob(f"{source.stem}-*.safetensors")}
    return {name: (status.st_mtime_ns, status.st_size) for name, status in found.items()}


def _source(folder: Path, step: int | None) -> Path:
    return folder / ADAPTER if step is None else folder / f"checkpoint-{step}" / ADAPTER


def _known(folder: Path, run: str) -> dict[str, Any]:
    """What adapter.json says; else what the trainer's own configuration does, as of runs from before there was one."""
    known = _read(folder / FACTS)
    given = known.get("header")
    if isinstance(given, dict):
        header = {str(name): one_line(value, 4096) for name, value in list(given.items())[:100]}
        return {"alpha": known.get("alpha"), "header": header}
    for name in ("simpletuner_config.json", "config/config.json"):
        options = {key.lstrip("-"): value for key, value in _read(folder / name).items()}
        if alpha := options.get("lora_alpha") or options.get("lora_rank"):
            return {"alpha": alpha, "header": _least(run)}
    return {"header": _least(run)}


def _read(file: Path) -> dict[str, Any]:
    """A host has written it; nothing where it is malformed."""
    try:
        found = parse(file.read_bytes(), file.name)
    except (OSError, MalformedError):
        return {}
    return found if isinstance(found, dict) else {}


def _least(run: str) -> dict[str, str]:
    return {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "flux-1/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.title": run,
        "ss_output_name": run,
        "ss_base_model_version": "flux1",
    }


def _is_fresh(target: Path, source: Path, expected: Mapping[str, str]) -> bool:
    """Whether the copy was made of this source, and says what it would say now."""
    if not target.is_file() or target.is_symlink() or target.stat().st_mtime_ns != source.stat().st_mtime_ns:
        return False
    try:
        _, metadata = adapter_copy.read_header(target)
    except UnusableAdapter:
        return False
    return {name: value for name, value in metadata.items() if name not in adapter_copy.HASHES} == expected


def _check(target: Path) -> None:
    """Read the whole copy, as a loader will. Raises AdapterError, and then there is none."""
    try:
        adapter.read(target)
    except AdapterError:
        target.unlink()
        raise


def _delivered(target: Path, step: int | None, copied: Copied, header: Mapping[str, str]) -> Delivered:
    form = adapter.form_of(target)
    return Delivered(
        path=target.name,
        step=step,
        kind="lokr" if form == "lokr" else "lora",
        rank=copied.rank,
        alpha=copied.alpha,
        scale=copied.scale,
        layers=copied.layers,
        size_bytes=target.stat().st_size,
        trigger_word=header.get("modelspec.trigger_phrase", ""),
        loads_in=loads_in(form),
    )
