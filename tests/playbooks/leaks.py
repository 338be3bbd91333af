"""Where tokens lie and show while a run goes on: on this computer, in command lines, and on its instance."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conftest import Bench

# Walks an instance: what processes were given, and small files that changed since it booted, installed packages apart.
# Told over standard input, so that the search itself shows no token.
_WALK = """
import json, os, stat
booted, found = os.stat("/proc/1").st_mtime, []
for top in ("/root", "/tmp", "/etc", "/var", "/run", "/opt", "/home", "/dev/shm"):
    for folder, folders, names in os.walk(top):
        folders[:] = [name for name in folders if name not in ("site-packages", "dist-packages")]
        for path in (os.path.join(folder, name) for name in names):
            try:
                status = os.lstat(path)
                if stat.S_ISREG(status.st_mode) and status.st_size < 4e6 and status.st_ctime >= booted - 60:
                    content = open(path, "rb").read()
                    found += [(path, name, oct(status.st_mode & 0o777)) for name in TOKENS if TOKENS[name] in content]
            except OSError:
                pass
for process in (name for name in os.listdir("/proc") if name.isdigit()):
    try:
        given = open("/proc/%s/environ" % process, "rb").read()
        found += [("a process", name, "") for name in TOKENS if name == "vast" and TOKENS[name] in given]
    except OSError:
        pass
print(json.dumps(found))
"""


def on_instance(bench: Bench, instance: dict[str, Any], tokens: dict[str, str]) -> set[tuple[str, str, str]]:
    """The files of the instance that hold a token: path, which, mode."""
    given = f"TOKENS = { ({name: token.encode() for name, token in tokens.items()})!r}\n{_WALK}"
    return {tuple(each) for each in json.loads(bench.ssh(instance, "python3 -", given=given))}


def on_this_computer(folder: Path, tokens: dict[str, str]) -> list[str]:
    """The files in a folder that hold a token."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [
        f"{path.relative_to(folder)}: {name}"
        for path in files
        for name, token in tokens.items()
        if token.encode() in path.read_bytes()
    ]


def running(*words: str) -> dict[int, str]:
    """Processes whose command lines hold all these words; this computer lists those of the instances too."""
    found = {}
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if all(word in line for word in words):
            found[int(file.parent.name)] = line
    return found


@contextmanager
def command_lines(tokens: Sequence[str]) -> Iterator[set[str]]:
    """The command lines that showed a token while the block ran."""
    shown: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            shown.update(line for line in running().values() if any(token in line for token in tokens))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield shown
    finally:
        over.set()
        watcher.join()
