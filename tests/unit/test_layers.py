"""The packages of fluxlora lie in layers: each imports only from those below it, and no files import in a circle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
# From the lowest to the highest. Those in one line know nothing of each other.
LAYERS = (
    {"text"},
    {"errors"},
    {"process", "project", "untrusted", "onhost", "dataset", "settings"},
    {"trainer", "vast"},
    {"estimates"},
    {"money"},
    {"offers"},
    {"renting", "plan", "delivery"},
    {"doctor", "importer", "runner"},
    {"rehearsal"},
    {"cli"},
    {"__main__"},
)
HEIGHT = {package: height for height, layer in enumerate(LAYERS) for package in layer}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in SOURCE.rglob("*.py")}


def imports(tree: ast.AST) -> Iterator[str]:
    """The modules of fluxlora that a file imports, wherever in the file that stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "fluxlora":
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else str(node.module)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "fluxlora")


def wrong_imports(module: str, tree: ast.AST) -> list[str]:
    """Each import of a package that lies no lower, as "module imports other"."""
    package = [*module.split("."), ""][1]
    found = []
    for imported in imports(tree):
        other = [*imported.split("."), ""][1]
        if other != package and other and HEIGHT[other] >= HEIGHT[package]:
            found.append(f"{module} imports {imported}")
    return found


def trees() -> dict[str, ast.Module]:
    return {module: ast.parse(path.read_text()) for module, path in MODULES.items() if module != "fluxlora"}


def test_every_package_has_a_layer() -> None:
    assert {module.split(".")[1] for module in MODULES if "." in module} == set(HEIGHT)


def test_the_page_about_the_design_lists_the_same_layers() -> None:
    page = (SOURCE.parent / "docs" / "design.md").read_text(encoding="utf-8")
    table = page.split("\n## Packages\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    assert [set(re.findall(r"`(\w+)`", row)) for row in rows] == list(LAYERS[:-1])


def test_no_package_imports_from_one_that_does_not_lie_below_it() -> None:
    assert [line for module, tree in trees().items() for line in wrong_imports(module, tree)] == []


def test_an_import_of_a_higher_package_is_noticed() -> None:
    tree = ast.parse("def late():\n    from fluxlora.rehearsal import session\n")
    assert wrong_imports("fluxlora.vast.client", tree) == ["fluxlora.vast.client imports fluxlora.rehearsal.session"]


def test_no_files_import_in_a_circle() -> None:
    graph = {module: set(imports(tree)) - {module} for module, tree in trees().items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"These files import each other: {' <- '.join(error.args[1])}")


def test_no_import_of_ours_is_hidden_from_the_running_program() -> None:
    hidden = [
        module
        for module, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and any(imports(node))
    ]
    assert hidden == []
