"""Results in Python: chosen, tabled, compared, plotted, with their predictions."""

import dataclasses
import math
import random

import pandas as pd
import pytest

import comface_bench as cb
from comface_bench.api.results import Comparisons
from comface_bench.core.errors import DataMissingError, UnknownNameError, UsageError
from comface_bench.leaderboards import load
from comface_bench.leaderboards.comparison import compare_methods
from comface_bench.results.predictions import Prediction, digest_rows, unit_text
from comface_bench.results.record import Content, Header
from comface_bench.results.schema import MethodInfo, ProtocolInfo, Provenance, TaskInfo, UnitResult
from comface_bench.results.store import RecordFiles, ResultStore
from comface_bench.stats.metrics import compute_metrics, no_change_baseline

HOSTILE = "<script>x</script>"
METRICS = ["mae", "pearson"]


def add(results, task, method, noise, about=""):
    """Store a record of two folds, of four people each."""
    header = Header(
        TaskInfo(
            name=task,
            card={},
            card_digest="0",
            about={"summary": about},
            data="faces",
            target="age",
            unit="years",
            metrics=METRICS,
            aggregate="pooled",
            manifest_digest="m",
            split="s",
            split_digest="s",
            folds=2,
        ),
        MethodInfo(
            name=method,
            card={},
            card_digest="0",
            options={},
            checkpoint_digest=None,
            feature_dim=8,
            parameters=10,
        ),
        ProtocolInfo(name="probe", values={"image_size": 64}, digest="p"),
        Provenance(kind="ours", created="2026-01-02", tool_version="0.1.0", command=None),
        {},
    )
    content, changes, errors = Content(header), random.Random(task), random.Random(task + method)
    for fold in (0, 1):
        rows = [
            Prediction(f"{fold}-{n}", 4 * fold + n // 5, fold, 0, y, y + noise * errors.gauss(0, 1))
            for n, y in enumerate(changes.gauss(0, 9) for _ in range(20))
        ]
        y, yhat = [row.y for row in rows], [row.yhat for row in rows]
        unit = UnitResult(
            fold=fold,
            seed=0,
            key="k",
            metrics=compute_metrics(y, yhat, METRICS),
            constant=no_change_baseline(y, METRICS),
            n_pairs=20,
            n_subjects=4,
            best_epoch=0,
            validation_curve=[],
            seconds=2.0,
            peak_memory_mb=None,
            predictions_digest=digest_rows(rows),
        )
        content.add(unit, unit_text(rows))
    path = ResultStore(results).record_path(task, "probe", method)
    path.parent.mkdir(parents=True, exist_ok=True)
    RecordFiles(path).write(*content.files())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("api") / "results"
    for task in ("age", "synth-age"):
        for method, noise in (("good", 1.0), ("bad", 6.0), ("worse+size=2", 9.0)):
            add(root, task, method, noise, about=HOSTILE)
    return root


@pytest.fixture
def results(folder):
    return cb.load_results(folder)


def test_records_one_by_one(results):
    assert len(results) == 6
    assert [record.method.name for record in results] == ["bad", "good", "worse+size=2"] * 2
    assert results[0] in results
    assert len(results[1:3]) == 2
    assert repr(results[1:2]).endswith("1 record, 1 method, 1 task, 1 protocol>")


def test_names_and_patterns_choose(results):
    assert results.of(method="good", task="age")[0].task.name == "age"
    assert len(results.of(method="good")) == 2
    assert len(results.of(method=["good", "w*"], task="*age")) == 4
    assert len(results.of(method="good,bad", task=["synth-*"])) == 2
    with pytest.raises(UnknownNameError, match=r"no method called 'gold'\. Did you mean good"):
        results.of(method="gold")
    with pytest.raises(UnknownNameError, match="They are of age"):
        results.of(task="age").of(task="synth-*")


def test_table_of_records_is_that_of_the_leaderboard(folder, results):
    pd.testing.assert_frame_equal(results.to_frame(), load(folder), check_like=True)
    assert len(results.of(task="age").to_frame()) == 3


def test_table_of_units_is_tidy(results):
    frame = results.to_frame(by="unit")
    assert len(frame) == 12
    assert frame.groupby(["task", "method"]).size().eq(2).all()
    assert list(frame.columns[:5]) == ["task", "protocol", "method", "fold", "seed"]
    record = results[0]
    row = frame.iloc[0]
    assert (row.mae, row.constant_mae) == (
        record.units[0].metrics["mae"].value,
        record.units[0].constant["mae"].value,
    )
    assert math.isnan(row.constant_pearson), "no change has no correlation"
    assert frame["mae"].dtype == float
    with pytest.raises(UsageError, match="by 'pair'"):
        results.to_frame(by="pair")


def test_predictions_are_those_of_the_file(folder, results):
    frame = results.predictions()
    assert len(frame) == 6 * 40
    own = frame[(frame.task == "age") & (frame.method == "good")]
    stored = ResultStore(folder).load_predictions(results.of(task="age", method="good")[0])
    assert list(own[["pair", "subject", "fold", "seed", "y", "yhat"]].itertuples(index=False, name=None)) == [
        tuple(row) for row in stored
    ]
    # A metric from the table is the record's.
    assert (own.y - own.yhat).abs().mean() == pytest.approx(results[1].primary["mae"].value, rel=1e-12)


def test_comparisons(folder, results):
    made = results.compare("good", "bad")
    assert list(made) == compare_methods(folder, "good", "bad")
    assert [one.task for one in made[:1]] == ["age"]
    frame = made.to_frame()
    assert frame["difference"].tolist() == [one.difference.value for one in made]
    assert frame.loc[0, "better"] == "good"
    assert {"low", "high", "p", "p_corrected", "reason"} <= set(frame.columns)
    assert repr(made).splitlines()[-1] == made[1].sentence
    assert made[0].sentence.split(",")[0] in made._repr_html_()


def test_a_slice_without_a_comparison_shows_itself(results):
    some, other = results.methods[:2]
    none = results.compare(some, other)[:0]
    assert len(none) == 0
    assert repr(none) == ""
    assert "<tbody></tbody>" in none._repr_html_()


def test_a_terminal_obeys_nothing_of_a_comparison(results):
    made = results.compare(*results.methods[:2])
    escape = Comparisons(dataclasses.replace(one, a="good\x1b[2J", task="x\x1b[2J") for one in made)
    assert "\x1b" not in repr(escape)
    assert "\\u001b" in repr(escape)


def test_what_was_left_out_is_not_compared(results):
    assert [one.task for one in results.of(task="age").compare("good", "bad")] == ["age"]
    with pytest.raises(UnknownNameError, match="'bad'"):
        results.of(method="good").compare("good", "bad")


def test_plot(results, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    from matplotlib import pyplot

    axes = results.of(method=["good", "bad"]).plot("age")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["good", "bad"]
    pyplot.close("all")
    with pytest.raises(UsageError, match="a plot is of one task"):
        results.plot()
    with pytest.raises(UnknownNameError, match="Did you mean mae"):
        results.plot("age", metric="maee")


def test_nothing_to_load_is_said(tmp_path):
    with pytest.raises(DataMissingError, match="there is no folder of results"):
        cb.load_results(tmp_path / "none")
    with pytest.raises(DataMissingError, match="there is no record"):
        cb.load_results(tmp_path)


def test_texts_of_records_are_text_in_a_notebook(results):
    for shown in (
        results._repr_html_(),
        results[0]._repr_html_(),
        results.compare("good", "bad")._repr_html_(),
    ):
        assert "<script" not in shown
    assert "&lt;script&gt;" in results[0]._repr_html_()


def test_short_texts(results):
    record = results[1]
    for shown in (record, *record.units, record.task, record.method, record.protocol, record.summary):
        assert len(repr(shown)) < 250
        assert "\n" not in repr(shown)
        assert str(shown) == repr(shown)
    mae = record.primary["mae"].value
    assert repr(record).startswith(f"<Record good · age · probe: MAE {mae:.3f} years, r 0.9")
    assert f"{mae:.3f} years" in record._repr_html_()


@pytest.fixture
def ran(make_ages, tmp_path):
    """A record of a method that ships, on a few drawn pictures."""
    data = make_ages(tmp_path / "data")
    run = {"folds": [0], "device": "cpu", "image_size": 16, "progress": False, "data": data}
    cb.run("comface", ["age+split=balanced-4"], "probe", results=tmp_path / "results", **run)
    return cb.load_results(tmp_path / "results"), data


def test_predictions_with_the_names_of_both_images(ran):
    results, data = ran
    frame = results.predictions(images=True, data=data)
    task = cb.load_task("age+split=balanced-4", data)
    ages = dict(zip(task.table.images, task.labels, strict=True))
    people = dict(zip(task.table.images, task.table.subjects, strict=True))
    assert len(frame) == results[0].summary.n_pairs
    # The labels of the named images make the true change, and both are of the pair's person.
    assert (frame["second"].map(ages) - frame["first"].map(ages)).tolist() == frame["y"].tolist()
    for side in ("first", "second"):
        names = [task.table.subject_names[number] for number in frame["subject"]]
        assert frame[side].map(people).tolist() == names


def test_other_data_give_no_names(ran, make_ages, tmp_path):
    results, _ = ran
    with pytest.raises(DataMissingError, match="age needs"):
        results.predictions(images=True, data=tmp_path / "nowhere")
    other = make_ages(tmp_path / "other", noise=40)
    with pytest.raises(UsageError, match=r"the data of age.* are others than those of the record of comface"):
        results.predictions(images=True, data=other)


def test_names_of_images_of_a_table(draw_image, tmp_path):
    rows = ["image,subject,weight"]
    for number in range(32):
        draw_image(tmp_path / "mine" / f"{number}.png", number)
        rows.append(f"{number}.png,{number // 4},{number % 7}")
    table = tmp_path / "mine" / "table.csv"
    table.write_text("\n".join(rows) + "\n")
    run = {"folds": [0], "device": "cpu", "image_size": 16, "progress": False}
    cb.run("comface", [f"csv:{table}"], "probe", results=tmp_path / "results", **run)
    results = cb.load_results(tmp_path / "results")
    with pytest.raises(DataMissingError):
        results.predictions(images=True)
    for data in (table, table.parent):
        frame = results.predictions(images=True, data=data)
        change = frame["second"].str[:-4].astype(int) % 7 - frame["first"].str[:-4].astype(int) % 7
        assert change.tolist() == frame["y"].tolist()
