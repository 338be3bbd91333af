"""The generated pages of docs/, and the links and commands of the written ones."""

import re
from itertools import combinations, pairwise
from pathlib import Path
from xml.etree import ElementTree

import make_docs  # in scripts/
import pytest

from fluxlora.rehearsal.vast.faults import FAULTS

PROJECT = Path(__file__).parents[2]
PAGES = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md")])


def complaint(*arguments: str) -> str:
    """What make_docs.py ends with; nothing where all is well."""
    try:
        make_docs.main(arguments)
    except SystemExit as ended:
        return str(ended)
    return ""


@pytest.fixture
def small_project(tmp_path: Path) -> Path:
    """One preset, one role and three packages, with their pages just made."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "design.md").write_text(
        "## Packages\n\n| Packages | What they hold |\n|---|---|\n"
        "| `text` | lines |\n| `errors` | errors |\n| `cli` | all |\n"
    )
    source = tmp_path / "src" / "fluxlora"
    source.mkdir(parents=True)
    (source / "text.py").write_text("")
    (source / "errors.py").write_text("from fluxlora.text import line\n")
    (source / "cli.py").write_text("import fluxlora.errors\nfrom fluxlora.text import line\n")
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
    assert complaint("--project", str(tmp_path)) == ""
    return tmp_path


def test_the_generated_pages_say_what_the_code_says() -> None:
    assert complaint("--check") == ""


def test_pages_just_made_pass_the_check(small_project: Path) -> None:
    assert complaint("--check", "--project", str(small_project)) == ""


def test_the_picture_leaves_out_imports_that_follow_from_others(small_project: Path) -> None:
    drawing = ElementTree.parse(small_project / "docs" / "architecture.svg").getroot()
    namespace = "{http://www.w3.org/2000/svg}"
    assert drawing.findtext(f"{namespace}desc") == "cli imports errors. errors imports text."


def test_the_boxes_of_the_picture_do_not_overlap_and_lie_inside_it() -> None:
    drawing = ElementTree.parse(PROJECT / "docs" / "architecture.svg").getroot()
    _, _, width, height = map(float, drawing.attrib["viewBox"].split())
    shown = [rect.attrib for rect in drawing.iter("{http://www.w3.org/2000/svg}rect") if "class" in rect.attrib]
    edges = [tuple(float(rect[key]) for key in ("x", "y", "width", "height")) for rect in shown]
    assert [box for box in edges if box[0] < 0 or box[0] + box[2] > width or box[1] + box[3] > height] == []
    assert [
        (one, other)
        for one, other in combinations(edges, 2)
        if one[0] < other[0] + other[2]
        and other[0] < one[0] + one[2]
        and one[1] < other[1] + other[3]
        and other[1] < one[1] + one[3]
    ] == []


def test_no_line_of_text_at_the_left_of_the_picture_touches_the_next() -> None:
    texts = ElementTree.parse(PROJECT / "docs" / "architecture.svg").getroot().iter("{http://www.w3.org/2000/svg}text")
    left = sorted(float(text.attrib["y"]) for text in texts if text.attrib["x"] == "20")
    assert min(lower - upper for upper, lower in pairwise(left)) >= 14


@pytest.mark.parametrize(
    ("source", "page"),
    [
        ("docs/design.md", "architecture.svg"),
        ("src/fluxlora/errors.py", "architecture.svg"),
        ("group_vars/preset_small.yml", "presets.md"),
        ("roles/cuda/defaults/main.yml", "variables.md"),
        ("roles/cuda/meta/argument_specs.yml", "variables.md"),
    ],
)
def test_a_changed_source_makes_the_check_name_its_page(small_project: Path, source: str, page: str) -> None:
    file = small_project / source
    changes = {"512": "768", "12.8": "13.0", "oldest": "newest", "| lines |": "| words |", "fluxlora.text": "textwrap"}
    text = file.read_text()
    file.write_text(re.sub("|".join(map(re.escape, changes)), lambda found: changes[found[0]], text))
    assert f"docs/{page}" in complaint("--check", "--project", str(small_project))


def test_a_missing_page_fails_the_check(small_project: Path) -> None:
    (small_project / "docs" / "commands.md").unlink()
    assert "docs/commands.md" in complaint("--check", "--project", str(small_project))


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
def test_files_of_this_project_that_a_page_names_exist(page: Path) -> None:
    folders = "fluxlora|src|plugins|roles|playbooks|scripts|tests|docs"
    named = re.findall(rf"`((?:{folders})/[\w./-]+)`", page.read_text(encoding="utf-8"))
    # NAME, ROLE and the like stand for any name.
    found = [name for name in named if not re.search("[A-Z]{2}", name)]
    assert [name for name in found if not any((root / name).exists() for root in (PROJECT, PROJECT / "src"))] == []


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
