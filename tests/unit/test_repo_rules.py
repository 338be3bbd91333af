"""What must hold for every file in the repository."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from packaging.requirements import Requirement

PROJECT = Path(__file__).parents[2]
ROLES = sorted(path.parent.parent for path in PROJECT.glob("roles/*/tasks/main.yml"))
LOCKS = sorted([PROJECT / "requirements.lock", *PROJECT.glob("roles/**/*.lock")])

each_role = pytest.mark.parametrize("role", ROLES, ids=lambda path: path.name)

# Where a package is to be had; a package's own words about itself may name addresses.
INDEX = re.compile(
    r"^\[package\.source\]|^url = |^(?:-i|--(?:extra-)?index-url|--find-links)\b| @ \w+://", re.MULTILINE
)
# Folders that only the machine of one developer has; those of an instance (/root/SimpleTuner) are nobody's, and jane's
# are an example's.
MACHINE_PATHS = re.compile(
    r"(?<![\w.$}])/(?:work|home/(?!jane\b)\w+|Users/\w+|root/\.pyenv)(?=[/\s\"'`]|$)", re.MULTILINE
)
SECRETS = re.compile(
    r"hf_[A-Za-z0-9]{30,}|-----BEGIN [A-Z ]*PRIVATE KEY-----|github_pat_\w{20,}|ghp_\w{30,}|AKIA[A-Z0-9]{16}"
    r"|(?i:(?:vast_api_key|wandb_api_key)\W{1,4}[0-9a-f]{40,64}\b)"
)


def tracked(*patterns: str) -> list[Path]:
    command = ["git", "ls-files", "-z", "--", *patterns]
    names = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True, timeout=30).stdout
    return [PROJECT / name for name in names.split("\0") if name and (PROJECT / name).is_file()]


def text_of(path: Path) -> str:
    content = path.read_bytes()
    return "" if b"\0" in content else content.decode("utf-8")


def load(path: Path) -> dict[str, Any]:
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.is_file() else {}


def options(role: Path) -> dict[str, dict[str, Any]]:
    return load(role / "meta" / "argument_specs.yml")["argument_specs"]["main"].get("options") or {}


def entry_points(role: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = load(role / "meta" / "argument_specs.yml")["argument_specs"]
    return found


def entered() -> set[tuple[str, str]]:
    """The roles that playbooks and roles enter elsewhere than at their main tasks, with the name of those tasks."""
    calls = re.compile(r"name: (\w+)\n +tasks_from: (\w+)")
    return {found for path in tracked("playbooks/*.yml", "roles/*.yml") for found in calls.findall(text_of(path))}


def defaults(role: Path) -> dict[str, Any]:
    return load(role / "defaults" / "main.yml")


@pytest.mark.parametrize(
    ("text", "hit"),
    [
        ("cd /work/main", True),
        ("at /home/anna/x", True),
        ("/Users/anna/x", True),
        ("/root/.pyenv/shims", True),
        ("/root/SimpleTuner/config", False),
        ("artifacts/work/x", False),
        ("{{ dir }}/work/x", False),
        ("/home/", False),
        ("/home/jane/pictures", False),
        ("/home/janet/pictures", True),
    ],
)
def test_the_search_for_machine_paths_finds_them_and_nothing_else(text: str, hit: bool) -> None:
    assert bool(MACHINE_PATHS.search(text)) == hit


@pytest.mark.parametrize(
    ("text", "hit"),
    [
        ("HF_TOKEN=hf_" + "a1B2" * 9, True),
        ("VAST_API_KEY: " + "0f" * 32, True),
        ("-----BEGIN OPENSSH " + "PRIVATE KEY-----", True),
        ("HF_TOKEN=hf_xxxx", False),
        ("sha256: " + "0f" * 32, False),
    ],
)
def test_the_search_for_secrets_finds_them_and_nothing_else(text: str, hit: bool) -> None:
    assert bool(SECRETS.search(text)) == hit


@pytest.mark.parametrize(
    ("text", "hit"),
    [
        ('[package.source]\ntype = "legacy"\n', True),
        ('url = "https://example.org/simple"', True),
        ("--extra-index-url https://example.org/simple", True),
        ("torch @ https://example.org/torch.whl", True),
        ('description = "See https://example.org"', False),
    ],
)
def test_the_search_for_indexes_finds_them_and_nothing_else(text: str, hit: bool) -> None:
    assert bool(INDEX.search(text)) == hit


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    here = Path(__file__)
    found = [path.relative_to(PROJECT) for path in tracked() if path != here and MACHINE_PATHS.search(text_of(path))]
    assert found == []


def test_no_file_holds_a_secret() -> None:
    assert [path.relative_to(PROJECT) for path in tracked() if SECRETS.search(text_of(path))] == []


def test_no_file_that_git_ignores_is_in_git() -> None:
    command = ["git", "ls-files", "--cached", "--ignored", "--exclude-standard"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == ""


def test_nothing_is_left_to_do_in_the_code() -> None:
    marks = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|X" + r"XX)\b")
    files = tracked("*.py", "*.yml", "*.j2", "*.toml", "Makefile", "scripts/*")
    assert [path.relative_to(PROJECT) for path in files if marks.search(text_of(path))] == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_a_lock_names_no_index(lock: Path) -> None:
    assert INDEX.findall(lock.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_a_lock_pins_by_hash(lock: Path) -> None:
    assert "sha256:" in lock.read_text()


def test_group_variables_are_also_beside_the_inventory() -> None:
    link = PROJECT / "inventory" / "group_vars"
    assert link.is_symlink()
    assert link.resolve() == PROJECT / "group_vars"


def test_the_version_stands_in_one_place() -> None:
    version = re.search(r'^version = "([^"]+)"', (PROJECT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert [path.name for path in tracked("src/*.py") if f'"{version[1]}"' in text_of(path)] == []


def test_the_newest_release_in_the_changelog_has_the_version() -> None:
    version = re.search(r'^version = "([^"]+)"', (PROJECT / "pyproject.toml").read_text(), re.MULTILINE)
    releases = re.findall(r"^## (\S+) - \d{4}-\d\d-\d\d$", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert version
    assert releases[:1] == [version[1]]


def test_pre_commit_calls_each_tool_of_make_lint() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    assert re.search("^lint: types", makefile, re.MULTILINE)
    recipes = re.findall(r"^(?:types|lint):.*\n\t(.*)$", makefile, re.MULTILINE)
    assert len(recipes) == 2
    hooks = [hook["entry"] for repo in load(PROJECT / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    entries = [set(re.sub(r"\.venv/bin/|'", "", entry).split()) for entry in hooks]
    # `make lint` checks the whole folder, a hook the files of a commit.
    commands = [
        {word for word in command.split() if "=" not in word} - {"."} for command in " && ".join(recipes).split(" && ")
    ]
    assert [command for command in commands if not any(command <= entry for entry in entries)] == []


def test_no_page_gives_this_project_an_address_that_nobody_has() -> None:
    pages = [*tracked("*.md", "*.toml", "*.yml")]
    assert [path.name for path in pages if re.search(r"\b(?:github|gitlab)\.com/fluxlora\b", text_of(path))] == []


def test_the_collection_has_the_version_of_the_package() -> None:
    package = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert load(PROJECT / "galaxy.yml")["version"] == package["version"]


def locked(package: str, python: str) -> str:
    """The version of a package that the lock has for a python, such as 3.13."""
    lock = (PROJECT / "requirements.lock").read_text(encoding="utf-8")
    lines = map(Requirement, re.findall(rf"^{package}==[^\\\n]+", lock, re.MULTILINE))
    (line,) = (
        line for line in lines if not line.marker or line.marker.evaluate({"python_full_version": f"{python}.0"})
    )
    return str(line.specifier).removeprefix("==")


def test_the_image_for_ansible_has_the_locked_versions() -> None:
    image = load(PROJECT / "execution-environment.yml")
    python = re.search(r"python:(3\.\d+)", image["images"]["base_image"]["name"])
    assert python
    for package in ("ansible-core", "ansible-runner"):
        asked = image["dependencies"][package.replace("-", "_")]["package_pip"]
        assert asked == f"{package}=={locked(package, python[1])}"


def test_the_workflow_tests_the_oldest_and_a_newer_python_each_with_the_locked_ansible() -> None:
    pairs = load(PROJECT / ".github/workflows/ci.yml")["jobs"]["tests"]["strategy"]["matrix"]["include"]
    assert {pair["python"]: pair["ansible"] for pair in pairs} == {"3.11": "2.19", "3.13": "2.21"}
    for pair in pairs:
        assert locked("ansible-core", pair["python"]).startswith(f"{pair['ansible']}.")


def test_setup_looks_for_the_pythons_that_the_package_supports() -> None:
    package = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    supported = [name.rpartition(" ")[2] for name in package["classifiers"]]
    found = re.findall(r"python(3\.\d+)", (PROJECT / "scripts/find_python").read_text(encoding="utf-8"))
    assert found == supported[::-1]


def test_group_variables_are_all_variables_of_some_role() -> None:
    known = {name for role in ROLES for name in options(role)}
    unknown = {
        (path.name, name)
        for path in [*PROJECT.glob("group_vars/preset_*.yml"), *PROJECT.glob("group_vars/training.yml")]
        for name in load(path)
        if name not in known
    }
    assert unknown == set()


@each_role
def test_every_default_has_a_specification_and_every_optional_variable_a_default(role: Path) -> None:
    optional = {name for name, option in options(role).items() if not option.get("required")}
    assert set(defaults(role)) == optional


def test_every_entry_of_a_role_has_a_specification() -> None:
    assert entered()
    assert [(role, tasks) for role, tasks in entered() if tasks not in entry_points(PROJECT / "roles" / role)] == []


@each_role
def test_every_entry_has_its_tasks_says_what_it_does_and_takes_variables_of_its_role_alone(role: Path) -> None:
    for name, entry in entry_points(role).items():
        assert (role / "tasks" / f"{name}.yml").is_file()
        assert entry["short_description"]
        assert entry.get("options", {}).items() <= options(role).items()


@each_role
def test_a_required_variable_has_no_default(role: Path) -> None:
    assert {name for name, option in options(role).items() if option.get("required")} & set(defaults(role)) == set()


@each_role
def test_every_variable_bears_its_roles_name_and_says_what_it_is(role: Path) -> None:
    shared = {"run_name", "run_presets", "run_rehearsal", "dataset_path"}
    unclear = [
        name
        for name, option in options(role).items()
        if not option.get("description") or not (name.startswith(f"{role.name}_") or name in shared)
    ]
    assert unclear == []


@each_role
def test_the_default_in_a_specification_is_left_to_the_defaults_file(role: Path) -> None:
    assert [name for name, option in options(role).items() if "default" in option] == []


def test_plays_take_each_of_several_runs_and_only_those_that_their_groups_hold() -> None:
    inventory = InventoryManager(DataLoader(), sources=None)
    for group in ("training", "vastai", "may_spend", "rehearsal"):
        inventory.add_group(group)
        for run in ("one", "two"):
            inventory.add_host(run, group)
    inventory.add_host("three", "training")
    patterns = {
        play["hosts"]
        for path in PROJECT.glob("playbooks/*.yml")
        for play in yaml.safe_load(path.read_text(encoding="utf-8"))
        if "run_name" in play.get("hosts", "")
    }
    assert len(patterns) > 5
    variables = {"run_name": "one, two", "groups": inventory.get_groups_dict()}
    for pattern in patterns:
        named = Templar(DataLoader(), variables=variables).template(trust_as_template(pattern))
        hosts = [host.name for host in inventory.get_hosts(named) if host.name != "localhost"]
        assert hosts == ["one", "two"], pattern


CHECKS = {"raises", "fail", "check_output", "raise_for_status"}


def checks(function: ast.AST, others: Mapping[str, ast.AST], seen: frozenset[str] = frozenset()) -> bool:
    """Whether a function, or another of its module that it calls, can fail a test."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in CHECKS or name.startswith("assert_"):
                return True
            if name in others and name not in seen and checks(others[name], others, seen | {name}):
                return True
    return False


def test_every_test_asserts_something() -> None:
    found = []
    for file in tracked("tests/**/test_*.py"):
        functions = {
            node.name: node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)
        }
        found += [
            f"{file.relative_to(PROJECT)}: {name}"
            for name, function in functions.items()
            if name.startswith("test_") and not checks(function, functions)
        ]
    assert found == []
