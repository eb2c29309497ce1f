"""Progress of a sweep: counts, time left, and what each display prints."""

from __future__ import annotations

import dataclasses
import io
import json

import pytest
from rich.console import Console

from comface_bench.cli.sweep_progress import SweepLines, SweepState, SweepTable, watch_sweep
from comface_bench.core.events import Event
from comface_bench.execute.plan import Request
from comface_bench.execute.sweep import Batch, BatchResult
from comface_bench.execute.workers import News


def batch(number: int, units: int = 1, seconds: float | None = None) -> Batch:
    keys = tuple(f"{number}.{unit}" for unit in range(units))
    labels = tuple(f"unit {key}" for key in keys)
    return Batch(Request(("m",), ("t",)), keys, labels, f"m{number} · t · linear", seconds, f"b{number}")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def stage(epoch: int) -> Event:
    return Event("stage", f"epoch {epoch}", fold=0, seed=1, epoch=epoch, total=64)


def progress(epoch: int, amount: int) -> Event:
    return Event("progress", f"epoch {epoch}", fold=0, seed=1, epoch=epoch, amount=amount, total=64)


def unit(key: str) -> Event:
    return Event("unit", f"unit {key}: mae 1.000", key=key)


def test_counts_follow_units_and_results(clock: Clock) -> None:
    batches = [batch(0, 3), batch(1, 2), batch(2)]
    state = SweepState(batches, clock)
    assert state.describe() == "0 done · 0 running · 6 waiting · 0 failed"
    state.note(News(0, batches[0]))
    state.note(News(1, batches[1]))
    assert state.describe() == "0 done · 5 running · 1 waiting · 0 failed"
    state.note(News(0, batches[0], unit("0.0")))
    state.note(News(0, batches[0], Event("failure", "unit 0.1: broken", key="0.1")))
    assert state.describe() == "1 done · 3 running · 1 waiting · 1 failed"
    state.note(News(0, batches[0], result=BatchResult(("0.0", "0.2"), (("0.1", "broken"),))))
    state.note(News(1, batches[1], result=BatchResult(("1.0",), busy=True)))
    assert state.describe().startswith("3 done · 0 running · 1 waiting · 1 failed · 1 elsewhere")


def test_what_a_dead_worker_leaves_waits_again(clock: Clock) -> None:
    whole, rest = batch(0, 3), dataclasses.replace(batch(0, 3), units=("0.2",), labels=("unit 0.2",), key="r")
    state = SweepState([whole], clock)
    state.note(News(0, whole))
    state.note(News(0, whole, unit("0.0")))
    died = BatchResult(("0.0",), (("0.1", "died"),))
    assert state.note(News(0, whole, result=died, rest=rest)) == ["failed: unit 0.1: died"]
    assert state.describe() == "1 done · 0 running · 1 waiting · 1 failed"
    state.note(News(0, rest))
    state.note(News(0, rest, result=BatchResult(("0.2",))))
    assert state.describe().startswith("2 done · 0 running · 0 waiting · 1 failed")


def test_images_a_second_are_those_of_the_present_stage(clock: Clock) -> None:
    batches = [batch(0), batch(1)]
    state = SweepState(batches, clock)
    for number, one in enumerate(batches):
        state.note(News(number, one))
    state.note(News(0, batches[0], stage(1)))
    state.note(News(1, batches[1], Event("stage", "encoding", total=30)))
    clock.now = 2.0
    state.note(News(0, batches[0], progress(1, 10)))
    state.note(News(1, batches[1], Event("progress", "encoding", amount=30)))
    # An evaluation, whose images aren't the epoch's.
    state.note(News(0, batches[0], Event("progress", "validation", fold=0, seed=1, epoch=1, done=64)))
    assert [one.per_second for one in state.running.values()] == [10, 15]  # A pair has two images.
    assert "· 25 images/s" in state.describe()
    assert state.running[0].what == "fold 0 · seed 1 · epoch 1"
    state.note(News(0, batches[0], Event("epoch", epoch=1, total=7)))
    state.note(News(0, batches[0], stage(2)))
    assert state.running[0].what == "fold 0 · seed 1 · epoch 2 of 7"


def test_time_left_is_that_of_estimates_else_of_the_pace(clock: Clock) -> None:
    batches = [batch(0, 2, seconds=60), batch(1, 2, seconds=100), batch(2, 2)]
    state = SweepState(batches, clock)
    for number in range(2):
        state.note(News(number, batches[number]))
    clock.now = 40.0
    # Nothing is known of the third, whose units may be as long as those that run: 40 s each.
    assert state.seconds_left() == pytest.approx(80)
    state.note(News(0, batches[0], result=BatchResult(batches[0].units)))
    state.note(News(0, batches[2]))
    # Of the second 60 s are left; the third takes 40 s, as the first did.
    assert state.seconds_left() == pytest.approx(60)
    state.note(News(1, batches[1], result=BatchResult(batches[1].units)))
    clock.now = 50.0
    assert state.seconds_left() == pytest.approx(40 - 10)


