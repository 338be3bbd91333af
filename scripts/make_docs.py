#!/usr/bin/env python3
"""Makes the pages and the picture of docs/ from the code; with --check, only reports which are out of date."""

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
    """Every preset by its kind, with what it sets and why, then what it is merged into."""
    parts = [
        f"{NOTE}\n# Presets\n\nChoose with `-e run_presets=512,lokr` or `fluxlora train ./dataset -p 512 -p lokr`; "
        "`fluxlora presets` lists them, and `fluxlora presets 512 lokr` says whether they combine. A preset is one "
        "file in `group_vars/`. Two that set the same variable are refused by name, so a run has one of each kind; it "
        "gets 1024 where no resolution is chosen.\n"
    ]
    found = [presets.describe(name, project) for name in presets.available(project)]
    kinds = [*presets.KINDS.values(), "other"]
    index = [[kind, _links(preset for preset in found if preset.kind == kind)] for kind in kinds]
    parts.append(_table(["Kind", "Presets"], [row for row in index if row[1]]))
    for kind in kinds:
        parts += [_settings(f"## {preset.name}", preset) for preset in found if preset.kind == kind]
    for name, heading in (("training", "What every run starts from"), ("rehearsal", "What a rehearsal scales down")):
        file = project / "group_vars" / f"{name}.yml"
        if file.is_file():
            parts.append(_settings(f"## {heading} (`group_vars/{name}.yml`)", presets.described(file, name)))
    return "\n".join(parts)


def _links(found: Iterable[Preset]) -> str:
    return " ".join(f"[{preset.name}](#{preset.name})" for preset in found)


