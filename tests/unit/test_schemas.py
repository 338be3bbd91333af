"""JSON that others write is a valid record or one sentence, whatever it holds."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fluxlora.delivery import report
from fluxlora.delivery.progress import Progress
from fluxlora.errors import FluxloraError
from fluxlora.money.spending import of_lease, still_costs
from fluxlora.untrusted.schemas import (
    Foreign,
    HubUser,
    LeaseRecord,
    MalformedError,
    ManifestRecord,
    MeterRecord,
    ProgressRecord,
    WandbAnswer,
    parse,
    read,
    read_file,
    read_slurped,
    texts,
)
from fluxlora.vast.errors import refusal
from fluxlora.vast.records import Charge, Instance, Offer

TEXT = st.text(st.characters(exclude_categories=()), max_size=12) | st.sampled_from(
    ["\x1b[2J\x1b]0;title\x07", "a\nb", "\u202e", "\ud800", "{{ 7 * 191 }}", "1e999", "x" * 5000]
)
NUMBER = st.integers() | st.floats() | st.sampled_from([-1, 2**64, 10**399, 1e308, math.nan, math.inf, -math.inf])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
FINISHED = {
    "phase": "finished", "step": 12, "steps": 12, "epoch": 1, "loss": 0.25, "first_loss": 1.5, "lr": 1e-4,
    "seconds_per_step": 2.5, "started_at": 1.8e9, "updated_at": 1.8e9 + 60, "restarts": 0, "checkpoints": [6, 12],
    "errors": ["a warning"], "adapter": "/root/adapter.safetensors", "pid": 77,
}  # fmt: skip
LEASE = {
    "ends_at": 1.8e9, "bytes_down": 9e10, "bytes_up": 6e10, "grace_minutes": 30.0, "repo": "my-style",
    "budget": {
        "budget_usd": 20, "deadline_hours": 24.0, "first_rented_at": 1.8e9, "rented_at": 1.8e9, "spent_usd": 0.0,
        "earlier_instances": 0, "expected_usd": None,
        "rates": {"per_hour": 0.5, "storage_per_hour": 0.1, "down_per_gb": 0.01, "up_per_gb": 0.01},
    },
}  # fmt: skip
METER = {"bytes_down": 5, "bytes_up": 7.0, "counters": {"start": "77"}}
MANIFEST = {
    "run": "my-style",
    "vastai_id": 7,
    "files": [{"path": "config/config.json", "size_bytes": 2, "modified_at": 1.8e9, "sha256": "0" * 64}],
}
USER = {
    "name": "jane",
    "orgs": [{"name": "studio", "roleInOrg": "read"}],
    "auth": {"accessToken": {"role": "fineGrained", "fineGrained": {"scoped": None, "canReadGatedRepos": True}}},
}
SOUND: list[tuple[type[Foreign], dict[str, Any]]] = [
    (ProgressRecord, FINISHED),
    (LeaseRecord, LEASE),
    (MeterRecord, METER),
    (ManifestRecord, MANIFEST),
    (HubUser, USER),
    (WandbAnswer, {"data": {"viewer": {"username": "jane", "entity": "studio"}}}),
]


@st.composite
def nearly(draw: st.DrawFn, sound: dict[str, Any]) -> dict[str, Any]:
    """A sound record in which something, at some depth, is anything."""
    record = json.loads(json.dumps(sound))
    place: Any = record
    while True:
        key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not (isinstance(place[key], (dict, list)) and place[key] and draw(st.booleans())):
            break
        place = place[key]
    place[key] = draw(JSON)
    return record


def answer(question: Callable[[], Any]) -> Any:
    """What it returns, or the error that is one printable bounded line; anything else that is raised fails the test."""
    try:
        found = question()
    except FluxloraError as error:
        found = error
    if isinstance(found, FluxloraError):
        assert str(found).isprintable()
        assert 20 < len(str(found)) <= 300
        assert found.hint.isprintable()
    return found


def is_clean(value: Any) -> bool:
    """Whether all texts are printable and all numbers finite, whatever the depth."""
    if isinstance(value, dict):
        return all(is_clean(key) and is_clean(item) for key, item in value.items())
    if isinstance(value, list):
        return all(is_clean(item) for item in value)
    return value.isprintable() if isinstance(value, str) else True


@pytest.mark.parametrize(("schema", "sound"), SOUND, ids=lambda item: getattr(item, "__name__", ""))
def test_a_sound_record_is_read_and_what_no_schema_names_is_dropped(
    schema: type[Foreign], sound: dict[str, Any]
) -> None:
    found = read(schema, json.dumps(sound | {"anything": [1]}), "a file")
    assert found == read(schema, sound, "a file")
    assert "anything" not in found.as_facts()


@pytest.mark.parametrize(("schema", "sound"), SOUND, ids=lambda item: getattr(item, "__name__", ""))
@settings(max_examples=150)
@given(data=st.data())
def test_any_json_is_a_clean_record_or_one_sentence(
    schema: type[Foreign], sound: dict[str, Any], data: st.DataObject
) -> None:
    value = data.draw(JSON | nearly(sound))
    found = answer(lambda: read(schema, json.dumps(value), "a file of my-style"))
    assert isinstance(found, schema | MalformedError)
    if isinstance(found, schema) and schema is not ManifestRecord:
        assert is_clean(found.model_dump())


@given(st.text(st.characters(exclude_categories=()), max_size=40) | st.binary(max_size=40))
@example("[" * 100_000)
@example('{"a": ' * 50_000)
@example("1" * 5000)
@example('{"a": 1, "a": 2}')
@example(b"\xff\xfe[")
@example("NaN")
def test_any_text_is_json_or_one_sentence(text: str | bytes) -> None:
    answer(lambda: parse(text, "a file of my-style"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"phase": "training", "loss": "x"}', 'loss should be a valid number and is "x"'),
        ('{"phase": "training", "step": true}', "step should be a valid integer and is True"),
        ('{"phase": "training", "step": -1}', "step should be greater than or equal to 0 and is -1"),
        ('{"phase": "training", "updated_at": 1e999}', "updated_at should be"),
        ('{"phase": "training", "checkpoints": [6, "12"]}', "checkpoints.1 should be a valid integer"),
        (json.dumps({"phase": "training", "errors": ["x"] * 101}), "errors: list should have at most 100 items"),
        ('{"step": 3}', "phase is missing"),
        ('{"phase": "training", "phase": "finished"}', "phase stands in it twice"),
        ("[" * 100_000, "it is nested too deep"),
        (f'{{"step": 1{"0" * 5000}}}', "it holds a number of 5001 digits"),
        ("{", "it is not JSON (Expecting property name enclosed in double quotes at line 1, column 2)"),
        ("7", "the whole should be"),
    ],
)
def test_the_sentence_says_whose_file_it_is_and_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(MalformedError) as refused:
        read(ProgressRecord, text, "progress.json on the instance of my-style")
    assert str(refused.value).startswith("progress.json on the instance of my-style cannot be used: ")
    assert reason in str(refused.value)


def test_a_training_that_diverges_is_shown_and_leaves_no_odd_number_in_its_manifest(tmp_path: Path) -> None:
    record = read(ProgressRecord, '{"phase": "training", "step": 3, "steps": 9, "loss": NaN}', "progress.json")
    assert "loss nan" in Progress(record, alive=True).line()
    made = report.build(
        tmp_path, run="my-style", presets=[], instance={}, progress=record.model_dump(), adapter_facts=None, versions={}
    )
    assert made["loss"]["last"] is None


@given(st.none() | nearly(FINISHED), st.booleans())
def test_what_is_shown_of_a_progress_is_printable_lines(value: dict[str, Any] | None, alive: bool) -> None:
    record = answer(lambda: None if value is None else read(ProgressRecord, json.dumps(value), "progress.json of it"))
    if not isinstance(record, FluxloraError):
        progress = Progress(record, alive)
        assert all(line.isprintable() and len(line) <= 500 for line in [progress.line(), *progress.report()])


@given(nearly(LEASE), nearly(METER))
def test_an_account_is_made_of_any_lease_and_meter_or_they_are_refused(lease: Any, meter: Any) -> None:
    def made() -> str:
        known, moved = (
            read(LeaseRecord, json.dumps(lease), "lease.json of it"),
            read(MeterRecord, json.dumps(meter), "m"),
        )
        found = of_lease(known.as_facts(), moved.as_facts(), now=1.8e9 + 60)
        return found.line() if found else ""

    shown = answer(made)
    assert str(shown).isprintable()


@given(JSON | st.binary(max_size=40).map(lambda content: base64.b64encode(content).decode()))
def test_what_slurp_returns_is_a_record_or_one_sentence(content: Any) -> None:
    found = answer(lambda: read_slurped(MeterRecord, content, "meter.json of my-style"))
    assert found is None or isinstance(found, MeterRecord | MalformedError)


def test_what_slurp_returns_of_a_sound_file_is_the_record() -> None:
    content = base64.b64encode(json.dumps(METER).encode()).decode()
    assert read_slurped(MeterRecord, content, "meter.json") == MeterRecord(bytes_down=5, bytes_up=7.0)
    assert read_slurped(MeterRecord, "", "meter.json") is None


@given(JSON)
def test_versions_are_names_and_texts_or_one_sentence(value: Any) -> None:
    found = answer(lambda: texts(json.dumps(value), "The list of versions"))
    assert isinstance(found, MalformedError) or is_clean(found)


@settings(max_examples=50)
@given(JSON | nearly(MANIFEST))
@example([1])
@example({"files": [{"path": "a", "sha256": "\x1b[2J"}]})
def test_any_manifest_at_home_proves_a_delivery_or_says_why_not_and_is_written_anew(value: Any) -> None:
    with TemporaryDirectory() as place:
        home = Path(place)
        (home / report.NAME).write_text(json.dumps(value))
        (home / "a").write_text("content")
        found = report.proof(home / report.NAME)
        assert found.problem.isprintable()
        assert found.instance_id is None or not found.problem
        made = report.build(home, run="my-style", presets=[], instance={}, progress={}, adapter_facts=None, versions={})
        assert [file["path"] for file in made["files"]] == ["a"]
        report.write(home, made)
        assert json.loads((home / report.NAME).read_text())["run"] == "my-style"


def test_a_file_that_is_not_there_is_none_and_a_folder_is_named(tmp_path: Path) -> None:
    assert read_file(ManifestRecord, tmp_path / "nothing.json") is None
    assert str(tmp_path) in str(answer(lambda: read_file(ManifestRecord, tmp_path)))


ROW = json.loads((Path(__file__).parents[1] / "data" / "vast" / "instance_running.json").read_text())
ASKED = json.loads((Path(__file__).parents[1] / "data" / "vast" / "offer.json").read_text())


def fields_are_clean(record: Offer | Instance | Charge) -> bool:
    values = [value for value in vars(record).values() if value is not None]
    numbers = [value for value in values if isinstance(value, int | float)]
    return all(math.isfinite(value) and value >= 0 for value in numbers) and all(
        str(value).isprintable() and len(str(value)) <= 300 for value in values if isinstance(value, str)
    )


@settings(max_examples=200)
@given(nearly(ROW) | st.dictionaries(st.sampled_from(sorted(ROW)), JSON))
@example(ROW | {"ports": {"22/tcp": [{"HostPort": 1e999}]}})
@example(ROW | {"id": "1e3"})
@example(ROW | {"ssh_port": 65535, "image_runtype": "jupyter"})
def test_any_row_of_an_instance_is_a_clean_record_or_one_sentence(row: dict[str, Any]) -> None:
    found = answer(lambda: Instance.from_record(row))
    assert isinstance(found, MalformedError) or fields_are_clean(found)
    if isinstance(found, Instance) and (endpoint := found.endpoint()):
        assert 0 < endpoint.port < 65536
        assert not endpoint.host.startswith("-")


@settings(max_examples=200)
@given(nearly(ASKED) | st.dictionaries(st.sampled_from(sorted(ASKED)), JSON))
@example(ASKED | {"dph_total": -5, "on_demand_per_hour": 3})
def test_any_row_of_an_offer_is_a_clean_record_or_one_sentence(row: dict[str, Any]) -> None:
    found = answer(lambda: Offer.from_record(row))
    assert isinstance(found, MalformedError) or fields_are_clean(found)


@given(st.dictionaries(st.sampled_from(["source", "metadata", "amount", "start", "end"]), JSON))
@example({"source": "instance-\u00b2"})
@example({"source": f"instance-{'1' * 5000}"})
def test_any_row_of_the_charges_is_a_charge_or_none(row: dict[str, Any]) -> None:
    found = Charge.from_record(row)
    assert found is None or (found.label.isprintable() and math.isfinite(found.usd))


def test_a_label_that_only_looks_like_ours_is_not_made_ours() -> None:
    odd = Instance.from_record(ROW | {"label": "flux\u200blora/my-style/512"})
    assert odd.label == "flux\\u200blora/my-style/512"


@given(st.integers(100, 599), JSON, TEXT)
def test_any_refusal_of_vast_ai_is_one_sentence(status: int, body: Any, text: str) -> None:
    error = refusal(status, body, text)
    assert str(error).isprintable()
    assert len(str(error)) <= 400
    assert error.code.isprintable()
    assert len(error.code) <= 100


@given(JSON, JSON, JSON)
def test_what_still_costs_money_is_said_of_any_record(number: Any, price: Any, began: Any) -> None:
    assert still_costs("my-style", number, price, began).isprintable()


def test_what_still_costs_money_is_named_with_its_price_and_what_ends_it() -> None:
    said = still_costs("my-style", 77, 0.5)
    assert "Instance 77 of my-style may still cost $0.50 an hour" in said
    assert said.endswith("ansible-playbook destroy.yml -e run_name=my-style")
    assert still_costs("my-style", None) == ""
