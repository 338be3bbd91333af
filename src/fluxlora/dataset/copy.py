"""Makes a corrected copy of a dataset: problems are fixed, unusable files are left out, the original is not changed."""

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

# Hidden, so that it is not sent to an instance with the copy.
_MARK = ".fluxlora-copy.json"
# Quality of a JPEG that had to be turned: the loss is hardly visible.
_JPEG_QUALITY = 95


@dataclass(frozen=True)
class Item:
    """One image of the copy; `name` is without the suffix, `captions` is None if it has no caption file."""

    source: str
    name: str
    suffix: str
    remade: bool
    captions: tuple[str, ...] | None

    @property
    def file(self) -> str:
        """Name of the image in the copy."""
        return self.name + self.suffix


@dataclass(frozen=True)
class Copy:
    """The content of a copy, and sentences about what was left out or guessed."""

    source: Path
    items: tuple[Item, ...]
    left_out: tuple[str, ...]
    # Changes with every file of the original and with every decision about it.
    digest: str


def draw_up(source: Path, *, cache_dir: Path | None = None, progress: Progress | None = None) -> Copy:
    """Read the original, and return the content of a copy. Raises InputError if there is no such folder."""
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
    status = {name: asdict(status) for name, status in found.files.items()}
    digest = sha256(json.dumps([status, [asdict(item) for item in items]]).encode()).hexdigest()
    return Copy(source, items, left_out, digest)


def is_written(copy: Copy, target: Path) -> bool:
    """Return whether the target has exactly this copy. Raises InputError if the target must not be overwritten."""
    source, there = copy.source.resolve(), target.resolve()
    if there == source or source in there.parents or there in source.parents:
        raise InputError(
            f"A copy of {printable(str(source))} cannot be at {printable(str(there))}: one is part of the other.",
            hint="Name a folder beside it.",
            code="copy_in_source",
        )
    mark = _mark(target)
    if target.exists() and (not target.is_dir() or (any(target.iterdir()) and mark.get("source") != str(source))):
        raise InputError(
            f"{printable(str(there))} is not empty, and its content is not a copy of {printable(str(source))}.",
            hint="Name a new or an empty folder.",
            code="foreign_folder",
        )
    return mark.get("digest") == copy.digest and all((target / item.file).is_file() for item in copy.items)


def write(copy: Copy, target: Path, *, progress: Progress | None = None) -> tuple[str, ...]:
    """Write the copy. Returns sentences about files that could not be fixed. Raises InputError."""
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
            hint="Free some space or name another folder; the same command starts again.",
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
            # The captions of a removed copy are added to the remaining image.
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
            yield say(name, f"it was read as {fact.encoding.upper()}; check its letters.")
    used = {*looks, *captions.values()}
    for name in found.files:
        if name not in used:
            yield say(name, "it is neither a readable image nor the caption of one, and is left out.")


def _needs_remaking(look: Look) -> bool:
    wrong = look.orientation != 1 or look.sixteen_bit or look.transparent or look.animated
    return wrong or look.mode in ("P", "PA") or look.format == "GIF"


def _new_suffix(look: Look) -> str:
    """Return the suffix of the copy: files with lossy compression keep it, all others keep every pixel."""
    return ".jpg" if look.format in ("JPEG", "MPO") else ".png"


def _clean(name: str) -> str:
    """Return a name that every file system accepts, without invisible characters."""
    return "".join(letter if letter.isprintable() else "_" for letter in unicodedata.normalize("NFC", name))


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
    """Return its first frame as it is displayed (turned, on white, in RGB or grey of 8 bits), and its colour
    profile."""
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
    """Convert to 8 bits: whole numbers have 16 bits unless they are larger, fractions are 0 to 1 unless they are
    larger."""
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
