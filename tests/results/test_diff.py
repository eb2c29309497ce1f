"""What differs between records, unit by unit."""

import pytest

from comface_bench.core.errors import UsageError
from comface_bench.results.diff import Pairs, compare
from comface_bench.results.predictions import digest_rows
from comface_bench.results.store import ResultStore


@pytest.fixture
def fill_folder(tmp_path, made):
    """Store folds of a record in a folder; `change` maps a run (unit, rows) to another."""

    def store(name, folds=(0, 1), change=lambda unit, rows: (unit, rows), **header):
        results = ResultStore(tmp_path / name)
        with results.open(*made.header(**header)) as writer:
            for fold in folds:
                writer.add(*change(*made.run(fold)))
        return results.root

    return store


def test_equal_records_and_folders(fill_folder):
    a, b = fill_folder("a"), fill_folder("b")
    assert compare(a, b) == []
    path = "age/linear/scratch.json"
    assert compare(a / path, b / path) == []


def test_how_a_unit_ran_differs_only_if_asked(fill_folder):
    a = fill_folder("a")
    b = fill_folder("b", change=lambda unit, rows: (unit.model_copy(update={"seconds": 9.0, "details": {}}), rows))
    assert compare(a, b) == []
    found = compare(a, b, measured=True)
    assert {item.field for item in found} >= {"seconds", "details.precision"}
    assert {item.size for item in found if item.field == "seconds"} == {7.5}


def test_other_answers_are_counted_pair_by_pair(fill_folder, made):
    def change(unit, rows):
        rows = [rows[0]._replace(yhat=rows[0].yhat + 0.25), rows[1]._replace(y=0.5), *rows[2:5]]
        fresh = made.unit(unit.fold, unit.seed, rows)
        assert fresh.predictions_digest == digest_rows(rows)
        return fresh, rows

    a, b = fill_folder("a", folds=[0]), fill_folder("b", folds=[0], change=change)
    found = {item.field: item for item in compare(a, b) if item.unit}
    assert {item.unit for item in found.values()} == {"fold 0, seed 0"}
    pairs = found["predictions"].pairs
    assert pairs == Pairs(5, 1, 0, 1, 1, pytest.approx(0.25))
    assert found["predictions"].size == pytest.approx(0.25)
    assert (found["n_pairs"].a, found["n_pairs"].b, found["n_pairs"].size) == (6, 5, 1)
    mae = found["metrics.mae"]
    assert mae.size == pytest.approx(abs(mae.a - mae.b))
    assert mae.size > 0
    summary = [item for item in compare(a, b) if item.field == "summary.pooled.mae"]
    assert summary[0].size == pytest.approx(mae.size)


def test_names_digests_and_options(fill_folder):
    a = fill_folder("a")
    b = fill_folder("b", values={"epochs": 5})
    fields = {item.field for item in compare(a, b)}
    assert {"protocol.digest", "protocol.values.epochs", "protocol.values.learning_rate"} <= fields
    assert not [field for field in fields if field.startswith(("method", "task"))]
    (missing,) = [item for item in compare(a, b) if item.field == "protocol.values.learning_rate"]
    assert missing.b is None


def test_a_metric_without_a_value_shows_its_reason(fill_folder, made):
    def flat(unit, rows):
        rows = [row._replace(yhat=1.0) for row in rows]
        return made.unit(unit.fold, unit.seed, rows), rows

    found = compare(fill_folder("a", folds=[0]), fill_folder("b", folds=[0], change=flat))
    (item,) = [item for item in found if item.unit and item.field == "metrics.pearson"]
    assert (item.b, item.size) == ("constant prediction", None)


def test_what_is_on_one_side_only(fill_folder, made):
    a, b = fill_folder("a", folds=[0, 1]), fill_folder("b", folds=[1, 2])
    fill_folder("b", method="farl")
    with ResultStore(a).open(*made.header()) as writer:
        writer.fail(made.failure(3))
    found = compare(a, b)
    absent = {(item.record, item.unit): (item.a, item.b) for item in found if not item.field}
    assert absent == {
        ("age/linear/farl", ""): (None, "a record"),
        ("age/linear/scratch", "fold 0, seed 0"): ("a result", None),
        ("age/linear/scratch", "fold 2, seed 0"): (None, "a result"),
    }
    (failed,) = [item for item in found if item.field == "failure"]
    assert (failed.unit, failed.b) == ("fold 3, seed 0", None)


def test_a_folder_and_a_file_are_no_pair(fill_folder):
    a = fill_folder("a")
    with pytest.raises(UsageError):
        compare(a, a / "age/linear/scratch.json")
