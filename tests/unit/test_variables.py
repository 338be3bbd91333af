"""Variables that users set: an unknown name is found with the nearest, a value of a wrong type in a sentence."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from hypothesis import given
from hypothesis import strategies as st

from fluxlora.rehearsal.vast.faults import FAULTS
from fluxlora.settings.presets import variables_of
from fluxlora.settings.variables import (
    INSTANCE_VARIABLES,
    Setting,
    Variable,
    faults,
    known,
    missing,
    misspelt,
    nearest,
    of_roles,
)
from fluxlora.trainer import facts
from fluxlora.trainer.versions import RELEASES

PROJECT = Path(__file__).parents[2]
KNOWN = known(PROJECT)


def unknown(*names: str, also: tuple[str, ...] = ()) -> list[str]:
    return [found.name for found in misspelt([Setting(name, 1) for name in names], KNOWN, also)]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("max_train_steps", "simpletuner_max_train_steps"),
        ("provison_budget_usd", "provision_budget_usd"),
        ("run_preset", "run_presets"),
        ("simpletuner_lora_rnk", "simpletuner_lora_rank"),
        ("budget_usd", "provision_budget_usd"),
        ("learning_rate", "simpletuner_learning_rate"),
        ("--simpletuner-lora-rank", "simpletuner_lora_rank"),
        ("RUN_NAME", "run_name"),
        ("trigger_word", "plan_trigger_word"),
        ("dataset", "dataset_path"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_one_that_was_meant(typed: str, meant: str) -> None:
    (sentence,) = faults([Setting(typed, "1")], KNOWN)
    assert sentence == f"The variable {typed} is unknown: did you mean {meant}?"


def test_a_word_that_several_names_hold_is_answered_with_them() -> None:
    assert nearest("epochs", KNOWN) == ("simpletuner_ignore_final_epochs", "simpletuner_num_train_epochs")


def test_a_name_like_none_that_is_known_is_refused_all_the_same() -> None:
    (sentence,) = faults([Setting("dataset_xyzzy_plugh_frobnicate", 1)], KNOWN)
    assert sentence.endswith("no role and no playbook reads one with a name like it.")


@given(st.sampled_from(sorted(KNOWN)), st.data())
def test_a_letter_too_few_too_many_or_two_swapped_are_refused_with_a_name_that_is_known(name: str, data: Any) -> None:
    place = data.draw(st.integers(0, len(name) - 2))
    slip = data.draw(st.sampled_from(["drop", "double", "swap"]))
    end = {
        "drop": name[place + 1 :],
        "double": name[place] + name[place:],
        "swap": name[place + 1] + name[place] + name[place + 2 :],
    }
    typed = name[:place] + end[slip]
    if typed in KNOWN:
        return
    (found,) = misspelt([Setting(typed, 1)], KNOWN)
    assert set(found.nearest) <= set(KNOWN)
    assert found.nearest


def test_a_name_that_ansible_reads_is_none_of_ours() -> None:
    assert unknown("ansible_user", "ansible_usr", also=("ansible_user",)) == ["ansible_usr"]


def test_a_variable_that_another_setting_uses_in_a_template_is_read() -> None:
    own = Setting("my_pictures", "/pictures")
    assert faults([own, Setting("dataset_path", "{{ my_pictures }}/cats")], KNOWN) == ()
    (alone,) = faults([own, Setting("dataset_path", "my_pictures")], KNOWN)
    assert "my_pictures is unknown" in alone
    (itself,) = faults([Setting("mine", "{{ mine | default(1) }}")], KNOWN)
    assert "mine is unknown" in itself


def test_where_a_variable_of_the_inventory_stands_is_said() -> None:
    wrong = faults(
        [Setting("lora_rank", 1, "for my-style"), Setting("plan_card_gb", "x", "for the group training")], KNOWN
    )
    assert wrong == (
        "The variable lora_rank, set for my-style, is unknown: did you mean simpletuner_lora_rank?",
        "plan_card_gb, set for the group training, must be a whole number, not 'x'.",
    )


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("simpletuner_learning_rate", "fast", "must be a number, not 'fast'."),
        ("simpletuner_max_train_steps", "1.5k", "must be a whole number, not '1.5k'."),
        ("simpletuner_max_train_steps", 1.5, "must be a whole number, not 1.5."),
        ("simpletuner_max_train_steps", True, "must be a whole number, not true."),
        ("provision_budget_usd", "nan", "must be a number, not 'nan'."),
        ("provision_budget_usd", None, "must be a number, not nothing: leave the variable out."),
        ("run_rehearsal", "maybe", "must be true or false, not 'maybe'."),
        ("run_name", ["a", "b"], "must be a text, not ['a', 'b']."),
        ("dataset_path", {"a": 1}, "must be a path, not {'a': 1}."),
        ("provision_excluded_machine_ids", "1,x", "must be a list, each element a whole number, not '1,x'."),
        ("simpletuner_lycoris", "lokr", "must be a mapping, not 'lokr'."),
        ("simpletuner_lora_type", "lokr", "must be one of standard or lycoris, not 'lokr'."),
        ("doctor_subjects", "hub,money", "must be one of vastai, ssh, hub, wandb or computer, not 'hub,money'."),
    ],
)
def test_a_value_of_a_wrong_type_is_refused_in_a_sentence(name: str, value: Any, sentence: str) -> None:
    assert faults([Setting(name, value)], KNOWN) == (f"{name} {sentence}",)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("simpletuner_learning_rate", "1e-4"),
        ("simpletuner_max_train_steps", "1000"),
        ("simpletuner_max_train_steps", 1000.0),
        ("run_rehearsal", "true"),
        ("run_presets", 512),
        ("run_presets", ["512", "lokr"]),
        ("simpletuner_version", "4.10.1"),
        ("cuda_min_version", 12.8),
        ("import_files", "config.json,multidatabackend.json"),
        ("provision_excluded_machine_ids", [1, "2"]),
        ("simpletuner_extra_config", {"lr_end": None}),
        ("simpletuner_lora_alpha", None),
        ("simpletuner_max_train_steps", "{{ 5 * 100 }}"),
    ],
)
def test_a_value_that_ansible_converts_is_taken(name: str, value: Any) -> None:
    assert faults([Setting(name, value)], KNOWN) == ()


def test_a_template_given_with_e_is_judged_by_what_it_comes_to_and_left_alone_where_that_is_not_known_yet() -> None:
    setting = Setting("simpletuner_max_train_steps", "{{ steps }}")
    assert "must be a whole number" in faults([setting], KNOWN, resolve=lambda _: "many")[0]
    assert faults([setting], KNOWN, resolve=lambda _: None) == ()


def test_the_value_of_a_secret_is_not_shown() -> None:
    (sentence,) = faults([Setting("training_tokens", "hidden")], KNOWN)
    assert sentence == "training_tokens must be a mapping."


# What somebody types after the equals sign, numbers most of all.
TEXTS = st.one_of(
    st.text(max_size=8),
    st.from_regex(r"\A-?\d{1,5}(\.\d{0,3})?(e-?\d{1,2})?\Z"),
    st.sampled_from(
        ["yes", "no", "on", "off", "true", "False", "0", "1", "inf", "nan", "1_000", "0x10", "1,2", "{}", "a=b"]
    ),
)


@given(st.sampled_from(["bool", "dict", "float", "int", "list", "path", "str"]), TEXTS)
def test_a_text_is_taken_where_ansible_takes_it_except_for_numbers_that_are_none(kind: str, text: str) -> None:
    try:
        by_ansible = not ArgumentSpecValidator({"x": {"type": kind}}).validate({"x": text}).error_messages
    # Its own look at whole numbers does not survive infinity.
    except OverflowError:
        by_ansible = False
    endless = kind == "float" and re.fullmatch(r"\s*[+-]?(inf|infinity|nan)\s*", text, re.IGNORECASE)
    assert Variable("x", "roles", kind).takes(text) == (by_ansible and not endless)


@given(
    st.sampled_from(sorted(KNOWN)),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=5,
    ),
)
def test_whatever_is_given_is_taken_or_refused_in_one_printable_line(name: str, value: Any) -> None:
    for sentence in faults([Setting(name, value)], KNOWN):
        assert sentence.isprintable()
        assert sentence.startswith(name)
        assert "<class" not in sentence
        assert len(sentence) < 400


def test_every_variable_that_the_project_sets_itself_is_known_and_of_its_type() -> None:
    files = [*(PROJECT / "group_vars").glob("*.yml"), *(PROJECT / "roles").glob("*/defaults/main.yml")]
    assert len(files) > 20
    settings = [Setting(name, value, str(file)) for file in files for name, value in variables_of(file).items()]
    ansibles = {setting.name for setting in settings if setting.name.startswith("ansible_")}
    assert faults(settings, KNOWN, ansibles) == ()


def test_a_required_variable_that_is_absent_is_named_with_what_sets_it() -> None:
    sentences = missing({"simpletuner_model"}, KNOWN)
    assert not any(sentence.startswith("simpletuner_model ") for sentence in sentences)
    assert any(re.match(r"simpletuner_datasets is not set.*a preset of a resolution", each) for each in sentences)


def test_of_a_playbook_of_somebody_else_only_names_that_begin_like_a_roles_are_looked_at() -> None:
    names = ["simpletuner_lora_rnk", "my_own", "__simpletuner_register", "ansible_host", "vastai_id", "run_name"]
    assert [found.name for found in of_roles(names, KNOWN)] == ["simpletuner_lora_rnk"]


# Words that begin like a variable of a role or of the playbooks.
BEGINNINGS = sorted(
    {variable.owner for variable in KNOWN.values()} - {"playbooks"} | {name.split("_")[0] for name in KNOWN}
)
LIKE_A_VARIABLE = re.compile(rf"(?<![\w./$-])(?:{'|'.join(BEGINNINGS)})_[a-z0-9_]*[a-z0-9](?![\w(*{{/-]|\.\w)")
# What begins like one and is something else.
OTHERS = {
    "cuda_max_good": "a field of vast.ai's offers",
    "destroy_unverified": "the code of a failure",
    "plan_refused": "the code of a failure",
    "run_name_fault": "a filter",
    "run_kept_file": "set by the playbook that enters the runs, never by the user",
    "run_once": "a keyword of Ansible's",
    "run_resolved_presets": "set by the playbook that enters the runs, never by the user",
    "simpletuner_release": "a filter",
    "training_abort": "an event of SimpleTuner's",
    "training_failed": "the code of a failure",
    "doctor_found": "registered by the role doctor, for the later steps of a call",
    "plan_result": "registered by the role plan, for the later steps of a call",
    "provision_found": "registered by the role provision, for the later steps of a call",
    "provision_offers": "registered by the role provision, for the later steps of a call",
    "vastai_ssh_args": "set and read by group_vars/vastai.yml alone",
}


def texts() -> Iterator[tuple[str, str]]:
    """Every text that somebody may read, with its file: of Python the strings, of all else everything."""
    for file in sorted([*PROJECT.glob("src/**/*.py"), *PROJECT.glob("plugins/**/*.py")]):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        strings = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
        yield str(file.relative_to(PROJECT)), "\n".join(text for text in strings if isinstance(text, str))
    for pattern in ("roles/**/*.yml", "playbooks/**/*.yml", "docs/*.md", "*.md", "group_vars/*.yml", "inventory/*.yml"):
        for file in sorted(PROJECT.glob(pattern)):
            yield str(file.relative_to(PROJECT)), file.read_text(encoding="utf-8")


def names_of_others() -> set[str]:
    """Our modules and their options, the faults of the stand-in, and the options of SimpleTuner."""
    modules = sorted((PROJECT / "plugins").glob("*/*.py"))
    options = re.findall(
        r"^ {2,}(\w+):$", "\n".join(file.read_text(encoding="utf-8") for file in modules), re.MULTILINE
    )
    trainer = {name for line in RELEASES for name in (*facts(line).options, *facts(line).backend_keys)}
    return {*(file.stem for file in modules), *options, *FAULTS, *trainer, *INSTANCE_VARIABLES, *OTHERS}


def test_no_message_hint_or_page_names_a_variable_that_does_not_exist() -> None:
    found = {(word, file) for file, text in texts() for word in LIKE_A_VARIABLE.findall(text)}
    assert len({word for word, _ in found} & set(KNOWN)) > 100, "the search finds variables"
    others = names_of_others()
    assert sorted((word, file) for word, file in found if word not in KNOWN and word not in others) == []
    assert set(OTHERS) <= {word for word, _ in found}, "what nobody says any more needs no exception"


@pytest.mark.parametrize("word", ["dataset_regularisation_pattern", "plan_steps", "run_preset"])
def test_the_search_sees_a_variable_that_does_not_exist(word: str) -> None:
    seen = LIKE_A_VARIABLE.findall(f"Correct {word}, or `-e {word}=1`.")
    assert seen == [word, word]
    assert word not in names_of_others() | set(KNOWN)
