# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lists the account's vast.ai instances as hosts, each named after its run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.module_utils.basic import missing_required_lib
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable

IMPORT_ERROR: ImportError | None = None
try:
    from fluxlora.errors import FluxloraError
    from fluxlora.vast.client import Vast
    from fluxlora.vast.labels import Label
    from fluxlora.vast.records import Instance
except ImportError as error:
    IMPORT_ERROR = error

DOCUMENTATION = r"""
name: vastai
short_description: The vast.ai instances of the runs
description:
  - Makes a host of each instance whose label begins with O(label_prefix), named after the run in the label.
  - The groups are C(vastai), C(preset_<preset>) for each preset in the label, C(gpu_<model>) and C(status_<status>).
  - Host variables begin with C(vastai_), besides C(ansible_host), C(ansible_port) and C(ansible_user).
  - Two instances of one run are both hosts, the newer one as C(<run>-<id>), with a warning. An instance whose label
    cannot be read is C(vastai-<id>).
  - No secret of an instance's record becomes a variable, and text from vast.ai is never a template.
extends_documentation_fragment:
  - constructed
  - inventory_cache
options:
  plugin:
    description: Marks the file as a configuration of this plugin.
    type: str
    required: true
    choices: [vastai, fluxlora.vastai.vastai]
  api_key:
    description: The account's key. Without it, the key is read from the official client's file,
      C($XDG_CONFIG_HOME/vastai/vast_api_key) or C(~/.vast_api_key).
    type: str
    env:
      - name: VAST_API_KEY
  url:
    description: Address of the API.
    type: str
    default: https://console.vast.ai
    env:
      - name: VAST_URL
  label_prefix:
    description: First part of the labels of these instances.
    type: str
    default: fluxlora
  statuses:
    description: List only instances with one of these actual statuses, for example C(running). Empty for all.
    type: list
    elements: str
    default: []
  ssh:
    description: Whether to connect to the directly mapped port, if there is one, or always through vast.ai's proxy.
    type: str
    choices: [direct, proxy]
    default: direct
  user:
    description: User to connect as.
    type: str
    default: root
requirements:
  - The Python package fluxlora on the controller.
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
---
# inventory/vastai.yml
plugin: vastai
---
# In the collection
plugin: fluxlora.vastai.vastai
---
# Only running instances, requested at most once a minute, and also grouped by country
plugin: vastai
statuses: [running]
cache: true
cache_plugin: jsonfile
cache_timeout: 60
cache_connection: .cache/inventory
keyed_groups:
  - key: vastai_geolocation
    prefix: in
"""


def host_vars(instance: Instance, label: Label | None, *, direct: bool, user: str) -> dict[str, Any]:
    """Return the variables of one host. Text is not marked as trusted, so ansible-core never evaluates it as a
    template."""
    endpoint = instance.endpoint(direct=direct)
    address = {"ansible_host": endpoint.host, "ansible_port": endpoint.port} if endpoint else {}
    return {
        **address,
        "ansible_user": user,
        "vastai_id": instance.id,
        "vastai_label": instance.label,
        "vastai_run": label.run if label else None,
        "vastai_presets": list(label.presets) if label else [],
        "vastai_status": instance.status,
        "vastai_intended_status": instance.intended_status,
        "vastai_status_message": instance.status_message,
        "vastai_gpu_name": instance.gpu_name,
        "vastai_num_gpus": instance.num_gpus,
        "vastai_gpu_ram_mb": instance.gpu_ram_mb,
        "vastai_cpu_ram_mb": instance.cpu_ram_mb,
        "vastai_cpu_cores": instance.cpu_cores,
        "vastai_disk_gb": instance.disk_gb,
        "vastai_price_per_hour": instance.price_per_hour,
        "vastai_storage_price_per_hour": instance.storage_usd_per_hour,
        "vastai_inet_down_price_per_gb": instance.inet_down_usd_per_gb,
        "vastai_inet_up_price_per_gb": instance.inet_up_usd_per_gb,
        "vastai_is_bid": instance.is_bid,
        "vastai_geolocation": instance.geolocation,
        "vastai_machine_id": instance.machine_id,
        "vastai_host_id": instance.host_id,
        "vastai_started_at": instance.started_at,
        "vastai_ends_at": instance.ends_at,
        "vastai_reliability": instance.reliability,
        "vastai_cuda_max_good": instance.cuda_max_good,
        "vastai_compute_cap": instance.compute_cap,
        "vastai_driver_version": instance.driver_version,
        "vastai_image": instance.image,
        "vastai_ssh_direct": bool(endpoint and endpoint.direct),
    }


