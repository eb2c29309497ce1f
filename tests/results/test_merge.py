"""Folders united: every unit once, conflicts named, nothing half-written."""

import random

import pytest

from comface_bench.core.errors import ResultError
from comface_bench.results import merge as merging
from comface_bench.results.merge import merge
from comface_bench.results.recompute import recompute_record
from comface_bench.results.record_files import RecordFiles
from comface_bench.results.store import ResultStore
from comface_bench.results.validate import validate_record

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
    merged = merge(parts, tmp_path / "union")
    assert (merged.conflicts, merged.records, merged.units) == ([], 1, 8)
    assert files(tmp_path / "union") == files(straight)


def test_records_of_several_methods_and_a_second_merge(fill, tmp_path):
    a, b = fill("a", [(0, 0)]), fill("b", [(0, 0)], method="timm/x")
    fill("b", [(0, 0)], task="synth-age")
    into = tmp_path / "deep" / "union"
    merged = merge([a, b], into)
    assert (merged.records, merged.units, len(merged.written)) == (3, 3, 3)
    assert set(files(into)) == set(files(a)) | set(files(b))
    assert merge([a, b], into).written == []
    assert merge([into], into).written == []


def test_what_the_target_holds_counts_first(fill, tmp_path):
    into = fill("union", [(0, 0)])
    other = fill("other", [(1, 0)], change=lambda unit: unit.model_copy(update={"seconds": 99.0}))
    fill("other", [(0, 0)], change=lambda unit: unit.model_copy(update={"seconds": 99.0}))
    merged = merge([other], into)
    assert merged.conflicts == []
    record = ResultStore(into).load("age", "linear", "scratch")
    assert [unit.seconds for unit in record.units] == [1.5, 99.0]
    path = into / "age/linear/scratch.json"
    assert validate_record(path) == recompute_record(path) == []


@pytest.mark.parametrize("prefer", [None, "first", "last"])
def test_two_results_of_one_unit_are_a_conflict(fill, tmp_path, prefer):
    a, b = fill("a", [(0, 0), (1, 0)]), fill("b", [(1, 0), (2, 0)], shift=1.0)
    into = tmp_path / "union"
    merged = merge([a, b], into, prefer)
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


@pytest.mark.parametrize("prefer", [None, "first", "last"])
def test_other_digests_under_one_name_are_a_conflict(fill, tmp_path, prefer):
    a, b = fill("a", [(0, 0)]), fill("b", [(1, 0)], values={"epochs": 5})
    merged = merge([a, b], tmp_path / "union", prefer)
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
    merged = merge([a, tmp_path / "b"], tmp_path / "union")
    assert [conflict.what for conflict in merged.conflicts] == ["provenance.kind"]


def test_a_result_stands_over_a_failure(fill, tmp_path, made):
    roots = []
    for name, places, failed in (("a", [(0, 0)], (1, 2)), ("b", [(1, 0)], (0, 2, 3))):
        root = fill(name, places)
        with ResultStore(root).open(*made.header()) as writer:
            for fold in failed:
                writer.fail(made.failure(fold))
        roots.append(root)
    merged = merge(roots, tmp_path / "union")
    assert merged.conflicts == []
    record = ResultStore(tmp_path / "union").load("age", "linear", "scratch")
    assert [unit.fold for unit in record.units] == [0, 1]
    assert [failure.fold for failure in record.failures] == [2, 3]


def test_predictions_that_do_not_bear_a_record_out_are_refused(fill, tmp_path):
    a, b = fill("a", [(0, 0)]), fill("b", [(1, 0)])
    RecordFiles(b / "age/linear/scratch.json").predictions.unlink()
    with pytest.raises(ResultError) as caught:
        merge([a, b], tmp_path / "union")
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
        merge([other], into)
    assert [unit.fold for unit in ResultStore(into).load("age", "linear", "scratch").units] == [0, 2]
    assert not list(into.rglob("*.lock"))
