"""Progress of long work: bars on a terminal, plain lines on stderr elsewhere, JSON events for programs.

Three kinds of work are shown: a count of items (`progress_bar`, `transfer_bar`), a run's events (`watch_run`)
and the log of a pre-training (`watch_training`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self

import typer

from comface_bench.cli.pace import Pace, RunPace, format_seconds
from comface_bench.core.events import Event, Report

if TYPE_CHECKING:
    from rich.console import Console

    from comface_bench.execute.plan import Plan

LogLine = dict[str, Any]
"""A line of a pre-training's log; `kind` is `step`, `epoch`, `resumed`, `finished` or `unsaved`."""
LINE_SECONDS = 60.0
"""Least time between two lines about steps of a pre-training, where there is no terminal."""


@contextlib.contextmanager
def progress_bar(label: str, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr if that is a terminal; gives a function of (done, total)."""
    if quiet or not sys.stderr.isatty():
        yield _ignore_count
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(
        TextColumn(label),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        bar = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


@contextlib.contextmanager
def transfer_bar(label: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show a bar of bytes on stderr if that is a terminal; gives a function of (done, total or None)."""
    if not sys.stderr.isatty():
        yield _ignore_count
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


def _ignore_count(done: int, total: int | None) -> None:
    del done, total


@contextlib.contextmanager
def watch_run(plan: Plan, as_json: bool) -> Iterator[Report]:
    """Give the report function that suits where the output goes."""
    if as_json:
        yield write_event
        return
    missing = [unit.key() for cell in plan.cells for unit in cell.missing]
    past: dict[str, float] = {}
    if any(cell.request.results.exists() for cell in plan.cells):
        from comface_bench.execute.sweep import estimate_seconds

        past = estimate_seconds(plan.cells)
    pace = RunPace(missing, past)
    if sys.stderr.isatty() and missing:
        with RunDisplay(plan, pace) as display:
            yield display.report
    else:
        yield RunLines(pace).report


def write_event(event: Event) -> None:
    """Print an event as one line of JSON to stdout."""
    typer.echo(json.dumps(dataclasses.asdict(event), ensure_ascii=False))
    sys.stdout.flush()


class RunLines:
    """Plain lines on stderr: one for each stage, epoch and unit, and within long ones one a minute.

    Args:
        pace: Of the units that are to run.
        write: Prints one line.
        clock: Gives seconds.
    """

    def __init__(
        self,
        pace: RunPace,
        write: Callable[[str], None] = lambda line: typer.echo(line, err=True),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pace, self._clock = pace, clock
        self._echo = write
        self._written_at = clock()
        self._seen = 0
        self._heading = ""

    def report(self, event: Event) -> None:
        """Print a line, if the event is worth one."""
        self._pace.note(event)
        if event.kind == "stage":
            self._seen = 0
        elif event.kind == "progress" and event.amount:
            self._seen += event.amount
            if self._clock() - self._written_at >= LINE_SECONDS:
                of_all = f" of {event.total}" if event.total else ""
                words = [f"{self._seen}{of_all}", self._pace.rate, describe_left(self._pace)]
                self._write(f"  {describe_place(event)}{event.text}: {', '.join(filter(None, words))}")
        if event.kind == "stage" and _heading(event) != self._heading:
            self._heading = _heading(event)
            self._write(self._heading)
        if event.kind == "epoch":
            self._write(f"  {describe_place(event)}{_describe_epoch(event, self._pace)}")
        elif event.kind == "stage":
            if event.epoch is None:
                self._write(f"  {event.text}")
        elif event.kind in ("unit", "failure", "skip", "notice"):
            self._write(describe_end(event))
        elif event.kind == "plan":
            about = describe_left(self._pace) if event.done < event.total else ""
            self._write(f"{event.text}, about {about}" if about else event.text)

    def _write(self, line: str) -> None:
        self._written_at = self._clock()
        self._echo(line)


class RunDisplay:
    """Two bars on stderr: units of the plan, and epochs or images of the current work; a context manager.

    Args:
        plan: The plan that runs; gives the number of units, and of epochs before the first one ends.
        pace: Of the units that are to run.
        console: Where to draw; stderr by default.
    """

    def __init__(self, plan: Plan, pace: RunPace, console: Console | None = None) -> None:
        self._epochs = {cell.protocol.name: getattr(cell.protocol, "epochs", 0) for cell in plan.cells}
        self._pace = pace
        self._seen = 0
        self._progress = _run_bars(console)
        self._units_total = sum(len(cell.units) for cell in plan.cells)
        self._units_done = self._units_total - sum(len(cell.missing) for cell in plan.cells)
        self._units = self._progress.add_task(
            "units",
            total=self._units_total,
            completed=self._units_done,
            count="",
            rate=describe_left(pace),
        )
        self._now = self._progress.add_task("starting", total=None, count="", rate="")
        self._heading = ""

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def report(self, event: Event) -> None:
        """Show an event."""
        self._pace.note(event)
        if event.kind == "stage":
            self._begin(event)
        elif event.kind == "progress":
            self._advance(event)
        elif event.kind == "epoch":
            self._print(f"{describe_place(event)}{_describe_epoch(event, self._pace)}")
            self._progress.update(self._now, completed=event.epoch or 0)
        elif event.kind in ("unit", "failure", "skip", "notice"):
            self._print(describe_end(event))
        if event.kind in ("unit", "failure"):
            self._units_done += 1
        count = f"{self._units_done}/{self._units_total}"
        left = describe_left(self._pace)
        self._progress.update(self._units, completed=self._units_done, count=count, rate=left)

    def _begin(self, event: Event) -> None:
        self._seen = 0
        heading = _heading(event)
        if heading != self._heading:
            # Names can be long: they stand once on a line of their own, and the bars stay short.
            self._heading = heading
            self._print(heading)
        if event.epoch is None:
            self._progress.reset(
                self._now, description=event.text, total=event.total or None, count="", rate=""
            )
            return
        epochs = self._epochs.get(event.protocol or "", event.epoch)
        label = f"{describe_place(event)}epochs"
        if self._progress.tasks[1].description != label:
            self._progress.reset(self._now, description=label, total=epochs, completed=event.epoch - 1)
        self._progress.update(self._now, count=f"{event.epoch}/{epochs}", rate="")

    def _advance(self, event: Event) -> None:
        if not event.amount:  # Evaluation is no part of the epoch's pairs.
            self._progress.update(self._now, rate=f"{event.text}: {event.done} images")
            return
        self._seen += event.amount
        # The bar of an epoch moves within it; a stage without epochs counts its own images.
        share = self._seen / event.total if event.total else 0.0
        completed = self._seen if event.epoch is None else event.epoch - 1 + share
        self._progress.update(self._now, completed=completed, rate=self._pace.rate)

    def _print(self, line: str) -> None:
        self._progress.console.print(line, markup=False, highlight=False)


def _run_bars(console: Console | None) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[count]}", markup=False),
        TextColumn("{task.fields[rate]}", markup=False),
        console=console or Console(stderr=True),
        transient=True,
    )


