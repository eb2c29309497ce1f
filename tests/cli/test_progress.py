"""Progress: rates, time left, and what each display prints."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from comface_bench.cli.pace import RunPace
from comface_bench.cli.progress import RunDisplay, RunLines
from comface_bench.core.events import Event

NAMES = {"method": "m", "task": "t", "protocol": "finetune"}
UNIT = {**NAMES, "fold": 0, "seed": 0, "key": "b", "units": 1, "epochs": 2}
STORY = [
    Event("plan", "2 units, 1 done", done=1, total=2),
    Event("stage", "reading 4 images", total=4, **NAMES),
    Event("progress", "reading", amount=4, total=4, **NAMES),
    Event("stage", "epoch 1", epoch=1, total=10, **UNIT),
    Event("progress", "epoch 1", epoch=1, amount=10, total=10, **UNIT),
    Event("epoch", epoch=1, total=2, value=1.5, **UNIT),
    Event("stage", "epoch 2", epoch=2, total=10, **UNIT),
    Event("progress", "epoch 2", epoch=2, amount=10, total=10, **UNIT),
    Event("epoch", epoch=2, total=2, value=1.25, **UNIT),
    Event("unit", "m · t · finetune · fold 0 · seed 0: mae 1.000", fold=0, seed=0, value=1.0, **NAMES),
    Event("failure", "m · u: broken", **NAMES),
    Event("skip", "n: no weights"),
]


def test_lines_are_one_for_each_stage_epoch_and_unit():
    written = []
    lines = RunLines(RunPace("b"), written.append)
    for event in STORY:
        lines.report(event)
    assert written[:3] == ["2 units, 1 done", "m · t · finetune", "  reading 4 images"]
    assert written[3].startswith("  fold 0 · seed 0 · epoch 1/2, validation loss 1.5, ")
    assert written[3].endswith(" left")
    assert written[4].startswith("  fold 0 · seed 0 · epoch 2/2, validation loss 1.25")
    assert written[5:] == [STORY[-3].text, "failed: m · u: broken", "skipped: n: no weights"]


@pytest.fixture
def plan():
    protocol = SimpleNamespace(name="finetune", epochs=2)
    return SimpleNamespace(cells=[SimpleNamespace(protocol=protocol, units=(1, 2), missing=(2,))])


def test_live_display_prints_the_same_story_above_its_bars(plan):
    drawn = io.StringIO()
    console = Console(file=drawn, force_terminal=True, width=100)
    with RunDisplay(plan, RunPace(), console) as display:
        for event in STORY[:-2]:
            display.report(event)
        units, now = display._progress.tasks
        assert (units.completed, units.total) == (2, 2)
        assert (now.completed, now.total) == (2, 2)
        assert now.description == "fold 0 · seed 0 · epochs"
    text = drawn.getvalue()
    assert "epoch 1/2, validation loss 1.5" in text
    assert STORY[9].text in text


def test_live_display_moves_within_an_epoch(plan):
    with RunDisplay(plan, RunPace(), Console(file=io.StringIO(), force_terminal=True)) as display:
        for event in STORY[:4]:
            display.report(event)
        display.report(Event("progress", "epoch 1", epoch=1, amount=5, total=10, fold=0, seed=0, **NAMES))
        assert display._progress.tasks[1].completed == pytest.approx(0.5)


def test_an_evaluation_is_shown_and_counts_as_no_pairs(plan):
    evaluation = Event("progress", "validation", epoch=1, done=640, fold=0, seed=0, **NAMES)
    with RunDisplay(plan, RunPace(), Console(file=io.StringIO(), force_terminal=True)) as display:
        for event in [*STORY[:5], evaluation]:
            display.report(event)
        now = display._progress.tasks[1]
        assert (now.completed, now.fields["rate"]) == (1, "validation: 640 images")


def test_a_long_stage_has_a_line_a_minute_with_the_time_left():
    written, now = [], [0.0]
    clock = lambda: now[0]  # noqa: E731
    lines = RunLines(RunPace(["b"], {"b": 240.0}, clock), written.append, clock)
    lines.report(STORY[0])
    lines.report(Event("stage", "epoch 1", epoch=1, total=100, **UNIT))
    for _ in range(13):
        now[0] += 10
        lines.report(Event("progress", "epoch 1", epoch=1, amount=5, total=100, **UNIT))
    assert written == [
        "2 units, 1 done, about 4 min 0 s left",
        "m · t · finetune",
        "  fold 0 · seed 0 · epoch 1: 30 of 100, 0 pairs/s, 5 min 40 s left",
        "  fold 0 · seed 0 · epoch 1: 60 of 100, 0 pairs/s, 4 min 40 s left",
    ]


def test_the_live_display_says_how_long_all_units_take(plan):
    now = [0.0]
    pace = RunPace("bc", {"c": 100.0}, lambda: now[0])
    with RunDisplay(plan, pace, Console(file=io.StringIO(), force_terminal=True)) as display:
        units = display._progress.tasks[0]
        assert units.fields["rate"] == "3 min 20 s left"  # The other one as long as that.
        display.report(Event("stage", "epoch 1", epoch=1, total=10, **UNIT))
        now[0] = 5.0
        display.report(Event("progress", "epoch 1", epoch=1, amount=5, total=10, **UNIT))
        assert units.fields["rate"] == "1 min 55 s left"
        display.report(Event("unit", "done", value=1.0, **UNIT))
        assert units.fields["rate"] == "1 min 40 s left"