def group_names(variables: dict[str, Any]) -> Iterator[str]:
    """Return the standard groups. They are made here, because each constructed expression takes milliseconds per
    host."""
    yield "vastai"
    for preset in variables["vastai_presets"]:
        yield safe_name(f"preset_{preset}")
    yield safe_name(f"gpu_{variables['vastai_gpu_name'] or 'unknown'}")
    yield safe_name(f"status_{variables['vastai_status'] or 'unknown'}")


def safe_name(text: str) -> str:
    """Return a text as a valid name of a group."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


# The plugin's names in this project and in the collection.
NAMES = ("vastai", "fluxlora.vastai.vastai")
INSTALL = "Run `pip install PATH` with that Python, where PATH is a checkout of fluxlora."


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):  # type: ignore[misc]  # ansible is untyped
    """Reads the configuration, then the cache or vast.ai, and adds the hosts."""

    NAME = "vastai"

    def verify_file(self, path: str) -> bool:
        """Return whether this plugin reads a file, by its name."""
        return super().verify_file(path) and path.endswith(("vastai.yml", "vastai.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Read the configuration and add the hosts."""
        super().parse(inventory, loader, path, cache)
        if IMPORT_ERROR:
            raise AnsibleParserError(f"{missing_required_lib('fluxlora')} {INSTALL}")
        # Ansible only accepts the name by which it loaded the plugin, but a file may have either.
        self._redirected_names = list(NAMES)
        self._read_config_data(path)
        inventory.add_group("vastai")
        taken: set[str] = set()
        for instance in self._instances(path, cache):
            label = Label.parse(instance.label, self.get_option("label_prefix"))
            self._add(instance, label, self._name(instance, label, taken))

    def _instances(self, path: str, cache: bool) -> list[Instance]:
        """Return the instances with the prefix, the oldest first; a cached answer needs neither key nor network."""
        caching = self.get_option("cache")
        # The same file may be used with another vast.ai, for example that of a rehearsal.
        address = hashlib.sha256(self.get_option("url").encode()).hexdigest()[:8]
        key = f"{self.get_cache_key(path)}_{address}"
        rows = self._cache.get(key) if caching and cache else None
        if rows is None:
            rows = [asdict(instance) for instance in self._listed()]
            if caching:
                self._cache[key] = rows
        prefix, statuses = f"{self.get_option('label_prefix')}/", self.get_option("statuses")
        instances = [Instance(**row) for row in rows]
        ours = [
            instance
            for instance in instances
            if instance.label.startswith(prefix) and (not statuses or instance.status in statuses)
        ]
        return sorted(ours, key=lambda instance: instance.id)

    def _listed(self) -> list[Instance]:
        try:
            vast = Vast(self.get_option("api_key"), self.get_option("url"))
            instances = vast.instances()
        except FluxloraError as error:
            # Without the cause, which ansible would print as a second copy.
            raise AnsibleParserError(f"{error} {error.hint}".strip()) from None
        for warning in vast.warnings:
            self.display.warning(warning)
        return instances

    def _name(self, instance: Instance, label: Label | None, taken: set[str]) -> str:
        name = label.run if label else f"vastai-{instance.id}"
        if not label:
            self.display.warning(f"Instance {instance.id} has a label that names no run: its host is called {name}.")
        elif name in taken:
            name = f"{label.run}-{instance.id}"
            self.display.warning(
                f"{label.run} has more than one instance, and each costs money: {name} is the newer one."
            )
        taken.add(name)
        return name

    def _add(self, instance: Instance, label: Label | None, name: str) -> None:
        variables = host_vars(instance, label, direct=self.get_option("ssh") == "direct", user=self.get_option("user"))
        self.inventory.add_host(name)
        for variable, value in variables.items():
            self.inventory.set_variable(name, variable, value)
        for group in group_names(variables):
            self.inventory.add_child(self.inventory.add_group(group), name)
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), variables, name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), variables, name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, name, strict=strict)
