"""Refuses settings that nothing reads and calls that match no run, before the first play of the project's playbooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from ansible import constants as C
from ansible import context
from ansible.errors import AnsibleError
from ansible.inventory.group import Group
from ansible.inventory.host import Host
from ansible.inventory.manager import InventoryManager
from ansible.plugins.callback import CallbackBase
from ansible.template import Templar
from ansible.vars.plugins import get_vars_from_inventory_sources, get_vars_from_path

from fluxlora.errors import FluxloraError, InputError
from fluxlora.money.journal import Journal
from fluxlora.money.spending import still_costs
from fluxlora.runner.selection import PLANNING, Call
from fluxlora.settings import presets
from fluxlora.settings.variables import INSTANCE_VARIABLES, Setting, faults, is_template, known

DOCUMENTATION = """
name: settings
type: aggregate
short_description: Refuses unknown settings, and calls that match no run
description:
  - Before the first play of one of the project's own playbooks, it checks every variable that was given with -e, and
    those of the inventory, the groups and the runs of the call. If nothing reads a variable, or its value has a wrong
    type, the call ends with a sentence that names the most similar variable.
  - A call that matches no run also ends, for example if --limit leaves out the runs or localhost.
  - Other playbooks are not affected. Variables of other runs than those of the call are not checked.
requirements:
  - the folder of this file among the callback plugins, as in ansible.cfg
options: {}
"""

PROJECT = Path(__file__).resolve().parents[2]
# Plugins for connections, and for becoming another user.
_PLUGINS = (("connection", "ssh"), ("connection", "local"), ("become", "sudo"), ("become", "su"), ("shell", "sh"))


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Checks all given settings before anything is done."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "settings"
    # A list of other callbacks in ANSIBLE_CALLBACKS_ENABLED does not switch this one off.
    CALLBACK_NEEDS_ENABLED = False

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """End the call if a setting or the choice of runs is wrong."""
        file = Path(playbook._file_name).resolve()
        plays = playbook.get_plays()
        if not plays or not _is_ours(file):
            return
        try:
            wrong, costing = _faults_and_costs(file, plays)
        except (AnsibleError, FluxloraError) as error:
            self._refuse([f"{error} {getattr(error, 'hint', '')}".strip()])
        # Ansible turns an exception of a callback into a warning, and would continue with unchecked settings.
        except Exception as error:
            self._refuse([f"The settings could not be checked: {type(error).__name__}: {error}"])
        if wrong:
            self._refuse([*wrong, *costing])

    def _refuse(self, sentences: list[str]) -> NoReturn:
        self._display.error("\n".join([*sentences, "Nothing was done."]))
        # Ansible does not catch it, but ends its workers and removes its temporary files.
        raise SystemExit(1)


class _Given:
    """What Ansible knows before the first play: the variables, the hosts and groups for which they are set, and the
    runs."""

    def __init__(self, play: Any, verb: str) -> None:
        self._manager = play.get_variable_manager()
        self._loader = play.get_loader()
        self._inventory = self._manager._inventory
        self._extra: Mapping[str, Any] = self._manager.extra_vars
        self._common = self._of(self._group("all"))
        self.call = self._call(verb)

    def settings(self, runs: Sequence[str]) -> list[Setting]:
        """Return every variable that was given with -e, or set for all or for these runs."""
        hosts = {name: self._inventory.hosts.get(name) or Host(name) for name in runs}
        found = [Setting(str(name), value) for name, value in self._extra.items()]
        for name in self._groups(hosts):
            variables = self._of(self._group(name))
            found += [Setting(str(key), value, f"for the group {name}") for key, value in variables.items()]
        composed = self._composed()
        for name, host in hosts.items():
            by_inventory = {"inventory_dir", "inventory_file"}
            if name in self.call.rented:
                by_inventory |= {*INSTANCE_VARIABLES, *composed}
            found += [
                Setting(str(key), value, f"for {name}")
                for key, value in self._of(host).items()
                if key not in by_inventory
            ]
        return found

    def resolve(self, value: Any) -> Any:
        """Return the result of a template that was given with -e; None if it is not known before there are hosts."""
        with suppress(AnsibleError):
            return Templar(self._loader, self._common | dict(self._extra)).template(value)
        return None

    def costing(self) -> Iterator[str]:
        """Return a sentence for each instance of the call's runs."""
        for run in self.call.runs:
            host = self._inventory.hosts.get(run)
            if host and host.vars.get("vastai_id"):
                price, started = (host.vars.get(f"vastai_{name}") for name in ("price_per_hour", "started_at"))
                yield still_costs(run, host.vars["vastai_id"], price, started)

    def _call(self, verb: str) -> Call:
        limit = context.CLIARGS.get("subset") or ""
        rented, name = self._members("vastai"), self._extra.get("run_name")
        call = Call(
            verb,
            run_name=None if name is None else str(self.resolve(name) if is_template(name) else name),
            listed=tuple(run for run in self._members("training") if run not in rented),
            rented=rented,
            asked=bool(self._vastai_files()),
            remembered=self._remembered(),
            limit=limit,
        )
        return replace(call, left=self._left(limit, call.runs)) if limit else call

    def _remembered(self) -> tuple[str, ...]:
        folder = self.resolve(self._extra.get("fluxlora_state_dir", self._common.get("fluxlora_state_dir")))
        entries = Journal(Path(str(folder)) / "journal.jsonl").entries() if folder else []
        return tuple(dict.fromkeys(entry.run for entry in entries))

    def _left(self, limit: str, runs: Sequence[str]) -> frozenset[str]:
        """Return the runs that a limit leaves when they are hosts; most are not hosts yet."""
        later = InventoryManager(loader=self._loader, parse=False)
        later.add_group("training")
        for name, group in self._inventory.groups.items():
            later.add_group(name)
            for host in group.get_hosts():
                later.add_host(host.name, group=name)
        for run in runs:
            later.add_host(run, group="training")
        later.subset(limit)
        return frozenset(host.name for pattern in ("all", "localhost") for host in later.get_hosts(pattern))

    def _groups(self, hosts: Mapping[str, Any]) -> list[str]:
        """Return the groups whose variables apply to the call: the project's own, the hosts', and their presets'."""
        ours = {file.stem for file in (PROJECT / "group_vars").glob("*.yml") if not file.stem.startswith("preset_")}
        members = {group.name for host in hosts.values() for group in host.get_groups()}
        chosen = {name for run in hosts for name in self._preset_groups(run)}
        return sorted({"all", "ungrouped", *ours, *members, *chosen})

    def _preset_groups(self, run: str) -> list[str]:
        if self.call.verb not in PLANNING:
            return []
        host = self._of(self._inventory.hosts.get(run) or Host(run))
        chosen = self._extra.get("run_presets", host.get("run_presets", host.get("vastai_presets", "")))
        # If they cannot be combined, the playbook reports it.
        with suppress(InputError):
            return [f"preset_{name}" for name in presets.resolve(chosen, PROJECT)]
        return []

    def _composed(self) -> set[str]:
        """Return variables that the user's inventory of vast.ai composes."""
        return {
            name
            for file in self._vastai_files()
            for name in (self._loader.load_from_file(str(file)) or {}).get("compose") or {}
        }

    def _vastai_files(self) -> list[Path]:
        sources = map(Path, self._inventory._sources)
        files = [file for source in sources for file in (source.iterdir() if source.is_dir() else [source])]
        return [file for file in files if file.name.endswith(("vastai.yml", "vastai.yaml")) and file.is_file()]

    def _members(self, group: str) -> tuple[str, ...]:
        found = self._inventory.groups.get(group)
        return tuple(host.name for host in found.get_hosts()) if found else ()

    def _group(self, name: str) -> Any:
        return self._inventory.groups.get(name) or Group(name)

    def _of(self, entity: Any) -> dict[str, Any]:
        """Return the variables of a host or group: of the inventory, and of the files beside it and beside the
        playbook."""
        return {
            **entity.vars,
            **get_vars_from_inventory_sources(self._loader, self._inventory._sources, [entity], "task"),
            **get_vars_from_path(self._loader, self._loader.get_basedir(), [entity], "task"),
        }


