"""A corrected copy of a dataset: what can be mended is, what cannot be trained on is left out, the original stays."""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from fluxlora.dataset import across, names, rules
from fluxlora.dataset.caption import CAPTION_LIMIT_BYTES, Caption
from fluxlora.dataset.finding import printable
from fluxlora.dataset.names import Names, fold, stem, suffix_of
from fluxlora.dataset.picture import BROKEN, Look
from fluxlora.dataset.reading import Facts, Progress, read, spread
from fluxlora.errors import InputError

# Hidden, so that it stays at home when the copy is sent to an instance.
_MARK = ".fluxlora-copy.json"
# What a JPEG that had to be turned is saved with: its own loss is hardly seen.
_JPEG_QUALITY = 95


@dataclass(frozen=True)
class Item:
    """One picture of the copy, without its suffix in `name`; `captions` are None where it has no caption file."""

    source: str
    name: str
    suffix: str
    remade: bool
    captions: tuple[str, ...] | None

    @property
    def file(self) -> str:
        return self.name + self.suffix


@dataclass(frozen=True)
class Copy:
    """What a copy holds, and in sentences what was left out or guessed."""

    source: Path
    items: tuple[Item, ...]
    left_out: tuple[str, ...]
    # Changes with every file of the original and with what becomes of it.
    digest: str


def draw_up(source: Path, *, cache_dir: Path | None = None, progress: Progress | None = None) -> Copy:
    """Look at the original, and say what a copy of it would hold. Raises InputError where there is no such folder."""
    if not source.is_dir():
        raise InputError(f"There is no folder {printable(str(source))}.", code="no_dataset")
    found = names.walk(source)
    pictures = [name for name in found.files if _can_be_picture(name)]
    texts = {fold(name): name for name in found.files if name.lower().endswith(".txt")}
    captions = {name: caption for name in pictures if (caption := _caption_of(name, found, texts))}
    wanted = {name: found.files[name] for name in dict.fromkeys([*pictures, *captions.values()])}
    facts = read(source, wanted, cache_dir=cache_dir, progress=progress)
    looks = {name: fact for name in pictures if isinstance(fact := facts[name], Look)}
    items = tuple(_items(looks, captions, facts))
    left_out = tuple(_left_out(found, looks, captions, facts))
    status = {name: asdict(each) for name, each in found.files.items()}
    digest = sha256(json.dumps([status, [asdict(item) for item in items]]).encode()).hexdigest()
    return Copy(source, items, left_out, digest)


def is_written(copy: Copy, target: Path) -> bool:
    """Whether the target holds this very copy. Raises InputError where the target is not ours to write to."""
    source, there = copy.source.resolve(), target.resolve()
    if there == source or source in there.parents or there in source.parents:
        raise InputError(
            f"A copy of {printable(str(source))} cannot lie at {printable(str(there))}: one is part of the other.",
            hint="Name a folder beside it.",
            code="copy_in_source",
        )
    mark = _mark(target)
    if target.exists() and (not target.is_dir() or (any(target.iterdir()) and mark.get("source") != str(source))):
        raise InputError(
            f"{printable(str(there))} is not empty, and what it holds is no copy of {printable(str(source))}.",
            hint="Name a new or an empty folder.",
            code="foreign_folder",
        )
    return mark.get("digest") == copy.digest and all((target / item.file).is_file() for item in copy.items)


def write(copy: Copy, target: Path, *, progress: Progress | None = None) -> tuple[str, ...]:
    """Write the copy. Returns, in sentences, what could not be mended after all. Raises InputError."""
    if is_written(copy, target):
        return ()
    try:
        _unlink(target)
        target.mkdir(parents=True, exist_ok=True)
        mark = {"source": str(copy.source.resolve()), "files": [name for item in copy.items for name in _files(item)]}
        (target / _MARK).write_text(json.dumps(mark))
        failed: list[str] = []
        work = partial(_write_one, copy.source, target)
        for done, failure in enumerate(spread(work, copy.items, lambda item: f"{item.source}: it crashed."), 1):
            failed += [failure] if failure else []
            if progress:
                progress(done, len(copy.items))
        (target / _MARK).write_text(json.dumps(mark | {"digest": copy.digest}))
    except OSError as reason:
        raise InputError(
            f"The copy in {printable(str(target))} could not be written ({reason.strerror}).",
            hint="Make room or name another folder; the same call again begins anew.",
            code="copy_failed",
        ) from reason
    return tuple(failed)


def _can_be_picture(name: str) -> bool:
    suffix = suffix_of(name).lower()
    taken = names.accepted(modern=True) | names.accepted(modern=False)
    return suffix in taken and (suffix == ".gif" or suffix not in names.videos(True) | names.videos(False))


def _caption_of(name: str, found: Names, texts: Mapping[str, str]) -> str | None:
    exact = f"{stem(name)}.txt"
    return exact if exact in found.files else texts.get(fold(exact))


