"""The form of records: round trips, what is refused, and every version of it."""

import dataclasses
import json
import math
import re
import shutil
from pathlib import Path

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comface_bench.core import card as card_module
from comface_bench.core.card import facts
from comface_bench.core.errors import ResultError, UsageError
from comface_bench.core.registry import method_registry, task_registry
from comface_bench.results import schema as schema_module
from comface_bench.results.record import load_record
from comface_bench.results.schema import (
    SCHEMA_VERSION,
    Failure,
    MethodAbout,
    NewerVersionError,
    Record,
    TaskAbout,
    UnitResult,
    dump_json,
    generate_schema,
    header_digest,
    migrate,
    read_schema,
    text_digest,
)
from comface_bench.results.store import ResultStore, update_record
from comface_bench.results.validation import recompute_record, validate_record
from comface_bench.stats.metrics import MetricValue


@pytest.fixture
def record(tmp_path, made):
    with ResultStore(tmp_path / "made").open(*made.header()) as writer:
        writer.add(*made.run(0))
        writer.fail(made.failure(1))
    return writer.record()


def test_round_trip(record):
    text = dump_json(record)
    back = Record.model_validate_json(text, strict=True)
    assert back == record
    assert dump_json(back) == text
    assert text.endswith("}\n")
    assert list(json.loads(text)) == list(Record.model_fields)


def change(record, *path, value):
    raw = json.loads(dump_json(record))
    inner = raw
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    return raw


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("surprise",), 1),
        (("schema_version",), SCHEMA_VERSION + 1),
        (("schema_version",), 0),
        (("schema_version",), str(SCHEMA_VERSION)),
        (("schema_version",), True),
        (("units", 0, "fold"), 4),
        (("units", 0, "fold"), -1),
        (("units", 0, "fold"), 0.5),
        (("units", 0, "fold"), 1),
        (("units", 0, "seconds"), "1"),
        (("units", 0, "validation_curve"), [math.nan]),
        (("units", 0, "metrics", "mae", "value"), math.inf),
        (("units", 0, "metrics", "mae", "value"), None),
        (("units", 0, "metrics", "mae", "reason"), "both"),
        (("units", 0, "metrics", "mae", "extra"), 1),
        (("units", 0, "metrics"), {}),
        (("units", 0, "details", "x"), []),
        (("units", 0, "predictions_digest"), "abc"),
        (("task", "aggregate"), "median"),
        (("task", "card"), {"x": math.nan}),
        (("provenance", "kind"), "theirs"),
        (("provenance", "created"), "yesterday"),
    ],
)
def test_a_changed_field_is_refused_and_named(tmp_path, record, path, value):
    file = tmp_path / "scratch.json"
    file.write_text(json.dumps(change(record, *path, value=value)))
    with pytest.raises(ResultError) as caught:
        load_record(file)
    assert str(file) in caught.value.message


def test_models_are_frozen(record):
    with pytest.raises(pydantic.ValidationError):
        record.schema_version = 2


def test_free_form_facts_must_be_json(made):
    task = made.header()[0]
    for bad in (math.nan, object()):
        with pytest.raises(pydantic.ValidationError):
            type(task)(**(task.model_dump() | {"card": {"x": bad}}))
    assert type(task)(**(task.model_dump() | {"card": {"size": (1, 2)}})).card == {"size": [1, 2]}


def test_header_digest_sees_what_makes_a_record_and_no_measured_fact(made):
    task, method, protocol, *_ = made.header()
    plain = header_digest(task, method, protocol)
    deciding = [
        (task, "name", "weight"),
        (task, "card", task.card | {"target": "weight"}),
        (task, "manifest_digest", "x"),
        (task, "split", "x"),
        (task, "split_digest", "x"),
        (task, "folds", 5),
        (method, "name", "x"),
        (method, "card", method.card | {"drawn": True}),
        (method, "options", {"backbone": "resnet50"}),
        (method, "checkpoint_digest", "x"),
        (protocol, "name", "x"),
        (protocol, "digest", "x"),
    ]
    others = [
        (task, "card", task.card | {"metrics": ["rmse"], "unit": "months", "label_range": [0, 9]}),
        (task, "card_digest", "x"),
        (task, "about", TaskAbout(licence="CC0")),
        (task, "metrics", ["mae"]),
        (task, "unit", "months"),
        (task, "aggregate", "fold-mean"),
        (method, "card", method.card | {"trained_on": ["ImageNet"], "group": "Other"}),
        (method, "about", MethodAbout(licence="MIT")),
        (method, "feature_dim", 1),
        (method, "parameters", 1),
    ]
    for part, field, value in deciding + others:
        changed = part.model_copy(update={field: value})
        parts = [changed if old is part else old for old in (task, method, protocol)]
        same = header_digest(*parts) == plain
        assert same == ((part, field, value) in others), field


