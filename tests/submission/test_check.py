"""The check of a stranger's package: a good one passes, attacks are refused by name, no bytes break it."""

import dataclasses
import gzip
import io
import json
import os
import time
import tracemalloc
import zipfile
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comface_bench.core.protocol import resolve_protocol
from comface_bench.data.task import Task, load_task
from comface_bench.results.record import load_record
from comface_bench.submission import check as checking
from comface_bench.submission.check import check_bytes, check_package, check_publishable, publishable
from comface_bench.submission.package import write_archive
from comface_bench.submission.vs_installed import (
    Installation,
    check_leak,
    check_split_file,
    open_installed_task,
)

TABLE = "synth-age/linear/my-net.predictions.csv.gz"
JSON = "synth-age/linear/my-net.json"


def test_a_good_package(made):
    report = check_bytes(made.package, "it.zip")
    assert report.findings == ()
    assert report.records == [made.stem]
    assert report.note == made.note()
    assert report.unchecked == (
        "method my-net: not one of this installation; its card is the submitter's word",
    )


def lines_of(members):
    return zlib.decompress(members[TABLE], 31).decode().splitlines()


def with_lines(made, lines):
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as stream:
        stream.write("\n".join(lines).encode() + b"\n")
    return {**made.members, TABLE: buffer.getvalue()}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (0, "/home/alice/001A02.JPG"),
        (0, "alice"),
        (0, "=cmd()"),
        (1, "alice"),
        (1, "01"),
        (5, "nan"),
        (5, "1e999"),
        (5, "1.50"),
        (5, "<script>"),
        (5, "1_0.0"),
        (5, "\u0661.0"),
    ],
)
def test_predictions_hold_numbers_alone(made, field, value):
    lines = lines_of(made.members)
    cells = lines[5].split(",")
    cells[field] = value
    lines[5] = ",".join(cells)
    found = made.messages(made.check(with_lines(made, lines)))
    assert TABLE in found


@pytest.mark.parametrize(
    ("place", "value", "fit", "reason"),
    [
        ("provenance.kind", "ours", "", "where submitted is due"),
        ("provenance.kind", "paper", "", "where submitted is due"),
        ("provenance.command", "curl x.org/y; rm -r z", "", "not the command"),
        ("provenance.command", None, "", "not the command"),
        ("provenance.created", "2999-01-01", "", "a day to come"),
        ("provenance.created", "2026-13-01", "", "no date"),
        ("provenance.tool_version", "one of mine", "", "no version"),
        ("environment.host", "alices-laptop", "", "holds more than"),
        ("environment.system", "Linux 6.1.0-alices-laptop", "", "holds more than"),
        ("environment.git.branch", "alice", "", "holds more than"),
        ("units.0.details.Operator", "alice", "", "holds more than"),
        ("task.split_digest", "0" * 64, "keys", "not the published folds"),
        ("task.manifest_digest", "0" * 64, "keys", "not the data"),
        ("task.card_digest", "0" * 64, "keys", "not the digest of the card"),
        ("task.card.label_range", [0, 99999], "cards keys", "not the card of synth-age here"),
        ("task.card.more", "x", "cards keys", "not the card of synth-age here"),
        ("task.folds", 3, "", "4 folds have subjects, not 3"),
        ("task.split", "balanced-7", "keys", "isn't a split that synth-age offers"),
        ("task.split", "a/b.json", "keys", "isn't a split that synth-age offers"),
        ("task.aggregate", "fold-mean", "", "not the card's"),
        ("task.metrics", ["mae"], "", "aren't the task's"),
        ("method.options.width", "48", "cards keys", "width=48 isn't one of 64, 32"),
        ("method.options.width", "32", "cards keys", "it is called my-net+width=32"),
        ("method.options.width", 32, "cards keys", "a value is no text"),
        ("method.options.more", "1", "cards keys", "takes no option"),
        ("method.card.group", "Best", "cards keys", "not a method's card"),
        ("method.card.more", "x", "cards keys", "not a method's card"),
        ("method.card.trained_on", [[1]], "cards keys", "not a method's card"),
        ("method.card.pretrained_head", 1, "cards keys", "not a method's card"),
        ("units.0.metrics.mae.value", 0.5, "", "is stored, but it is"),
        ("units.0.constant.mae.value", 0.5, "", "is stored, but it is"),
        ("units.0.seconds", float("nan"), "", "finite"),
        ("units.0.seconds", -1, "", "greater than"),
        ("method.card.backbone", 1, "cards keys", "not a method's card"),
        ("method.card.checkpoint", {"file": "x"}, "cards keys", "not a method's card"),
        ("method.card.options", [], "cards keys", "not a method's card"),
        ("method.parameters", 10**13, "", "isn't plausible"),
        ("method.feature_dim", 0, "", "isn't plausible"),
        ("units.0.seconds", 1e300, "", "isn't plausible"),
        ("units.0.key", "0" * 64, "", "not the key"),
        ("units.0.n_pairs", 3, "", "pairs, but the record says 3"),
        ("summary.pooled.mae.value", 0.5, "", "is stored, but it is"),
        ("summary.complete", False, "", "is stored, but it is"),
        ("protocol.digest", "0" * 64, "", "not the digest of the values"),
        ("protocol.values.epochs", 40, "cards keys", "40"),
        (
            "protocol.values.engine_epoch",
            0,
            "cards keys",
            "protocol.values.engine_epoch: not what linear means",
        ),
        ("protocol.values.learning_rate", 0.5, "cards keys", "values.learning_rate: not what linear means"),
        ("protocol.values.more", 0.5, "cards keys", "protocol.values.more: not what linear means"),
        ("schema_version", 99, "", "version 99"),
        ("schema_version", True, "", "schema_version"),
        ("more", 1, "", "Extra inputs"),
    ],
)
def test_facts_of_records(made, place, value, fit, reason):
    change = made.put(place, value)
    assert reason in made.messages(made.check(made.forge(made.members, change, fit=fit)))


