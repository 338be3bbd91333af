"""The hosts of a molecule scenario: `up FOLDER NAME...` and `down FOLDER`, where FOLDER holds what was made."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import installed
from fluxlora.rehearsal.hosts.containers import Containers
from fluxlora.rehearsal.hosts.engine import find_engine
from fluxlora.rehearsal.hosts.owner import end, sweep
from remote import connection, keygen, wait_for_ssh

# Scenarios whose hosts have this SimpleTuner from the start.
INSTALLED = {"simpletuner": "3.1.6"}
# The process that hosts belong to, since this one ends at once; without one they stay until `down`.
OWNER = int(os.environ.get("FLUXLORA_MOLECULE_OWNER", "0"))


def up(folder: Path, names: list[str]) -> None:
    down(folder)
    key = keygen(folder / "id_ed25519")
    hosts = Containers(owner_pid=OWNER)
    (folder / "owner").write_text(hosts.owner.label)
    inventory = {}
    for number, name in enumerate(names, start=1):
        port = hosts.start(
            number,
            environment={"CONTAINER_API_KEY": f"key-of-{name}"},
            authorized_keys=[key.with_suffix(".pub").read_text()],
            onstart="touch ~/.no_auto_tmux",
            image=installed.image(INSTALLED[name]) if name in INSTALLED else "",
        )
        inventory[name] = {"ansible_port": port, "vastai_id": number, "vastai_label": f"fluxlora/{name}/1024"}
        wait_for_ssh(port)
    (folder / "hosts.yml").write_text(
        json.dumps({"instances": {"hosts": inventory, "vars": connection(key)}}, indent=2)
    )


def down(folder: Path) -> None:
    engine = find_engine()
    sweep(engine)
    owner = folder / "owner"
    if owner.exists():
        end(engine, owner.read_text())
        print("removed")
    for name in ("owner", "hosts.yml", "id_ed25519", "id_ed25519.pub"):
        (folder / name).unlink(missing_ok=True)


if __name__ == "__main__":
    verb, state, *rest = sys.argv[1:]
    if verb == "up":
        up(Path(state), rest)
    else:
        down(Path(state))
