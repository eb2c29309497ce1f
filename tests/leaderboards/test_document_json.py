"""leaderboard.json read back."""

import dataclasses
import json

import pytest

from comface_bench.leaderboards.document import Document
from comface_bench.leaderboards.document_json import leaderboard_json


def test_the_whole_document_is_there(golden):
    text = leaderboard_json(golden)
    found = json.loads(text)
    assert found["version"] == 1
    assert [(b["task"], b["protocol"]) for b in found["boards"]] == [
        (board.task, board.protocol) for board in golden.boards
    ]
    for board, read in zip(golden.boards, found["boards"], strict=True):
        assert read["best"] == board.best
        assert read["detectable"]["mae"].get("value") == pytest.approx(board.detectable["mae"].value)
        for row, line in zip(board.rows, read["rows"], strict=True):
            assert line["method"] == row.entry.method
            assert line["ranked"] == row.entry.complete
            assert set(line["cells"]) == set(row.cells)
            for name, cell in row.cells.items():
                told = line["cells"][name]
                assert told["value"] == pytest.approx(cell.value.value)
                assert told.get("reason") == cell.value.reason
                assert (told["place"], told["tied"]) == (cell.rank, cell.tied)
                if cell.interval.low is not None:
                    assert told["interval"] == pytest.approx([cell.interval.low, cell.interval.high])
                if cell.to_best is not None:
                    assert told["to_best"]["reference"] == cell.to_best.reference
                    assert told["to_best"]["p"].get("value") == pytest.approx(cell.to_best.p.value)
    for ranking, read in zip(golden.rankings, found["rankings"], strict=True):
        assert (read["scope"], tuple(read["tasks"])) == (ranking.scope, ranking.tasks)
        assert [one["method"] for one in read["standings"]] == list(ranking.standings)
        for one in read["standings"]:
            standing = ranking.standings[one["method"]]
            assert one["mean_rank"] == pytest.approx(standing.mean_rank)
            assert one["missing"] == list(standing.missing)
        assert read["friedman_p"] == {"value": None, "reason": ranking.friedman.reason}
    assert len(text.splitlines()) < 60, "one line a row"


@pytest.mark.parametrize("name", ["</script>", '"quoted"\\', "a\nb", "abc\u202edef", "\x00", "\U000e0041"])
def test_hostile_text_comes_back_as_it_was(name, document):
    board = document.boards[0]
    entry = dataclasses.replace(board.rows[0].entry, method=name, group=name, trained_on=(name,))
    board = dataclasses.replace(board, task=name, rows=(dataclasses.replace(board.rows[0], entry=entry),))
    text = leaderboard_json(Document((board,), ()))
    assert text.isascii()
    row = json.loads(text)["boards"][0]["rows"][0]
    assert (row["method"], row["group"], row["trained_on"]) == (name, name, [name])


def test_an_empty_document():
    assert json.loads(leaderboard_json(Document((), ()))) == {"version": 1, "boards": [], "rankings": []}