def test_a_record_whose_text_is_changed(made):
    text = made.members[JSON]
    changes = {
        "the one that this digest was taken of": text.replace(b'"seconds": 1.5', b'"seconds": 2.5', 1),
        "not written as": text.replace(b'"seconds": 1.5', b'"seconds": 9.5, "seconds": 1.5', 1),
        "": text.replace(b"\n", b"\r\n"),
    }
    for reason, changed in changes.items():
        assert changed != text
        assert reason in made.messages(made.check({**made.members, JSON: changed}))


@pytest.mark.parametrize("name", ["my-net+x", "my-net+width=", "my-net+width=64+width=64", "my-net+"])
def test_names_with_half_an_option(made, name):
    members = made.forge(made.members, made.put("method.name", name), fit=("keys",))
    members = {key.replace("/my-net", f"/{name}"): data for key, data in members.items()}
    members["submission.toml"] = made.members["submission.toml"].replace(b"my-net", name.encode())
    assert "option" in made.messages(made.check(members)) or "twice" in made.messages(made.check(members))


def test_a_record_that_would_take_hours(made):
    many = ["mae", "pearson", "rmse", "spearman", "ccc", "icc31"] * 10_000

    def change(record):
        record["task"]["metrics"] = record["task"]["card"]["metrics"] = many

    start = time.process_time()
    found = made.messages(made.check(made.forge(made.members, change, fit=("cards", "keys"))))
    assert "a metric stands twice" in found
    assert time.process_time() - start < 5


def everything_fits(made, tmp_path, **changes):
    """A record in which every digest and key is right, of a run under other conditions."""
    return made.check(made.members_of(made.run(tmp_path, **changes)))


def test_longer_training_under_the_same_name(made, tmp_path):
    longer = dataclasses.replace(resolve_protocol("linear", "age"), epochs=40)
    found = made.messages(everything_fits(made, tmp_path, protocol=longer))
    assert "protocol.values.epochs: not what linear means for synth-age here" in found


def test_longer_training_under_its_own_name(made, tmp_path):
    longer = resolve_protocol("linear", "age", {"epochs": "30"})
    assert everything_fits(made, tmp_path, protocol=longer).ok


def test_aligned_faces_under_their_own_name(made, tmp_path):
    """A method that isn't known here may have any chip that is."""
    aligned = resolve_protocol("linear", "age", {"align": "five-points"}, chip="arcface")
    assert everything_fits(made, tmp_path, protocol=aligned).ok
    moved = dict(aligned.facts()["align"], points=((0.5, 0.5),) * 5)

    class Moved(type(aligned)):
        def facts(self):
            return super().facts() | {"align": moved}

    other = Moved(**{field.name: getattr(aligned, field.name) for field in dataclasses.fields(aligned)})
    found = made.messages(everything_fits(made, tmp_path, protocol=other))
    assert "protocol.values.align: not what linear+align=five-points means" in found


