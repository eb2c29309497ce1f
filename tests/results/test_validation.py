"""The checks of result files: damage, forged facts, lines of findings, and metrics computed again."""

import gzip
import hashlib
import json
import math
import random
import re
import statistics
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comface_bench.core.digest import digest
from comface_bench.core.findings import LineIndex
from comface_bench.results.predictions import HEADER, encode, read_predictions, read_texts
from comface_bench.results.record import load_record
from comface_bench.results.schema import Record, dump_json
from comface_bench.results.store import RecordFiles, ResultStore
from comface_bench.results.validation import (
    TOLERANCE,
    check_together,
    recompute_record,
    validate_record,
    validate_strays,
)


@pytest.fixture
def path(tmp_path, made):
    store = ResultStore(tmp_path / "results")
    with store.open(*made.header()) as writer:
        for seed in range(2):
            for fold in range(4):
                if (fold, seed) != (3, 1):
                    writer.add(*made.run(fold, seed))
        writer.fail(made.failure(3, 1))
    return store.record_path("age", "linear", "scratch")


def messages(path):
    return [str(finding) for finding in validate_record(path)]


def edit(path, change, *, reseal=True):
    """Change a record's JSON; what a forger would compute again is computed again."""
    raw = json.loads(path.read_text())
    change(raw)
    record = Record.model_validate_json(json.dumps(raw), strict=True)
    path.write_text(dump_json(record.seal() if reseal else record))


def edit_rows(path, change):
    """Change the prediction lines of the record's units, and all digests to match."""
    file = RecordFiles(path).predictions
    texts = {place: change(place, text) for place, text in read_texts(file).items()}
    file.write_bytes(encode(texts))
    reseal_predictions(path, texts)


def reseal_predictions(path, texts):
    def change(raw):
        raw["predictions_digest"] = hashlib.sha256(RecordFiles(path).predictions.read_bytes()).hexdigest()
        for unit in raw["units"]:
            text = texts.get((unit["fold"], unit["seed"]), "")
            unit["predictions_digest"] = hashlib.sha256(text.encode()).hexdigest()

    edit(path, change)


def test_what_a_run_wrote_is_valid(path):
    assert validate_record(path) == []
    assert validate_strays(path.parents[2]) == []


@pytest.mark.parametrize("which", ["record", "predictions"])
def test_any_byte_that_is_changed_at_random_is_noticed(path, which):
    file = path if which == "record" else RecordFiles(path).predictions
    whole = file.read_bytes()
    rng = random.Random(which)
    places = {0, 1, 2, 3, 4, 8, 9, 10, len(whole) - 1, len(whole) - 5, len(whole) - 9}
    places |= {rng.randrange(len(whole)) for _ in range(120)}
    for place in sorted(places):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.randrange(8)
        file.write_bytes(damaged)
        assert validate_record(path), f"byte {place} of {which}"
    for damaged in (whole[:-1], whole + b"\n", whole + b"\0", b"", whole + whole):
        file.write_bytes(damaged)
        assert validate_record(path)


def test_another_packing_of_the_same_table_is_noticed_though_its_digest_be_corrected(path):
    """An honest packer elsewhere may pack otherwise; only what could hide something is refused."""
    file = RecordFiles(path).predictions
    text = gzip.decompress(file.read_bytes())
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    header = bytearray(packer.compress(text) + packer.flush())
    other = bytes(header[:8]) + file.read_bytes()[8:10] + bytes(header[10:])
    named = gzip.compress(text, mtime=5)
    for data, fine in ((other, True), (named, False), (other + b"x", False), (other + other, False)):
        file.write_bytes(data)
        assert any("predictions_digest" in message for message in messages(path))

        def change(raw, data=data):
            raw["predictions_digest"] = hashlib.sha256(data).hexdigest()

        edit(path, change)
        assert (messages(path) == []) is fine


def put(*place_and_value):
    *place, last, value = place_and_value

    def change(raw):
        for part in place:
            raw = raw[part]
        raw[last] = value

    return change


