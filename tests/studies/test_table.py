"""Tables of studies: their numbers are those of the records, the paper's stand beside the same thing only."""

from __future__ import annotations

import json
import os

import pytest

from comface_bench.data import alignment
from comface_bench.data.faces import DlibPoints
from comface_bench.execute.sweep import run_batch
from comface_bench.leaderboards.study import read_intervals, study_json
from comface_bench.results.store import ResultStore
from comface_bench.stats.bootstrap import Resamples, score
from comface_bench.stats.predictions import PredictionSet
from comface_bench.studies import table
from comface_bench.studies.plan import Gap, plan_study
from comface_bench.studies.study import find_study, read_study, study_names
from comface_bench.studies.table import NOT_RUN, make_table

OWN = """
task = "age"
options = { split = "balanced-4", image_size = 16, epochs = 2, pairs_per_epoch = 16, learning_rate = 0.01 }
[study]
title = "Own"
metrics = ["mae", "pearson"]
[[run]]
method = "tiny"
[[run]]
method = "flat"
[[run]]
method = "tiny"
options = { head = "concat" }
"""


@pytest.fixture
def own(write_study, data, plugin, tmp_path):
    """A plan of one's own study on a tiny method and one that fails, and the same after it ran."""
    study = read_study(write_study(OWN))
    given = {"data": data, "plugin": [plugin], "no_plugins": True, "device": "cpu", "folds": [0, 1]}

    def plan(**more):
        return plan_study(study, {**given, "results": tmp_path / "results", **more})

    return plan


