"""A record or a table of predictions that was changed since it was written is noticed wherever it is read."""

import gzip
import json
import shutil
import warnings

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from comface_bench.core.digest import states_own_digest
from comface_bench.core.errors import BenchError, ResultError
from comface_bench.leaderboards import build, load
from comface_bench.leaderboards.pages import check
from comface_bench.results.comparison import compare_results, merge_results
from comface_bench.results.record import MalformedError, load_record, parse
from comface_bench.results.schema import SCHEMA_VERSION, text_digest
from comface_bench.results.store import ResultStore, update_record
from comface_bench.results.validation import recompute_record, validate_record

NAMES = ("age", "linear", "scratch")


@pytest.fixture(scope="module")
def clean(made, tmp_path_factory):
    """Two methods, two folds each; nothing in it is changed."""
    store = ResultStore(tmp_path_factory.mktemp("clean"))
    for method, shift in [("scratch", 0.0), ("other", 0.5)]:
        with store.open(*made.header(method=method, folds=2)) as writer:
            for fold in range(2):
                writer.add(*made.run(fold, shift=shift))
    build(store.root, store.root / "leaderboard")
    return store.root


@pytest.fixture
def copied(clean, tmp_path):
    """A copy of it to change; its store and the record's JSON."""
    shutil.copytree(clean, tmp_path / "results")
    store = ResultStore(tmp_path / "results")
    return store, store.record_path(*NAMES)


def set_mae(path, value=1.0):
    raw = json.loads(path.read_text())
    raw["summary"]["pooled"]["mae"]["value"] = value
    raw["units"][0]["metrics"]["mae"]["value"] = value
    path.write_text(json.dumps(raw, indent=1) + "\n")


def build_pages(store):
    build(store.root, store.root / "leaderboard")


READERS = {
    "load": lambda store: store.load(*NAMES),
    "records": lambda store: list(store.records()),
    "frame": lambda store: load(store.root),
    "build": build_pages,
    "check": lambda store: check(store.root, store.root / "leaderboard"),
    "merge": lambda store: merge_results([store.root], store.root.parent / "union"),
    "diff": lambda store: compare_results(store.root, store.root),
    "update": lambda store: update_record(store.record_path(*NAMES)),
}


@pytest.mark.parametrize("reader", READERS)
def test_an_edited_number_is_refused_with_file_and_command(copied, reader):
    store, path = copied
    READERS[reader](store)
    pages = {page: page.read_bytes() for page in store.root.rglob("*.md")}
    set_mae(path)
    edited = path.read_bytes()
    with pytest.raises(ResultError, match="changed since it was written") as caught:
        READERS[reader](store)
    assert str(path) in caught.value.message
    assert "comface-bench results" in caught.value.hint
    assert path.read_bytes() == edited
    assert pages == {page: page.read_bytes() for page in store.root.rglob("*.md")}


def test_an_edited_record_is_not_finished_and_set_aside_before_it_could_be_sealed(copied, made):
    store, path = copied
    set_mae(path)
    edited = path.read_bytes()
    with pytest.warns(UserWarning, match=f"{path}.*not counted as finished"):
        assert store.finished_units(*NAMES) == {}
    with pytest.warns(UserWarning, match="set aside as scratch@"):
        writer = store.open(*made.header(folds=2))
    assert writer.finished == {}
    assert writer.set_aside.read_bytes() == edited
    writer.add(*made.run(0))
    record = store.load(*NAMES)
    assert record.units == [made.run(0)[0]]
    assert validate_record(path) == recompute_record(path) == []


def test_recompute_says_which_number_was_edited(copied):
    _, path = copied
    assert recompute_record(path) == []
    set_mae(path)
    places = [finding.place for finding in recompute_record(path)]
    assert {"units.0.metrics.mae", "summary.pooled.mae", "digest"} <= set(places)
    raw = json.loads(path.read_text())
    raw["environment"]["cpu"] = "none"
    path.write_text(json.dumps(raw))
    assert "digest" in {finding.place for finding in recompute_record(path)}


def test_another_layout_of_the_same_facts_is_the_same_record(copied):
    store, path = copied
    before = store.load(*NAMES)
    finished = store.finished_units(*NAMES)
    assert states_own_digest(path.read_bytes())
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert not states_own_digest(path.read_bytes())
    assert (store.load(*NAMES), store.finished_units(*NAMES)) == (before, finished)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_changed_version_frees_no_record_from_its_digests(tmp_path, version, as_version):
    """Whatever number an edited record bears, and whether its digests are left or taken out."""
    path = as_version(tmp_path, version)
    load_record(path)
    original = json.loads(path.read_text())
    for number in (1, 2, 3):
        for without in ((), ("digest",), ("digest", "predictions_digest")):
            edited = json.loads(json.dumps(original))
            edited["schema_version"] = number
            edited["summary"]["pooled"]["mae"]["value"] = 1.0
            for name in without:
                edited.pop(name, None)
            path.write_text(json.dumps(edited, indent=1) + "\n")
            with pytest.raises(ResultError):
                load_record(path)