def trade_folds(raw):
    subjects = raw["task"]["fold_subjects"]
    subjects[0]["test"], subjects[1]["test"] = subjects[1]["test"], subjects[0]["test"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (put("task", "card", "version", 2), "task.card_digest"),
        (put("task", "card_digest", digest("x")), "task.card_digest"),
        (put("task", "manifest_digest", digest("other")), "units.0.key"),
        (put("task", "manifest_digest", "short"), "task.manifest_digest"),
        (put("task", "split_digest", digest("other")), "failures.0.key"),
        (put("task", "data", "OTHER"), "task.data"),
        (put("task", "unit", "months"), "task.unit"),
        (put("method", "card", "backbone", "ViT"), "method.card_digest"),
        (put("method", "options", "backbone", "resnet50"), "units.0.key"),
        (put("method", "checkpoint_digest", digest("w")), "units.0.key"),
        (put("method", "card", "feature_dim", 7), "method.feature_dim"),
        (put("protocol", "values", "learning_rate", 1.0), "protocol.digest"),
        (put("protocol", "digest", digest("x")), "protocol.digest"),
        (put("units", 2, "key", digest("x")), "units.2.key"),
        (put("units", 0, "seed", 7), "units.0.key"),
        (put("failures", 0, "key", "k"), "failures.0.key"),
        (put("units", 1, "metrics", "pearson", "value", 1.5), "units.1.metrics.pearson"),
        (put("units", 1, "metrics", "mae", "value", -0.5), "units.1.metrics.mae"),
        (put("summary", "pooled", "pearson", "value", -2.0), "summary.pooled.pearson"),
        (put("summary", "constant", "mae", "value", -1.0), "summary.constant.mae"),
        (put("summary", "fold_mean", {}), "summary.fold_mean"),
        (put("units", 0, "best_epoch", 2), "units.0.best_epoch"),
        (put("units", 0, "validation_curve", [3.0, 2.0]), "units.0.validation_curve"),
        (put("units", 0, "validation_curve", [3.0, 2.0, -1.0]), "units.0.validation_curve"),
        (put("units", 0, "n_pairs", 7), "fold 0, seed 0"),
        (put("units", 0, "n_subjects", 2), "fold 0, seed 0"),
        (put("units", 0, "predictions_digest", digest("x")), "fold 0, seed 0"),
        (put("task", "fold_subjects", []), "task.fold_subjects"),
        (put("task", "fold_subjects", 1, "test", "0,10,11,12"), "is tested by fold 0, too"),
        (put("task", "fold_subjects", 1, "test", "12,11,10"), "ascending"),
        (put("task", "fold_subjects", 1, "test", "10,11"), "subject 12 isn't one that the fold tests"),
        (trade_folds, "isn't one that the fold tests"),
        (put("task", "card", "label_range", [0, 1]), "beyond labels"),
        (put("provenance", "created", "2026-01-02<script>"), "provenance.created"),
        (put("environment", "cpu", "another"), "digest"),
    ],
)
def test_a_changed_fact_is_found_and_named(path, change, told):
    edit(path, change, reseal=False)
    found = messages(path)
    assert any(": digest: " in message for message in found), "the record's own digest"
    assert any(told in message for message in found)
    if told == "digest":
        return
    edit(path, lambda raw: None)
    resealed = messages(path)
    assert not any(": digest: " in message for message in resealed)
    assert any(told in message for message in resealed), "even by a forger who corrects the record's digest"


def test_all_findings_are_reported_not_just_the_first(path):
    def change(raw):
        raw["units"][0]["best_epoch"] = 2
        raw["units"][3]["key"] = digest("x")
        raw["protocol"]["digest"] = digest("x")

    edit(path, change)
    assert len(messages(path)) == 3
    raw = json.loads(path.read_text())
    raw["units"][0]["fold"], raw["units"][1]["seconds"], raw["surprise"] = -1, "1", 1
    path.write_text(json.dumps(raw, indent=1))
    found = validate_record(path)
    assert {finding.place for finding in found} == {"units.0.fold", "units.1.seconds", "surprise"}
    assert all(finding.hint for finding in found)


def swap_columns(line, **columns):
    names = HEADER.split(",")
    fields = line.split(",")
    for name, value in columns.items():
        fields[names.index(name)] = value
    return ",".join(fields)


