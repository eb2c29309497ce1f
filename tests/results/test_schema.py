"""The record's models: strict, exact, checked against themselves."""

import json
import math

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comface_bench.core.errors import ResultError
from comface_bench.results.content import load_record
from comface_bench.results.schema import Failure, Record, UnitResult, dump_json, header_digest
from comface_bench.results.store import ResultStore
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