def _faults_and_costs(file: Path, plays: Sequence[Any]) -> tuple[list[str], list[str]]:
    """Return the mistakes of the call, and sentences about its runs' instances, which cost money in the meantime."""
    variables = known(PROJECT)
    if file.parent.name == "examples":
        given = _Given(plays[0], "")
        settings = given.settings(())
        also = _names_of_ansible(settings) | {name for play in plays for name in play.vars}
        return list(faults(settings, variables, also, resolve=given.resolve)), []
    given = _Given(plays[0], file.stem)
    refusal = given.call.refusal()
    settings = given.settings(() if refusal else given.call.runs)
    wrong = faults(settings, variables, _names_of_ansible(settings), resolve=given.resolve)
    return [*([refusal] if refusal else []), *wrong], list(given.costing())


def _is_ours(file: Path) -> bool:
    """Return whether a file is one of the project's playbooks, in either folder, or an example."""
    if file.parent == PROJECT / "examples":
        return True
    return file.parent in (PROJECT, PROJECT / "playbooks") and (PROJECT / "playbooks" / file.name).is_file()


def _names_of_ansible(settings: Sequence[Setting]) -> set[str]:
    """Return the variables that Ansible itself reads; those of its plugins only if needed, because reading takes a
    second."""
    names = {"ansible_group_priority", *C.COMMON_CONNECTION_VARS, *_configured()}
    names |= {name for aliases in C.MAGIC_VARIABLE_MAPPING.values() for name in aliases}
    if any(setting.name.startswith("ansible_") and setting.name not in names for setting in settings):
        for kind, plugin in _PLUGINS:
            names |= _configured(kind, plugin)
    return names


def _configured(*plugin: str) -> set[str]:
    definitions = C.config.get_configuration_definitions(*plugin).values()
    return {variable["name"] for definition in definitions for variable in definition.get("vars", [])}
