"""The check of a dataset: without key or network, with every finding in print, and a corrected copy that is sound."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import DATASET, PROJECT


def environment(home: Path) -> dict[str, str]:
    """Of somebody who has no account anywhere; a proxy that is not there refuses whoever asks the network."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(("VAST_", "HF_", "WANDB_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    return {**known, **nowhere, "HOME": str(home), "PATH": path, "FLUXLORA_STATE_DIR": str(home / "state")}


def check(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["fluxlora", "check", *words],
        cwd=PROJECT,
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def pictures(folder: Path, count: int, size: tuple[int, int] = (1024, 1024)) -> Path:
    folder.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (9, 9, 3), np.uint8)
        Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"a photo of sksbadz, number {number}\n")
    return folder


def test_the_example_dataset_is_sound_and_its_long_pictures_are_named(tmp_path):
    done = check(tmp_path, str(DATASET), "-e", "plan_trigger_word=sksmacro", "-p", "512")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "22 images, 35 captions" in done.stdout
    assert "no errors" in done.stdout
    assert "regularisation-01-fig.jpg" in done.stdout
    assert "lack the trigger word 'sksmacro'" in done.stdout


def test_what_would_end_the_training_fails_and_small_pictures_depend_on_the_preset(tmp_path):
    folder = pictures(tmp_path / "photos", 4, (600, 600))
    (folder / "0.txt").unlink()
    small = check(tmp_path, str(folder))
    assert small.returncode != 0
    assert "0.png: It has no caption" in small.stdout
    assert "1.png: Data backend square_1024 leaves it out without a word" in small.stdout
    assert "leaves it out" not in check(tmp_path, str(folder), "-p", "512").stdout


def told(text: str, word: str) -> list[str]:
    """The sentences under a word; the plan's first line has the task before it."""
    lines = (line.strip() for line in text.splitlines())
    return [line.removeprefix(word).strip() for line in lines if line.startswith(f"{word} ")]


def test_check_and_plan_judge_the_same_input_alike_and_name_errors_first_and_counted(paper, tmp_path):
    folder = pictures(tmp_path / "photos", 8, (64, 64))
    words = (str(folder), "-n", "my-style", "-e", "simpletuner_train_batch_size=3")
    checked = check(tmp_path, *words)
    planned = subprocess.run(
        ["fluxlora", "plan", *words], cwd=PROJECT, env=paper.environment, capture_output=True, text=True, timeout=300
    )
    assert (checked.returncode != 0, planned.returncode != 0) == (True, True), checked.stdout + planned.stdout
    errors, warnings = told(checked.stdout, "error"), told(checked.stdout, "warning")
    assert (errors, warnings) == (told(planned.stdout, "error"), told(planned.stdout, "warning"))
    assert errors
    assert re.search(r"warnings   \d+: ", checked.stdout)
    assert checked.stdout.index("errors     ") < checked.stdout.index("error      ")
    assert checked.stdout.rindex("error      ") < checked.stdout.index("warnings   ")
    assert "--fix" not in checked.stdout, "no copy makes a picture larger"


def test_foreign_text_is_printed_and_never_templated(tmp_path):
    folder = pictures(tmp_path / "photos", 2)
    name = "{{ lookup('pipe', 'touch owned') }}\n-x"
    (folder / f"{name}.png").write_bytes(b"no image")
    (folder / f"{name}.txt").write_text("{{ 1 / 0 }}")
    done = check(tmp_path, str(folder))
    assert r"{{ lookup('pipe', 'touch owned') }}\n-x.png: It cannot be read as an image" in done.stdout
    assert not (PROJECT / "owned").exists()
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("name", ["{{ lookup('pipe', 'touch owned') }}", "{% raw %}", "a\x1b[2J", "a\nb"])
def test_a_folder_whose_name_ansible_would_read_is_refused(tmp_path, name):
    done = check(tmp_path, str(pictures(tmp_path / name, 1)))
    assert done.returncode == 1
    assert "cannot be the name of a run, a preset or a dataset's folder" in done.stderr
    assert done.stdout == ""
    assert not (PROJECT / "owned").exists()


def test_a_corrected_copy_is_sound_and_the_original_is_as_it_was(tmp_path):
    folder = pictures(tmp_path / "photos", 3)
    (folder / "0.txt").write_bytes("a caf\u00e9 of sksbadz".encode("cp1252"))
    (folder / "1.png").rename(folder / "1.PNG")
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:-40])
    before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()}

    one = ("-e", "simpletuner_train_batch_size=1")
    done = check(tmp_path, str(folder), "--fix", str(tmp_path / "copy"), *one)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "2.png: it cannot be decoded and is left out" in done.stdout
    assert sorted(file.name for file in (tmp_path / "copy").glob("[!.]*")) == ["0.png", "0.txt", "1.png", "1.txt"]
    assert (tmp_path / "copy/0.txt").read_text() == "a caf\u00e9 of sksbadz\n"
    assert {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()} == before


def test_a_copy_into_the_dataset_is_refused(tmp_path):
    folder = pictures(tmp_path / "photos", 1)
    done = check(tmp_path, str(folder), "--fix", str(folder / "fixed"))
    assert done.returncode != 0
    assert "one is part of the other" in done.stdout
    assert not (folder / "fixed").exists()


def test_a_terminal_shows_a_bar_and_a_file_a_few_lines(tmp_path):
    folder = pictures(tmp_path / "photos", 1, (3000, 3000))
    for number in range(1, 80):
        for suffix in ("png", "txt"):
            shutil.copy(folder / f"0.{suffix}", folder / f"{number}.{suffix}")
    main, terminal = pty.openpty()
    with subprocess.Popen(
        ["fluxlora", "check", str(folder)],
        cwd=PROJECT,
        env=environment(tmp_path) | {"FLUXLORA_STATE_DIR": str(tmp_path / "first")},
        stdout=terminal,
        stderr=terminal,
        stdin=subprocess.DEVNULL,
    ) as running:
        os.close(terminal)
        shown = b""
        while True:
            try:
                shown += os.read(main, 65536)
            except OSError:
                break
        running.wait(300)
    assert re.search(rb"\r\x1b\[K +\[#*-+\] looked at \d+ of 160 files", shown), shown
    plain = check(tmp_path, str(folder)).stdout
    assert 1 <= len(re.findall(r"looked at \d+ of 160 files", plain)) <= 10
    assert "\r" not in plain