def test_numbers_are_those_of_the_records(own, tmp_path, monkeypatch):
    before = make_table(own(), "line", {})
    assert {cell.missing for row in before.rows for cell in row.cells} == {NOT_RUN}
    assert {cell.hint for row in before.rows for cell in row.cells} == {"line"}
    assert [row.label for row in before.rows] == ["tiny", "flat", "tiny"]

    for batch in own().sweep.batches[:2]:
        run_batch(batch)
    for batch in own().sweep.batches:
        run_batch(batch)
    plan = own()
    made = make_table(plan, "line", {})
    store = ResultStore(tmp_path / "results")
    for number in (0, 2):
        planned = plan.cells[number, "age"]
        record = store.load(planned.task.name, planned.protocol.name, planned.method_name)
        counted = PredictionSet.of_columns(store.load_columns(record), "pooled", [0])
        again = score({"m": counted}, ["mae", "pearson"], Resamples.draw(counted.subjects, "FGNET"))
        for name, cell in zip(("mae", "pearson"), made.rows[number].cells, strict=True):
            assert cell.value == record.primary[name].value == record.summary.pooled[name].value
            interval = again[name].interval("m")
            assert (cell.low, cell.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
            assert cell.record == record.digest
        assert made.rows[number].seconds == sum(unit.seconds for unit in record.units) > 0
    assert made.rows[1].cells[0].missing.startswith("failed: ")

    # What was resampled once is read from the file.
    known = read_intervals(study_json(made))
    monkeypatch.setattr(table, "_resample", None)
    assert make_table(own(), "line", known) == made
    with pytest.raises(TypeError):
        make_table(own(), "line", {})


def test_a_row_covers_what_is_done_and_says_so(own):
    for batch in own(folds=[0], method=["tiny"]).sweep.batches:
        run_batch(batch)
    made = make_table(own(), "line", {})
    assert made.rows[0].cells[0].marks.startswith(" †")
    assert not made.rows[0].cells[0].complete
    assert made.best == [None, None]


def paper(name, **given):
    """What the supplement publishes beside the cells of a study of which nothing is here, in rows."""
    made = make_table(plan_study(find_study(name), {"no_plugins": True, **given}), "line", {})
    return {row.label: [cell.paper and round(cell.paper.value, 3) for cell in row.cells] for row in made.rows}


def test_the_papers_values_stand_beside_the_same_thing_only():
    ages = paper("age")
    assert ages["scratch"] == [8.980, 0.514]
    assert ages["farl"] == [5.249, 0.851]
    assert ages["comface"] == [None, 0.870]  # that of ResNet-18 in Table I; Table N has ResNet-50's
    assert paper("backbones")["ResNet18"] == [0.658, 0.826, 0.872, 0.932, 0.870]
    assert paper("backbones")["ResNet101"] == [0.660, 0.820, 0.864, 0.936, 0.853]
    assert paper("action-units")["simclr"][3] == -0.071
    assert paper("synthetic")["stablerep"][-1] == 0.933
    for other in ({"options": {"image_size": ["112"]}}, {"protocol": ["probe"]}, {"protocol": ["linear"]}):
        assert paper("age", **other)["scratch"] == [None, None]
    by_input = paper("preprocess", protocol=["finetune"], task=["age"])
    assert by_input["pcl, preprocess native"] == [8.998, 0.451]
    assert by_input["pcl, preprocess imagenet"] == [None, None]
    fewer = paper("label-fraction", protocol=["finetune"], method=["scratch"], task=["age"])
    assert set(map(tuple, fewer.values())) == {(None, None)}


def test_another_input_than_the_authors_has_no_value_of_the_paper_with_the_data_there_either(
    tmp_path, make_fgnet
):
    make_fgnet(
        tmp_path / "FGNET", [f"{one:03d}A{age:02d}.JPG" for one in range(1, 83) for age in (1, 20, 40)]
    )
    given = {"data": tmp_path, "method": ["comface"], "task": ["age"], "protocol": ["finetune"]}
    rows = paper("preprocess", **given, results=tmp_path / "results")
    assert rows == {
        "comface, preprocess native": [None, 0.870],
        "comface, preprocess imagenet": [None, None],
    }


def test_rows_of_table_h_stand_beside_a_resnet_50_alone():
    rows = paper("fiq", method=["comface+backbone=resnet50+checkpoint=x.safetensors"])
    assert rows["v ≥ 0.1"] == [0.645, 0.824, 0.856, 0.938, 0.863]
    assert rows["v ≥ 0"] == [0.663, 0.831, 0.886, 0.963, 0.870]
    assert set(paper("fiq")["v ≥ 0.1"]) == {None}


@pytest.mark.parametrize("name", study_names())
def test_no_value_of_the_paper_stands_beside_faces_that_ship(name):
    made = make_table(plan_study(find_study(name), {"no_plugins": True}, shipped=True), "line", {})
    assert all(column.ships for column in made.columns)
    assert not any(cell.paper for row in made.rows for cell in row.cells)


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("COMFACE_TEST_LONG"), reason="COMFACE_TEST_LONG isn't set: minutes")
def test_every_study_runs_small(tmp_path, small_predictor, monkeypatch):
    """All of them into one folder, so that what several have in common is run once; the twin is above."""
    monkeypatch.setattr(alignment, "open_finder", lambda: DlibPoints(small_predictor))
    measured = 0
    for name in study_names():
        given = {"results": tmp_path / "results", "no_plugins": True, "device": "cpu"}
        for batch in plan_study(find_study(name), given, small=True).sweep.batches:
            assert not run_batch(batch).failed
        plan = plan_study(find_study(name), given, small=True)
        assert not plan.sweep.batches
        made = make_table(plan, f"comface-bench study {name} --small", {})
        facts = json.loads(study_json(made))
        store = ResultStore(tmp_path / "results")
        for number, row in enumerate(facts["rows"]):
            for cell in row["cells"]:
                planned = plan.cells[number, cell["task"]]
                if isinstance(planned, Gap):
                    assert "value" not in cell
                    continue
                record = store.load(planned.task.name, planned.protocol.name, planned.method_name)
                assert cell["value"] == pytest.approx(record.primary[cell["metric"]].value, rel=1e-9)
                measured += 1
    assert measured > 30


def test_a_method_that_was_taught_what_is_asked_stands_apart(write_study, data, plugin, tmp_path):
    text = 'method = ["tiny", "taught"]\ntask = "age"\nprotocol = "probe"\nfolds = 0\n'
    study = read_study(write_study(f'{text}[study]\ntitle = "T"\nmetrics = "mae"\n[[run]]\n'))
    options = {"split": ["balanced-4"], "image_size": ["16"]}
    given = {"data": data, "plugin": [plugin], "no_plugins": True, "device": "cpu", "options": options}
    given |= {"results": tmp_path / "results"}
    for batch in plan_study(study, given).sweep.batches:
        run_batch(batch)
    made = make_table(plan_study(study, given), "line", {})
    assert {row.method: row.cells[0].apart for row in made.rows} == {"tiny": False, "taught": True}
