"""What follows from the facts of one file, in SimpleTuner 3.1.6 and 4.10.1; all of it was tried on their loaders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from PIL import Image

from fluxlora.dataset.caption import CAPTION_LIMIT_BYTES, TOKEN_LIMIT, Caption, tokens
from fluxlora.dataset.finding import Finding, error, printable, warning
from fluxlora.dataset.names import stem, suffix_of, videos
from fluxlora.dataset.picture import Look

# Where Pillow has two names for what one suffix holds.
_SAME = {"MPO": "JPEG"}
_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif", "GIF": ".gif", "BMP": ".bmp"}


def of_picture(name: str, look: Look, modern: bool) -> Iterator[Finding]:
    """What a picture's content means for the training."""
    if look.problem:
        yield _broken(name, look)
        return
    suffix = suffix_of(name).lower()
    if (claimed := Image.registered_extensions().get(suffix)) and claimed != (
        kind := _SAME.get(look.format, look.format)
    ):
        yield warning(
            name,
            "wrong_suffix",
            f"It is {kind} by its content and {claimed} by its name. SimpleTuner reads the content, other programs "
            "may refuse it.",
            "Save it again as PNG."
            if (right := right_suffix(look, suffix)) in videos(modern)
            else f"Rename it to {printable(PurePosixPath(stem(name)).name)}{right}.",
        )
    if look.orientation != 1:
        yield warning(name, "rotated", _rotated(look, modern), "Turn its pixels and save it again.")
    if look.sixteen_bit:
        white = look.format == "TIFF" and look.mode[:1] in ("I", "F") and not modern
        yield warning(
            name,
            "sixteen_bit",
            "It has 16 bits a channel"
            + (", of which SimpleTuner 3.1.6 makes white." if white else " and is trained with 8."),
            "Save it with 8 bits a channel.",
        )
    if look.transparent:
        yield warning(
            name,
            "alpha",
            "SimpleTuner drops its alpha channel, and what is transparent shows the colour beneath, mostly black.",
            "Put it on a background of your choice.",
        )
    if look.animated:
        yield warning(name, "animated", "It has several frames, and only the first is trained on.", "Save one frame.")
    if look.mode in ("P", "PA"):
        yield warning(
            name,
            "palette",
            "It has a palette of at most 256 colours, and its dots and bands are learnt with the rest.",
            "Save it with full colours, from the original if there is one.",
        )


def right_suffix(look: Look, suffix: str) -> str:
    """The suffix that says what the content is; the one it has where that is not wrong."""
    kind = _SAME.get(look.format, look.format)
    registered = Image.registered_extensions()
    if registered.get(suffix) == kind:
        return suffix
    return _SUFFIXES.get(kind) or next((each for each, known in registered.items() if known == kind), suffix)


def of_caption(name: str, caption: Caption) -> Iterator[Finding]:
    """What the text of a caption file means for the training."""
    if caption.size > CAPTION_LIMIT_BYTES:
        yield error(
            name,
            "caption_too_long",
            f"It has more than {CAPTION_LIMIT_BYTES // 1024} KB of text, and T5 reads {TOKEN_LIMIT} tokens of it.",
            "Shorten the captions.",
        )
        return
    if not caption.readable:
        found = (
            f"{caption.encoding.upper()} rather than UTF-8" if caption.encoding else f"unreadable ({caption.reason})"
        )
        yield error(
            name, "not_utf8", f"It is {found}, so SimpleTuner cannot read the caption.", "Save it again as UTF-8."
        )
        return
    if not caption.lines:
        yield error(
            name,
            "empty_caption",
            "It is empty, so the image would be trained on no words, or the run end.",
            "Write one caption a line.",
        )
        return
    if caption.encoding == "utf-8-sig":
        yield warning(
            name,
            "byte_order_mark",
            "It begins with a byte order mark, which SimpleTuner takes for the first letter of the caption.",
            "Save it as UTF-8 without one.",
        )
    if caption.blank:
        yield warning(
            name,
            "blank_caption",
            f"It has {caption.blank} lines of white space, and SimpleTuner takes each for a caption; line ends of "
            "Windows make such lines of empty ones.",
            "Remove the lines.",
        )
    if (longest := max(map(tokens, caption.lines))) > TOKEN_LIMIT:
        yield warning(
            name,
            "caption_cut",
            f"A caption has about {longest} tokens, by an estimate, and T5 reads {TOKEN_LIMIT}: the rest is cut off.",
            "Shorten it, or spread it over several lines: each line is a caption of its own.",
        )


def _broken(name: str, look: Look) -> Finding:
    match look.problem:
        case "too_large":
            return error(name, "too_large", "It has more pixels than can be decoded safely.", "Scale it down.")
        case "damaged":
            return error(
                name,
                "damaged",
                f"Its pixels cannot be read to the end ({look.reason}), by SimpleTuner neither.",
                "Copy or download it again, or remove it.",
            )
        case _:
            return error(
                name,
                "unreadable",
                f"It cannot be read as an image ({look.reason}), by SimpleTuner neither.",
                "Save it again or remove it.",
            )


def _rotated(look: Look, modern: bool) -> str:
    """4.10.1 reads the EXIF data for the size alone; 3.1.6 turns the pixels, and then scales them as before."""
    how = f"Its EXIF data say that it has to be turned or mirrored (orientation {look.orientation}), "
    if not modern and look.format == "PNG":
        return how + "which SimpleTuner 3.1.6 does not heed in a PNG: it is trained as it is stored."
    if look.turned:
        upright = "lying on its side" if modern else "upright"
        return how + f"which SimpleTuner does by half: it is trained {upright}, and squeezed to the other shape."
    return how + ("which SimpleTuner 4.10.1 does not do." if modern else "which SimpleTuner 3.1.6 does and 4.10.1 not.")
