#!/usr/bin/env python3
"""Makes the pages and the picture of docs/ from the code; with --check, only reports which of them are out of date."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import architecture  # beside this script
import click
import yaml

from fluxlora.cli import cli
from fluxlora.delivery.adapter import loaders
from fluxlora.estimates import speeds
from fluxlora.estimates.work import Work
from fluxlora.plan.rules import RULES, Source, Weight
from fluxlora.rehearsal.vast.faults import FAULTS
from fluxlora.settings import guide, presets
from fluxlora.settings.guide import ABSENT, BACKEND_FILES, Departure
from fluxlora.settings.presets import Preset, variables_of
from fluxlora.settings.variables import SPECIFICATIONS

PROJECT = Path(__file__).resolve().parents[1]
NOTE = "<!-- Made by `make docs`; do not edit. -->\n"


def presets_page(project: Path) -> str:
    """Return the page of presets: the settings of each with their reasons, then the settings of every run."""
    parts = [
        f"{NOTE}\n# Presets\n\nChoose with `-e run_presets=512,lokr` or `fluxlora train ./dataset -p 512 -p lokr`; "
        "`fluxlora presets` lists them, and `fluxlora presets 512 lokr` says whether they combine. A preset is one "
        "file in `group_vars/`. Two that set the same variable are refused by name, so a run has one of each kind. "
        "The default resolution is 1024.\n"
    ]
    found = [presets.describe(name, project) for name in presets.available(project)]
    kinds = [*presets.KINDS.values(), "other"]
    index = [[kind, _links(preset for preset in found if preset.kind == kind)] for kind in kinds]
    parts.append(_table(["Kind", "Presets"], [row for row in index if row[1]]))
    for kind in kinds:
        parts += [_settings(f"## {preset.name}", preset) for preset in found if preset.kind == kind]
    for name, heading in (("training", "The settings of every run"), ("rehearsal", "What a rehearsal makes smaller")):
        file = project / "group_vars" / f"{name}.yml"
        if file.is_file():
            parts.append(_settings(f"## {heading} (`group_vars/{name}.yml`)", presets.described(file, name)))
    return "\n".join(parts)


def _links(found: Iterable[Preset]) -> str:
    return " ".join(f"[{preset.name}](#{preset.name})" for preset in found)


def variables_page(project: Path) -> str:
    """Return the page of variables of the playbooks and roles, from their argument specifications and defaults."""
    parts = [
        f"{NOTE}\n# Variables\n\nSet any of them with `-e`, with `fluxlora train … -e NAME=VALUE`, in "
        "`inventory/runs.yml`, or in a file in `inventory/host_vars/` or `group_vars/`. Every playbook first refuses "
        "a name that nothing reads (no role, no playbook, not Ansible itself, no template of another variable of "
        "yours) and a value of a wrong type. Variables of other runs than the named ones are not checked.\n"
    ]
    for specs in (file for pattern in SPECIFICATIONS for file in sorted(project.glob(pattern))):
        role = specs.parents[1].name
        spec = yaml.safe_load(specs.read_text(encoding="utf-8"))["argument_specs"]["main"]
        defaults_file = specs.parents[1] / "defaults" / "main.yml"
        defaults = yaml.safe_load(defaults_file.read_text(encoding="utf-8")) if defaults_file.is_file() else None
        parts.append(f"## {role}\n\n{spec['short_description']}\n")
        options = spec.get("options") or {}
        if options:
            rows = [_option(name, options[name], defaults or {}) for name in sorted(options)]
            parts.append(_table(["Variable", "Type", "Default", "What it is"], rows))
    return "\n".join(parts)


def commands_page(_: Path) -> str:
    """Return the page with the `--help` of every command."""
    parts = [f"{NOTE}\n# Commands\n"]
    for path, command in _commands("fluxlora", cli):
        context = click.Context(command, info_name=path, terminal_width=120, **cli.context_settings)
        parts.append(f"## {path}\n\n```text\n{command.get_help(context).strip()}\n```\n")
    return "\n".join(parts)


def faults_page(_: Path) -> str:
    """Return the page with every fault of the stand-in for vast.ai, by name."""
    parts = [
        f"{NOTE}\n# Faults\n\nWhat can go wrong with vast.ai; you can try all of it for free. `fluxlora rehearsal "
        "serve` "
        'prints an address and a key. `POST /rehearsal/faults` with `{"name": "offer_gone"}` arms a fault; it acts '
        'once, or as often as `"times"` says.\n'
    ]
    rows = [
        [f"`{name}`", f"`{fault.where}`" if " " in fault.where else fault.where, fault.function.__doc__, fault.outcome]
        for name, fault in sorted(FAULTS.items())
    ]
    return "\n".join([*parts, _table(["Name", "Where it acts", "What happens", "How fluxlora reacts"], rows)])


def rules_page(_: Path) -> str:
    """Return the page with every rule of the plan, the most severe first."""
    parts = [
        f"{NOTE}\n# Rules\n\nWhat `fluxlora plan` checks before anything is rented, and the source of each rule. Each "
        "is one function in `src/fluxlora/plan/rules/`.\n"
    ]
    for weight in sorted(Weight, reverse=True):
        rows = [[rule.purpose, _cited(rule.source)] for rule in RULES if rule.weight is weight]
        parts.append(f"## {weight.name.capitalize()}\n\n{weight.meaning}\n")
        parts.append(_table(["Rule", "Source"], rows))
    return "\n".join(parts)


def _cited(source: Source) -> str:
    return f"[{source.cited}]({source.url})" if source.url else source.cited


def guide_keys_page(project: Path) -> str:
    """Return the page with every key of the guide's files: its value there and here, and why they differ."""
    return "\n".join(
        [
            f"{NOTE}\n# Every key of the guide's files\n\n[guide.md](guide.md) follows the guide itself. "
            "`fluxlora render` writes these files, and a test finds no other differences than those below.\n",
            "## config.json\n\nUnless the table says otherwise, the value is in `group_vars/training.yml`.\n",
            _guide_config(project),
            *(_guide_preset(preset) for preset, departures in guide.PRESETS.items() if departures),
            "## multidatabackend*.json\n\nEach file of the guide is one preset here. A cell has one line for each data "
            "backend with images, and an arrow before our value if it differs; `…` is `/root/SimpleTuner`. The backend "
            "that caches captions, `text-embeds`, is `simpletuner_text_embeds` in `group_vars/training.yml`, as in the "
            "guide.\n",
            _guide_backends(),
            _guide_reasons(),
            "## lycoris_config.json\n\n`simpletuner_lycoris` in `group_vars/preset_lokr.yml`, as in the guide.\n",
        ]
    )


