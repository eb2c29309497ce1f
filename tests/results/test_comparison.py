"""Differences between results, and the union of folders."""

import random

import pytest

from comface_bench.core.errors import ResultError, UsageError
from comface_bench.results import comparison as merging
from comface_bench.results.comparison import Pairs, compare_results, merge_results
from comface_bench.results.predictions import digest_rows, encode
from comface_bench.results.store import RecordFiles, ResultStore
from comface_bench.results.validation import recompute_record, validate_record


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
    assert compare_results(a, b) == []
    path = "age/linear/scratch.json"
    assert compare_results(a / path, b / path) == []


def test_how_a_unit_ran_differs_only_if_asked(fill_folder):
    a = fill_folder("a")
    b = fill_folder(
        "b", change=lambda unit, rows: (unit.model_copy(update={"seconds": 9.0, "details": {}}), rows)
    )
    assert compare_results(a, b) == []
    found = compare_results(a, b, measured=True)
    assert {item.field for item in found} >= {"seconds", "details.precision"}
    assert {item.size for item in found if item.field == "seconds"} == {7.5}


def test_other_answers_are_counted_pair_by_pair(fill_folder, made):
    def change(unit, rows):
        rows = [rows[0]._replace(yhat=rows[0].yhat + 0.25), rows[1]._replace(y=0.5), *rows[2:5]]
        fresh = made.unit(unit.fold, unit.seed, rows)
        assert fresh.predictions_digest == digest_rows(rows)
        return fresh, rows

    a, b = fill_folder("a", folds=[0]), fill_folder("b", folds=[0], change=change)
    found = {item.field: item for item in compare_results(a, b) if item.unit}
    assert {item.unit for item in found.values()} == {"fold 0, seed 0"}
    pairs = found["predictions"].pairs
    assert pairs == Pairs(5, 1, 0, 1, 1, pytest.approx(0.25))
    assert found["predictions"].size == pytest.approx(0.25)
    assert (found["n_pairs"].a, found["n_pairs"].b, found["n_pairs"].size) == (6, 5, 1)
    mae = found["metrics.mae"]
    assert mae.size == pytest.approx(abs(mae.a - mae.b))
    assert mae.size > 0
    summary = [item for item in compare_results(a, b) if item.field == "summary.pooled.mae"]
    assert summary[0].size == pytest.approx(mae.size)


@pytest.mark.parametrize("measured", [False, True])
def test_what_changes_predictions_and_no_key_is_named_first(fill_folder, made, measured):
    def with_details(shift, **details):
        def change(unit, rows):
            rows = [row._replace(yhat=row.yhat + shift) for row in rows]
            fresh = made.unit(unit.fold, unit.seed, rows)
            return fresh.model_copy(update={"details": details}), rows

        return change

    a = fill_folder("a", folds=[0], change=with_details(0, threads=1, precision="float32", method_source="x"))
    b = fill_folder("b", folds=[0], change=with_details(1, threads=2, precision="float32", method_source="y"))
    same = fill_folder("c", folds=[0], change=with_details(0, threads=2, precision="float32"))
    found = compare_results(a, b, measured=measured)
    assert [(item.unit, item.field, item.a, item.b) for item in found[:2]] == [
        ("fold 0, seed 0", "details.threads", 1, 2),
        ("fold 0, seed 0", "details.method_source", "x", "y"),
    ]
    assert {item.field for item in found[2:]} >= {"summary.pooled.mae", "metrics.mae", "predictions"}
    assert len({(item.unit, item.field) for item in found}) == len(found), "nothing is said twice"
    # Of units with equal predictions, how they ran is said if it is asked for.
    fields = {item.field for item in compare_results(a, same, measured=measured)}
    assert fields == ({"details.threads", "details.method_source"} if measured else set())


def test_threads_of_a_record_from_before_units_had_them_are_those_of_its_environment(tmp_path, made):
    folders = []
    for threads in (1, 2):
        store = ResultStore(tmp_path / str(threads))
        *header, environment = made.header()
        with store.open(*header, environment | {"torch": {"threads": threads}}) as writer:
            writer.add(*made.run(0, shift=threads))
        folders.append(store.root)
    first = compare_results(*folders)[0]
    assert (first.field, first.a, first.b) == ("details.threads", 1, 2)


