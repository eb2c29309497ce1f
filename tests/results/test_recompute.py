"""Metrics from predictions: equal to what a run stored, and to nothing that a forger writes instead."""

import hashlib
import json
import math
import statistics
from pathlib import Path

import pytest

from comface_bench.results.predictions import encode, read_predictions, read_texts
from comface_bench.results.recompute import TOLERANCE, recompute_record
from comface_bench.results.schema import Record, dump_json
from comface_bench.results.store import RecordFiles, ResultStore

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def seeded(tmp_path, made):
    store = ResultStore(tmp_path / "results")
    with store.open(*made.header()) as writer:
        for seed in range(2):
            for fold in range(4 - seed):
                writer.add(*made.run(fold, seed))
        writer.fail(made.failure(3, 1))
    return store.record_path("age", "linear", "scratch")


def change_facts(seeded, change):
    raw = json.loads(seeded.read_text())
    change(raw)
    seeded.write_text(dump_json(Record.model_validate_json(json.dumps(raw), strict=True).seal()))


def places(seeded):
    return [finding.place for finding in recompute_record(seeded)]


def test_what_a_run_stored_is_equal_and_no_file_is_changed(seeded):
    before = [seeded.read_bytes(), RecordFiles(seeded).predictions.read_bytes()]
    assert recompute_record(seeded) == []
    assert [seeded.read_bytes(), RecordFiles(seeded).predictions.read_bytes()] == before
    assert len(list(seeded.parent.iterdir())) == 2


@pytest.mark.parametrize("record", sorted(GOLDEN.glob("*/*/*/*.json")), ids=lambda seeded: seeded.parts[-4])
def test_golden_records_of_each_version_are_equal(record):
    assert recompute_record(record) == []


def test_against_statistics_of_the_standard_library():
    """The golden record's MAE and r, worked out by other code from the same file."""
    (seeded,) = (GOLDEN / "v2").glob("*/*/*.json")
    rows = read_predictions(RecordFiles(seeded).predictions)
    summary = json.loads(seeded.read_text())["summary"]["pooled"]
    y, yhat = [row.y for row in rows], [row.yhat for row in rows]
    error = statistics.fmean(abs(a - b) for a, b in zip(y, yhat, strict=True))
    assert math.isclose(summary["mae"]["value"], error, rel_tol=1e-12)
    assert math.isclose(summary["pearson"]["value"], statistics.correlation(y, yhat), rel_tol=1e-9)


@pytest.mark.parametrize("part", ["units.1.metrics", "units.1.constant"])
@pytest.mark.parametrize("size", [2e-9, 0.5])
def test_a_unit_metric_beyond_the_tolerance_is_found(seeded, part, size):
    def change(raw):
        raw["units"][1][part.rpartition(".")[2]]["mae"]["value"] += size * 3

    change_facts(seeded, change)
    assert places(seeded) == [f"{part}.mae"]


@pytest.mark.parametrize("part", ["pooled", "fold_mean", "constant"])
def test_a_summary_metric_beyond_the_tolerance_is_found(seeded, part):
    def change(raw):
        raw["summary"][part]["mae"]["value"] *= 1.001

    change_facts(seeded, change)
    (finding,) = recompute_record(seeded)
    assert finding.place == f"summary.{part}.mae"
    assert "is stored, but it is" in finding.message
    assert finding.hint


def test_the_tolerance_is_relative_only_above_one(seeded):
    def nudge(raw):
        raw["units"][0]["metrics"]["mae"]["value"] += TOLERANCE / 2

    change_facts(seeded, nudge)
    assert places(seeded) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("n_pairs", 5), ("n_subjects", 1), ("folds_done", [0, 1, 2, 3]), ("seeds", [0]), ("complete", True)],
)
def test_counts_of_the_summary_are_recomputed(seeded, field, value):
    change_facts(seeded, lambda raw: raw["summary"].update({field: value}))
    assert places(seeded) == [f"summary.{field}"]


def test_counts_of_a_unit_are_recomputed(seeded):
    change_facts(seeded, lambda raw: raw["units"][0].update(n_pairs=9, n_subjects=9))
    assert places(seeded) == ["units.0.n_pairs", "units.0.n_subjects"]


def test_another_reason_or_none_is_found(seeded):
    none = {"value": None, "reason": "constant prediction"}

    def change(raw):
        raw["units"][0]["metrics"]["pearson"] = none
        raw["units"][1]["constant"]["pearson"] = {"value": None, "reason": "no reason"}
        raw["units"][2]["constant"]["pearson"] = {"value": 0.0, "reason": None}

    change_facts(seeded, change)
    expected = ["units.0.metrics.pearson", "units.1.constant.pearson", "units.2.constant.pearson"]
    assert places(seeded) == expected


def test_another_answer_is_found_though_digests_be_corrected(seeded):
    file = RecordFiles(seeded).predictions
    texts = read_texts(file)
    lines = texts[2, 0].splitlines()
    head, _, yhat = lines[4].rpartition(",")
    lines[4] = f"{head},{float(yhat) + 0.001!r}"
    texts[2, 0] = "\n".join(lines) + "\n"
    file.write_bytes(encode(texts))

    def change(raw):
        raw["predictions_digest"] = hashlib.sha256(file.read_bytes()).hexdigest()
        raw["units"][2]["predictions_digest"] = hashlib.sha256(texts[2, 0].encode()).hexdigest()

    change_facts(seeded, change)
    found = places(seeded)
    assert {"units.2.metrics.mae", "summary.pooled.mae", "summary.fold_mean.mae"} <= set(found)
    assert not [place for place in found if "constant" in place], "y is as it was"


def test_a_task_of_folds_that_share_pairs(tmp_path, made):
    store = ResultStore(tmp_path)
    header = made.header(aggregate="fold-mean", folds=2)
    with store.open(*header) as writer:
        writer.add(*made.run(0))
        writer.add(*made.run(1))
    seeded = store.record_path("age", "linear", "scratch")
    assert recompute_record(seeded) == []
    change_facts(
        seeded,
        lambda raw: raw["summary"]["constant"]["mae"].update(value=raw["summary"]["pooled"]["mae"]["value"]),
    )
    assert places(seeded) == ["summary.constant.mae"]


def test_what_cannot_be_computed_is_told_not_raised(seeded, made):
    file = RecordFiles(seeded).predictions
    whole = file.read_bytes()
    texts = read_texts(file)
    del texts[1, 0]
    file.write_bytes(encode(texts))
    (finding,) = recompute_record(seeded)
    assert (finding.file, finding.place) == (str(file), "fold 1, seed 0")
    file.write_bytes(b"no gzip")
    assert "gzip" in recompute_record(seeded)[0].message
    file.write_bytes(encode({(0, 0): "0-0-1,0,0,0,1.0,x\n"}))
    assert "'x' is no number" in recompute_record(seeded)[0].message
    file.unlink()
    assert "no such file" in recompute_record(seeded)[0].message
    file.write_bytes(whole)

    def unknown(raw):
        raw["task"]["metrics"].append("charm")
        for unit in raw["units"]:
            unit["metrics"]["charm"] = unit["constant"]["charm"] = {"value": 1.0, "reason": None}

    change_facts(seeded, unknown)
    (finding,) = recompute_record(seeded)
    assert "charm" in finding.message
    seeded.write_text("{")
    assert recompute_record(seeded)