def first_line(place, **columns):
    def change(here, text):
        lines = text.splitlines()
        if here == place:
            lines[0] = swap_columns(lines[0], **columns)
        return "\n".join(lines) + "\n"

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (first_line((0, 1), y="1.5"), "another true change"),
        (first_line((0, 1), y="101.0", yhat="1.0"), "beyond labels"),
        (first_line((0, 1), subject="1"), "isn't named by numbers, subject 1 first"),
        (first_line((0, 1), pair_id="0-8-9"), "not the pairs that seed 0 tested"),
        (first_line((0, 0), pair_id="smith-1-2"), "isn't named by numbers"),
        (first_line((0, 0), pair_id="0-4-3"), "occurs more than once"),
        (first_line((0, 0), pair_id="1001-0-1", subject="1001"), "isn't one that the fold tests"),
        (first_line((0, 0), yhat="1e5"), "shortest form"),
        (first_line((0, 0), yhat="nan"), "finite"),
        (lambda place, text: "".join(text.splitlines(keepends=True)[::-1]), "out of order"),
        (lambda place, text: text.split("\n", 1)[1] if place == (0, 0) else text, "5 pairs"),
    ],
)
def test_changed_rows_are_found_though_all_digests_be_corrected(path, change, told):
    edit_rows(path, change)
    found = messages(path)
    assert any(told in message for message in found), found


def test_a_pair_in_two_pooled_folds_is_found(path):
    edit_rows(path, first_line((1, 0), pair_id="0-0-1", subject="0"))
    assert any("another fold elsewhere" in m or "isn't one that" in m for m in messages(path))


def test_rows_of_no_unit_and_a_unit_without_rows(path):
    file = RecordFiles(path).predictions
    texts = read_texts(file)
    texts[3, 1] = texts.pop((3, 0)).replace(",3,0,", ",3,1,")
    file.write_bytes(encode(texts))
    reseal_predictions(path, texts)
    found = messages(path)
    assert any("fold 3, seed 1: predictions of a unit that the record doesn't have" in m for m in found)
    assert any("fold 3, seed 0: the record has this unit" in m for m in found)


def test_bad_lines_are_named_by_line_and_many_are_counted(path):
    file = RecordFiles(path).predictions
    lines = gzip.decompress(file.read_bytes()).decode().splitlines()
    lines[1:31] = ["=cmd()"] * 30
    file.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    found = messages(path)
    assert any(": line 2: 1 columns, not 6" in message for message in found)
    assert any("10 more lines" in message for message in found)
    assert any("cut short" in message for message in found)


def test_a_bomb_is_not_unpacked(path, monkeypatch):
    monkeypatch.setattr("comface_bench.results.validation.SIZE_LIMIT", 5000)
    bomb = gzip.compress(HEADER.encode() + b"\n" + b"0" * 10**6, mtime=0)
    RecordFiles(path).predictions.write_bytes(bomb)
    assert any("unpacks to more than 5000 bytes" in message for message in messages(path))


def test_files_that_lie_elsewhere(path):
    other = path.with_name("farl.json")
    path.rename(other)
    (found,) = validate_strays(path.parents[2])
    assert "without their record scratch.json" in found.message
    RecordFiles(path).predictions.rename(RecordFiles(other).predictions)
    (found,) = validate_record(other)
    assert "another file" in found.message
    assert "age/linear/scratch.json" in found.hint
    RecordFiles(other).predictions.unlink()
    assert any("No such file" in str(finding) for finding in validate_record(other))
    (found,) = validate_record(path)
    assert "can't be read" in found.message


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"schema_version": 9}', "[" * 100_000, '{"a": 1e999}', "\0"]
)
def test_what_is_no_record_is_reported_not_raised(path, text):
    path.write_text(text)
    assert validate_record(path)


def test_records_of_one_task_share_pairs_and_true_changes(path, made):
    store = ResultStore(path.parents[2])
    with store.open(*made.header(method="farl")) as writer:
        writer.add(*made.run(0, 5))
        writer.add(*made.run(1, 5))
    other = store.record_path("age", "linear", "farl")
    assert check_together([path, other]) == []
    edit_rows(other, first_line((1, 5), y="1.5"))
    (found,) = check_together([path, other])
    assert (found.file, found.place) == (str(other), "fold 1")
    edit(other, put("task", "manifest_digest", digest("another data set")))
    assert check_together([path, other]) == []


def test_a_record_of_another_version_is_of_its_own_digests(path, tmp_path):
    """A record of version 1 can't vouch for itself, and one of version 2 must."""
    raw = json.loads(path.read_text())
    del raw["digest"], raw["predictions_digest"]
    path.write_text(json.dumps(raw | {"schema_version": 1}, indent=1) + "\n")
    assert validate_record(path) == []
    record = load_record(path)
    assert record.digest is None
    path.write_text(dump_json(record))
    assert {finding.place for finding in validate_record(path)} == {"digest", ""}


