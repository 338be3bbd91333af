"""The generated pages of docs/, and the links and commands of the written ones."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fluxlora.rehearsal.faults import FAULTS

PROJECT = Path(__file__).parents[2]
PAGES = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md")])


def make_docs(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROJECT / "scripts" / "make_docs.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def small_project(tmp_path: Path) -> Path:
    """One preset and one role, with their pages just made."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "roles" / "cuda" / "meta").mkdir(parents=True)
    (tmp_path / "roles" / "cuda" / "defaults").mkdir()
    (tmp_path / "group_vars" / "preset_small.yml").write_text(
        "---\n# For small cards.\n\n# Half of a | b.\nsimpletuner_resolution: 512\n"
    )
    (tmp_path / "roles" / "cuda" / "meta" / "argument_specs.yml").write_text(
        "---\nargument_specs:\n  main:\n    short_description: Check CUDA\n    options:\n"
        "      cuda_minimum:\n        type: str\n        description: The oldest that will do.\n"
    )
    (tmp_path / "roles" / "cuda" / "defaults" / "main.yml").write_text("---\ncuda_minimum: '12.8'\n")
    assert make_docs("--project", str(tmp_path)).returncode == 0
    return tmp_path


def test_the_generated_pages_say_what_the_code_says() -> None:
    check = make_docs("--check")
    assert check.returncode == 0, check.stderr


def test_pages_just_made_pass_the_check(small_project: Path) -> None:
    assert make_docs("--check", "--project", str(small_project)).returncode == 0


@pytest.mark.parametrize(
    ("source", "page"),
    [
        ("group_vars/preset_small.yml", "presets.md"),
        ("roles/cuda/defaults/main.yml", "variables.md"),
        ("roles/cuda/meta/argument_specs.yml", "variables.md"),
    ],
)
def test_a_changed_source_makes_the_check_name_its_page(small_project: Path, source: str, page: str) -> None:
    file = small_project / source
    file.write_text(file.read_text().replace("512", "768").replace("12.8", "13.0").replace("oldest", "newest"))
    check = make_docs("--check", "--project", str(small_project))
    assert check.returncode != 0
    assert f"docs/{page}" in check.stderr


def test_a_missing_page_fails_the_check(small_project: Path) -> None:
    (small_project / "docs" / "commands.md").unlink()
    assert make_docs("--check", "--project", str(small_project)).returncode != 0


def test_a_preset_is_shown_with_its_value_and_the_reason_above_it(small_project: Path) -> None:
    page = (small_project / "docs" / "presets.md").read_text()
    assert "For small cards." in page
    assert "| `simpletuner_resolution` | `512` | Half of a \\| b. |" in page


def test_a_role_variable_is_shown_with_type_default_and_description(small_project: Path) -> None:
    page = (small_project / "docs" / "variables.md").read_text()
    assert "| `cuda_minimum` | str | `'12.8'` | The oldest that will do. |" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#|mailto:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_make_targets_and_playbooks_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+(?: [a-z]+)*):", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE))
    known = {word for line in targets for word in line.split()}
    assert set(re.findall(r"(?:`|^)make ([a-z]+)", text, flags=re.MULTILINE)) <= known
    assert [
        name for name in re.findall(r"ansible-playbook ([\w/]+\.yml)", text) if not (PROJECT / name).is_file()
    ] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_variables_that_a_page_names_exist(page: Path) -> None:
    specs = list(PROJECT.glob("roles/*/meta/argument_specs.yml"))
    known = {name for path in specs for name in re.findall(r"^ {6}(\w+):", path.read_text(), flags=re.MULTILINE)}
    roles = "|".join(path.parents[1].name for path in specs)
    named = re.findall(rf"\b(?:{roles})_[a-z_]+\b(?=[`=])", page.read_text(encoding="utf-8"))
    assert sorted(set(named) - known) == []


def test_every_fault_has_a_test() -> None:
    tests = "".join(file.read_text() for file in PROJECT.glob("tests/*/test_*.py"))
    named = set(re.findall(r"(?:\bCase|mark\.fault)\(\s*\"(\w+)\"", tests))
    assert set(FAULTS) - named == set(), 'name it as Case("…") in tests/plugins/test_faults.py or by pytest.mark.fault'