def test_a_registered_name_with_another_card(made, tmp_path):
    card = dataclasses.replace(made.card, name="farl")
    found = made.messages(everything_fits(made, tmp_path, method="farl", card=card))
    assert "farl is a method of this installation, with another card" in found


def test_a_registered_method_with_its_own_card(made, tmp_path):
    path = made.run(tmp_path, method="scratch")
    report = made.check(made.members_of(path, made.note("scratch", training_data=("none",))))
    assert report.findings == ()


def test_a_registered_method_with_other_weights(made, tmp_path):
    path = made.run(tmp_path, method="farl")
    found = made.messages(made.check(made.members_of(path, made.note("farl", training_data=("LAION-FACE",)))))
    assert "method.checkpoint_digest" in found or "training_data" in found


@pytest.mark.parametrize("name", ["ComFace", "com-face", "c0mface", "5cratch", "far1"])
def test_a_name_that_looks_like_a_registered_one(made, tmp_path, name):
    card = dataclasses.replace(made.card, name=name)
    found = made.messages(everything_fits(made, tmp_path, method=name, card=card))
    assert "which is another method" in found


def test_a_method_that_saw_the_labels(made, tmp_path):
    card = dataclasses.replace(made.card, labels_of=("DISFA",))
    record = load_record(made.run(tmp_path, card=card))
    task = Installation().tasks.get("disfa-au1").card
    assert "labels of DISFA" in str(list(check_leak(record, task)))
    assert not list(check_leak(record, dataclasses.replace(task, overlaps=())))


@pytest.mark.parametrize(
    ("predict", "reason"),
    [
        (lambda y, chance: y, "every answer is the true change"),
        (lambda y, chance: 0.5 * y - 1, "scaled or shifted"),
        (lambda y, chance: -1e300 * y, "scaled or shifted"),
        (lambda y, chance: y + chance.gauss(0, 1e-6), "scaled or shifted"),
        (lambda y, chance: 0.25, "every answer is 0.25"),
    ],
)
def test_answers_that_no_method_gives(made, tmp_path, predict, reason):
    assert reason in made.messages(everything_fits(made, tmp_path, predict=predict))


def test_answers_of_another_row_of_the_board(made, tmp_path):
    for name, predict in {
        "copy": None,
        "half": lambda y, chance: 0.5 * (0.4 * y + chance.gauss(0, 4)) + 3,
    }.items():
        changes = {"predict": predict} if predict else {}
        card = dataclasses.replace(made.card, name=name)
        path = made.run(tmp_path / name, method=name, card=card, **changes)
        members = made.members_of(path)
        assert made.check(members).ok, "alone it can't be told"
        assert "the answers of fold 0, seed 0 of synth-age/linear/my-net" in made.messages(
            made.check(members, made.results)
        )


def test_answers_of_one_seed_given_twice(made, tmp_path):
    twice = {"seeds": (0, 1), "predict": lambda y, chance: 0.4 * y + (hash(y) % 17)}
    path = made.run(tmp_path, **twice)
    assert "the answers of seed 0 once more" in made.messages(made.check(made.members_of(path)))
    # A closed form draws nothing: all seeds of a network have the same answers.
    path = made.run(tmp_path, **twice, protocol=resolve_protocol("probe", "age"))
    assert made.check(made.members_of(path)).ok


def test_true_changes_of_ones_own(made, tmp_path, monkeypatch):
    """Pairs and true changes are the task's, even where every digest in the package fits."""
    honest = Task.pairs

    def easier(task, fold, part="test"):
        pairs = honest(task, fold, part)
        return dataclasses.replace(pairs, target=pairs.target * 0.5)

    with monkeypatch.context() as context:
        context.setattr(Task, "pairs", easier)
        members = made.members_of(made.run(tmp_path))
    found = made.messages(made.check(members, made.results))
    assert "true changes aren't the task's" in found
    assert made.check(made.members).ok


