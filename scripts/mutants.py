"""Changes the code that spends and guards money in small ways, and counts the changes that a test notices.

`make mutants` runs it, outside CI. mutmut changes the functions (pyproject.toml says which, and which tests it may
use); it leaves out what stands outside of functions, so the numbers and names there are changed here, by mutmut's own
operators. Ends with status 1 where less than 90 % are noticed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
TREE = ROOT / ".cache" / "mutants"
LEAST_PERCENT = 90
# For all tests over one changed constant, of the processor, and for one test, by the clock; they take a tenth of it.
CPU_SECONDS, TEST_SECONDS = 240, 60
MODULES = {
    "budget": ("money/budget", "money/spending"),
    "ranking": (
        "estimates/hours",
        *(f"offers/{name}" for name in ("__init__", "ranking", "costs", "bait", "bids", "requirements")),
    ),
    "guard": ("onhost/guard",),
    "hub": ("delivery/hub",),
    "renting": (
        "offers/avoid",
        *(f"renting/{name}" for name in ("__init__", "readiness", "attempts", "destroy", "ssh_probe", "losses")),
    ),
    "labels": ("vast/labels",),
    "refusals": ("vast/errors",),
}
# mutmut's exit codes: 0 survived, 5 and 33 no test comes there; None was not run.
SURVIVED, UNTESTED = 0, (5, 33)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"of {', '.join(MODULES)}; all by default")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="a sample: about one of N mutants")
    args = parser.parse_args()
    if unknown := set(args.modules) - set(MODULES):
        parser.error(f"there is no module {', '.join(sorted(unknown))}")
    modules = args.modules or list(MODULES)
    copy_tree()
    os.chdir(TREE)
    results = dict(in_functions(modules, args.every))
    results |= constants(modules, args.every)
    return report(modules, results)


def copy_tree() -> None:
    """The files of the working tree, in a folder where they can be changed."""
    shutil.rmtree(TREE, ignore_errors=True)
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (TREE / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, TREE / name)


def paths(modules: list[str]) -> list[Path]:
    return [Path("src/fluxlora") / f"{name}.py" for module in modules for name in MODULES[module]]


def sampled(name: str, every: int) -> bool:
    """The same mutants with each call."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % every == 0


def in_functions(modules: list[str], every: int) -> Iterator[tuple[str, tuple[Path, int]]]:
    """By name, the file and the exit code of each mutant that mutmut has made."""
    from mutmut.mutation.file_mutation import mutate_file_contents
    from mutmut.utils.format_utils import get_mutant_name

    names = []
    for path in paths(modules):
        for mutant in mutate_file_contents(str(path), path.read_text(encoding="utf-8")).mutant_names:
            name = get_mutant_name(path, mutant).replace("__init__.", "")
            if sampled(name, every):
                names.append(name)
    environment = {**os.environ, "PYTHONPATH": str(TREE / "tests")}
    ended = subprocess.run(["mutmut", "run", *names], env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        sys.exit(f"mutmut ended with {ended.returncode}:\n{ended.stdout[-4000:]}{ended.stderr[-4000:]}")
    for path in paths(modules):
        codes = json.loads((TREE / "mutants" / f"{path}.meta").read_text(encoding="utf-8"))["exit_code_by_key"]
        yield from ((name, (path, code)) for name, code in codes.items() if code is not None)


def constants(modules: list[str], every: int) -> dict[str, tuple[Path, int]]:
    """The same of the constants and defaults outside of functions, each tried by the tests in a process of its own."""
    from mutmut.mutation.file_mutation import create_mutations

    # What every test wants is imported once, and nothing of ours.
    for package in ("hypothesis", "huggingface_hub", "pytest", "uvicorn", "vastai"):
        __import__(package)
    found = {}
    for path in paths(modules):
        source = path.read_text(encoding="utf-8")
        module, mutations, _, _ = create_mutations(str(path), source)
        for number, mutation in enumerate(mutations):
            name = f"{path}: constant {number}"
            if type(mutation.contained_by_top_level_function).__name__ == "FunctionDef" or not sampled(name, every):
                continue
            changed = module.deep_replace(mutation.original_node, mutation.mutated_node).code
            path.write_text(changed, encoding="utf-8")
            lines = [line.strip() for line in changed.splitlines() if line not in source.splitlines()]
            found[f"{name}: {' '.join(lines)}"] = (path, noticed())
        path.write_text(source, encoding="utf-8")
    return found


def noticed() -> int:
    """The exit code of the tests over the tree as it is."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        sys.dont_write_bytecode = True
        sys.path[:0] = [str(TREE / "tests"), str(TREE / "src")]
        import pytest

        settings = tomllib.loads((TREE / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mutmut"]
        chosen = settings["pytest_add_cli_args_test_selection"]
        code = pytest.main(["-x", "-q", f"--timeout={TEST_SECONDS}", *settings["pytest_add_cli_args"], *chosen])
    except BaseException:
        code = 1
    os._exit(int(code))


def report(modules: list[str], results: dict[str, tuple[Path, int]]) -> int:
    """Print what nobody noticed, then a line for each module; the status to end with."""
    missed = {name: code for name, (_, code) in results.items() if code in (SURVIVED, *UNTESTED)}
    for name, code in missed.items():
        print(f"{'survived' if code == SURVIVED else 'no test '}  {name}")
    print(f"\n{'module':<10}{'mutants':>9}{'killed':>9}{'survived':>10}{'score':>9}")
    enough = True
    for module in [*modules, "all"]:
        files = paths(modules if module == "all" else [module])
        counts = Counter(name in missed for name, (path, _) in results.items() if path in files)
        score = 100 * counts[False] / max(counts.total(), 1)
        enough &= score >= LEAST_PERCENT or module == "all"
        print(f"{module:<10}{counts.total():>9}{counts[False]:>9}{counts[True]:>10}{score:>8.1f}%")
    print("`mutmut show NAME` in .cache/mutants shows one." if missed else "")
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
