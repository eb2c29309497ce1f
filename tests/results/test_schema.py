"""The form of records: round trips, what is refused, and every version of it."""

import json
import math
import re
import shutil
from pathlib import Path

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comface_bench.core.errors import ResultError, UsageError
from comface_bench.results.record import load_record
from comface_bench.results.schema import (
    Failure,
    Record,
    UnitResult,
    dump_json,
    generate_schema,
    header_digest,
    read_schema,
)
from comface_bench.results.store import ResultStore
from comface_bench.results.validation import validate_record
from comface_bench.results.versions import SCHEMA_VERSION, NewerVersionError, migrate
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
        (("schema_version",), 3),
        (("schema_version",), 0),
        (("schema_version",), "2"),
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
    for part, field, value in [
        (task, "card_digest", "x"),
        (task, "manifest_digest", "x"),
        (task, "split_digest", "x"),
        (task, "metrics", ["mae"]),
        (method, "card_digest", "x"),
        (method, "options", {"backbone": "resnet50"}),
        (method, "checkpoint_digest", "x"),
        (protocol, "digest", "x"),
    ]:
        changed = part.model_copy(update={field: value})
        parts = [changed if old is part else old for old in (task, method, protocol)]
        assert header_digest(*parts) != plain, field
    assert header_digest(task, method.model_copy(update={"feature_dim": 1}), protocol) == plain


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


def test_both_golden_records_are_of_one_run():
    """What version 2 added is all that the two differ in, beside what was measured."""
    first, second = (ResultStore(GOLDEN / f"v{version}").load(*NAMES) for version in (1, 2))
    left_out = {"seconds", "peak_memory_mb", "details"}
    for one, other in zip(first.units, second.units, strict=True):
        assert one.model_dump(exclude=left_out) == other.model_dump(exclude=left_out)
    assert first.summary == second.summary
    assert (first.digest, first.predictions_digest) == (None, None)
    assert second.digest == second.text_digest()


def test_a_record_of_version_1_of_before_folds_and_details_were_kept(tmp_path):
    path = ResultStore(GOLDEN / "v1").record_path(*NAMES)
    raw = json.loads(path.read_text())
    del raw["task"]["fold_subjects"]
    for unit in raw["units"]:
        del unit["details"]
    early = tmp_path / "early.json"
    early.write_text(json.dumps(raw))
    record = load_record(early)
    assert record.task.fold_subjects == []
    assert record.units[0].details == {}


def test_a_stored_record_of_version_1_is_written_as_the_newest(tmp_path):
    shutil.copytree(GOLDEN / "v1", tmp_path / "results")
    store = ResultStore(tmp_path / "results")
    record = store.load(*NAMES)
    finished = store.finished_units(*NAMES)
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
    newer = path.read_text().replace(f'"schema_version": {SCHEMA_VERSION}', '"schema_version": 99')
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