def test_time_left_is_known_within_the_first_unit_of_a_sweep_that_nothing_came_before(clock: Clock) -> None:
    batches = [batch(0, 2), batch(1, 2)]
    state = SweepState(batches, clock)
    state.note(News(0, batches[0]))
    assert state.seconds_left() is None
    running = {"key": "0.0", "units": 1, "epochs": 2}
    state.note(News(0, batches[0], dataclasses.replace(stage(1), **running)))
    clock.now = 5.0
    state.note(News(0, batches[0], dataclasses.replace(progress(1, 32), **running)))
    # A quarter of a unit took 5 s: 15 s of it are left, and three more take 20 s each.
    assert state.seconds_left() == pytest.approx(15 + 3 * 20)
    assert state.describe().endswith("1 min 15 s left")


def test_lines_are_one_for_each_unit_and_one_a_minute(clock: Clock) -> None:
    written: list[str] = []
    batches = [batch(0, 2), batch(1, 3), batch(2, 2), batch(3)]
    lines = SweepLines(batches, written.append, clock)
    for number, one in enumerate(batches):
        lines.report(News(number, one))
    lines.report(News(0, batches[0], stage(1)))
    lines.report(News(0, batches[0], unit("0.0")))
    for number in range(2):
        lines.report(News(number, batches[number], Event("notice", "features are kept")))
    assert written == ["unit 0.0: mae 1.000", "features are kept"]
    clock.now = 61.0
    lines.report(News(0, batches[0], progress(1, 10)))
    lines.report(News(0, batches[0], progress(1, 10)))
    assert written[2:] == ["1 done · 7 running · 0 waiting · 0 failed · 0 images/s"]
    del written[:]
    lines.report(News(0, batches[0], result=BatchResult(("0.0",), (("0.1", "its worker died"),))))
    # The reason that a batch has in common is said once.
    lines.report(News(1, batches[1], result=BatchResult((), tuple((k, "no card") for k in batches[1].units))))
    lines.report(News(2, batches[2], Event("failure", "m2 · t: no weights")))
    told = tuple((key, "no weights") for key in batches[2].units)
    lines.report(News(2, batches[2], result=BatchResult((), told)))
    lines.report(News(3, batches[3], result=BatchResult(busy=True)))
    assert written == [
        "failed: unit 0.1: its worker died",
        "failed: m1 · t · linear, 3 units: no card",
        "failed: m2 · t: no weights",
        "m3 · t · linear: another sweep runs it",
    ]


@pytest.mark.parametrize("height", [25, 5])
def test_the_table_has_a_line_for_each_worker_and_one_for_all(clock: Clock, height: int) -> None:
    drawn = io.StringIO()
    console = Console(file=drawn, force_terminal=True, width=72, height=height, color_system=None)
    batches = [batch(number, 2) for number in range(5)]
    with SweepTable(batches, console, clock) as table:
        for number in range(4):
            table.report(News(number, batches[number]))
        table.report(News(0, batches[0], stage(1)))
        clock.now = 2.0
        table.report(News(0, batches[0], progress(1, 32)))
        table.report(News(0, batches[0], unit("0.0")))
        plain = Console(file=io.StringIO(), width=72, height=height)
        plain.print(table.draw())
    assert "unit 0.0: mae 1.000\n" in drawn.getvalue()
    lines = [" ".join(line.split()) for line in plain.file.getvalue().splitlines()]
    assert lines[0] == "0 m0 · t · linear fold 0 · seed 1 · epoch 1 32 images/s"
    assert lines[-1] == "1 done · 7 running · 2 waiting · 0 failed · 32 images/s"
    if height == 25:
        assert lines[1:-1] == [f"{number} m{number} · t · linear starting" for number in (1, 2, 3)]
    else:
        assert lines[1:-1] == ["1 m1 · t · linear starting", "and 2 more workers"]


def test_long_names_are_cut_not_broken(clock: Clock) -> None:
    console = Console(file=io.StringIO(), width=60, height=20)
    long = Batch(Request(("m",), ("t",)), ("k",), ("u",), "a long name " * 20, None, "b")
    table = SweepTable([long], console, clock)
    table.report(News(0, long))
    table.report(News(0, long, Event("stage", "reading images " * 9, total=64)))
    clock.now = 2.0
    table.report(News(0, long, Event("progress", "reading", amount=64)))
    console.file = io.StringIO()
    console.print(table.draw())
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].rstrip().endswith("32 images/s")


def test_json_has_a_line_for_each_news(capsys: pytest.CaptureFixture[str]) -> None:
    one = batch(0, 2)
    with watch_sweep([one], as_json=True) as report:
        report(News(3, one))
        report(News(3, one, unit("0.0")))
        report(News(3, one, result=BatchResult(("0.0",), (("0.1", "died"),))))
    begin, event, end = map(json.loads, capsys.readouterr().out.splitlines())
    assert all((line["worker"], line["batch"]) == (3, "b0") for line in (begin, event, end))
    assert (begin["kind"], begin["units"]) == ("batch", ["0.0", "0.1"])
    assert (event["kind"], event["key"]) == ("unit", "0.0")
    assert (end["kind"], end["done"], end["busy"]) == ("batch_end", ["0.0"], False)
    assert end["failed"] == [{"key": "0.1", "message": "died"}]