def variables_page(project: Path) -> str:
    """Every variable of the playbooks and of every role, from its argument specification and its default."""
    parts = [
        f"{NOTE}\n# Variables\n\nSet any of them with `-e`, with `fluxlora train … -e NAME=VALUE`, in "
        "`inventory/runs.yml`, or in a file in `inventory/host_vars/` or `group_vars/`. Every verb refuses, before it "
        "does anything, a name that nothing reads (no role, no playbook, not Ansible itself, no template of another "
        "variable of yours) and a value of a wrong type. Variables of runs that the call is not about do not stop it.\n"
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
    """What `--help` says of every command."""
    parts = [f"{NOTE}\n# Commands\n"]
    for path, command in _commands("fluxlora", cli):
        context = click.Context(command, info_name=path, terminal_width=120, **cli.context_settings)
        parts.append(f"## {path}\n\n```text\n{command.get_help(context).strip()}\n```\n")
    return "\n".join(parts)


def faults_page(_: Path) -> str:
    """Every fault of the stand-in vast.ai, by name."""
    parts = [
        f"{NOTE}\n# Faults\n\nWhat can go wrong with vast.ai, to be tried for free. `fluxlora rehearsal serve` prints "
        'an address and a key; `POST /rehearsal/faults` with `{"name": "offer_gone"}` arms a fault, which acts '
        'once unless `"times"` says how often.\n'
    ]
    rows = [
        [f"`{name}`", f"`{fault.where}`" if " " in fault.where else fault.where, fault.function.__doc__, fault.outcome]
        for name, fault in sorted(FAULTS.items())
    ]
    return "\n".join([*parts, _table(["Name", "Where it acts", "What happens", "What fluxlora makes of it"], rows)])


def rules_page(_: Path) -> str:
    """Every rule that the plan judges a run by, the heaviest first."""
    parts = [
        f"{NOTE}\n# Rules\n\nWhat `fluxlora plan` looks at before anything is rented, and who says so. Each is one "
        "function in `src/fluxlora/plan/rules/`.\n"
    ]
    for weight in sorted(Weight, reverse=True):
        rows = [[each.purpose, _cited(each.source)] for each in RULES if each.weight is weight]
        parts.append(f"## {weight.name.capitalize()}\n\n{weight.meaning}\n")
        parts.append(_table(["What is looked at", "Source"], rows))
    return "\n".join(parts)


def _cited(source: Source) -> str:
    return f"[{source.cited}]({source.url})" if source.url else source.cited


def guide_keys_page(project: Path) -> str:
    """Every key of the guide's files: its value there, its value and place here, and why they differ."""
    return "\n".join(
        [
            f"{NOTE}\n# Every key of the guide's files\n\n[guide.md](guide.md) goes through the guide itself. "
            "`fluxlora render` writes these files, and a test finds no other differences than those below.\n",
            "## config.json\n\nWhere nothing else is said the value stands in `group_vars/training.yml`.\n",
            _guide_config(project),
            *(_guide_preset(preset) for preset, departures in guide.PRESETS.items() if departures),
            "## multidatabackend*.json\n\nOne file of the guide is one preset here; a value for each data backend with "
            "images, and after the arrow ours where it is another; `…` is `/root/SimpleTuner`. The backend that caches "
            "captions, `text-embeds`, is `simpletuner_text_embeds` in `group_vars/training.yml`, and the guide's.\n",
            _guide_backends(),
            _guide_reasons(),
            "## lycoris_config.json\n\n`simpletuner_lycoris` in `group_vars/preset_lokr.yml`, and the guide's.\n",
        ]
    )


def speeds_page(_: Path) -> str:
    """The table of how fast which GPU trains, slowest last, and what its numbers rest on."""
    one = Work(batch_size=1, megapixels=1024**2 / 1e6)
    small, quantised = replace(one, megapixels=512**2 / 1e6), replace(one, precision="int8-quanto")
    rows = []
    for card in sorted(speeds.CARDS, key=lambda card: -card.tflops):
        seconds = [speeds.step_seconds(work, card.tflops) for work in (one, small, quantised)]
        figures = [f"{each:.2f}" for each in seconds]
        factor = f"{card.basis}, ÷ or x {speeds.FACTORS[card.basis]:g}"
        sheet = [f"{card.sheet_tflops:g}", f"{card.share.share:.0%} ({card.share.kind})"]
        rows.append([card.name, *figures, factor, *sheet])
    shares = dict.fromkeys((card.share.kind, card.share.source) for card in speeds.CARDS)
    return "\n".join(
        [
            f"{NOTE}\n# How fast which GPU trains\n\nSeconds for a step with one picture, by which offers are ranked "
            "([costs](costs.md)); n pictures take n times as long, less the 0.2 s of each batch. Nobody publishes a "
            "dependable table, so these are expectations, and the range of an offer's cost says how far they may be "
            "off. Finished runs of your own correct them: `fluxlora offers` marks a GPU of which it knows some.\n",
            _table(
                ["GPU", "1024 px", "512 px", "1024 px, int8", "Where from, and how far off", "Data sheet", "Reached"],
                rows,
            ),
            "The data sheet's TFLOPS are dense bfloat16 ones that are summed in float32, and a step's work is reckoned "
            "from the model's shapes (`src/fluxlora/estimates/work.py`). Which share of them a training reaches:\n",
            _table(["Kind of card", "Source"], [list(each) for each in shares]),
            "A GPU that is not in the table is reckoned with by vast.ai's own benchmark, or the float32 TFLOPS that "
            "the offer shows, at the slow end of what the known ones have; its cost may be off by "
            f"{speeds.FACTORS[speeds.Basis.ESTIMATED]:g} both ways, and it is marked. One of which neither is known "
            "is passed over.\n",
        ]
    )


def loaders_page(_: Path) -> str:
    """What loads which adapter, as the loaders were run, and how."""
    rows = [[row.file, row.diffusers, row.comfyui, row.lycoris] for row in loaders.TABLE]
    first, *later = loaders.DIFFUSERS
    return "\n".join(
        [
            f"{NOTE}\n# What loads an adapter\n\nTake `artifacts/RUN/RUN.safetensors`; the run's report says what "
            "loads it. Where a cell has nothing else to say, all layers load at the strength that was trained, and the "
            "model draws what the trained one does.\n",
            _table(["File", "diffusers", "ComfyUI", "LyCORIS"], rows),
            f"Run with diffusers {first}, {' and '.join(later)}, and LyCORIS {' and '.join(loaders.LYCORIS)}, by the "
            f"tests (`make trainers`); with the loader of ComfyUI {loaders.COMFYUI}, by hand: it takes every key of "
            "each file. Forge's loader (source of 2025-06-26) has the same table of names and was not run. sd-scripts "
            "(source of 2026-02-16) reads names of its own and none of these.\n",
            LOKR_IN_DIFFUSERS,
        ]
    )


LOKR_IN_DIFFUSERS = """## A LoKr in diffusers

`pipe.load_lora_weights` refuses every LoKr of FLUX.1. From diffusers 0.42.1 on a model loads one that has diffusers'
names and one factor, so a LoKr comes with copies for it: `RUN-diffusers.safetensors` where the factor is the same
everywhere, as the preset `lokr16` trains it, else one file for each, `RUN-diffusers-16.safetensors` and
`RUN-diffusers-8.safetensors` of the preset `lokr`. Nothing is lost in them. Load all, and make all of them active:

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

writes `RUN-lora-64.safetensors`: the LoRA of that rank that is nearest to the LoKr. It loads wherever a LoRA does, and
is not the same: the report says how much of the LoKr's change it leaves out, as the norm over all weights. A LoKr's
change is spread over many ranks, so a low one may leave out most of it; look at the number, and at pictures, before you
publish it. It is the same LoRA that peft's `convert_to_lora` makes from the loaded model.

## A LoKr merged into the model

Exact, and as large as the model. In an environment that has diffusers and lycoris-lora:

```python
from lycoris import create_lycoris_from_weights

network, _ = create_lycoris_from_weights(1.0, "RUN.safetensors", pipe.transformer)
network.merge_to(1.0)
pipe.transformer.save_pretrained("merged")
```

This holds for the presets' LoKr, whose matrices are whole. LyCORIS scales one of low rank (a `linear_dim` of 4, for
example) twice when it merges; load that with `network.apply_to()` instead.
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
    departures = {each.key: each for each in guide.CONFIG}
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
        why = departure.reason if departure else "" if variable else "Where the role writes that file."
        published = _inline(values[key]) if key in values else "absent"
        rows.append([f"`{key}`", published, f"`{variable}`" if variable else "", value, f"{what} {why}".strip()])
    return _table(["Key", "Guide", "Variable", "Here", "What it is, and why it is another"], rows)


def _guide_preset(preset: str) -> str:
    rows = [_departure(each) for each in guide.PRESETS[preset]]
    table = _table(["Key", "Guide", "Here", "Why"], rows)
    return f"With the preset `{preset}`, in `group_vars/preset_{preset}.yml`:\n\n{table}"


def _departure(each: Departure) -> list[str]:
    values = ("absent" if value == ABSENT else _inline(value) for value in (each.guide, each.ours))
    return [f"`{each.key}`", *values, each.reason]


def _guide_backends() -> str:
    files = {preset: _published(name)[:-1] for preset, name in BACKEND_FILES.items()}
    departures = {preset: [{each.key: each for each in those} for those in guide.BACKENDS[preset]] for preset in files}
    read = [entry for entries in files.values() for entry in entries]
    new = [each for those in departures.values() for entry in those for each in entry]

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
    every = [each for preset in guide.BACKENDS.values() for backend in preset for each in backend]
    keys: dict[str, list[str]] = {}
    for each in every:
        keys.setdefault(each.reason, []).append(f"`{each.key}`")
    return "\n".join(f"- {', '.join(dict.fromkeys(those))}: {reason}" for reason, those in keys.items()) + "\n"


def _settings(heading: str, preset: Preset) -> str:
    """One file of group variables: its opening comment, a table of what is short, blocks of what is long."""
    parts = [heading, ""]
    if preset.purpose:
        parts += [preset.purpose, ""]
    long = [each for each in preset.settings if isinstance(each.value, dict | list) and each.value]
    if short := [each for each in preset.settings if each not in long]:
        rows = [[f"`{each.variable}`", _inline(each.value), each.reason] for each in short]
        parts.append(_table(["Variable", "Value", "Why"], rows))
    for each in long:
        block = yaml.safe_dump({each.variable: each.value}, sort_keys=False, width=100, allow_unicode=True)
        parts += [*([each.reason, ""] if each.reason else []), f"```yaml\n{block}```", ""]
    return "\n".join(parts)


def _option(name: str, option: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    kind = option.get("type", "str") + (f" of {option['elements']}" if "elements" in option else "")
    if "choices" in option:
        kind += ": " + ", ".join(f"`{choice}`" for choice in option["choices"])
    default = "**required**" if option.get("required") else _inline(defaults[name]) if name in defaults else ""
    description = option.get("description", "")
    return [f"`{name}`", kind, default, " ".join(description) if isinstance(description, list) else description]


def _inline(value: object) -> str:
    """A value as YAML on one line."""
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
    """The pages whose file is not what the code says."""
    docs = project / "docs"
    return [
        name
        for name, page in PAGES.items()
        if not (docs / name).is_file() or (docs / name).read_text(encoding="utf-8") != page(project)
    ]


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail where a page is out of date")
    parser.add_argument("--project", type=Path, default=PROJECT, help=argparse.SUPPRESS)
    arguments = parser.parse_args(words)
    old = stale(arguments.project)
    if arguments.check and old:
        sys.exit(f"Out of date: {', '.join(f'docs/{name}' for name in old)}. Run `make docs`.")
    for name in old:
        (arguments.project / "docs" / name).write_text(PAGES[name](arguments.project), encoding="utf-8")


if __name__ == "__main__":
    main()
