"""The folder of results: adding, setting aside, and what a kill at any moment leaves."""

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comface_bench.core.errors import ResultError, UsageError
from comface_bench.results.store import RecordFiles, ResultStore
from comface_bench.results.validation import recompute_record
from comface_bench.stats.metrics import compute_metrics


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path / "results")


def fill(store, made, places, **header):
    with store.open(*made.header(**header)) as writer:
        for fold, seed in places:
            writer.add(*made.run(fold, seed))
    return writer


def names(store):
    return sorted(str(path.relative_to(store.root)) for path in store.root.rglob("*") if path.is_file())


def test_round_trip(store, made):
    writer = fill(store, made, [(1, 0), (0, 1), (0, 0)])
    record = store.load("age", "linear", "scratch")
    assert record == writer.record()
    assert [(unit.fold, unit.seed) for unit in record.units] == [(0, 0), (1, 0), (0, 1)]
    assert record.units[0] == made.run(0, 0)[0]
    expected = sorted(made.rows(0, 0), key=lambda row: row.subject)
    assert store.load_predictions(record)[:6] == expected
    assert list(store.records()) == [record]
    assert writer.set_aside is None
    finished = store.finished_units("age", "linear", "scratch")
    assert writer.finished == {place: unit.key for place, unit in finished.items()}
    assert writer.finished == {(u.fold, u.seed): u.key for u in record.units}
    assert names(store) == ["age/linear/scratch.json", "age/linear/scratch.predictions.csv.gz"]


@settings(max_examples=15, deadline=None)
@given(
    order=st.permutations([(fold, seed) for fold in range(3) for seed in range(2)]), split=st.integers(0, 6)
)
def test_order_and_interruption_leave_no_trace(tmp_path_factory, made, order, split):
    straight = ResultStore(tmp_path_factory.mktemp("a"))
    broken = ResultStore(tmp_path_factory.mktemp("b"))
    fill(straight, made, sorted(order))
    fill(broken, made, order[:split])
    fill(broken, made, order[split:])
    assert names(straight) == names(broken)
    for name in names(straight):
        assert (straight.root / name).read_bytes() == (broken.root / name).read_bytes()


def test_nothing_stored(store, made):
    assert store.load("age", "linear", "scratch") is None
    assert store.finished_units("age", "linear", "scratch") == {}
    assert list(store.records()) == []
    with store.open(*made.header()) as writer:
        assert writer.finished == {}
        assert writer.record().summary.complete is False
    assert names(store) == []


def test_names(store):
    path = store.record_path("csv:my/file.csv", "finetune+image_size=112", "timm/resnet18.a1_in1k")
    assert path == store.root / "csv__my__file.csv/finetune+image_size=112/timm__resnet18.a1_in1k.json"
    for bad in ("", "..", ".hidden", "a@b", "a b", "a\\b", "a\nb", "x" * 200, "a\u202eb"):
        with pytest.raises(UsageError):
            store.record_path("age", "linear", bad)
    with pytest.raises(UsageError):
        store.record_path("leaderboard", "linear", "scratch")


def test_a_failure_is_recorded_but_is_no_result(store, made):
    writer = fill(store, made, [(0, 0)])
    writer.fail(made.failure(1))
    record = store.load("age", "linear", "scratch")
    assert [(f.fold, f.error) for f in record.failures] == [(1, "UnitError")]
    assert set(writer.finished) == {(0, 0)} == set(store.finished_units("age", "linear", "scratch"))
    assert (
        record.summary.pooled == fill(ResultStore(store.root / "x"), made, [(0, 0)]).record().summary.pooled
    )
    writer.fail(made.failure(1).model_copy(update={"message": "again"}))
    assert [f.message for f in writer.record().failures] == ["again"]
    writer.add(*made.run(1))
    assert writer.record().failures == []
    unit = writer.record().units[1]
    writer.fail(made.failure(1).model_copy(update={"key": unit.key}))
    assert writer.record().failures == [], "a finished unit stands"
    writer.fail(made.failure(1).model_copy(update={"key": "another"}))
    assert [unit.fold for unit in writer.record().units] == [0], "a result of another key is outdated"


