"""Whatever somebody puts into a folder or a variable, the answer is a sentence."""

from __future__ import annotations

import json
import os
import resource
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pictures import JPEG, PNG, WEBP, frames, png16

from fluxlora import dataset
from fluxlora.dataset import MENDED, Dataset, Picture, Wanted, copy
from fluxlora.errors import InputError
from fluxlora.plan import plan
from fluxlora.plan.check import Check, check
from fluxlora.settings import presets
from fluxlora.settings.presets import variables_of
from fluxlora.trainer.buckets import Backend, BackendBuckets, Batching, assign_buckets

PROJECT = Path(__file__).parents[2]
GROUPS = ("training", "preset_1024", "preset_lokr")
VARIABLES: dict[str, Any] = {
    name: value for group in GROUPS for name, value in variables_of(PROJECT / f"group_vars/{group}.yml").items()
}
IMAGES = [JPEG, PNG, WEBP, frames("GIF"), frames("WEBP"), png16(4, 6)]

# Names that file systems take, most of which nobody would choose.
ODD = [
    "-rf",
    "--help",
    "{{ 1 / 0 }}",
    "{% raw %}",
    "$(id)",
    "a\nb",
    "a\x1b[2J",
    "a\u202eb",
    "\udce9",
    "e\u0301",
    " ",
    "~",
]
STEMS = st.one_of(
    st.sampled_from(ODD),
    st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=20),
    st.binary(min_size=1, max_size=20).map(lambda name: os.fsdecode(name.translate(None, b"/\0")) or "x"),
    st.just("x" * 250),
)
SUFFIXES = st.sampled_from(
    [".png", ".jpg", ".JPG", ".webp", ".gif", ".txt", ".TXT", ".mp4", ".heic", "", ".", ".tar.gz"]
)
VALUES = st.recursive(
    st.sampled_from([None, True, "1e-4", "1024", "-1"]) | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@st.composite
def images(draw: st.DrawFn) -> bytes:
    """Bytes of any kind, or an image in which some are other than they were."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=200))
    content = bytearray(draw(st.sampled_from(IMAGES)))
    for _ in range(draw(st.integers(0, 8))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.integers(0, len(content)))])


@contextmanager
def folder_of(files: Mapping[str, bytes]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as place:
        for name, content in files.items():
            try:
                Path(place, name).write_bytes(content)
            except OSError:
                continue  # a name that this file system does not take
        yield Path(place)


def answer(question: Callable[[], Any]) -> Any:
    """What it returns, or the error that says what was wrong; anything else that is raised fails the test."""
    try:
        return question()
    except InputError as refused:
        return refused


def is_a_sentence(text: object) -> bool:
    return str(text).isprintable() and len(str(text)) > 20


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.builds(str.__add__, STEMS, SUFFIXES), images() | st.binary(max_size=60), max_size=6))
@example({"a.png": b"", "a.txt": b""})
@example({"a\n.png": PNG, "a\n.txt": b"{{ lookup('pipe', 'id') }}"})
def test_a_folder_of_anything_is_scanned_and_copied_with_sentences(files: dict[str, bytes]) -> None:
    for version in ("3.1.6", "4.10.1"):
        with folder_of(files) as folder:
            wanted = Wanted("word", "*b*", version)
            found = answer(partial(check, folder, {"simpletuner_datasets": [{"id": "x"}]}, wanted))
            lines = found.lines() if isinstance(found, Check) else [found]
            assert all(is_a_sentence(line) for line in lines)
            made = copy.draw_up(folder)
            with tempfile.TemporaryDirectory() as place:
                failed = copy.write(made, Path(place, "copy"))
                left = answer(partial(dataset.scan, Path(place, "copy"), wanted))
            assert all(is_a_sentence(sentence) for sentence in (*made.left_out, *failed))
            # What the check offers to fix is not found in the copy.
            assert isinstance(left, InputError) or {each.code for each in left.findings}.isdisjoint(MENDED)


@settings(max_examples=300)
@given(images())
def test_an_image_of_any_bytes_is_looked_at(content: bytes) -> None:
    with folder_of({"a.png": content}) as folder:
        facts = dataset.scan(folder).facts["a.png"]
        assert facts is not None


PICTURES = tuple(Picture(f"{n}.jpg", 1024 + n, 1100, 1) for n in range(6))


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(sorted(VARIABLES)), VALUES, max_size=4))
@example({"simpletuner_datasets": [{"id": {}, "resolution": [1]}]})
@example({"simpletuner_extra_config": {"--": 1, "": None}})
@example({"simpletuner_lycoris": {"algo": []}, "provision_disk_gb": "nan"})
def test_a_plan_of_any_variables_is_a_plan_or_its_errors(odd: dict[str, Any]) -> None:
    made = plan.make(VARIABLES | odd, run="odd", presets=[], dataset=Dataset(Path("/data"), PICTURES, (), 10**7))
    assert all(isinstance(line, str) for line in made.lines())
    json.dumps(made.as_facts())


KEYS = sorted(
    {key for entry in VARIABLES["simpletuner_datasets"] for key in entry} | {"repeats", "crop_aspect_buckets"}
)


@settings(max_examples=300)
@given(
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5),
    st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)),
)
def test_a_data_backend_of_any_values_sorts_or_is_refused_by_name(odd: dict[str, Any], size: tuple[int, int]) -> None:
    entry = VARIABLES["simpletuner_datasets"][0] | odd
    found = answer(lambda: assign_buckets([Picture("a.jpg", *size, 1)], Backend.of(entry), Batching(1)))
    assert isinstance(found, BackendBuckets) or "Data backend" in str(found)


@settings(max_examples=100)
@given(VALUES)
@example("512,512,,")
@example(["512", None])
def test_presets_of_any_kind_are_resolved_or_refused(wish: object) -> None:
    found = answer(lambda: presets.resolve(wish, PROJECT))  # type: ignore[arg-type]
    assert isinstance(found, tuple) or len(str(found)) > 20


@pytest.mark.parametrize("content", ["{", "- a\n- b", "a: [", "a: !!python/object:os.system x", "\0", "7", "&a [*a]"])
def test_a_preset_file_that_is_no_mapping_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "preset_odd.yml").write_text(content)
    with pytest.raises(InputError) as refused:
        variables_of(tmp_path / "preset_odd.yml")
    assert "preset_odd.yml" in str(refused.value)


def png_bomb(edge: int) -> bytes:
    """A picture of one colour: a few MB that decode to several hundred MB."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows, row = zlib.compressobj(1), bytes(3 * edge + 1)
    content = b"".join(rows.compress(row) for _ in range(edge)) + rows.flush()
    header = struct.pack(">IIBBBBB", edge, edge, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    """100 MB of text within 100 KB, before the pixels."""
    text = b"Comment\0\0" + zlib.compress(bytes(100 * 2**20), 9)
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    return PNG[:33] + chunk + PNG[33:]


@pytest.mark.parametrize(
    ("bomb", "codes"),
    [
        (lambda: png_bomb(14000), {"too_large"}),
        (lambda: png_bomb(12000), set()),
        (text_bomb, {"unreadable", "damaged"}),
    ],
    ids=["196 megapixels", "144 megapixels", "100 MB of text"],
)
def test_a_decompression_bomb_takes_no_memory(tmp_path: Path, bomb: Callable[[], bytes], codes: set[str]) -> None:
    (tmp_path / "a.png").write_bytes(bomb())
    (tmp_path / "a.txt").write_text("a photo")
    script = (
        "import json, re, sys; from pathlib import Path; from fluxlora import dataset\n"
        "found = dataset.scan(Path(sys.argv[1])).findings\n"
        # Of this program alone; getrusage also knows the peak of the process that it was forked from.
        "peak = int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) / 1024\n"
        "print(json.dumps([peak, [finding.code for finding in found]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, timeout=120, check=True
    )
    peak_mb, found = json.loads(done.stdout)
    assert peak_mb < 250
    assert set(found) <= codes
    assert bool(found) == bool(codes)


def test_a_file_that_never_ends_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(PNG)
    (tmp_path / "b.txt").write_text("a photo")
    assert [finding.code for finding in dataset.scan(tmp_path).findings] == ["not_a_file"]


def test_a_caption_of_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    with (tmp_path / "a.txt").open("wb") as opened:
        opened.truncate(2**30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert [finding.code for finding in dataset.scan(tmp_path).findings] == ["caption_too_long"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


def test_the_yaml_that_users_write_is_read_safely() -> None:
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load("a: !!python/object/apply:os.system [id]")
