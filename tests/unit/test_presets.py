"""Presets: names, conflicts, the default, and what each one and each combination comes to."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from fluxlora.dataset import scan
from fluxlora.errors import InputError
from fluxlora.plan import plan
from fluxlora.settings import presets

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "group_vars").mkdir()
    for name, text in {
        "1024": "simpletuner_datasets: [{id: square_1024}]\nsimpletuner_resolution: 1024\n",
        "512": "simpletuner_datasets: [{id: square_512}]\nsimpletuner_resolution: 512\n",
        "lokr": "simpletuner_lora_type: lycoris\n",
        "empty": "---\n",
    }.items():
        (tmp_path / f"group_vars/preset_{name}.yml").write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("512,lokr", ("512", "lokr")),
        ("512+lokr", ("512", "lokr")),
        (" 512 , lokr,", ("512", "lokr")),
        (["512", "lokr", "512"], ("512", "lokr")),
        (512, ("512",)),
        ([512], ("512",)),
        ("", ()),
    ],
)
def test_presets_are_read_from_text_lists_and_numbers(given: object, names: tuple[str, ...]) -> None:
    assert presets.parse(given) == names


def test_a_run_without_a_resolution_preset_gets_1024_first(project: Path) -> None:
    assert presets.resolve("lokr", project) == ("1024", "lokr")
    assert presets.resolve("", project) == ("1024",)


def test_a_run_with_a_resolution_preset_gets_no_other(project: Path) -> None:
    assert presets.resolve("lokr,512", project) == ("lokr", "512")


def test_an_unknown_preset_is_refused_with_the_nearest_one(project: Path) -> None:
    with pytest.raises(InputError, match="'lork', did you mean 'lokr'") as refused:
        presets.resolve("512,lork", project)
    assert refused.value.code == "unknown_preset"
    assert "1024, 512, empty, lokr" in refused.value.hint
    with pytest.raises(InputError, match="'lork', did you mean 'lokr'"):
        presets.describe("lork", project)


def test_two_presets_that_set_one_variable_are_refused_by_name(project: Path) -> None:
    with pytest.raises(InputError, match=r"1024 and 512 .* simpletuner_datasets, simpletuner_resolution") as refused:
        presets.resolve("1024,512", project)
    assert refused.value.code == "preset_conflict"


def test_adding_a_preset_is_adding_a_file(project: Path) -> None:
    (project / "group_vars/preset_tiny.yml").write_text("simpletuner_lora_rank: 1\n")
    assert presets.available(project) == ("1024", "512", "empty", "lokr", "tiny")
    assert presets.resolve("512,tiny", project) == ("512", "tiny")


@pytest.mark.parametrize("text", ["[1, 2]\n", "a: b: c\n", "secret: !vault x\n"])
def test_a_preset_file_that_is_no_mapping_is_named(project: Path, text: str) -> None:
    (project / "group_vars/preset_odd.yml").write_text(text)
    with pytest.raises(InputError, match=r"preset_odd\.yml") as refused:
        presets.resolve("odd", project)
    assert refused.value.code == "bad_yaml"


def test_the_projects_own_presets_stand_beside_lokr_and_not_beside_each_other() -> None:
    assert presets.resolve("512,lokr", PROJECT) == ("512", "lokr")
    with pytest.raises(InputError, match="512 and 1024"):
        presets.resolve("512,1024", PROJECT)


def test_no_file_of_variables_writes_a_key_over_another_which_ansible_warns_of_at_every_run() -> None:
    files = [*(PROJECT / "group_vars").glob("*.yml")]
    assert len(files) > 10
    assert [file.name for file in files if "<<:" in file.read_text()] == []


def test_no_two_data_backends_of_any_preset_share_a_name_a_suffix_or_a_cache() -> None:
    settings = [presets.variables(name, PROJECT) for name in presets.available(PROJECT)]
    entries = [entry for each in settings for entry in each.get(presets.DATASETS, [])]
    assert len(entries) >= 7
    for key in ("id", "cache_file_suffix", "cache_dir_vae"):
        assert len({entry[key] for entry in entries}) == len(entries), key


RESOLUTIONS = ("1024", "512", "multires", "arb")
TARGETS, RANKS, CARDS = ("attention", "context", "mmdit"), ("rank4", "rank64", "rank128"), ("24gb", "48gb", "80gb")
LENGTHS, RATES, LOKRS = ("long", "short"), ("aggressive", "gentle"), ("lokr", "lokr16")
KINDS = (RESOLUTIONS, LOKRS, TARGETS, RANKS, CARDS, LENGTHS, RATES)
GUIDE = presets.variables_of(PROJECT / "group_vars/training.yml")
SETTINGS = {name: presets.variables(name, PROJECT) for name in presets.available(PROJECT)}
EXAMPLE = scan(PROJECT / "examples/dataset")


def refusals(chosen: Iterable[str]) -> tuple[str, ...]:
    """Why a run with these presets is refused, before or by its plan."""
    merged: dict[str, Any] = dict(GUIDE)
    try:
        names = presets.resolve(list(chosen), PROJECT)
    except InputError as error:
        return (str(error),)
    for name in names:
        merged |= SETTINGS[name]
    return plan.make(merged, run="my-style", presets=names, dataset=EXAMPLE).errors


def pairs(*groups: Iterable[str]) -> set[frozenset[str]]:
    return {frozenset(pair) for pair in itertools.product(*groups)}


def test_every_preset_is_of_the_kind_that_is_known_here() -> None:
    kinds: dict[str, set[str]] = {}
    for name in presets.available(PROJECT):
        kinds.setdefault(presets.describe(name, PROJECT).kind, set()).add(name)
    assert list(map(set, KINDS)) == [kinds.get(kind, set()) for kind in presets.KINDS.values()]
    assert "other" not in kinds


def test_every_pair_of_presets_plans_or_is_refused_with_both_named_or_a_sentence() -> None:
    outcomes = {frozenset(pair): refusals(pair) for pair in itertools.combinations(SETTINGS, 2)}
    refused = {pair for pair, errors in outcomes.items() if errors}
    of_a_kind = {frozenset(pair) for kind in KINDS for pair in itertools.combinations(kind, 2)}
    not_for_lokr = pairs(LOKRS, (*TARGETS, *RANKS, *RATES))
    assert refused == of_a_kind | not_for_lokr | {frozenset(("24gb", "rank128"))}
    for pair in of_a_kind | not_for_lokr:
        (sentence,) = outcomes[pair]
        assert all(name in sentence for name in pair)
    (room,) = outcomes[frozenset(("24gb", "rank128"))]
    assert "GPU memory" in room


def test_the_lokr_of_one_factor_is_the_guides_but_for_the_factor_of_the_feed_forward_layers() -> None:
    guide, one = (presets.variables(name, PROJECT)["simpletuner_lycoris"] for name in LOKRS)
    algorithms = guide["apply_preset"].pop("module_algo_map")
    assert (guide, algorithms) == (one, {"Attention": {"factor": one["factor"]}, "FeedForward": {"factor": 8}})


@pytest.mark.parametrize("adapter", ["LoRA", "LoKr"])
def test_one_preset_of_every_kind_makes_a_sound_plan(adapter: str) -> None:
    kinds = (RESOLUTIONS, CARDS, LENGTHS, *([TARGETS, RANKS, RATES] if adapter == "LoRA" else [LOKRS]))
    combinations = list(itertools.product(*kinds))
    assert len(combinations) == {"LoRA": 432, "LoKr": 48}[adapter]
    assert {chosen: errors for chosen in combinations if (errors := refusals(chosen))} == {}


@pytest.mark.parametrize(("card", "gigabytes"), [("24gb", 22.56), ("48gb", 45.12), ("80gb", 75.2)])
def test_a_card_is_asked_of_the_offers(card: str, gigabytes: float) -> None:
    made = plan.make(GUIDE | SETTINGS["1024"] | SETTINGS[card], run="my-style", presets=[card], dataset=EXAMPLE)
    assert made.requirements.gpu_ram_gb == pytest.approx(gigabytes)
    assert made.requirements.compute_cap == 800


def test_a_quantised_model_asks_for_host_memory_and_fp8_for_the_cards_that_have_it() -> None:
    card = GUIDE | SETTINGS["1024"] | SETTINGS["24gb"]
    need = plan.make(card, run="my-style", presets=[], dataset=EXAMPLE).requirements
    assert (need.cpu_ram_gb, need.compute_cap) == (64, 800)
    for precision, capability in (("fp8-quanto", 890), ("fp8-torchao", 900)):
        chosen = card | {"simpletuner_base_model_precision": precision}
        found = plan.make(chosen, run="my-style", presets=[], dataset=EXAMPLE)
        assert (found.errors, found.requirements.compute_cap) == ((), capability)


def test_a_preset_tells_its_purpose_and_the_reason_of_each_setting(project: Path) -> None:
    (project / "group_vars/preset_small.yml").write_text(
        "---\n# For small cards.\n# Cheap ones.\nplan_card_gb: 24\n# Half of it.\nsimpletuner_train_batch_size: 1\n"
    )
    found = presets.describe("small", project)
    assert (found.kind, found.purpose) == ("card", "For small cards. Cheap ones.")
    assert [(each.variable, each.value, each.reason) for each in found.settings] == [
        ("plan_card_gb", 24, ""),
        ("simpletuner_train_batch_size", 1, "Half of it."),
    ]
    assert "  # Half of it." in found.lines()


def test_presets_shown_without_names_are_a_line_each_and_with_names_tried_together() -> None:
    everything = presets.show([], PROJECT)
    assert len(everything.lines()) == len(presets.available(PROJECT))
    assert presets.show("24gb,lokr", PROJECT).lines()[-1] == "Together a run has 1024 + 24gb + lokr."
    assert "cannot be combined" in presets.show("rank4,lokr", PROJECT).lines()[-1]