def test_primary_follows_the_task(record):
    assert record.primary is record.summary.pooled
    other = record.model_copy(update={"task": record.task.model_copy(update={"aggregate": "fold-mean"})})
    assert other.primary is other.summary.fold_mean


def test_json_schema_can_be_generated():
    assert set(Record.model_json_schema()["$defs"]) >= {"UnitResult", "MetricValue", "Summary"}
    assert UnitResult.model_json_schema()["additionalProperties"] is False
    assert Failure.model_json_schema()["additionalProperties"] is False


finite = st.floats(allow_nan=False, allow_infinity=False)
values = finite.map(MetricValue) | st.text(min_size=1).map(lambda reason: MetricValue(None, reason))


@given(
    st.builds(
        UnitResult,
        fold=st.integers(0, 9),
        seed=st.integers(0, 2**63),
        key=st.text(),
        metrics=st.dictionaries(st.text(), values),
        constant=st.dictionaries(st.text(), values),
        n_pairs=st.integers(0),
        n_subjects=st.integers(0),
        best_epoch=st.integers(0),
        validation_curve=st.lists(finite),
        seconds=finite.map(abs),
        peak_memory_mb=st.none() | finite.map(abs),
        details=st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | finite | st.text()),
        predictions_digest=st.text("0123456789abcdef", min_size=64, max_size=64),
    )
)
def test_any_unit_comes_back_exact(unit):
    text = dump_json(unit)
    back = UnitResult.model_validate_json(text, strict=True)
    assert back == unit
    assert dump_json(back) == text


GOLDEN = Path(__file__).parent / "golden"
VERSIONS = list(range(1, SCHEMA_VERSION + 1))
NAMES = ("synth-weight", "quick+epochs=2+image_size=16+pairs_per_epoch=16", "scratch+backbone=resnet18")


@pytest.mark.parametrize("version", VERSIONS)
def test_golden_files_stay_readable_and_valid(version):
    store = ResultStore(GOLDEN / f"v{version}")
    path = store.record_path(*NAMES)
    assert json.loads(path.read_text())["schema_version"] == version
    assert validate_record(path) == []
    (record,) = store.records()
    assert record.schema_version == SCHEMA_VERSION
    assert [unit.fold for unit in record.units] == [0, 1, 2, 3]
    assert len(store.load_predictions(record)) == record.summary.n_pairs == 600
    assert len(store.finished_units(*NAMES)) == 4


def test_all_golden_records_are_of_one_run():
    """They differ only in fields that a version added and in measurements; their keys are the same."""
    first, second, third = (ResultStore(GOLDEN / f"v{version}").load(*NAMES) for version in VERSIONS)
    left_out = {"seconds", "peak_memory_mb", "details"}
    for units in zip(first.units, second.units, third.units, strict=True):
        one, *others = (unit.model_dump(exclude=left_out) for unit in units)
        assert all(other == one for other in others)
    assert first.summary == second.summary == third.summary
    assert (first.digest, first.predictions_digest) == (None, None)
    assert (second.digest, second.predictions_digest) == (None, third.predictions_digest)
    assert third.digest == third.text_digest()
    assert (first.method.about, first.task.about) == (MethodAbout(), TaskAbout())
    assert third.method.about.licence == "none needed"


def finished_keys(store):
    return {place: unit.key for place, unit in store.finished_units(*NAMES).items()}


@pytest.mark.parametrize("version", [1, 2])
def test_the_units_of_earlier_versions_stay_finished(version):
    """Their keys are rewritten to those that a plan of today asks for."""
    stores = (ResultStore(GOLDEN / f"v{number}") for number in (version, SCHEMA_VERSION))
    old, new = (finished_keys(store) for store in stores)
    assert old == new
    assert len(old) == 4
    raw = json.loads(ResultStore(GOLDEN / f"v{version}").record_path(*NAMES).read_text())
    assert not set(new.values()) & {unit["key"] for unit in raw["units"]}