def speeds_page(_: Path) -> str:
    """Return the page with the speed of each GPU, the slowest last, and the sources of the numbers."""
    one = Work(batch_size=1, megapixels=1024**2 / 1e6)
    small, quantised = replace(one, megapixels=512**2 / 1e6), replace(one, precision="int8-quanto")
    rows = []
    for card in sorted(speeds.CARDS, key=lambda card: -card.tflops):
        seconds = [speeds.step_seconds(work, card.tflops) for work in (one, small, quantised)]
        figures = [f"{duration:.2f}" for duration in seconds]
        factor = f"{card.basis}, ÷ or x {speeds.FACTORS[card.basis]:g}"
        sheet = [f"{card.sheet_tflops:g}", f"{card.share.share:.0%} ({card.share.kind})"]
        rows.append([card.name, *figures, factor, *sheet])
    shares = dict.fromkeys((card.share.kind, card.share.source) for card in speeds.CARDS)
    return "\n".join(
        [
            f"{NOTE}\n# How fast each GPU trains\n\nSeconds for a step with one image, by which offers are ranked "
            "([costs](costs.md)). For n images multiply by n, but count the 0.2 s of each batch once. Nobody "
            "publishes a reliable table, so these are estimates, and the range of an offer's cost shows how wrong they "
            "may be. Your own finished runs correct them: `fluxlora offers` marks the GPUs that you have measured.\n",
            _table(
                ["GPU", "1024 px", "512 px", "1024 px, int8", "Source, and possible error", "Data sheet", "Reached"],
                rows,
            ),
            "The data sheet's TFLOPS are for dense bfloat16, summed in float32. The work of a step is calculated from "
            "the model's shapes (`src/fluxlora/estimates/work.py`). A training reaches only a share of the TFLOPS:\n",
            _table(["Kind of card", "Source"], [list(share) for share in shares]),
            "The speed of a GPU that is not in the table is calculated from vast.ai's own benchmark, or from the "
            "float32 TFLOPS in the offer, with the lowest share of the known GPUs. Its cost may be wrong by a factor "
            f"of {speeds.FACTORS[speeds.Basis.ESTIMATED]:g} in both directions, and it is marked. If neither number is "
            "known, the offer is passed over.\n",
        ]
    )