def test_a_later_record_called_version_1_is_none(tmp_path, as_version):
    path = as_version(tmp_path, 2)
    path.write_text(path.read_text().replace('"schema_version": 2', '"schema_version": 1'))
    with pytest.raises(MalformedError, match="a record of version 1 has no digests"):
        parse(path.read_bytes())
    assert [finding.place for finding in validate_record(path)] == ["schema_version"]


@pytest.fixture
def as_version(request):
    """Copy the golden record of a version into a folder; gives the place of its JSON."""
    golden = request.path.parent / "golden"

    def copy(folder, version):
        shutil.copytree(golden / f"v{version}", folder / "results")
        (path,) = ResultStore(folder / "results").paths()
        return path

    return copy


@pytest.mark.parametrize("block", ["metrics", "constant"])
def test_a_record_of_version_1_is_held_to_its_predictions(tmp_path, as_version, block):
    path = as_version(tmp_path, 1)
    raw = json.loads(path.read_text())
    raw["units"][2][block]["mae"]["value"] += 1e-6
    path.write_text(json.dumps(raw, indent=1) + "\n")
    with pytest.raises(ResultError, match="aren't those of its predictions") as caught:
        load_record(path)
    assert f"comface-bench results recompute {path}" in caught.value.hint


def test_the_version_that_is_read_fast_is_the_newest(clean):
    (path, _) = ResultStore(clean).paths()
    assert json.loads(path.read_text())["schema_version"] == SCHEMA_VERSION
    from comface_bench.results import store

    assert store._NEWEST == SCHEMA_VERSION


@pytest.mark.parametrize("change", [{"units": None}, {"units": [None]}, {"units": [{"fold": 0}]}])
def test_a_forged_digest_over_no_record_is_no_record(copied, change):
    store, path = copied
    raw = json.loads(path.read_text()) | change
    raw["digest"] = text_digest(raw)
    path.write_text(json.dumps(raw, indent=1) + "\n")
    assert states_own_digest(path.read_bytes())
    with pytest.warns(UserWarning, match="not counted"):
        assert store.finished_units(*NAMES) == {}


def answers(store, clean, made):
    """What each reader answers; an error or a warning of ours is an answer that says what is wrong."""
    found = {}
    readers = {
        "finished": lambda: store.finished_units(*NAMES),
        "frame": lambda: load(store.root).to_csv(),
        "check": lambda: check(store.root, store.root / "leaderboard"),
        "merge": lambda: merge_results([store.root], clean.parent / "nowhere", "first").conflicts,
        "diff": lambda: compare_results(clean, store.root, measured=True),
        "validate": lambda: validate_record(store.record_path(*NAMES)),
        "open": lambda: store.open(*made.header(folds=2)).record().model_dump(exclude={"digest"}),
    }
    for name, read in readers.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            try:
                found[name] = read()
            except (BenchError, UserWarning) as said:
                found[name] = said
    return found


FILES = st.sampled_from(["record", "packed", "table"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(file=FILES, place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
@example(file="table", place=0.999, flip=1)
@example(file="record", place=0.0, flip=1)
def test_a_changed_byte_is_noticed_or_changes_nothing(made, clean, tmp_path_factory, file, place, flip):
    root = tmp_path_factory.mktemp("changed") / "results"
    shutil.copytree(clean, root)
    store = ResultStore(root)
    path = store.record_path(*NAMES)
    before = answers(store, clean, made)
    assert not any(isinstance(answer, Exception) for answer in before.values()), before
    predictions = path.with_name("scratch.predictions.csv.gz")
    data = bytearray(
        path.read_bytes()
        if file == "record"
        else predictions.read_bytes()
        if file == "packed"
        else gzip.decompress(predictions.read_bytes())
    )
    data[int(place * len(data))] ^= flip
    if file == "record":
        path.write_bytes(data)
    else:
        predictions.write_bytes(data if file == "packed" else gzip.compress(data, mtime=0))
    after = answers(store, clean, made)
    assert after["validate"], "every byte counts there"
    for name in before.keys() - {"validate"}:
        assert isinstance(after[name], Exception) or after[name] == before[name], name
