#!/usr/bin/env python3
"""Writes what an installed SimpleTuner's own parser says of its options into src/fluxlora/trainer/VERSION.json.

Run it with a python that has that SimpleTuner; it needs no GPU and nothing of this project's environment. Names, types,
choices and defaults are read off the parser itself: nothing is copied by hand, and none of its help is kept.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast
from unittest import mock

SOURCE = Path(__file__).resolve().parents[1] / "src" / "fluxlora"

# Compute capabilities, by their first number, that the parser is asked for; 0 stands for any GPU.
CAPABILITIES = (0, 8, 9, 10)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", nargs="?", type=Path, default=SOURCE / "trainer", help="where the file goes")
    file = arguments.parse_args().folder / f"{version('simpletuner')}.json"
    file.write_text(as_text(facts()), encoding="utf-8")


def facts() -> dict[str, Any]:
    """Everything the project knows of this version, as its parser answers without a GPU and with one."""
    # First: where torch is loaded, the walk through the sources takes many times as long.
    backends = read_backends()
    allow_cpu()
    # What SimpleTuner depends on sees the machine as it is; SimpleTuner is imported anew from here on.
    fresh("simpletuner.helpers.configuration.cmd_args")
    with machine(None):
        options = read_options()
        loader = read_loader(options)
    for capability in CAPABILITIES:
        with machine(capability):
            for name, option in read_options().items():
                for choice in option.get("choices", []):
                    if choice not in options[name]["choices"]:
                        options[name].setdefault("gpu", {}).setdefault(choice, capability)
    for option in options.values():
        if "choices" in option:
            option["choices"] = sorted({*option["choices"], *option.get("gpu", {})}, key=str)
    return {"version": version("simpletuner"), "options": options, **loader, **backends}


def allow_cpu() -> None:
    """Beside a torch for CPUs SimpleTuner cannot be imported without the rehearsal's shim."""
    spec = importlib.util.spec_from_file_location("cpu_shim", SOURCE / "rehearsal" / "cpu_shim" / "sitecustomize.py")
    assert spec
    assert spec.loader
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def fresh(name: str) -> ModuleType:
    """A module of SimpleTuner's, imported anew: it looks for a GPU while it is imported."""
    for loaded in [each for each in sys.modules if each.split(".")[0] == "simpletuner"]:
        del sys.modules[loaded]
    return importlib.import_module(name)


@contextmanager
def machine(capability: int | None) -> Iterator[None]:
    """Inside, this process believes in a GPU and in bitsandbytes, which is locked where there is one; or in neither."""
    import torch

    gpu = capability is not None
    device = SimpleNamespace(major=capability, minor=0, name="", total_memory=80 * 2**30)
    answers = {
        "is_available": lambda: gpu,
        "device_count": lambda: int(gpu),
        "get_device_properties": lambda *_: device,
        "get_device_capability": lambda *_: (capability, 0),
    }
    bitsandbytes = mock.MagicMock(__spec__=ModuleSpec("bitsandbytes", None))
    bitsandbytes.optim.AdEMAMix = None  # SimpleTuner lists the module to find it
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "bitsandbytes"}
    # None makes an import fail.
    stand_ins = {
        "bitsandbytes": bitsandbytes if gpu else None,
        "bitsandbytes.optim": bitsandbytes.optim if gpu else None,
    }
    sys.modules.update(cast("dict[str, ModuleType]", stand_ins))
    try:
        with mock.patch.multiple(torch.cuda, **answers):
            yield
    finally:
        for name in stand_ins:
            del sys.modules[name]
        sys.modules.update(hidden)


def read_options() -> dict[str, dict[str, Any]]:
    """Every option of the parser by its first name."""
    arguments = fresh("simpletuner.helpers.configuration.cmd_args")
    optimizers = importlib.import_module("simpletuner.helpers.training.optimizer_param").optimizer_choices
    options = {}
    for action in arguments.get_argument_parser()._actions:
        name, *aliases = [each.removeprefix("--") for each in action.option_strings if each.startswith("--")]
        if name != "help":
            options[name] = read_option(action, aliases)
    # Looked up after parsing, so the parser itself does not list them.
    options["optimizer"]["choices"] = list(optimizers)
    return options


def read_option(action: argparse.Action, aliases: list[str]) -> dict[str, Any]:
    option: dict[str, Any] = {"type": read_type(action)}
    choices = list(action.choices or [])
    if option["type"] == "list":
        choices = str(action.metavar).strip("{}").split(",")
    if choices:
        option["choices"] = choices
    if action.required:
        option["required"] = True
    if isinstance(action.default, str | int | float):
        option["default"] = action.default
    return option | ({"aliases": aliases} if aliases else {})