def loaders_page(_: Path) -> str:
    """Return the page that says which program loads which adapter, and how this was tested."""
    rows = [[row.file, row.diffusers, row.comfyui, row.lycoris] for row in loaders.TABLE]
    first, *later = loaders.DIFFUSERS
    return "\n".join(
        [
            f"{NOTE}\n# What loads an adapter\n\nUse `artifacts/RUN/RUN.safetensors`; the run's report says what "
            "loads it. Unless a cell says otherwise, all layers load at the trained strength, and the model makes the "
            "same images as after the training.\n",
            _table(["File", "diffusers", "ComfyUI", "LyCORIS"], rows),
            f"The tests (`make trainers`) ran this with diffusers {first}, {' and '.join(later)}, and LyCORIS "
            f"{' and '.join(loaders.LYCORIS)}. The loader of ComfyUI {loaders.COMFYUI} was run by hand: it loads every "
            "key of each file. Forge's loader (source of 2025-06-26) has the same table of names and was not run. "
            "sd-scripts (source of 2026-02-16) reads only its own names and none of these.\n",
            LOKR_IN_DIFFUSERS,
        ]
    )


LOKR_IN_DIFFUSERS = """## A LoKr in diffusers

`pipe.load_lora_weights` refuses every LoKr of FLUX.1. Since diffusers 0.42.1 a model loads a LoKr that has diffusers'
names and a single factor. Therefore fluxlora writes copies: `RUN-diffusers.safetensors` if the factor is the same in
all layers, as with the preset `lokr16`; otherwise one file for each factor, such as `RUN-diffusers-16.safetensors` and
`RUN-diffusers-8.safetensors` with the preset `lokr`. They contain the whole LoKr. Load all, and make all of them
active:

```python
for factor in ("16", "8"):
    file = f"RUN-diffusers-{factor}.safetensors"
    pipe.transformer.load_lora_adapter(file, prefix="transformer", adapter_name=f"factor{factor}")
pipe.transformer.set_adapters(["factor16", "factor8"])
```

A rehearsal's LoKr has no such copies: its model is too narrow for the factor 16.

## A LoKr as a LoRA, for every program

```sh
ansible-playbook fetch.yml -e run_name=my-style -e artifacts_lora_rank=64
```

writes `RUN-lora-64.safetensors`: the LoRA of that rank that is nearest to the LoKr. Every program that loads a LoRA
loads it, but it is not the same: the report says how much of the LoKr's change is missing, as the norm over all
weights. A LoKr's change is spread over many ranks, so most of it may be missing in a low one. Check the number, and
images, before you publish it. It is the same LoRA that peft's `convert_to_lora` makes from the loaded model.

## A LoKr merged into the model

This is exact, and the result is as large as the model. In an environment with diffusers and lycoris-lora:

```python
from lycoris import create_lycoris_from_weights

network, _ = create_lycoris_from_weights(1.0, "RUN.safetensors", pipe.transformer)
network.merge_to(1.0)
pipe.transformer.save_pretrained("merged")
```

This is correct for the presets' LoKr, whose matrices have full rank. LyCORIS scales a LoKr of low rank (a `linear_dim`
of 4, for example) twice when it merges; load such a LoKr with `network.apply_to()` instead.
"""


PAGES: Mapping[str, Callable[[Path], str]] = {
    "architecture.svg": architecture.picture,
    "commands.md": commands_page,
    "faults.md": faults_page,
    "guide-keys.md": guide_keys_page,
    "loaders.md": loaders_page,
    "presets.md": presets_page,
    "rules.md": rules_page,
    "speeds.md": speeds_page,
    "variables.md": variables_page,
}


def _published(name: str) -> Any:
    return json.loads((PROJECT / "tests" / "data" / "guide" / name).read_text(encoding="utf-8"))


def _guide_config(project: Path) -> str:
    values = {key.lstrip("-"): value for key, value in _published("config.json").items()}
    file, specs = project / "group_vars" / "training.yml", project / "roles" / "simpletuner" / "meta"
    here = variables_of(file) if file.is_file() else {}
    options = variables_of(specs / "argument_specs.yml")["argument_specs"]["main"]["options"] if specs.is_dir() else {}
    departures = {departure.key: departure for departure in guide.CONFIG}
    rows = []
    for key in [*values, *(key for key in departures if key not in values)]:
        variable, departure = guide.variable(key), departures.get(key)
        if departure and departure.ours == ABSENT:
            variable, value = None, "left out"
        elif variable in here:
            value = _inline(here[variable])
        else:
            value = "the preset's" if variable else "the same for every run"
        what = options.get(variable, {}).get("description", "")
        why = departure.reason if departure else "" if variable else "Path of the file that the role writes."
        published = _inline(values[key]) if key in values else "absent"
        rows.append([f"`{key}`", published, f"`{variable}`" if variable else "", value, f"{what} {why}".strip()])
    return _table(["Key", "Guide", "Variable", "Here", "What it is, and why it differs"], rows)