UNPROVABLE = [
    r"environment\..*",
    r"provenance\.(kind|created|tool_version|command)",
    # Measured, or known only to the machine that ran it.
    r"units\.\d+\.(seconds|peak_memory_mb|details\..*)",
    r"units\.\d+\.validation_curve\.\d+",
    r"failures\.\d+\.(error|message|hint)",
    r"method\.(feature_dim|parameters)",
    # Words of the cards, which decide nothing.
    r"(task|method)\.about\..*",
    # What a card offers besides what was chosen decides nothing.
    r"task\.card\.splits\.\d+",
    r"method\.card\.options\..*",
    # Held against the published split, which names subjects; the record has their numbers.
    r"task\.fold_subjects\.\d+\.(train|validation)",
    # Fold 1 has no result.
    r"task\.fold_subjects\.1\.test",
]
"""Facts that neither predictions nor keys bear out."""


@pytest.fixture(scope="module")
def sealed(tmp_path_factory, made):
    store = ResultStore(tmp_path_factory.mktemp("results"))
    with store.open(*made.header(folds=2)) as writer:
        writer.add(*made.run(0))
        writer.fail(made.failure(1))
    return store.record_path("age", "linear", "scratch")


def leaves(value, place=()):
    if isinstance(value, dict | list) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, inner in items:
            yield from leaves(inner, (*place, name))
    else:
        yield place, value


def other(value):
    """Return another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        changed = {"pooled": "fold-mean", "ours": "submitted"}.get(value)
        # The last digit or letter becomes another: in digests, names, dates and lists of subjects.
        return changed or value[:-1] + ("9" if value[-1:] != "9" else "8")
    return {"none": 1} if value is None else [1]


def test_every_fact_but_these_is_borne_out(sealed):
    raw, whole = json.loads(sealed.read_text()), sealed.read_bytes()
    unnoticed, count = set(), 0
    for place, value in leaves(raw):
        forged = json.loads(whole)
        inner = forged
        for part in place[:-1]:
            inner = inner[part]
        inner[place[-1]] = other(value)
        name = ".".join(map(str, place))
        try:
            record = Record.model_validate_json(json.dumps(forged), strict=True)
        except ValueError:
            continue
        count += 1
        sealed.write_text(dump_json(record.seal()))
        if not validate_record(sealed) and not recompute_record(sealed) and name != "digest":
            unnoticed.add(name)
    sealed.write_bytes(whole)
    allowed = {name for name in unnoticed if any(re.fullmatch(pattern, name) for pattern in UNPROVABLE)}
    assert unnoticed == allowed
    assert count > 100
    idle = [pattern for pattern in UNPROVABLE if not any(re.fullmatch(pattern, name) for name in unnoticed)]
    assert idle == [], "these are noticed now, so they belong no longer in the list"


leaf_values = st.integers() | st.text(max_size=3) | st.none() | st.just({}) | st.just([])
names = st.text("abc", min_size=1, max_size=3)
trees = st.recursive(
    leaf_values, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3)
)


@settings(deadline=None)
@given(st.dictionaries(names, trees, min_size=1))
def test_every_value_is_on_its_line(tree):
    """Each leaf in turn becomes a mark, which only one line of the text can hold."""
    for place, marked in mark(tree):
        text = json.dumps(marked, indent=1) + "\n"
        expected = next(number for number, line in enumerate(text.splitlines(), start=1) if "MARK" in line)
        assert LineIndex(text.encode()).of(place) == expected
        assert LineIndex(text.encode()).of(f"{place}.no.such") == expected


def mark(tree):
    """Yield (place, copy of the tree with MARK there) of each leaf."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for name, value in items:
        if isinstance(value, dict | list) and value:
            changed = ((f"{name}.{rest}", inner) for rest, inner in mark(value))
        else:
            changed = [(str(name), "MARK")]
        for place, inner in changed:
            copy = dict(tree) if isinstance(tree, dict) else list(tree)
            copy[name] = inner
            yield place, copy


def test_other_layouts_and_places_have_no_line():
    assert LineIndex(b'{"a": 1}').of("a") is None
    assert LineIndex(b"no json").of("a") is None
    assert LineIndex(b"").of("a") is None
    assert LineIndex(b'{\n "a": 1\n}\n').of("a") == 2
    assert LineIndex(b'{\n "a": 1\n}\n').of("b") is None
    assert LineIndex(b'{\n "a": 1\n}\n').of("") is None


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


def test_what_cannot_be_computed_is_reported_not_raised(seeded, made):
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