def _items(looks: Mapping[str, Look], captions: Mapping[str, str], facts: Mapping[str, Facts]) -> Iterator[Item]:
    sound = {name: look for name, look in looks.items() if not look.problem}
    same = across.exact(sound)
    lines: dict[str, dict[str, None]] = {}
    for name in sound:
        fact = facts.get(captions.get(name, ""))
        if isinstance(fact, Caption) and fact.lines:
            # A copy that goes leaves its captions to the picture that stays.
            lines.setdefault(same.get(name, name), {}).update(dict.fromkeys(fact.lines))
    taken: set[str] = set()
    for name in sorted(set(sound) - set(same)):
        look = sound[name]
        remade = _needs_remaking(look)
        found = lines.get(name)
        suffix = _new_suffix(look) if remade else rules.right_suffix(look, suffix_of(name).lower())
        yield Item(name, _free(_clean(stem(name)), taken), suffix, remade, tuple(found) if found else None)


def _left_out(
    found: Names, looks: Mapping[str, Look], captions: Mapping[str, str], facts: Mapping[str, Facts]
) -> Iterator[str]:
    def say(name: str, what: str) -> str:
        return f"{printable(name)}: {what}"

    yield from (str(finding) for finding in found.findings if finding.code != "link")
    for name, look in looks.items():
        if look.problem:
            yield say(name, "it cannot be decoded and is left out.")
    for name, kept in across.exact({name: look for name, look in looks.items() if not look.problem}).items():
        yield say(name, f"it is a copy of {printable(kept)} and is left out; its captions go to that one.")
    for name in dict.fromkeys(captions.values()):
        fact = facts[name]
        if isinstance(fact, Caption) and fact.size > CAPTION_LIMIT_BYTES:
            yield say(name, "it is too long for captions and is left out.")
        elif isinstance(fact, Caption) and not fact.readable and fact.lines:
            yield say(name, f"it was read as {fact.encoding.upper()}; look whether its letters are right.")
    used = {*looks, *captions.values()}
    for name in found.files:
        if name not in used:
            yield say(name, "it is neither a picture that can be read nor the caption of one, and is left out.")


def _needs_remaking(look: Look) -> bool:
    wrong = look.orientation != 1 or look.sixteen_bit or look.transparent or look.animated
    return wrong or look.mode in ("P", "PA") or look.format == "GIF"


def _new_suffix(look: Look) -> str:
    """What was compressed with loss stays so, all else keeps every pixel."""
    return ".jpg" if look.format in ("JPEG", "MPO") else ".png"


def _clean(name: str) -> str:
    """In the form that every file system shows, and without what cannot be seen."""
    return "".join(each if each.isprintable() else "_" for each in unicodedata.normalize("NFC", name))


def _free(name: str, taken: set[str]) -> str:
    candidate, number = name, 2
    while fold(candidate) in taken:
        candidate, number = f"{name}-{number}", number + 1
    taken.add(fold(candidate))
    return candidate


def _files(item: Item) -> list[str]:
    return [item.file, *([f"{item.name}.txt"] if item.captions else [])]


def _write_one(source: Path, target: Path, item: Item) -> str:
    file = target / item.file
    file.parent.mkdir(parents=True, exist_ok=True)
    if item.remade:
        try:
            image, profile = _upright(source / item.source)
        except (*BROKEN, Image.DecompressionBombError) as reason:
            return f"{printable(item.source)}: it could not be decoded and is left out ({reason})."
        image.save(file, icc_profile=profile, quality=_JPEG_QUALITY)
    else:
        shutil.copy2(source / item.source, file)
    if item.captions:
        (target / f"{item.name}.txt").write_text("\n".join(item.captions) + "\n", encoding="utf-8")
    return ""


def _upright(file: Path) -> tuple[Image.Image, bytes | None]:
    """Its first frame as it is displayed: turned, on white, in RGB or grey of 8 bits; and its colour profile."""
    with Image.open(file) as opened:
        profile = opened.info.get("icc_profile") if opened.mode in ("RGB", "RGBA", "L") else None
        image = ImageOps.exif_transpose(opened)
        if image.mode[:1] in ("I", "F"):
            return Image.fromarray(_eight_bits(np.asarray(image))), None
        if "A" in image.getbands() or "transparency" in image.info:
            above = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", above.size, "white"), above)
        return (image if image.mode == "L" else image.convert("RGB")), profile


def _eight_bits(
    grey: np.ndarray[tuple[int, ...], np.dtype[np.generic]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Whole numbers are of 16 bits unless they are larger, fractions are of 1 unless they are."""
    values = np.nan_to_num(grey.astype(np.float64)).clip(0)
    most = float(values.max(initial=0))
    white = (1.0 if most <= 1 else most) if grey.dtype.kind == "f" else max(65535.0, most)
    return np.asarray(values * 255 / white + 0.5, dtype=np.uint8)


def _unlink(target: Path) -> None:
    """Remove the files of an earlier copy, and no others."""
    files = _mark(target).get("files")
    for name in files if isinstance(files, list) else []:
        file = target / str(name)
        if target.resolve() in file.resolve().parents:
            file.unlink(missing_ok=True)


def _mark(target: Path) -> dict[str, object]:
    try:
        mark = json.loads((target / _MARK).read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return mark if isinstance(mark, dict) else {}