def read_type(action: argparse.Action) -> str:
    """`flag` takes no value at all, `bool` may, `any` is a switch or a text, `list` is separated by commas."""
    name = getattr(action.type, "__name__", "")
    if action.nargs == 0:
        return "flag"
    if name in ("int", "float"):
        return name
    if action.nargs == "?":
        return "bool" if name == "_parse_bool_flag" else "any"
    return "list" if "report_to" in name else "str"


def read_loader(options: Mapping[str, Any]) -> dict[str, Any]:
    """What the reader of config.json does with a name before the parser sees it, found by asking it."""
    reader = importlib.import_module("simpletuner.helpers.configuration.cli_utils")
    registry = importlib.import_module("simpletuner.simpletuner_sdk.server.services.field_registry").field_registry
    handled = [*reader._LEGACY_ARG_HANDLERS, *registry._fields]
    translated, ignored = {}, []
    for name in sorted({each for each in handled if each not in options}):
        told = [*reader.mapping_to_cli_args({name: 1}), *reader.mapping_to_cli_args({name: 0})]
        target = told[0].removeprefix("--").split("=")[0] if told else None
        if target is None:
            ignored.append(name)
        elif target != name and name not in options.get(target, {}).get("aliases", []):
            translated[name] = target
    mappings = [name for name in sorted(options) if reader.mapping_to_cli_args({name: {"a": 1}})]
    return {"translated": translated, "ignored": ignored, "mappings": mappings}


def read_backends() -> dict[str, Any]:
    """The keys of data backends that the code ever asks for, and the choices that it compares some of them with.

    No version has a list of them, and none minds a key that it never asks for. More than the real ones may be among
    these keys, as some are asked of other mappings, and none is missing.
    """
    package = importlib.util.find_spec("simpletuner")
    assert package
    assert package.submodule_search_locations
    helpers = Path(package.submodule_search_locations[0]) / "helpers"
    keys: set[str] = set()
    choices: dict[str, list[str]] = {}
    for file in sorted(helpers.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        own = file.relative_to(helpers).parts[0] in ("data_backend", "metadata")
        # Most files are about models, and long to go through.
        for node in ast.walk(ast.parse(text)) if own or "backend" in text else ():
            if own:
                keys |= {*asked_keys(node), *listed_keys(node)}
                choices |= listed_choices(node)
            else:
                keys |= {key for key in asked_keys(node) if "backend" in receiver(node)}
    return {"backend_keys": sorted(filter(str.isidentifier, keys)), "backend_choices": choices}


def asked_keys(node: ast.AST) -> Iterator[str]:
    """`each["key"]`, `each.get("key")` and `"key" in each`."""
    match node:
        case ast.Subscript(slice=ast.Constant(value=str(key))):
            yield key
        case ast.Call(func=ast.Attribute(attr="get" | "pop" | "setdefault"), args=[ast.Constant(value=str(key)), *_]):
            yield key
        case ast.Compare(left=ast.Constant(value=str(key)), ops=[ast.In() | ast.NotIn()]):
            yield key


def listed_keys(node: ast.AST) -> Iterator[str]:
    """Keys that are gone through: a list of names."""
    if isinstance(node, ast.Set | ast.List | ast.Tuple):
        names = [each.value for each in node.elts if isinstance(each, ast.Constant)]
        if len(names) == len(node.elts) and all(isinstance(name, str) and name.isidentifier() for name in names):
            yield from map(str, names)


def listed_choices(node: ast.AST) -> dict[str, list[str]]:
    """`valid_crop_styles = [...]` are the choices of crop_style."""
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.List(elts=elements)) if name.startswith("valid_"):
            values = [each.value for each in elements if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            return {name.removeprefix("valid_").removesuffix("s"): values} if values else {}
    return {}


def receiver(node: ast.AST) -> str:
    """The name of what is asked."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(value=inner) | ast.Call(func=ast.Attribute(value=inner)):
            return receiver(inner)
        case ast.Compare(comparators=[inner, *_]):
            return receiver(inner)
    return ""


def as_text(found: Mapping[str, Any]) -> str:
    """JSON with a line for each option, so that a new version's differences can be read."""
    lines = [f"    {json.dumps(name)}: {json.dumps(option)}" for name, option in sorted(found["options"].items())]
    rest = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in found.items() if key != "options"]
    options = '  "options": {\n' + ",\n".join(lines) + "\n  }"
    return "{\n" + ",\n".join([*rest, options]) + "\n}\n"


if __name__ == "__main__":
    main()
