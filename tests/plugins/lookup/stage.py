"""Sets the stand-in up for one task of a playbook, just before it: `lookup('stage', NAME)` gives the offers to rent.

A playbook of many tasks takes a second for each; one playbook for each task takes four.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import requests
from ansible.plugins.lookup import LookupBase


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible is untyped
    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[Any]:
        return [Stage(Path(os.environ["STAGE"])).enter(terms[0])]


class Stage:
    """The folder's `scenes.json` says what is set up; what became of each scene is written beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: dict[str, Any] = json.loads((folder / "scenes.json").read_text())

    def enter(self, name: str) -> Any:
        """Ansible may ask twice for one task."""
        offers = self.folder / f"{name}.offers.json"
        if not offers.exists():
            self.leave()
            offers.write_text(json.dumps(self._set_up(self.told["scenes"][name])))
            (self.folder / "now").write_text(name)
        return json.loads(offers.read_text())

    def leave(self) -> None:
        """Writes down what became of the scene so far, if there was one."""
        now = self.folder / "now"
        if not now.exists():
            return
        self.call("DELETE", "/rehearsal/faults")
        seen = {
            "ledger": self.call("GET", "/rehearsal/ledger"),
            "requests": self.call("GET", "/rehearsal/requests"),
            "instances": self.call("GET", "/api/v1/instances/")["instances"],
        }
        (self.folder / f"{now.read_text()}.seen.json").write_text(json.dumps(seen))
        now.unlink()

    def _set_up(self, scene: dict[str, Any]) -> Any:
        self.call("POST", "/rehearsal/reset")
        wanted = {"num_gpus": {"eq": 1}, "direct_port_count": {"gte": 1}, "dph_total": {"lte": 0.7}}
        offers = self.call("POST", "/api/v0/bundles/", wanted)["offers"]
        if scene["label"]:
            first = offers.pop(0)
            wish = {"image": "x", "disk": 20, "runtype": "ssh_direc ssh_proxy", "label": scene["label"]}
            rented = self.call("PUT", f"/api/v0/asks/{first['id']}/", wish)["new_contract"]
            while not (row := self.call("GET", f"/api/v0/instances/{rented}/")["instances"]) or not row["ports"]:
                time.sleep(0.02)
        for name, times in scene["faults"].items():
            self.call("POST", "/rehearsal/faults", {"name": name, "times": times})
        names = {"id": "id", "machine_id": "machine_id", "host_id": "host_id", "price_per_hour": "dph_total"}
        return [{ours: offer[theirs] for ours, theirs in names.items()} for offer in offers[:6]]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self.told['api_key']}"}
        reply = requests.request(method, self.told["url"] + path, json=body, headers=headers, timeout=30)
        reply.raise_for_status()
        return reply.json()