@pytest.mark.parametrize("version", [1, 2])
def test_a_key_that_was_wrong_before_stays_wrong(tmp_path, version):
    shutil.copytree(GOLDEN / f"v{version}", tmp_path / "results")
    store = ResultStore(tmp_path / "results")
    path = store.record_path(*NAMES)
    raw = json.loads(path.read_text())
    raw["units"][1]["key"] = forged = "0" * 64
    if version > 1:
        raw["digest"] = text_digest(raw)
    path.write_text(json.dumps(raw, indent=1) + "\n")
    assert finished_keys(store)[1, 0] == forged
    assert [finding.place for finding in validate_record(path)] == ["units.1.key"]


@pytest.mark.parametrize("change", [{"task": None}, {"protocol": {}}, {"units": 3}, {"units": [None]}])
def test_what_cannot_be_migrated_is_left_for_the_schema_to_refuse(change):
    raw = json.loads(ResultStore(GOLDEN / "v2").record_path(*NAMES).read_text())
    assert migrate(raw | change) == raw | change | {"schema_version": SCHEMA_VERSION, "digest": None}


def without_length(declared):
    return {name: fact for name, fact in declared.items() if name not in ("pairs_per_image", "supervision")}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_record_is_brought_to_what_its_cards_say(tmp_path, version, monkeypatch):
    # When the files were written, cards said nothing of the length of epochs, nor of what was taught.
    for module in (card_module, schema_module):
        monkeypatch.setattr(module, "facts", lambda card: without_length(facts(card)))
    shutil.copytree(GOLDEN / f"v{version}", tmp_path / "results")
    store = ResultStore(tmp_path / "results")
    path = store.record_path(*NAMES)
    before, finished = store.load(*NAMES), finished_keys(store)
    today = task_registry(plugins=False).get("synth-weight").card
    # The card of when the files were written, which offered no rule of pairs, and two splits.
    task = dataclasses.replace(today, options={}, splits=today.splits[:2])
    method = method_registry(plugins=False).get("scratch").card
    assert update_record(path, task, method) == (version < SCHEMA_VERSION)
    golden = (GOLDEN / "v3" / path.relative_to(store.root)).read_bytes()
    assert (path.read_bytes() == golden) == (version > 1), "the run of version 1 took other seconds"
    assert update_record(path, today, method)
    assert finished_keys(store) == finished
    more = dataclasses.replace(today, metrics=("mae", "rmse"), unit="pounds")
    assert update_record(path, more, method)
    after = store.load(*NAMES)
    assert (after.task.metrics, after.task.unit) == (["mae", "rmse"], "pounds")
    for old, new in zip(before.units, after.units, strict=True):
        assert list(new.metrics) == list(new.constant) == ["mae", "rmse"]
        assert new.metrics["mae"] == old.metrics["mae"]
    assert after.predictions_digest == (before.predictions_digest or after.predictions_digest)
    assert finished_keys(store) == finished
    assert validate_record(path) == recompute_record(path) == []
    assert not update_record(path, dataclasses.replace(more, target="height", unit="m"), None)
    assert not update_record(path, None, dataclasses.replace(method, drawn=not method.drawn, licence="x"))


def test_a_record_of_version_1_of_before_folds_and_details_were_kept(tmp_path):
    shutil.copytree(GOLDEN / "v1", tmp_path / "results")
    path = ResultStore(tmp_path / "results").record_path(*NAMES)
    raw = json.loads(path.read_text())
    del raw["task"]["fold_subjects"]
    for unit in raw["units"]:
        del unit["details"]
    path.write_text(json.dumps(raw))
    record = load_record(path)
    assert record.task.fold_subjects == []
    assert record.units[0].details == {}


def test_a_stored_record_of_version_1_is_written_as_the_newest(tmp_path):
    shutil.copytree(GOLDEN / "v1", tmp_path / "results")
    store = ResultStore(tmp_path / "results")
    record = store.load(*NAMES)
    finished = finished_keys(store)
    header = (record.task, record.method, record.protocol, record.provenance, record.environment)
    with store.open(*header) as writer:
        assert writer.finished == finished
        assert writer.set_aside is None
        unit = record.units[0]
        writer.fail(
            Failure(fold=0, seed=1, key=unit.key, error="UnitError", message="loss isn't finite", hint="")
        )
    path = store.record_path(*NAMES)
    assert json.loads(path.read_text())["schema_version"] == SCHEMA_VERSION
    after = store.load(*NAMES)
    assert after.units == record.units
    assert after.digest == after.text_digest()


