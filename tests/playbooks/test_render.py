"""The trainer's files on this computer: without key or network, and never over somebody's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import PROJECT

FILES = ["config.json", "lycoris_config.json", "multidatabackend.json"]


def render(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """As somebody calls it who has no account anywhere."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(("VAST_", "HF_", "WANDB_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # A proxy that is not there: whoever asks the network for anything is refused.
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    return subprocess.run(
        ["fluxlora", "render", *words, "-o", str(folder)],
        cwd=PROJECT,
        env={**known, **nowhere, "HOME": str(folder.parent), "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in (folder / "config").glob("[!.]*"))


def test_the_files_are_written_and_named_without_an_account_and_later_presets_replace_them(tmp_path):
    first = render(tmp_path / "files", "--presets", "512,lokr", "--name", "jane")
    assert first.returncode == 0, first.stdout + first.stderr
    assert names(tmp_path / "files") == FILES
    assert all(f"wrote {tmp_path}/files/config/{name}" in first.stdout for name in FILES)
    assert json.loads((tmp_path / "files/config/config.json").read_text())["--hub_model_id"] == "jane"

    second = render(tmp_path / "files", "-p", "1024")
    assert second.returncode == 0, second.stdout + second.stderr
    assert names(tmp_path / "files") == ["config.json", "multidatabackend.json"]


def test_a_file_of_somebody_else_and_a_link_are_named_and_left_as_they_are(tmp_path):
    folder = tmp_path / "files" / "config"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    # A record that cannot be read names no file as ours.
    (folder / ".rendered.json").write_text('["config.json"')
    (folder / "multidatabackend.json").symlink_to(tmp_path / "elsewhere")

    done = render(tmp_path / "files")

    assert done.returncode != 0
    assert f"config.json and multidatabackend.json in {folder} was not written by this command" in done.stdout
    assert (folder / "config.json").read_text() == "{}"
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["-p", "51"], "did you mean '512'?"),
        (["-e", "simpletuner_lora_rnk=8"], "did you mean simpletuner_lora_rank?"),
        (["-e", "simpletuner_lora_type=loha"], "loha"),
        (["-e", f"simpletuner_validation_prompt=hf_{'EXAMPLE' * 4}"], "--validation_prompt looks like a secret"),
    ],
)
def test_what_does_not_exist_is_refused_and_nothing_is_written(tmp_path, words, sentence):
    done = render(tmp_path / "files", *words)
    assert done.returncode != 0
    assert sentence in done.stdout
    assert "EXAMPLE" not in done.stdout
    assert not (tmp_path / "files").exists()
