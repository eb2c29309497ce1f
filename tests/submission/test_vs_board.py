"""A record beside others of its task: the same truth, the same data, and places that are free."""

import dataclasses
import gzip

import pytest

from comface_bench.data.task import Task
from comface_bench.results.predictions import read_predictions
from comface_bench.results.record import load_record
from comface_bench.results.store import RecordFiles
from comface_bench.submission.vs_board import check_beside, check_destination, collect_predictions, read_peers


@pytest.fixture(scope="module")
def board(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("board")
    made.run(folder, method="scratch", luck=9)
    made.run(folder, task_name="synth-weight", luck=8)
    return folder


def read(path, stem="synth-age/linear/my-net"):
    record = load_record(path)
    rows = read_predictions(RecordFiles(path).predictions)
    return record, collect_predictions(stem, record.task.name, rows)


def test_an_honest_record(made, board):
    unchecked = []
    peers = read_peers(board, "synth-age", unchecked)
    assert [peer.label for peer in peers] == ["synth-age/linear/scratch"]
    record, answers = read(made.results / f"{made.stem}.json")
    assert list(check_beside(record, answers, peers)) == []
    assert list(check_destination(record, made.stem, b"", board, unchecked)) == []
    assert unchecked == []


def test_other_true_changes(made, board, tmp_path, monkeypatch):
    """For data that aren't here, the board's rows are what true changes are held against."""
    honest = Task.pairs

    def easier(task, fold, part="test"):
        pairs = honest(task, fold, part)
        target = pairs.target.copy()
        target[0] += fold == 2
        return dataclasses.replace(pairs, target=target)

    with monkeypatch.context() as context:
        context.setattr(Task, "pairs", easier)
        record, answers = read(made.run(tmp_path))
    assert list(check_beside(record, answers, read_peers(board, "synth-age", []))) == [
        (
            "predictions, fold 2, seed 0",
            "other pairs or true changes than in synth-age/linear/scratch",
        )
    ]


def test_another_task_under_the_name(made, board):
    """Facts of the card that don't decide predictions may be of another release."""
    record, answers = read(made.results / f"{made.stem}.json")
    for changes, other_task in (({"target": "weight"}, True), ({"metrics": ["mae"], "unit": "a"}, False)):
        task = record.task.model_copy(update={"card": record.task.card | changes})
        other = record.model_copy(update={"task": task})
        found = list(check_beside(other, answers, read_peers(board, "synth-age", [])))
        message = "decides other predictions than that of the board's synth-age/linear/scratch"
        assert (("task.card", message) in found) == other_task


@pytest.mark.parametrize("field", ["manifest_digest", "split_digest"])
def test_other_data_or_folds(made, board, field):
    """A row of other data would keep the whole board from being ranked."""
    record, answers = read(made.results / f"{made.stem}.json")
    task = record.task.model_copy(update={field: "0" * 64})
    other = record.model_copy(update={"task": task})
    found = list(check_beside(other, answers, read_peers(board, "synth-age", [])))
    assert (f"task.{field}", "not that of the board's synth-age/linear/scratch") in found


def test_another_split_is_another_matter(made, board):
    record, answers = read(made.results / f"{made.stem}.json")
    task = record.task.model_copy(update={"split": "leave-one-out", "split_digest": "0" * 64})
    other = record.model_copy(update={"task": task})
    assert list(check_beside(other, answers, read_peers(board, "synth-age", []))) == []


@pytest.mark.parametrize("damage", ["no JSON", "edited", "other answers"])
def test_a_board_with_a_broken_row(made, tmp_path, damage):
    path = made.run(tmp_path, method="scratch")
    if damage == "no JSON":
        path.write_text("{")
    elif damage == "edited":
        path.write_text(path.read_text().replace('"seconds": 1.5', '"seconds": 2.5', 1))
    else:
        predictions = RecordFiles(path).predictions
        header, line, *lines = gzip.decompress(predictions.read_bytes()).decode().splitlines()
        line = ",".join([*line.split(",")[:4], "0.5", "0.5"])  # a true change that no honest record has
        predictions.write_bytes(gzip.compress("\n".join([header, line, *lines, ""]).encode()))
    unchecked = []
    assert read_peers(tmp_path, "synth-age", unchecked) == []
    assert unchecked == ["the board's record synth-age/linear/scratch, which can't be read"]
    report = made.check(made.members, tmp_path)
    assert report.ok
    assert any("can't be read" in text for text in report.unchecked)


def test_an_edited_row_at_its_own_place_is_in_the_way(made, tmp_path):
    path = made.run(tmp_path)
    path.write_text(path.read_text().replace('"seconds": 1.5', '"seconds": 2.5', 1))
    text = made.messages(made.check(made.members, tmp_path))
    assert "can't be told apart: changed since it was written" in text
