"""The forest plot: what is drawn is what the page says."""

import pytest

from comface_bench.core import plotting
from comface_bench.core.errors import MissingExtraError, UsageError
from comface_bench.leaderboards.forest import board_intervals, draw_forest
from comface_bench.leaderboards.pages import read_rows
from comface_bench.results.store import ResultStore


@pytest.fixture(autouse=True)
def no_window(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    yield
    from matplotlib import pyplot

    pyplot.close("all")


@pytest.fixture(scope="module")
def rows(filled):
    store = ResultStore(filled)
    return read_rows(
        store, [path for path in store.paths() if path.parent.parent.name == "age"], by_fold=False
    )


def test_intervals_are_those_of_the_board(rows, document):
    (board,) = (board for board in document.boards if board.task == "age")
    for metric in ("mae", "pearson"):
        drawn = board_intervals(*rows, metric)
        assert drawn == {row.entry.method: row.cells[metric].interval for row in board.rows}


def test_each_method_is_a_point_on_a_line(rows, document):
    (board,) = (board for board in document.boards if board.task == "age")
    axes = draw_forest(*rows)
    names = [label.get_text() for label in axes.get_yticklabels()]
    by_value = sorted(board.rows, key=lambda row: row.number("mae"))
    assert [name.split(" ")[0] for name in names] == [row.entry.method for row in by_value]
    assert names[0] == "timm/vit †", "the incomplete one"
    points = {line.get_ydata()[0]: line for line in axes.lines if line.get_marker() == "o"}
    bars = {
        line.get_ydata()[0]: line
        for line in axes.lines
        if line.get_linestyle() == "-" and len(line.get_xdata()) == 2
    }
    for place, row in enumerate(by_value):
        assert points[place].get_xdata()[0] == row.number("mae")
        interval = row.cells["mae"].interval
        drawn = list(bars[place].get_xdata()) if place in bars else [None, None]
        assert drawn == [interval.low, interval.high]
        assert points[place].get_fillstyle() == ("full" if row.entry.complete else "none")
    assert len(bars) > 2
    dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in dashed] == [board.baseline("mae")]
    assert axes.get_xlabel() == "MAE ↓, years"
    assert axes.get_title() == "age · finetune"


def test_chosen_methods_on_given_axes(rows):
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    assert draw_forest(*rows, "pearson", ["farl", "imagenet"], axes) is axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["farl", "imagenet"]
    assert not [line for line in axes.lines if line.get_linestyle() == "--"], "no change has no correlation"


def test_names_of_others_are_no_mathematics(made, results):
    made.add(results, method="a", card={"group": "Other"}, facts={"unit": r"$\frac{x}$"})
    store = ResultStore(results)
    axes = draw_forest(*read_rows(store, store.paths()))
    axes.figure.canvas.draw()
    assert r"\$\frac{x}\$" in axes.get_xlabel()


def test_without_matplotlib_the_extra_is_named(rows, monkeypatch):
    def missing(module):
        raise ImportError(module)

    monkeypatch.setattr(plotting.importlib, "import_module", missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'comface-bench\[plots\]'"):
        draw_forest(*rows)


def test_nothing_to_draw_is_said(made, results):
    made.add(results, method="a", folds=(), failed=(0, 1))
    store = ResultStore(results)
    with pytest.raises(UsageError, match="no method has a value of mae on age under finetune"):
        draw_forest(*read_rows(store, store.paths()))