def test_a_table_of_other_answers_is_not_called_equal(fill_folder):
    a, b = fill_folder("a", folds=[0]), fill_folder("b", folds=[0])
    other = fill_folder("other", folds=[0], method="other")
    predictions = RecordFiles(b / "age/linear/scratch.json").predictions
    predictions.write_bytes(encode({(0, 0): "0-0-1,0,0,0,1.0,1.0\n"}))
    with pytest.raises(ResultError, match="isn't borne out by its predictions"):
        compare_results(a, b)
    assert compare_results(other, other) == []


def test_names_digests_and_options(fill_folder):
    a = fill_folder("a")
    b = fill_folder("b", values={"epochs": 5})
    fields = {item.field for item in compare_results(a, b)}
    assert {"protocol.digest", "protocol.values.epochs", "protocol.values.learning_rate"} <= fields
    assert not [field for field in fields if field.startswith(("method", "task"))]
    (missing,) = [item for item in compare_results(a, b) if item.field == "protocol.values.learning_rate"]
    assert missing.b is None


def test_a_metric_without_a_value_shows_its_reason(fill_folder, made):
    def flat(unit, rows):
        rows = [row._replace(yhat=1.0) for row in rows]
        return made.unit(unit.fold, unit.seed, rows), rows

    found = compare_results(fill_folder("a", folds=[0]), fill_folder("b", folds=[0], change=flat))
    (item,) = [item for item in found if item.unit and item.field == "metrics.pearson"]
    assert (item.b, item.size) == ("constant prediction", None)


def test_what_is_on_one_side_only(fill_folder, made):
    a, b = fill_folder("a", folds=[0, 1]), fill_folder("b", folds=[1, 2])
    fill_folder("b", method="farl")
    with ResultStore(a).open(*made.header()) as writer:
        writer.fail(made.failure(3))
    found = compare_results(a, b)
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
        compare_results(a, a / "age/linear/scratch.json")


PLACES = [(fold, seed) for seed in range(2) for fold in range(4)]


def files(root):
    found = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


@pytest.fixture
def fill(tmp_path, made):
    def store(name, places=PLACES, change=lambda unit: unit, shift=0.0, **header):
        results = ResultStore(tmp_path / name)
        with results.open(*made.header(**header)) as writer:
            for fold, seed in places:
                unit, rows = made.run(fold, seed, shift=shift)
                writer.add(change(unit), rows)
        return results.root

    return store


@pytest.mark.parametrize("seed", range(3))
def test_any_division_of_units_unites_to_the_straight_run(fill, tmp_path, seed):
    rng = random.Random(seed)
    parts = [fill(f"part-{number}", rng.sample(PLACES, rng.randrange(1, 6))) for number in range(3)]
    parts.append(fill("rest", PLACES))
    rng.shuffle(parts)
    straight = fill("straight")
    merged = merge_results(parts, tmp_path / "union")
    assert (merged.conflicts, merged.records, merged.units) == ([], 1, 8)
    assert files(tmp_path / "union") == files(straight)


def test_records_of_several_methods_and_a_second_merge(fill, tmp_path):
    a, b = fill("a", [(0, 0)]), fill("b", [(0, 0)], method="timm/x")
    fill("b", [(0, 0)], task="synth-age")
    into = tmp_path / "deep" / "union"
    merged = merge_results([a, b], into)
    assert (merged.records, merged.units, len(merged.written)) == (3, 3, 3)
    assert set(files(into)) == set(files(a)) | set(files(b))
    assert merge_results([a, b], into).written == []
    assert merge_results([into], into).written == []


def test_what_the_target_holds_counts_first(fill, tmp_path):
    into = fill("union", [(0, 0)])
    other = fill("other", [(1, 0)], change=lambda unit: unit.model_copy(update={"seconds": 99.0}))
    fill("other", [(0, 0)], change=lambda unit: unit.model_copy(update={"seconds": 99.0}))
    merged = merge_results([other], into)
    assert merged.conflicts == []
    record = ResultStore(into).load("age", "linear", "scratch")
    assert [unit.seconds for unit in record.units] == [1.5, 99.0]
    path = into / "age/linear/scratch.json"
    assert validate_record(path) == recompute_record(path) == []