def test_folds_of_ones_own(made):
    def swap(record):
        folds = record["task"]["fold_subjects"]
        folds[0]["train"], folds[0]["validation"] = folds[0]["validation"], folds[0]["train"]

    found = made.messages(made.check(made.forge(made.members, swap)))
    assert "task.fold_subjects.0: not the subjects of fold 0 of synth-age-4fold" in found


def test_tasks_that_are_not_here(made, tmp_path):
    secret = tmp_path / "secret.csv"
    secret.write_text("image,subject,age\n")
    for name in ("nothing", f"csv:{secret.name}"):

        def change(record, name=name):
            record["task"]["name"] = record["task"]["card"]["name"] = name

        members = made.forge(made.members, change)
        stem = f"{name.replace(':', '__')}/linear/my-net"
        moved = {key.replace("synth-age/linear/my-net", stem): data for key, data in members.items()}
        assert not made.check(moved).ok


def test_data_that_are_not_here(made, tmp_path):
    """A private data set: its split file is compared, and what can't be is said."""
    record = load_record(made.results / f"{made.stem}.json")
    unchecked = []
    card = dataclasses.replace(load_task("synth-age").card, ships=False)
    assert list(check_split_file(record.task, card, unchecked)) == []
    assert unchecked == []
    wrong = record.task.model_copy(update={"split_digest": "0" * 64})
    assert "published folds" in str(list(check_split_file(wrong, card, unchecked)))
    part = load_task("synth-age+train_fraction=0.5")
    name = {"name": part.name, "split_digest": part.split.digest}
    (fault, *_) = check_split_file(record.task.model_copy(update=name), card, unchecked)
    assert fault[0] == "task.fold_subjects.0"  # of all training people, not of half of them
    assert open_installed_task(Installation().tasks.get("age"), {}, None, {}, unchecked) is None
    assert unchecked == ["age: manifest digest and true changes, because its data aren't here"]


def test_a_row_that_the_maintainers_measured(made, tmp_path):
    other = made.members_of(made.run(tmp_path, luck=2))
    assert made.check(other).ok
    assert "measured by its maintainers" in made.messages(made.check(other, made.results))


def test_a_name_that_the_board_has_in_another_case(made, tmp_path):
    card = dataclasses.replace(made.card, name="My-Net")
    members = made.members_of(made.run(tmp_path, luck=2, method="My-Net", card=card))
    assert "only in upper and lower case" in made.messages(made.check(members, made.results))


def test_a_name_that_another_method_has_on_the_board(made, tmp_path):
    card = dataclasses.replace(made.card, version=2)
    protocol = resolve_protocol("linear", "age", {"epochs": "21"})
    members = made.members_of(made.run(tmp_path, luck=2, card=card, protocol=protocol))
    assert "another method has this name on the board" in made.messages(made.check(members, made.results))


def test_whatever_goes_wrong_is_a_refusal(made, monkeypatch):
    def fail(_):
        raise MemoryError

    monkeypatch.setattr(checking, "check_names", fail)
    report = made.check(made.members)
    assert [finding.message for finding in report.findings] == ["could not be checked: MemoryError"]


def test_files_that_are_no_files(made, tmp_path):
    target = tmp_path / "real.zip"
    target.write_bytes(made.package)
    assert check_package(target).ok
    link = tmp_path / "link.zip"
    link.symlink_to(target)
    assert "is a link" in made.messages(check_package(link))
    os.mkfifo(tmp_path / "pipe.zip")
    assert "no plain file" in made.messages(check_package(tmp_path / "pipe.zip"))
    assert "no plain file" in made.messages(check_package(tmp_path))


def test_findings_do_not_flood(made):
    members = {**made.members, **{f"a{number}.exe": b"" for number in range(150)}}
    report = made.check(members)
    assert len(report.findings) == 101
    assert report.findings[-1].message == "50 more things are wrong"


def test_json_of_a_report(made):
    facts = json.loads(json.dumps(made.check(made.members).facts()))
    assert facts["ok"] and facts["records"] == [made.stem] and facts["note"]["method"] == "my-net"
    facts = made.check({**made.members, "x\u007f": b""}).facts()
    assert not facts["ok"] and facts["findings"][0]["file"] == "x\\x7f"


def test_another_packing_of_the_same_files(made):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in made.members.items():
            file.writestr(name, data)
    found = made.messages(check_bytes(buffer.getvalue(), "it.zip"))
    assert "compressed" in found


few = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def refused(data):
    report = check_bytes(data, "it.zip")
    text = "\n".join(map(str, report.findings)) + report.markdown() + json.dumps(report.facts())
    assert text.isascii()
    assert "could not be checked" not in text
    return not report.ok


@given(st.binary(max_size=400))
@settings(deadline=None)
def test_any_bytes(data):
    assert refused(data)
    assert refused(b"PK\x03\x04" + data)


@given(st.data())
@few
def test_any_byte_of_a_package(made, data):
    place = data.draw(st.integers(0, len(made.package) - 1))
    changed = bytearray(made.package)
    changed[place] ^= data.draw(st.integers(1, 255))
    assert refused(bytes(changed))


@given(st.data())
@few
def test_any_piece_cut_out_or_put_in(made, data):
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(made.package))] * 2)))
    piece = data.draw(st.binary(max_size=40))
    changed = made.package[:start] + piece + made.package[end:]
    if changed != made.package:
        assert refused(changed)


@given(st.data())
@few
@pytest.mark.parametrize("name", [JSON, TABLE])
def test_any_byte_of_a_file_that_is_packed_again(made, name, data):
    """The archive is in order, so that what is inside is looked at."""
    content = bytearray(made.members[name])
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    assert refused(write_archive({**made.members, name: bytes(content)}))


VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.lists(st.integers(), max_size=2)
    | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2)
)


def places(value, place=()):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*place, key)
        yield from places(inner, (*place, key))


@given(st.data())
@settings(few, max_examples=60)
def test_any_value_of_a_record_that_is_sealed_again(made, data):
    """The text's digest fits; only measured facts that nothing depends on may differ and pass."""
    original = json.loads(made.members[JSON])
    kinds = {}
    for here in places(original):
        kinds.setdefault(tuple(part for part in here if isinstance(part, str)), []).append(here)
    # By kind first: most places are in long lists.
    place = data.draw(st.sampled_from(data.draw(st.sampled_from(list(kinds.values())))))
    value = data.draw(VALUES)

    def change(record):
        for part in place[:-1]:
            record = record[part]
        record[place[-1]] = value

    members = made.forge(made.members, change)
    if members[JSON] == made.members[JSON] or _is_free(place):
        return
    assert refused(write_archive(members)), (place, value)


def _is_free(place):
    """Facts that only the submitter knows, and those that no result depends on."""
    words = [part for part in place if isinstance(part, str)]
    return (
        words[0] == "environment"
        or words[2:3] in (["splits"], ["options"])  # what a card merely offers, in any number
        or words[-1] in ("created", "tool_version", "parameters", "feature_dim")
        or (words[0] == "units" and bool(set(words) & {"seconds", "peak_memory_mb", "details"}))
        or (words[0] == "units" and bool(set(words) & {"validation_curve", "best_epoch"}))
    )


def test_the_biggest_package_takes_little_memory(made):
    """A table at the cap of its unpacked size, of lines that are well-formed."""
    import gzip
    import io

    line = "1-2-3,1,0,0,1.5,0.5\n"
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0, compresslevel=9) as stream:
        stream.write(b"pair_id,subject,fold,seed,y,yhat\n" + line.encode() * (17 * 2**20 // len(line)))
    tracemalloc.start()
    start = time.process_time()
    report = check_bytes(write_archive({**made.members, TABLE: buffer.getvalue()}), "it.zip")
    seconds, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "unpacks to more than" in str(report.findings)
    assert seconds < 5
    assert peak < 100 * 2**20


DAYS = "30:0<1,4 30:1<0,2 7:12<3"


@pytest.mark.parametrize(
    ("days", "kept"),
    [(DAYS, True), ("30:0<1", True), ("30:0<1,4; anna", False), (f"{DAYS} ", False), ("anna", False)],
)
def test_days_that_trained_leave_the_house_and_no_other_text(made, days, kept):
    record = load_record(made.results / f"{made.stem}.json")
    unit = record.units[0]
    said = unit.model_copy(update={"details": {**unit.details, "days_trained": days, "name": DAYS}})
    wanted = publishable(record.model_copy(update={"units": [said]}))
    assert wanted.units[0].details == {**unit.details, **({"days_trained": days} if kept else {})}
    assert publishable(wanted) == wanted
    assert not [problem for problem in check_publishable(wanted) if problem[0] == "units"]