def test_a_unit_added_again_replaces_the_first(store, made):
    fill(store, made, [(0, 0), (1, 0)])
    unit, rows = made.run(0, 0, shift=1.0)
    with store.open(*made.header()) as writer:
        writer.add(unit, rows)
    assert store.load("age", "linear", "scratch").units[0] == unit
    assert sorted(store.load_predictions(writer.record())[:6]) == sorted(rows)


def test_rows_must_be_the_units(store, made):
    unit, rows = made.run(0)
    with store.open(*made.header()) as writer:
        for bad_unit, bad_rows in [
            (unit, rows[1:]),
            (unit, []),
            (unit, made.run(1)[1]),
            (unit, [rows[0]._replace(yhat=9.0), *rows[1:]]),
            (unit.model_copy(update={"n_subjects": 1}), rows),
        ]:
            with pytest.raises(ResultError):
                writer.add(bad_unit, bad_rows)
    assert names(store) == []


def test_a_record_of_other_digests_is_set_aside_and_taken_up_again(store, made):
    fill(store, made, [(0, 0), (1, 0)])
    first = [(store.root / name).read_bytes() for name in names(store)]
    other = {"values": {"epochs": 5}}
    with store.open(*made.header(**other)) as writer:
        assert writer.finished == {}
        assert writer.set_aside.exists()
        assert "@" in writer.set_aside.name
        writer.add(*made.run(2))
    assert [u.fold for u in store.load("age", "linear", "scratch").units] == [2]
    assert [(store.root / name).read_bytes() for name in names(store) if "@" in name] == first
    assert len(list(store.records())) == 1
    with store.open(*made.header()) as writer:
        assert set(writer.finished) == {(0, 0), (1, 0)}
    with store.open(*made.header(**other)) as writer:
        assert set(writer.finished) == {(2, 0)}
    assert len(names(store)) == 4


def test_a_record_set_aside_under_the_digest_of_an_earlier_version_is_taken_up_again(store, made):
    fill(store, made, [(0, 0)])
    with store.open(*made.header(values={"epochs": 5})) as writer:
        aside = writer.set_aside
    for path in (aside, aside.with_name(aside.name.replace(".json", ".predictions.csv.gz"))):
        path.rename(path.with_name(path.name.replace(aside.stem[-8:], "0" * 8)))
    with store.open(*made.header()) as writer:
        assert set(writer.finished) == {(0, 0)}
    assert not [name for name in names(store) if "@00000000" in name]


def test_metrics_that_the_task_gains_come_from_the_stored_predictions(store, made):
    fill(store, made, [(0, 0), (1, 0)])
    path = store.record_path("age", "linear", "scratch")
    before = store.load("age", "linear", "scratch")
    task, *rest = made.header()
    more = task.model_copy(update={"metrics": [*task.metrics, "rmse"]})
    shown = store.score(before, more.metrics)
    assert store.load("age", "linear", "scratch") == before, "no file is changed by that"
    with store.open(more, *rest) as writer:
        assert writer.finished == {(fold, 0): made.run(fold)[0].key for fold in (0, 1)}
        assert writer.set_aside is None
        after = writer.record()
    assert store.load("age", "linear", "scratch") == after
    assert (shown.units, shown.summary, shown.task) == (after.units, after.summary, more)
    for fold in (0, 1):
        rows = made.rows(fold, 0)
        wanted = compute_metrics([row.y for row in rows], [row.yhat for row in rows], more.metrics)
        assert after.units[fold].metrics == wanted
    assert after.summary.pooled.keys() == set(more.metrics)
    assert recompute_record(path) == []
    with store.open(task, *rest) as writer:
        assert writer.record().units == before.units


def test_a_staged_unit_of_fewer_metrics_is_scored_by_all(store, made, monkeypatch):
    task, *rest = made.header()
    more = task.model_copy(update={"metrics": [*task.metrics, "rmse"]})
    fill(store, made, [(0, 0)])
    with store.open(more, *rest):
        pass
    # As by a kill right after staging.
    stage = RecordFiles.stage
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(RecordFiles, "stage", lambda *staged: (stage(*staged), 1 / 0))
        store.open(task, *rest).add(*made.run(1))
    with store.open(more, *rest) as writer:
        assert {place: list(unit.metrics) for place, unit in writer._content.units.items()} == {
            (0, 0): more.metrics,
            (1, 0): more.metrics,
        }


