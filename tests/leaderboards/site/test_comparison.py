"""Two methods side by side: the page holds every pair's difference, as text."""

import dataclasses
import itertools
import json

from comface_bench.leaderboards.formatting import visible
from comface_bench.leaderboards.pages import read_document
from comface_bench.leaderboards.site import render_site
from comface_bench.leaderboards.site.comparison import compare_data


def test_every_pair_has_its_difference_interval_and_verdict(site, read):
    board = next(board for board in site.document.boards if board.task == "age")
    (text,) = read(site.pages["html/task/age/finetune.html"]).attributes("data-pairs")
    data = json.loads(text)
    names = [name for name, *_ in data["methods"]]
    rows = {row.entry.method: row for row in board.rows}
    assert names == [name for name, row in rows.items() if row.cells["mae"].rank is not None]
    assert (data["heading"], data["higher"]) == ("MAE ↓, years", False)
    assert [rows[names[place]].cells["mae"].rank for place in data["chosen"]] == [1, 2]
    assert set(data["pairs"]) == {f"{i}-{j}" for i, j in itertools.combinations(range(len(names)), 2)}
    for key, (value, low, high, tied) in data["pairs"].items():
        first, second = (names[int(place)] for place in key.split("-"))
        found = board.pairs[first, second]
        assert (value, low, high, tied) == (
            f"{found.value:+.3f}",
            f"{found.interval.low:+.3f}",
            f"{found.interval.high:+.3f}",
            found.tied,
        )
    best = board.best["mae"]
    for place, (name, value, ends, apart) in enumerate(data["methods"]):
        cell = rows[name].cells["mae"]
        assert (value, ends, apart) == (
            f"{cell.value.value:.3f}",
            f"[{cell.interval.low:.3f}, {cell.interval.high:.3f}]",
            False,
        )
        if name != best:
            # The plain table below says the same.
            keys = sorted((place, names.index(best)))
            assert data["pairs"]["{}-{}".format(*keys)][3] == cell.tied


def test_nothing_to_compare_has_no_data(site, made, tmp_path, read):
    board = next(board for board in site.document.boards if board.task == "age")
    assert compare_data(dataclasses.replace(board, pairs={})) == ""
    made.add(tmp_path)
    pages = render_site(read_document(tmp_path), tmp_path)
    assert read(pages["html/task/age/finetune.html"]).attributes("data-pairs") == []


def test_hostile_names_are_visible_text_in_the_data(hostile, read):
    (text,) = read(hostile.pages["html/task/age/finetune.html"]).attributes("data-pairs")
    names = {name for name, *_ in json.loads(text)["methods"]}
    assert {visible(name) for name in hostile.names[:-2]} <= names
    assert not any(not name.isprintable() for name in names)