@pytest.mark.parametrize("prefer", [None, "first", "last"])
def test_two_results_of_one_unit_are_a_conflict(fill, tmp_path, prefer):
    a, b = fill("a", [(0, 0), (1, 0)]), fill("b", [(1, 0), (2, 0)], shift=1.0)
    into = tmp_path / "union"
    merged = merge_results([a, b], into, prefer)
    (conflict,) = merged.conflicts
    assert (conflict.record, conflict.what) == ("age/linear/scratch", "fold 1, seed 0")
    assert conflict.files == (a / "age/linear/scratch.json", b / "age/linear/scratch.json")
    if prefer is None:
        assert not into.exists()
        assert merged.written == []
        return
    units = {unit.fold: unit for unit in ResultStore(into).load("age", "linear", "scratch").units}
    chosen = ResultStore(a if prefer == "first" else b).load("age", "linear", "scratch")
    assert set(units) == {0, 1, 2}
    assert units[1] in chosen.units
    assert recompute_record(into / "age/linear/scratch.json") == []


def test_metrics_that_one_folder_lacks_are_no_conflict(tmp_path, made):
    task, *rest = made.header()
    more = task.model_copy(update={"metrics": [*task.metrics, "rmse"], "unit": "months"})
    for folder, header, folds in (("old", task, (0, 1)), ("new", more, (1, 2)), ("straight", more, range(3))):
        with ResultStore(tmp_path / folder).open(header, *rest) as writer:
            for fold in folds:
                writer.add(*made.run(fold))
    expected = ResultStore(tmp_path / "straight").load("age", "linear", "scratch")
    for order in (("old", "new"), ("new", "old")):
        into = tmp_path / "-".join(order)
        merged = merge_results([tmp_path / folder for folder in order], into)
        assert merged.conflicts == []
        assert ResultStore(into).load("age", "linear", "scratch") == expected


@pytest.mark.parametrize("prefer", [None, "first", "last"])
def test_other_digests_under_one_name_are_a_conflict(fill, tmp_path, prefer):
    a, b = fill("a", [(0, 0)]), fill("b", [(1, 0)], values={"epochs": 5})
    merged = merge_results([a, b], tmp_path / "union", prefer)
    assert [conflict.what for conflict in merged.conflicts] == ["protocol.digest"]
    if prefer is None:
        assert not (tmp_path / "union").exists()
    else:
        assert files(tmp_path / "union") == files(a if prefer == "first" else b)


def test_a_strangers_record_does_not_become_ours(fill, tmp_path, made):
    a = fill("a", [(0, 0)])
    task, method, protocol, provenance, environment = made.header()
    submitted = provenance.model_copy(update={"kind": "submitted"})
    with ResultStore(tmp_path / "b").open(task, method, protocol, submitted, environment) as writer:
        writer.add(*made.run(1))
    merged = merge_results([a, tmp_path / "b"], tmp_path / "union")
    assert [conflict.what for conflict in merged.conflicts] == ["provenance.kind"]


def test_a_result_stands_over_a_failure(fill, tmp_path, made):
    roots = []
    for name, places, failed in (("a", [(0, 0)], (1, 2)), ("b", [(1, 0)], (0, 2, 3))):
        root = fill(name, places)
        with ResultStore(root).open(*made.header()) as writer:
            for fold in failed:
                writer.fail(made.failure(fold))
        roots.append(root)
    merged = merge_results(roots, tmp_path / "union")
    assert merged.conflicts == []
    record = ResultStore(tmp_path / "union").load("age", "linear", "scratch")
    assert [unit.fold for unit in record.units] == [0, 1]
    assert [failure.fold for failure in record.failures] == [2, 3]


def test_predictions_that_do_not_bear_a_record_out_are_refused(fill, tmp_path):
    a, b = fill("a", [(0, 0)]), fill("b", [(1, 0)])
    RecordFiles(b / "age/linear/scratch.json").predictions.unlink()
    with pytest.raises(ResultError) as caught:
        merge_results([a, b], tmp_path / "union")
    assert "results validate" in caught.value.hint
    assert not (tmp_path / "union").exists()


def test_a_record_that_a_run_changes_meanwhile_is_not_overwritten(fill, tmp_path, made, monkeypatch):
    into, other = fill("union", [(0, 0)]), fill("other", [(1, 0)])
    real = merging._write

    def write(*words):
        fill("union", [(2, 0)])
        return real(*words)

    monkeypatch.setattr(merging, "_write", write)
    with pytest.raises(ResultError, match="changed meanwhile"):
        merge_results([other], into)
    assert [unit.fold for unit in ResultStore(into).load("age", "linear", "scratch").units] == [0, 2]
    assert not list(into.rglob("*.lock"))