def test_a_record_of_a_newer_version_is_refused_and_left_alone(tmp_path):
    shutil.copytree(GOLDEN / "v2", tmp_path / "results")
    store = ResultStore(tmp_path / "results")
    path = store.record_path(*NAMES)
    record = store.load(*NAMES)
    newer = path.read_text().replace('"schema_version": 2', '"schema_version": 99')
    path.write_text(newer)
    with pytest.raises(ResultError, match="version 99") as caught:
        store.load(*NAMES)
    assert "Update comface-bench" in caught.value.hint
    (finding,) = validate_record(path)
    assert "Update comface-bench" in finding.hint
    with pytest.raises(ResultError, match="version 99"):
        store.open(record.task, record.method, record.protocol, record.provenance, {})
    assert path.read_text() == newer


def test_steps():
    newest = {"schema_version": SCHEMA_VERSION, "x": 1}
    assert migrate(newest) == newest
    old = {"schema_version": 1, "x": 1}
    assert migrate(old)["schema_version"] == SCHEMA_VERSION
    assert old == {"schema_version": 1, "x": 1}, "what was given is left as it was"
    for version in (0, -1, True, 1.0, "1", None, [1]):
        assert migrate({"schema_version": version}) == {"schema_version": version}
    assert migrate({}) == {}
    with pytest.raises(NewerVersionError):
        migrate({"schema_version": SCHEMA_VERSION + 1})


def test_the_schema_files_are_those_of_the_models():
    assert read_schema(SCHEMA_VERSION) == read_schema() == generate_schema(), (
        "write generate_schema() to benchmark/results/schemas; a changed form needs a new version"
    )
    with pytest.raises(UsageError, match="no version 99"):
        read_schema(99)


@pytest.mark.parametrize("version", VERSIONS)
def test_golden_files_fit_the_schema_of_their_version(version):
    path = ResultStore(GOLDEN / f"v{version}").record_path(*NAMES)
    schema, raw = json.loads(read_schema(version)), json.loads(path.read_text())
    assert violations(raw, schema, schema["$defs"]) == []
    raw["surprise"], raw["schema_version"], raw["units"][0]["fold"] = 1, version + 1, -1
    raw["units"][1]["metrics"]["mae"]["value"] = "1"
    del raw["summary"]["seeds"]
    assert len(violations(raw, schema, schema["$defs"])) == 5


KINDS = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": int | float,
    "boolean": bool,
    "null": type(None),
}


def violations(value, schema, definitions, place=""):
    """Check a value by the keywords that the record's schema uses; any other keyword is an error here."""
    known = {"title", "description", "default", "$schema", "$defs"}
    found = []
    for keyword, rule in schema.items():
        if keyword == "$ref":
            found += violations(value, definitions[rule.rpartition("/")[2]], definitions, place)
        elif keyword == "anyOf":
            if all(violations(value, option, definitions, place) for option in rule):
                found.append(f"{place}: none of anyOf")
        elif keyword == "type":
            if not isinstance(value, KINDS[rule]) or (isinstance(value, bool) and rule != "boolean"):
                found.append(f"{place}: no {rule}")
        elif keyword in ("const", "enum"):
            if value not in (rule if keyword == "enum" else [rule]):
                found.append(f"{place}: not {rule}")
        elif keyword in ("minimum", "maximum"):
            if isinstance(value, int | float) and (value < rule if keyword == "minimum" else value > rule):
                found.append(f"{place}: beyond {rule}")
        elif keyword == "pattern":
            if isinstance(value, str) and not re.search(rule, value):
                found.append(f"{place}: not {rule}")
        elif keyword == "properties":
            for name in rule.keys() & value.keys():
                found += violations(value[name], rule[name], definitions, f"{place}.{name}")
        elif keyword == "required":
            found += [f"{place}: lacks {name}" for name in rule if name not in value]
        elif keyword == "additionalProperties":
            extra = value.keys() - schema.get("properties", {}).keys()
            if rule is False:
                found += [f"{place}: has {name}" for name in extra]
            elif rule is not True:
                for name in extra:
                    found += violations(value[name], rule, definitions, f"{place}.{name}")
        elif keyword == "items":
            for number, item in enumerate(value):
                found += violations(item, rule, definitions, f"{place}.{number}")
        else:
            assert keyword in known, keyword
    return found
