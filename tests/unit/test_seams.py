"""What the files of Ansible may not do: decide in Jinja over several lines, or use what belongs to another role."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fluxlora.settings.variables import known

PROJECT = Path(__file__).parents[2]
ROLES = sorted(path.parents[1] for path in PROJECT.glob("roles/*/tasks/main.yml"))
VARIABLES = known(PROJECT)
# Keys whose whole value is an expression.
EXPRESSIONS = frozenset({"when", "that", "until", "failed_when", "changed_when"})
JINJA = re.compile(r"\{\{.*?\}\}", re.DOTALL)
# What Jinja may do over more than one line: put texts together.
DECIDES = re.compile(
    r"\bif\b|\b(?:select|reject)(?:attr)?\b|\bcombine\b|\bversion\b|\bternary\b|\bmax\b|\bmin\b|[<>]|=="
)


def files(*patterns: str) -> list[Path]:
    return sorted(path for pattern in patterns for path in PROJECT.glob(pattern))


def expressions(value: Any, key: str = "") -> Iterator[str]:
    """Every expression of a file: those of conditions, and those between braces."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from expressions(item, str(name))
    elif isinstance(value, list):
        for item in value:
            yield from expressions(item, key)
    elif isinstance(value, str):
        yield from [value] if key in EXPRESSIONS else JINJA.findall(value)


def foreign(text: str, role: str) -> set[str]:
    """The variables of other roles among these words, private ones too."""
    words = set(re.findall(r"\b_{0,2}[a-z][a-z0-9_]*\b", text))
    others = [path.name for path in ROLES if path.name != role]
    private = {word for word in words if word.startswith(tuple(f"__{other}_" for other in others))}
    return private | {word for word in words if word in VARIABLES and VARIABLES[word].owner in others}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{{ provision_work.upload_gb }}", {"provision_work"}),
        ("__provision_found.instance is none", {"__provision_found"}),
        ("{{ artifacts_dir }}/{{ run_name }}/{{ vastai_id }}", set()),
        ("{{ query('varnames', '^simpletuner_') }}", set()),
    ],
)
def test_the_search_finds_the_variables_of_other_roles_and_nothing_else(text: str, found: set[str]) -> None:
    assert foreign(text, "artifacts") == found


@pytest.mark.parametrize("role", ROLES, ids=lambda path: path.name)
def test_a_role_uses_its_own_variables_alone_and_knows_no_group(role: Path) -> None:
    found = {
        f"{path.relative_to(role)}: {name}"
        for folder in ("defaults", "vars", "tasks", "handlers")
        for path in (role / folder).glob("*.yml")
        for text in expressions(yaml.safe_load(path.read_text(encoding="utf-8")))
        for name in foreign(text, role.name) | set(re.findall(r"\bgroups\b|\bgroup_names\b", text))
    }
    # The plan judges the settings of every role, and asks whether they are there at all.
    assert found - {"tasks/main.yml: simpletuner_max_train_steps"} == set()


@pytest.mark.parametrize("path", files("playbooks/*.yml"), ids=lambda path: path.name)
def test_a_playbook_reads_nothing_private_of_a_role(path: Path) -> None:
    names = "|".join(role.name for role in ROLES)
    assert re.findall(rf"\b__(?:{names})_\w+", path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "path",
    files("*.yml", "playbooks/*.yml", "roles/*/*/*.yml", "group_vars/*.yml"),
    ids=lambda path: str(path.relative_to(PROJECT)),
)
def test_no_expression_decides_over_more_than_one_line(path: Path) -> None:
    text = re.sub(r"^\s*#.*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert "{%" not in text
    assert [found for found in JINJA.findall(text) if "\n" in found and DECIDES.search(found)] == []
    conditions = re.findall(r"^ +(?:when|that|until): >-?\n(?: +.*\n)+?(?= *-? *\w+:|\n)", text, re.MULTILINE)
    assert [found for found in conditions if found.count("\n") > 2] == []


@pytest.mark.parametrize("path", files("group_vars/*.yml"), ids=lambda path: path.name)
def test_what_a_release_needs_stands_in_the_table_of_releases(path: Path) -> None:
    text = re.sub(r"^\s*#.*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    versions = r"simpletuner_version\s*(?:[=!<>]=?|in\b|is\b)|\bversion\("
    assert [found for found in JINJA.findall(text) if re.search(versions, found)] == []
