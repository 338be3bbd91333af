"""training_import, through ansible-playbook."""

from __future__ import annotations

from pathlib import Path

from test_plan_modules import Play, codes, play

GUIDE = Path(__file__).parents[1] / "data" / "guide"
__all__ = ["play"]


def test_import_refuses_bad_input_foreign_files_and_names_that_are_none(play: Play, tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    folder = tmp_path / "host_vars"
    folder.mkdir()
    (folder / "taken.yml").write_text("mine: true\n")
    guides = [str(GUIDE / "config.json")]
    results = play(
        "training_import",
        {"files": [str(tmp_path / "broken.json")], "folder": str(folder)},
        {"files": [str(GUIDE / "lycoris_config.json")], "folder": str(folder)},
        {"files": guides, "folder": str(folder), "name": "training"},
        {"files": guides, "folder": str(folder), "name": "taken"},
    )
    assert codes(results) == ["bad_json", "bad_input", "bad_run_name", "already_there"]
    assert [file.name for file in folder.iterdir()] == ["taken.yml"]


def test_import_in_check_mode_writes_nothing_then_once_then_nothing_more(play: Play, tmp_path: Path) -> None:
    files = [str(GUIDE / name) for name in ("config.json", "multidatabackend_512.json", "lycoris_config.json")]
    call = {"files": files, "folder": str(tmp_path / "host_vars"), "name": "by-hand"}
    results = play("training_import", {**call, "check_mode": True}, call, call)
    assert [result["changed"] for result in results] == [True, True, False]
    assert results[1]["presets"] == ["512", "lokr"]
    assert results[1]["variables"] == {}
    assert {note["kind"] for note in results[1]["notes"]} == {"renamed", "dropped", "corrected", "added"}
    assert Path(results[1]["path"]).read_text(encoding="utf-8").startswith("---\n# Imported")