def test_a_malformed_record_is_an_error_to_read_and_set_aside_to_write(store, made):
    fill(store, made, [(0, 0)])
    path = store.record_path("age", "linear", "scratch")
    path.write_text("{ not json")
    with pytest.raises(ResultError, match=r"scratch\.json"):
        store.load("age", "linear", "scratch")
    with pytest.raises(ResultError):
        list(store.records())
    with pytest.warns(UserWarning, match="not counted as finished"):
        assert store.finished_units("age", "linear", "scratch") == {}
    with pytest.warns(UserWarning, match="set aside"), store.open(*made.header()) as writer:
        assert writer.finished == {}
    assert writer.set_aside.read_text() == "{ not json"
    assert len(names(store)) == 2, "its predictions are kept with it"


def tamper_predictions(path):
    text = gzip.decompress(path.read_bytes()).decode().splitlines(keepends=True)
    line = text[1].rstrip("\n").split(",")
    line[5] = repr(float(line[5]) + 1)
    text[1] = ",".join(line) + "\n"
    path.write_bytes(gzip.compress("".join(text).encode()))


def test_tampered_predictions_drop_their_unit_only(store, made):
    fill(store, made, [(0, 0), (1, 0)])
    tamper_predictions(store.root / "age/linear/scratch.predictions.csv.gz")
    with pytest.warns(UserWarning, match="fold 0, seed 0 isn't the record's; not counted as finished"):
        assert set(store.finished_units("age", "linear", "scratch")) == {(1, 0)}
    with pytest.raises(ResultError, match="fold 0, seed 0"):
        store.load_predictions(store.load("age", "linear", "scratch"))
    with pytest.warns(UserWarning, match="fold 0, seed 0"), store.open(*made.header()) as writer:
        assert set(writer.finished) == {(1, 0)}


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_lost_predictions_drop_all_units(store, made, damage):
    fill(store, made, [(0, 0), (1, 0)])
    path = store.root / "age/linear/scratch.predictions.csv.gz"
    path.write_bytes(path.read_bytes()[:40]) if damage == "cut" else path.unlink()
    with pytest.warns(UserWarning, match="not counted as finished"):
        assert store.finished_units("age", "linear", "scratch") == {}
    with pytest.warns(UserWarning), store.open(*made.header()) as writer:
        assert writer.finished == {}


def test_a_record_under_another_name_is_refused(store, made):
    fill(store, made, [(0, 0)])
    path = store.record_path("age", "linear", "scratch")
    path.rename(path.with_name("other.json"))
    with pytest.raises(ResultError, match=r"other\.json"):
        list(store.records())


def test_records_come_by_path_and_pages_are_no_records(store, made):
    for task, method in [("synth-age", "b"), ("age", "timm/x"), ("age", "a")]:
        fill(store, made, [(0, 0)], task=task, method=method)
    pages = store.root / "leaderboard/age"
    pages.mkdir(parents=True)
    (pages / "x.json").write_text("{}")
    found = [(record.task.name, record.method.name) for record in store.records()]
    assert found == [("age", "a"), ("age", "timm/x"), ("synth-age", "b")]


def test_two_processes_add_to_one_record(store, made, tmp_path):
    """Each process adds its own folds to one record, at the same time; all of them are in it at the end."""
    script = tmp_path / "adder.py"
    script.write_text(ADDER)
    jobs = [[(fold, seed) for seed in range(12)] for fold in (0, 1)]
    command = [sys.executable, script, made.run.__code__.co_filename, store.root]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    processes = [subprocess.Popen([*command, json.dumps(job)], **pipes) for job in jobs]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.close()
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    straight = ResultStore(tmp_path / "straight")
    fill(straight, made, [place for job in jobs for place in job])
    assert names(store) == names(straight)
    for name in names(store):
        assert (store.root / name).read_bytes() == (straight.root / name).read_bytes()
    for process in processes:
        process.stdout.close()