def _heading(event: Event) -> str:
    """Return what a stage belongs to: method, task and protocol."""
    return " · ".join(word for word in (event.method, event.task, event.protocol) if word)


def describe_place(event: Event) -> str:
    """Return the fold and seed of an event of one unit, ready to stand before more words; else nothing."""
    return "" if event.fold is None else f"fold {event.fold} · seed {event.seed} · "


def _describe_epoch(event: Event, pace: RunPace) -> str:
    """Describe an `epoch` event: its number, validation loss, speed and time left."""
    words = [f"epoch {event.epoch}/{event.total}"]
    if event.value is not None:
        words.append(f"validation loss {event.value:.4g}")
    if pace.rate:
        words.append(pace.rate)
    words.append(describe_left(pace))
    return ", ".join(filter(None, words))


def describe_left(pace: RunPace) -> str:
    """Say how long a run still takes, such as `3 min 20 s left`; nothing while that can't be said."""
    left = pace.left()
    return "" if left is None else f"{format_seconds(left)} left"


def describe_end(event: Event) -> str:
    """Describe the end of a unit, a failure, something skipped, or a notice."""
    prefix = {"failure": "failed: ", "skip": "skipped: "}.get(event.kind, "")
    return prefix + event.text


@contextlib.contextmanager
def watch_training(as_json: bool) -> Iterator[Callable[[LogLine], None]]:
    """Give the listener for the log of a pre-training that suits where the output goes."""
    if as_json:
        yield _write_line
    elif sys.stderr.isatty():
        with _training_bar() as listener:
            yield listener
    else:
        yield TrainingLines()


def _write_line(line: LogLine) -> None:
    typer.echo(json.dumps(line))
    sys.stdout.flush()


class TrainingLines:
    """Plain lines on stderr: each epoch, and steps once a minute.

    Args:
        write: Prints one line.
        clock: Gives seconds.
    """

    def __init__(
        self,
        write: Callable[[str], None] = lambda line: typer.echo(line, err=True),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write, self._clock = write, clock
        self._written_at = -LINE_SECONDS
        self._pace = Pace(clock)

    def __call__(self, line: LogLine) -> None:
        """Print a line, if it is worth one."""
        if not self._pace.began and "progress" in line:
            self._pace.begin(line["progress"])
        if line["kind"] == "step":
            if self._clock() - self._written_at < LINE_SECONDS:
                return
            self._written_at = self._clock()
        self._write(describe_line(line, self._pace.left(line.get("progress", 0), 1)))


def describe_line(line: LogLine, left: float | None) -> str:
    """Describe a line of a pre-training's log.

    Args:
        line: The line.
        left: Seconds left, where they are known.
    """
    if line["kind"] == "resumed":
        return f"going on after step {line['step']}, in epoch {line['epoch']}"
    if line["kind"] == "finished":
        return f"nothing to do: all {line['epoch'] - 1} epochs are done"
    if line["kind"] == "unsaved":
        return f"{line['path']} couldn't be written (is the disk full?): a kill would cost what came since"
    losses = f"changes {line['intra']:.3f}"
    if line["inter"] is not None:
        losses = f"identities {line['inter']:.3f} · {losses}"
    if line["kind"] == "step":
        rest = "" if left is None else f" · {format_seconds(left)} left"
        return (
            f"epoch {line['epoch']} · step {line['step']} · {losses} · "
            f"{line['images_per_second']:.0f} images/s{rest}"
        )
    return f"epoch {line['epoch']}/{line['epochs']} · validation {line['loss']:.4f} · {losses} · " + (
        _describe_correlations(line["correlation"])
    )


def _describe_correlations(correlations: dict[str, float | None]) -> str:
    known = {name: r for name, r in correlations.items() if r is not None}
    shown = list(known.items())[:4]
    more = f" (of {len(known)})" if len(known) > len(shown) else ""
    return "r " + ", ".join(f"{name} {r:.2f}" for name, r in shown) + more


@contextlib.contextmanager
def _training_bar() -> Iterator[Callable[[LogLine], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    with Progress(
        BarColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
        console=console,
        transient=True,
    ) as progress:
        bar = progress.add_task("the first steps", total=1.0)

        def show(line: LogLine) -> None:
            if line["kind"] == "step":
                progress.update(bar, completed=line["progress"], description=describe_line(line, None))
            else:
                console.print(describe_line(line, None), highlight=False)

        yield show
