"""What a hostile host may put among the artifacts of a run, and what of it must not be found at home."""

from __future__ import annotations

import stat
from pathlib import Path

_PLANT = """
cd /root/SimpleTuner/output/models || exit
ln -s {private}/file leak
ln -s {private} folder
ln -s {private} wandb
ln -s {private} config
mkfifo pipe
mknod null c 1 3
printf program > program
chmod 6755 program
echo '{{"vastai_id": 1, "run": "of the host"}}' > manifest.json
echo ok
"""


def planted(private: Path) -> str:
    """A command that puts links to the user's folder, special files and names of ours beside what is trained."""
    return _PLANT.format(private=private)


def irregular(folder: Path) -> list[str]:
    """What in a run's folder is neither a file nor a folder, or a program that runs as its owner."""
    found = [(path, path.lstat().st_mode) for path in folder.rglob("*")]
    assert found
    return [str(path) for path, mode in found if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) or mode & 0o7000]
