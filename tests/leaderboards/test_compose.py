"""From files to the document: the same numbers on every build and with any number of processes."""

import dataclasses
import gzip

import pytest

from comface_bench.core.errors import ResultError
from comface_bench.leaderboards import compose as composing
from comface_bench.leaderboards.compose import compose
from comface_bench.leaderboards.document import family_of


@pytest.fixture(scope="module")
def filled(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "results"
    made.fill(folder)
    return folder


def plain(document):
    """All facts as text, floats in full."""
    return repr(dataclasses.asdict(document))


def test_boards_and_rows_are_in_board_order(filled):
    document = compose(filled)
    places = [(board.task, board.protocol, board.family) for board in document.boards]
    assert places == [
        ("age", "finetune", "age"),
        ("disfa-au12", "quick", "disfa"),
        ("synth-age", "quick", "synth"),
    ]
    methods = [row.entry.method for row in document.boards[0].rows]
    assert methods == ["scratch+backbone=resnet18", "imagenet", "farl", "comface", "timm/vit"]
    assert document.boards[0].metrics == ("mae", "pearson", "acc")


def test_numbers_are_the_same_in_every_build_and_with_two_processes(filled):
    first = plain(compose(filled))
    assert plain(compose(filled)) == first
    assert plain(compose(filled, workers=2)) == first


def test_many_records_are_spread_over_processes(filled, monkeypatch):
    first = plain(compose(filled))
    monkeypatch.setattr(composing, "FEW", 3)
    assert plain(compose(filled)) == first


def test_no_results_make_an_empty_document(tmp_path):
    document = compose(tmp_path / "none")
    assert (document.boards, document.rankings) == ((), ())


@pytest.mark.parametrize("workers", [1, 2])
def test_predictions_that_are_missing_or_not_the_records_are_named(made, tmp_path, workers):
    made.add(tmp_path, method="a")
    made.add(tmp_path, "synth-age", method="a")
    path = tmp_path / "age" / "finetune" / "a.predictions.csv.gz"
    whole = path.read_bytes()
    text = gzip.decompress(whole).decode()
    path.write_bytes(gzip.compress(text.replace("0-1,", "0-9,", 1).encode()))
    with pytest.raises(ResultError, match=r"a\.predictions\.csv\.gz"):
        compose(tmp_path, workers=workers)
    path.write_bytes(whole[:-9])
    with pytest.raises(ResultError, match=r"a\.predictions\.csv\.gz"):
        compose(tmp_path)
    path.unlink()
    with pytest.raises(ResultError, match=r"a\.predictions\.csv\.gz"):
        compose(tmp_path)


def test_a_file_that_is_no_record_is_named(made, tmp_path):
    made.add(tmp_path, method="a")
    (tmp_path / "age" / "finetune" / "a.json").write_text("{}")
    with pytest.raises(ResultError, match=r"a\.json"):
        compose(tmp_path)


def test_order_of_the_files_does_not_matter(made, tmp_path):
    for method in ("a", "b", "c"):
        made.add(tmp_path / "one", method=method, noise=ord(method) - 96)
    for method in ("c", "a", "b"):
        made.add(tmp_path / "two", method=method, noise=ord(method) - 96)
    assert plain(compose(tmp_path / "one")) == plain(compose(tmp_path / "two"))


@pytest.mark.parametrize(
    ("task", "family"),
    [
        ("age", "age"),
        ("disfa-au12", "disfa"),
        ("csv:x.csv", "csv"),
        ("age+split=loo", "age"),
        ("edema-a2b", "edema"),
    ],
)
def test_family(task, family):
    assert family_of(task) == family
