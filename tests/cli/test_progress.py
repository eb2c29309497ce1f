"""Progress: rates, time left, and what each display prints."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from comface_bench.cli.progress import RunDisplay, RunLines, RunPace, format_seconds
from comface_bench.core.events import Event

NAMES = {"method": "m", "task": "t", "protocol": "finetune"}
STORY = [
    Event("plan", "2 units, 1 done", done=1, total=2),
    Event("stage", "reading 4 images", total=4, **NAMES),
    Event("progress", "reading", amount=4, total=4, **NAMES),
    Event("stage", "epoch 1", epoch=1, total=10, fold=0, seed=0, **NAMES),
    Event("progress", "epoch 1", epoch=1, amount=10, total=10, fold=0, seed=0, **NAMES),
    Event("epoch", epoch=1, total=2, value=1.5, fold=0, seed=0, **NAMES),
    Event("stage", "epoch 2", epoch=2, total=10, fold=0, seed=0, **NAMES),
    Event("progress", "epoch 2", epoch=2, amount=10, total=10, fold=0, seed=0, **NAMES),
    Event("epoch", epoch=2, total=2, value=1.25, fold=0, seed=0, **NAMES),
    Event("unit", "m · t · finetune · fold 0 · seed 0: mae 1.000", fold=0, seed=0, value=1.0, **NAMES),
    Event("failure", "m · u: broken", **NAMES),
    Event("skip", "n: no weights"),
]


def test_pace_counts_items_within_a_stage_and_seconds_by_epochs():
    now = [100.0]
    pace = RunPace(lambda: now[0])
    pace.note(Event("stage", "e", epoch=1, total=64, fold=0, seed=0, **NAMES))
    for _ in range(4):
        now[0] += 1
        pace.note(Event("progress", "e", epoch=1, amount=16, total=64, fold=0, seed=0, **NAMES))
    now[0] += 1  # Validation, which doesn't slow the rate but takes its time.
    assert pace.rate == "16 pairs/s"
    assert pace.left(Event("epoch", epoch=1, total=10)) == pytest.approx(9 * 5)


def test_pace_of_a_resumed_unit_counts_its_own_epochs_only():
    now = [0.0]
    pace = RunPace(lambda: now[0])
    pace.note(Event("stage", "e", epoch=8, total=64, fold=0, seed=0, **NAMES))
    now[0] = 3.0
    assert pace.left(Event("epoch", epoch=8, total=10)) == pytest.approx(2 * 3)


def test_heads_of_all_folds_count_images():
    now = [0.0]
    pace = RunPace(lambda: now[0])
    pace.note(Event("stage", "encoding", total=64, **NAMES))
    now[0] = 2.0
    pace.note(Event("progress", "encoding", amount=64, **NAMES))
    assert pace.rate == "32 images/s"


def test_lines_are_one_for_each_stage_epoch_and_unit():
    written = []
    lines = RunLines(written.append)
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
    with RunDisplay(plan, console) as display:
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
    with RunDisplay(plan, Console(file=io.StringIO(), force_terminal=True)) as display:
        for event in STORY[:4]:
            display.report(event)
        display.report(Event("progress", "epoch 1", epoch=1, amount=5, total=10, fold=0, seed=0, **NAMES))
        assert display._progress.tasks[1].completed == pytest.approx(0.5)


def test_an_evaluation_is_shown_and_counts_as_no_pairs(plan):
    evaluation = Event("progress", "validation", epoch=1, done=640, fold=0, seed=0, **NAMES)
    with RunDisplay(plan, Console(file=io.StringIO(), force_terminal=True)) as display:
        for event in [*STORY[:5], evaluation]:
            display.report(event)
        now = display._progress.tasks[1]
        assert (now.completed, now.fields["rate"]) == (1, "validation: 640 images")
    now = [0.0]
    pace = RunPace(lambda: now[0])
    for event in [STORY[3], STORY[4], evaluation]:
        now[0] += 1
        pace.note(event)
    assert pace.rate == "10 pairs/s"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_durations(seconds, text):
    assert format_seconds(seconds) == text
