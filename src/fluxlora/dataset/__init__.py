"""A folder of pictures and captions, seen as SimpleTuner will see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from fluxlora.dataset import across, names, rules
from fluxlora.dataset.across import Wanted
from fluxlora.dataset.caption import CAPTION_LIMIT_BYTES, Caption
from fluxlora.dataset.finding import MENDED, Finding, Severity, by_weight, error, printable, told, warning
from fluxlora.dataset.names import Status, stem, suffix_of
from fluxlora.dataset.picture import Look
from fluxlora.dataset.reading import Facts, Progress, read
from fluxlora.errors import InputError

__all__ = [
    "CAPTION_LIMIT_BYTES", "MENDED", "Dataset", "Finding", "Picture", "Progress", "Severity", "Wanted", "by_weight",
    "printable", "scan", "told", "warning",
]  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """An image that can be trained on, relative to the dataset; sizes in pixels as the trainer sorts by them."""

    file: str
    width: int
    height: int
    captions: int
    # Whether its EXIF data swap its edges: as stored it is as wide as it is high here.
    turned: bool = False


@dataclass(frozen=True)
class Dataset:
    """What a folder holds; `size_bytes` counts all that travels, and hidden files don't."""

    path: Path
    pictures: tuple[Picture, ...]
    findings: tuple[Finding, ...]
    size_bytes: int
    # What each file was found to be, by its name relative to the folder.
    facts: Mapping[str, Facts] = field(default_factory=dict, repr=False)

    @property
    def captions(self) -> int:
        """Lines of caption; each is embedded."""
        return sum(picture.captions for picture in self.pictures)


def scan(
    path: Path,
    wanted: Wanted | None = None,
    *,
    cache_dir: Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Look at every file, and say what is wrong with it. Raises InputError where there is nothing to look at.

    With a `cache_dir` only files that have changed since the last time are opened.
    """
    wanted = wanted or Wanted()
    if not path.is_dir():
        raise InputError(
            f"There is no folder {printable(str(path))}.",
            hint="dataset_path is the folder that holds the images and a .txt caption beside each.",
            code="no_dataset",
        )
    found = names.walk(path)
    seen = _seen(found.files, wanted)
    facts = read(path, _to_read(seen, found.files), cache_dir=cache_dir, workers=workers, progress=progress)
    looks = {name: fact for name in seen if isinstance(fact := facts.get(name), Look)}
    sound = {name: look for name, look in looks.items() if not look.problem}
    captions = {name: fact for name in sound if isinstance(fact := facts.get(f"{stem(name)}.txt"), Caption)}
    findings = [
        *found.findings,
        *names.check(found.files, wanted.modern),
        *_of_each(looks, facts, found.files, wanted),
        *across.copies(sound),
        *across.words(captions, wanted),
    ]
    pictures = tuple(
        _picture(name, sound[name], caption, wanted)
        for name, caption in captions.items()
        if caption.readable and caption.lines
    )
    if not pictures and not any(finding.severity is Severity.ERROR for finding in findings):
        raise InputError(
            f"There are no images in {printable(str(path))}.",
            hint="JPEG, PNG and WebP are common choices.",
            code="empty_dataset",
        )
    return Dataset(path, pictures, by_weight(findings), found.size_bytes, facts)


def _seen(files: Mapping[str, Status], wanted: Wanted) -> list[str]:
    """The files that SimpleTuner lists as pictures and that can be ones."""
    videos = names.videos(wanted.modern)
    return [name for name in names.listed(files, wanted.modern) if suffix_of(name).lower() not in videos]


def _to_read(seen: list[str], files: Mapping[str, Status]) -> dict[str, Status]:
    captions = dict.fromkeys(f"{stem(name)}.txt" for name in seen)
    return {name: files[name] for name in [*seen, *(each for each in captions if each in files)]}


def _of_each(
    looks: Mapping[str, Look], facts: Mapping[str, Facts], files: Mapping[str, Status], wanted: Wanted
) -> Iterator[Finding]:
    forms = {names.fold(name): name for name in files if name.lower().endswith(".txt")}
    told_of: set[str] = set()
    for name, look in looks.items():
        yield from rules.of_picture(name, look, wanted.modern)
        caption = f"{stem(name)}.txt"
        fact = facts.get(caption)
        if isinstance(fact, Caption):
            if caption not in told_of:
                told_of.add(caption)
                yield from rules.of_caption(caption, fact)
        elif not look.problem:
            yield _no_caption(name, caption, forms.get(names.fold(caption)))


def _no_caption(name: str, caption: str, other: str | None) -> Finding:
    short = printable(PurePosixPath(caption).name)
    return error(
        name,
        "no_caption",
        "It has no caption, and SimpleTuner ends the run at the first image without one."
        + (f" {printable(other)} is another name to it, in case or Unicode form." if other else ""),
        f"Rename that to {short}." if other else f"Write {short} beside it, one caption a line.",
    )


def _picture(name: str, look: Look, caption: Caption, wanted: Wanted) -> Picture:
    """3.1.6 does not see the EXIF data of a PNG, and loses those of an image with an alpha channel."""
    turned = look.turned and (wanted.modern or (look.format != "PNG" and look.mode != "RGBA"))
    width, height = (look.height, look.width) if turned else (look.width, look.height)
    return Picture(name, width, height, len(caption.lines), turned)
