"""Accepting: from a package to a row of a board, whole or not at all."""

import dataclasses
import re
import shutil

import pytest

from comface_bench.core.errors import ResultError
from comface_bench.leaderboards import build
from comface_bench.results.record import load_record
from comface_bench.results.validation import recompute_record, validate_record
from comface_bench.submission import accept as accepting
from comface_bench.submission.accept import accept
from comface_bench.submission.check import RefusedError
from comface_bench.submission.pack import pack
from comface_bench.submission.package import write_archive


@pytest.fixture(scope="module")
def scratch_row(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scratch")
    made.run(folder, method="scratch", luck=9)
    return folder


@pytest.fixture(scope="module")
def again(made, tmp_path_factory):
    """Another run of the submitted method."""
    folder = tmp_path_factory.mktemp("again")
    made.run(folder, luck=7)
    return folder


@pytest.fixture(scope="module")
def newer(made, again):
    """Its package, with another note."""
    return pack(again, dataclasses.replace(made.note(), code="https://a.org/"))[0]


@pytest.fixture
def board(scratch_row, tmp_path):
    """A board with one row of its maintainers."""
    shutil.copytree(scratch_row, tmp_path / "board")
    return tmp_path / "board"


@pytest.fixture
def package(made, tmp_path):
    path = tmp_path / "it.zip"
    path.write_bytes(made.package)
    return path


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_round_trip_into_a_board(made, board, package):
    before = tree(board)
    (path,) = accept(package, board)
    assert path == board / f"{made.stem}.json"
    record = load_record(path)
    assert record.provenance.kind == "submitted"
    assert validate_record(path) == recompute_record(path) == []
    original = load_record(made.results / f"{made.stem}.json")
    assert (record.units, record.summary) == (original.units, original.summary)
    added = set(tree(board)) - set(before)
    assert added == {
        f"{made.stem}{ending}" for ending in (".json", ".predictions.csv.gz", ".submission.toml")
    }
    pages = build(board, board.parent / "pages")
    text = "\n".join(page.read_text() for page in map(type(board), pages) if page.suffix == ".md")
    assert "my-net" in text and "submitted" in text and "scratch" in text
    assert re.search(r"\| my-net[ ‡¶]* ◊ \| ResNet-18 \| VGGFace2 \| — \| — \| Apache-2\.0 \|", text)
    about = record.method.about
    assert (about.summary, about.source) == ("A network of our own.", "https://example.org/code")


def test_once_more_changes_nothing(made, board, package):
    accept(package, board)
    before = tree(board)
    accept(package, board)
    assert tree(board) == before


def test_rows_of_the_maintainers_stay(made, board, package, tmp_path):
    before = tree(board)
    path = made.run(tmp_path / "other", method="scratch", luck=1)
    hostile = tmp_path / "hostile.zip"
    note = made.note("scratch", training_data=("none",))
    hostile.write_bytes(write_archive(made.members_of(path, note)))
    for replace in (False, True):
        with pytest.raises(RefusedError, match="measured by its maintainers"):
            accept(hostile, board, replace=replace)
    assert tree(board) == before


def test_rows_of_the_maintainers_stay_even_if_they_come_meanwhile(made, board, package, monkeypatch):
    checked = accepting.check_package

    def slow(*arguments):
        report = checked(*arguments)
        made.run(board, luck=5)
        return report

    monkeypatch.setattr(accepting, "check_package", slow)
    with pytest.raises(ResultError, match="isn't replaced"):
        accept(package, board, replace=True)
    assert load_record(board / f"{made.stem}.json").provenance.kind == "ours"


def test_earlier_submissions_are_replaced_when_asked(made, board, package, again, newer, tmp_path):
    accept(package, board)
    other = tmp_path / "newer.zip"
    other.write_bytes(newer)
    with pytest.raises(ResultError, match="already on the board") as caught:
        accept(other, board)
    assert "--replace" in caught.value.hint
    (path,) = accept(other, board, replace=True)
    assert load_record(path).units == load_record(again / f"{made.stem}.json").units


def test_a_refused_package_leaves_no_trace(made, board, tmp_path):
    before = tree(board)
    bad = tmp_path / "bad.zip"
    bad.write_bytes(made.package[:-1])
    with pytest.raises(RefusedError):
        accept(bad, board)
    assert tree(board) == before


@pytest.mark.parametrize("step", range(6))
@pytest.mark.parametrize("replace", [False, True])
def test_an_error_on_the_way_leaves_what_was_there(
    board, package, newer, tmp_path, monkeypatch, step, replace
):
    if replace:
        accept(package, board)
        package = tmp_path / "newer.zip"
        package.write_bytes(newer)
    before = tree(board)
    left = [step]
    writes = ("replace_file", "sync_folder")

    def failing(original):
        def call(*arguments):
            if left[0] == 0:
                raise OSError("disk full")
            left[0] -= 1
            return original(*arguments)

        return call

    for name in writes:
        monkeypatch.setattr(accepting, name, failing(getattr(accepting, name)))
    with pytest.raises(OSError, match="disk full"):
        accept(package, board, replace=replace)
    assert tree(board) == before
    monkeypatch.undo()
    assert accept(package, board, replace=replace)