ADDER = """
import importlib.util, json, pathlib, sys
from comface_bench.results.store import ResultStore

spec = importlib.util.spec_from_file_location("made", sys.argv[1])
made = importlib.util.module_from_spec(spec)
spec.loader.exec_module(made)
print("ready", flush=True)
sys.stdin.read()
with ResultStore(pathlib.Path(sys.argv[2])).open(*made.header()) as writer:
    for fold, seed in json.loads(sys.argv[3]):
        if (fold, seed) not in writer.finished:
            writer.add(*made.run(fold, seed))
"""


def test_importing_the_store_is_cheap():
    code = (
        "import sys, comface_bench.results.store as s, pathlib\n"
        "s.ResultStore(pathlib.Path('none')).finished_units('a', 'b', 'c')\n"
        "heavy = {'torch', 'pandas', 'pydantic', 'numpy', 'scipy'} & set(sys.modules)\n"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


NAMES = ("age", "linear", "scratch")
PLACES = [(0, 0), (1, 0), (2, 0)]


class Killed(BaseException):
    """Stands for the process's end: no handler of ordinary errors sees it."""


def kill_at(monkeypatch, k):
    """Make the k-th system call that changes durable state fail, and all after it, as after a kill."""
    count = 0

    def guard(real):
        def call(*args, **kwargs):
            nonlocal count
            count += 1
            if count >= k:
                raise Killed
            return real(*args, **kwargs)

        return call

    # Not os.unlink: removing the lock file on the way out stands for the kernel's releasing it.
    for name in ("fsync", "replace", "rmdir"):
        monkeypatch.setattr(os, name, guard(getattr(os, name)))


def content(root):
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def straight(tmp_path, made):
    store = ResultStore(tmp_path / "straight")
    with store.open(*made.header()) as writer:
        for place in PLACES:
            writer.add(*made.run(*place))
    return content(store.root)


@pytest.mark.filterwarnings("error::UserWarning")
def test_a_kill_at_every_step_of_every_add(tmp_path, made, monkeypatch):
    expected = straight(tmp_path, made)
    k, unharmed = 0, False
    while not unharmed:
        k += 1
        store = ResultStore(tmp_path / f"killed-{k}")
        done = set()
        with monkeypatch.context() as patch:
            kill_at(patch, k)
            try:
                with store.open(*made.header()) as writer:
                    for place in PLACES:
                        writer.add(*made.run(*place))
                        done.add(place)
                unharmed = True
            except Killed:
                pass
        record = store.load("age", "linear", "scratch")
        for unit in record.units if record else []:
            assert unit == made.run(unit.fold, unit.seed)[0]
        with store.open(*made.header()) as writer:
            assert set(writer.finished) >= done
            for place in PLACES:
                if place not in writer.finished:
                    writer.add(*made.run(*place))
        assert content(store.root) == expected, f"killed at step {k}"
    assert k > 20, "the calls must have been reached"


@pytest.mark.filterwarnings("ignore:.*isn't borne out by its predictions")
@pytest.mark.parametrize("former", [[], [(0, 0), (3, 0)]])
def test_a_kill_at_every_step_of_storing_units_at_once_leaves_all_or_none(
    tmp_path, made, monkeypatch, former
):
    """Units of before stay: as they were, or replaced by those of the same places."""

    def run(place):
        return made.run(*place, shift=1.0)

    def begin(name):
        store = ResultStore(tmp_path / name)
        fill(store, made, former)
        return store

    def key(store):
        return {place: unit.predictions_digest for place, unit in store.finished_units(*NAMES).items()}

    one_by_one = begin("straight")
    before = key(one_by_one)
    with one_by_one.open(*made.header()) as writer:
        for place in PLACES:
            writer.add(*run(place))
    after, expected = key(one_by_one), content(one_by_one.root)
    k, outcomes = 0, []
    while not outcomes or outcomes[-1] != "unharmed":
        k += 1
        store, outcome = begin(f"killed-{k}"), "unharmed"
        with monkeypatch.context() as patch:
            kill_at(patch, k)
            try:
                store.open(*made.header()).add_all([run(place) for place in reversed(PLACES)])
            except Killed:
                outcome = "killed"
        store.open(*made.header())  # merges what was staged
        if key(store) == before:
            store.open(*made.header()).add_all([run(place) for place in PLACES])
            outcome = "none"
        assert key(store) == after, f"killed at step {k}"
        assert content(store.root) == expected, f"killed at step {k}"
        outcomes.append(outcome)
    assert {"none", "killed"} < set(outcomes)


def test_units_left_staged_by_another_are_kept_by_whoever_stores_next(store, made, monkeypatch):
    first, second = store.open(*made.header()), store.open(*made.header())
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(RecordFiles, "write", lambda *_: 1 / 0)
        first.add_all([made.run(fold, 0) for fold in (0, 1, 2)])
    second.add(*made.run(0, 0, shift=1.0))  # staged under the same name
    assert set(second.finished) == {(0, 0), (1, 0), (2, 0)}
    assert store.load("age", "linear", "scratch").units[0] == made.run(0, 0, shift=1.0)[0]


def test_a_kill_at_every_step_of_setting_aside_and_taking_up_again(tmp_path, made, monkeypatch):
    other = made.header(values={"epochs": 5})
    k, unharmed = 0, False
    while not unharmed:
        k += 1
        store = ResultStore(tmp_path / f"killed-{k}")
        with store.open(*made.header()) as writer:
            writer.add(*made.run(0))
        with monkeypatch.context() as patch:
            kill_at(patch, k)
            try:
                with store.open(*other) as writer:
                    writer.add(*made.run(1))
                store.open(*made.header())
                unharmed = True
            except Killed:
                pass
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            assert set(store.open(*made.header()).finished) == {(0, 0)}, f"killed at step {k}"
            assert set(store.open(*other).finished) <= {(1, 0)}
            assert set(store.open(*made.header()).finished) == {(0, 0)}, f"killed at step {k}"
    assert set(store.open(*other).finished) == {(1, 0)}
    assert k > 10, "the calls must have been reached"


def test_a_failure_recorded_when_killed_leaves_units_intact(tmp_path, made, monkeypatch):
    for k in range(1, 5):
        store = ResultStore(tmp_path / f"killed-{k}")
        with store.open(*made.header()) as writer:
            writer.add(*made.run(0))
            with monkeypatch.context() as patch, pytest.raises(Killed):
                kill_at(patch, k)
                writer.fail(made.failure(1))
        assert set(store.open(*made.header()).finished) == {(0, 0)}


def test_a_damaged_staged_unit_is_dropped(tmp_path, made, monkeypatch):
    store = ResultStore(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 5)
        store.open(*made.header()).add(*made.run(0))
    (staged,) = tmp_path.rglob("*.units/*.json")
    raw = json.loads(staged.read_text())
    raw["predictions"] = raw["predictions"].replace(",0,0,", ",0,0,1", 1)
    for damage in (json.dumps(raw), "{", "[]"):
        staged.write_text(damage)
        with pytest.warns(UserWarning, match="dropped"):
            assert store.open(*made.header()).finished == {}


@pytest.mark.parametrize("seed", range(4))
def test_sigkill_at_a_random_moment(tmp_path, made, seed):
    script = tmp_path / "adder.py"
    script.write_text(KILLED_ADDER)
    root = tmp_path / "results"
    store = ResultStore(root)
    command = [sys.executable, str(script), made.run.__code__.co_filename, str(root), json.dumps(PLACES)]
    rng = random.Random(seed)
    for _ in range(2):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            process.stdout.readline()
            time.sleep(rng.uniform(0, 0.04))
            process.send_signal(signal.SIGKILL)
            done = {tuple(json.loads(line)) for line in process.stdout.read().splitlines()}
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            finished = store.open(*made.header()).finished
        assert set(finished) >= done
    assert subprocess.run(command, stdout=subprocess.DEVNULL).returncode == 0
    assert content(root) == straight(tmp_path, made)


KILLED_ADDER = """
import importlib.util, json, pathlib, sys
from comface_bench.results.store import ResultStore

spec = importlib.util.spec_from_file_location("made", sys.argv[1])
made = importlib.util.module_from_spec(spec)
spec.loader.exec_module(made)
print("ready", flush=True)
with ResultStore(pathlib.Path(sys.argv[2])).open(*made.header()) as writer:
    for fold, seed in json.loads(sys.argv[3]):
        if (fold, seed) not in writer.finished:
            writer.add(*made.run(fold, seed))
            print(json.dumps([fold, seed]), flush=True)
"""
