"""Progress of a run in Python: a bar where somebody looks, a function that is called, or nothing."""

import io
import sys
from types import SimpleNamespace

import pytest

from comface_bench.api.progress import UnitBar, watch_units
from comface_bench.core.events import Event

PLAN = SimpleNamespace(
    cells=[
        SimpleNamespace(units=[1, 2, 3], missing=[2, 3]),
        SimpleNamespace(units=[1, 2], missing=[1]),
    ]
)
EVENTS = [
    Event("plan", "5 units, 2 done"),
    Event("stage", "encoding images", method="tiny", task="age", total=40),
    Event("progress", "encoding images", total=40, amount=30),
    Event("unit", "done"),
    Event("failure", "failed"),
    Event("unit", "done"),
]


def test_a_function_hears_of_each_unit():
    heard = []
    with watch_units(PLAN, lambda done, total: heard.append((done, total))) as report:
        for event in EVENTS:
            report(event)
    assert heard == [(2, 5), (3, 5), (4, 5), (5, 5)]


@pytest.mark.parametrize(
    ("progress", "terminal", "shown"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_a_bar_is_shown_where_somebody_looks(monkeypatch, progress, terminal, shown):
    stderr = io.StringIO()
    stderr.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    with watch_units(PLAN, progress) as report:
        for event in EVENTS:
            report(event)
    assert ("5/5" in stderr.getvalue()) is shown


def test_nothing_is_shown_of_a_finished_plan(monkeypatch):
    stderr = io.StringIO()
    stderr.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", stderr)
    with watch_units(SimpleNamespace(cells=[SimpleNamespace(units=[1], missing=[])]), True):
        pass
    assert stderr.getvalue() == ""


def test_the_bar_says_what_is_being_done():
    drawn = io.StringIO()
    with UnitBar(2, 5, drawn) as bar:
        bar._bar.mininterval = 0
        for event in EVENTS:
            bar.report(event)
    text = drawn.getvalue()
    assert "tiny · age" in text
    assert "encoding images 30/40" in text
    assert "5/5" in text


@pytest.mark.parametrize(("fold", "said"), [(2, ", fold 2, epoch 3/20"), (None, ", epoch 3/20")])
def test_an_epoch_names_its_fold_where_it_has_one(fold, said):
    drawn = io.StringIO()
    with UnitBar(0, 5, drawn) as bar:
        bar._bar.mininterval = 0
        bar.report(Event("epoch", epoch=3, total=20, fold=fold))
    assert said in drawn.getvalue() and "None" not in drawn.getvalue()