def _guide_preset(preset: str) -> str:
    rows = [_departure(departure) for departure in guide.PRESETS[preset]]
    table = _table(["Key", "Guide", "Here", "Why"], rows)
    return f"With the preset `{preset}`, in `group_vars/preset_{preset}.yml`:\n\n{table}"


def _departure(departure: Departure) -> list[str]:
    values = ("absent" if value == ABSENT else _inline(value) for value in (departure.guide, departure.ours))
    return [f"`{departure.key}`", *values, departure.reason]


def _guide_backends() -> str:
    files = {preset: _published(name)[:-1] for preset, name in BACKEND_FILES.items()}
    departures = {
        preset: [{departure.key: departure for departure in those} for those in guide.BACKENDS[preset]]
        for preset in files
    }
    read = [entry for entries in files.values() for entry in entries]
    new = [key for those in departures.values() for entry in those for key in entry]

    def cell(preset: str, key: str) -> str:
        found = []
        for entry, changed in zip(files[preset], departures[preset], strict=True):
            values = [entry.get(key, ABSENT)] + ([changed[key].ours] if key in changed else [])
            found.append(" → ".join("absent" if value == ABSENT else _inline(value) for value in values))
        return "<br>".join(dict.fromkeys(found)).replace("/root/SimpleTuner", "…")

    rows = [
        [f"`{key}`", *(cell(preset, key) for preset in files)]
        for key in dict.fromkeys([*(k for e in read for k in e), *new])
    ]
    heads = [f"{name}, preset `{preset}`" for preset, name in BACKEND_FILES.items()]
    return _table(["Key", *heads], rows)


def _guide_reasons() -> str:
    every = [departure for preset in guide.BACKENDS.values() for backend in preset for departure in backend]
    keys: dict[str, list[str]] = {}
    for departure in every:
        keys.setdefault(departure.reason, []).append(f"`{departure.key}`")
    return "\n".join(f"- {', '.join(dict.fromkeys(those))}: {reason}" for reason, those in keys.items()) + "\n"


def _settings(heading: str, preset: Preset) -> str:
    """Return a file of group variables: its first comment, a table of short values, blocks of long ones."""
    parts = [heading, ""]
    if preset.purpose:
        parts += [preset.purpose, ""]
    long = [setting for setting in preset.settings if isinstance(setting.value, dict | list) and setting.value]
    if short := [setting for setting in preset.settings if setting not in long]:
        rows = [[f"`{setting.variable}`", _inline(setting.value), setting.reason] for setting in short]
        parts.append(_table(["Variable", "Value", "Why"], rows))
    for setting in long:
        block = yaml.safe_dump({setting.variable: setting.value}, sort_keys=False, width=100, allow_unicode=True)
        parts += [*([setting.reason, ""] if setting.reason else []), f"```yaml\n{block}```", ""]
    return "\n".join(parts)


def _option(name: str, option: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    kind = option.get("type", "str") + (f" of {option['elements']}" if "elements" in option else "")
    if "choices" in option:
        kind += ": " + ", ".join(f"`{choice}`" for choice in option["choices"])
    default = "**required**" if option.get("required") else _inline(defaults[name]) if name in defaults else ""
    description = option.get("description", "")
    return [f"`{name}`", kind, default, " ".join(description) if isinstance(description, list) else description]


def _inline(value: object) -> str:
    """Return a value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return "`" + text.strip().removesuffix("...").strip() + "`"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _commands(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            yield from _commands(f"{path} {name}", command.commands[name])


def stale(project: Path) -> list[str]:
    """Return the pages whose file differs from what the code generates."""
    docs = project / "docs"
    return [
        name
        for name, page in PAGES.items()
        if not (docs / name).is_file() or (docs / name).read_text(encoding="utf-8") != page(project)
    ]


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a page is out of date")
    parser.add_argument("--project", type=Path, default=PROJECT, help=argparse.SUPPRESS)
    arguments = parser.parse_args(words)
    old = stale(arguments.project)
    if arguments.check and old:
        sys.exit(f"Out of date: {', '.join(f'docs/{name}' for name in old)}. Run `make docs`.")
    for name in old:
        (arguments.project / "docs" / name).write_text(PAGES[name](arguments.project), encoding="utf-8")


if __name__ == "__main__":
    main()
