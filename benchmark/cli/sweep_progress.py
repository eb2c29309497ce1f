"""Progress of a sweep: a live table of workers on a terminal, plain lines elsewhere, JSON for programs."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Self

import typer

from comface_bench.cli.output import format_count
from comface_bench.cli.pace import RunPace, format_seconds
from comface_bench.cli.progress import LINE_SECONDS, describe_end, describe_place

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from comface_bench.core.events import Event
    from comface_bench.execute.sweep import Batch, BatchResult
    from comface_bench.execute.workers import News

_DRAW_SECONDS = 0.1


@contextlib.contextmanager
def watch_sweep(batches: Sequence[Batch], as_json: bool) -> Iterator[Callable[[News], None]]:
    """Give the function that `run_batches` reports to, as it suits where the output goes."""
    if as_json:
        yield write_news
    elif sys.stderr.isatty() and batches:
        with SweepTable(batches) as table:
            yield table.report
    else:
        yield SweepLines(batches).report


def write_news(news: News) -> None:
    """Print what a worker does as one line of JSON to stdout.

    An event is that of `run --json` with the worker's number and the batch's key; the beginning and the end
    of a batch are of the kinds `batch` and `batch_end`.
    """
    line: dict[str, object] = {"worker": news.worker, "batch": news.batch.key}
    if news.event is not None:
        line |= dataclasses.asdict(news.event)
    elif news.result is not None:
        failed = [{"key": key, "message": message} for key, message in news.result.failed]
        line |= {"kind": "batch_end", "text": news.batch.title}
        left = news.rest.units if news.rest is not None else ()
        line |= {"done": news.result.done, "failed": failed, "busy": news.result.busy, "left": left}
    else:
        line |= {"kind": "batch", "text": news.batch.title, "units": news.batch.units}
    typer.echo(json.dumps(line, ensure_ascii=False))
    sys.stdout.flush()


class _Running:
    """A batch that a worker runs.

    Attributes:
        done, failed: Keys of its units that have ended.
        what: What is going on, in words.
        failures: What was said of failures.
    """

    def __init__(self, batch: Batch, clock: Callable[[], float]) -> None:
        self.batch = batch
        self.done: set[str] = set()
        self.failed: set[str] = set()
        self.what = "starting"
        self.failures: list[str] = []
        self._clock, self._began = clock, clock()
        past = {} if batch.seconds is None else dict.fromkeys(batch.units, batch.seconds / len(batch.units))
        self._pace = RunPace(batch.units, past, clock)
        self._epochs = 0

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return self._clock() - self._began

    @property
    def per_second(self) -> float:
        """Images a second of the present stage."""
        return self._pace.images_per_second

    def left(self) -> float | None:
        """Return the seconds until the batch ends; None as long as that can't be said."""
        return self._pace.left()

    def note(self, event: Event) -> None:
        """Take an event into account."""
        self._pace.note(event)
        if event.kind == "stage":
            of_all = f" of {self._epochs}" if event.epoch is not None and self._epochs else ""
            self.what = f"{describe_place(event)}{event.text}{of_all}"
        elif event.kind == "epoch":
            self._epochs = event.total
        elif event.kind == "unit" and event.key is not None:
            self.done.add(event.key)
        elif event.kind == "failure":
            self.failures.append(event.text)
            if event.key is not None:
                self.failed.add(event.key)


class SweepState:
    """How far a sweep is, from what its workers do.

    Args:
        batches: All that are to run.
        clock: Gives seconds.

    Attributes:
        running: What each worker runs, by the worker's number.
    """

    def __init__(self, batches: Sequence[Batch], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting = {batch.key: batch for batch in batches}
        self._done = self._failed = self._elsewhere = 0
        self._seconds, self._units = 0.0, 0
        self._notices: set[str] = set()
        self.running: dict[int, _Running] = {}

    def note(self, news: News) -> list[str]:
        """Take into account what a worker does; return the lines that are worth printing."""
        if news.event is None and news.result is None:
            self._waiting.pop(news.batch.key, None)
            self.running[news.worker] = _Running(news.batch, self._clock)
            return []
        if news.result is not None:
            if news.rest is not None:
                self._waiting[news.rest.key] = news.rest
            return self._end(self.running.pop(news.worker), news.result, news.rest)
        assert news.event is not None
        self.running[news.worker].note(news.event)
        if news.event.kind == "notice":
            # Several workers have reason to say the same.
            fresh = news.event.text not in self._notices
            self._notices.add(news.event.text)
            return [news.event.text] if fresh else []
        return [describe_end(news.event)] if news.event.kind in ("unit", "failure", "skip") else []

    def _end(self, ended: _Running, result: BatchResult, rest: Batch | None) -> list[str]:
        self._done += len(result.done)
        self._failed += len(result.failed)
        left = len(rest.units) if rest is not None else 0
        self._elsewhere += len(ended.batch.units) - len(result.done) - len(result.failed) - left
        if result.done and not result.busy and not left:
            self._seconds += ended.seconds
            self._units += len(ended.batch.units)
        lines = [f"{ended.batch.title}: another sweep runs it"] if result.busy else []
        # A reason that all units of a batch share is said once.
        reasons: dict[str, list[str]] = {}
        labels = dict(zip(ended.batch.units, ended.batch.labels, strict=True))
        for key, message in result.failed:
            if key not in ended.failed and not any(message in text for text in ended.failures):
                reasons.setdefault(message, []).append(labels.get(key, key))
        for message, units in reasons.items():
            whose = units[0] if len(units) == 1 else f"{ended.batch.title}, {len(units)} units"
            lines.append(f"failed: {whose}: {message}")
        return lines

    def describe(self) -> str:
        """Count units, images a second and the time left, in one line."""
        running = list(self.running.values())
        done = self._done + sum(len(one.done) for one in running)
        failed = self._failed + sum(len(one.failed) for one in running)
        now = sum(len(one.batch.units) - len(one.done) - len(one.failed) for one in running)
        waiting = sum(len(batch.units) for batch in self._waiting.values())
        words = [f"{done} done", f"{now} running", f"{waiting} waiting", f"{failed} failed"]
        if self._elsewhere:
            words.append(f"{self._elsewhere} elsewhere")
        if rate := sum(one.per_second for one in running):
            words.append(f"{rate:.0f} images/s")
        if (left := self.seconds_left()) is not None:
            words.append(f"{format_seconds(left)} left")
        return " · ".join(words)

    def seconds_left(self) -> float | None:
        """Return the seconds until the last batch ends; None as long as that can't be said."""
        running = [(one, one.left()) for one in self.running.values()]
        usual = self._seconds_of_unit(running)
        spans = []
        for one, left in running:
            if left is None and usual is not None:
                left = max(0.0, usual * len(one.batch.units) - one.seconds)
            spans.append(left)
        for batch in self._waiting.values():
            whole = None if usual is None else usual * len(batch.units)
            spans.append(whole if batch.seconds is None else batch.seconds)
        known = [span for span in spans if span is not None]
        if len(known) < len(spans):
            return None
        # Workers share the work, but nobody shares a batch.
        return max(max(known), sum(known) / max(1, len(running))) if known else 0.0

    def _seconds_of_unit(self, running: Sequence[tuple[_Running, float | None]]) -> float | None:
        """Return what a unit of ended batches took, else what one of those that run will have taken."""
        if self._units:
            return self._seconds / self._units
        sure = [(one.seconds + left, len(one.batch.units)) for one, left in running if left is not None]
        return sum(seconds for seconds, _ in sure) / sum(units for _, units in sure) if sure else None


class SweepLines:
    """Plain lines on stderr: one for each unit, and once a minute how far the sweep is.

    Args:
        batches: All that are to run.
        write: Prints one line.
        clock: Gives seconds.
    """

    def __init__(
        self,
        batches: Sequence[Batch],
        write: Callable[[str], None] = lambda line: typer.echo(line, err=True),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = SweepState(batches, clock)
        self._write, self._clock = write, clock
        self._written_at = clock()

    def report(self, news: News) -> None:
        """Print lines, if the news are worth any."""
        for line in self._state.note(news):
            self._write(line)
        if self._clock() - self._written_at >= LINE_SECONDS:
            self._written_at = self._clock()
            self._write(self._state.describe())


class SweepTable:
    """A live table on stderr, a line for each worker and one for all; a context manager.

    Args:
        batches: All that are to run.
        console: Where to draw; stderr by default.
        clock: Gives seconds.
    """

    def __init__(
        self,
        batches: Sequence[Batch],
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        from rich.console import Console
        from rich.live import Live

        self._state, self._clock = SweepState(batches, clock), clock
        self._console = console or Console(stderr=True)
        self._live = Live(console=self._console, transient=True, auto_refresh=False)
        self._drawn_at = 0.0

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def report(self, news: News) -> None:
        """Print what has ended above the table, and draw the table anew."""
        for line in self._state.note(news):
            self._console.print(line, markup=False, highlight=False)
        if news.event is None or self._clock() - self._drawn_at >= _DRAW_SECONDS:
            self._drawn_at = self._clock()
            self._live.update(self.draw(), refresh=True)

    def draw(self) -> RenderableType:
        """Return the table; workers that don't fit on the terminal are counted."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        rows = sorted(self._state.running.items())
        room = max(1, self._console.height - 3)
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(justify="right", no_wrap=True)
        for _ in range(2):
            table.add_column()  # Where room is short, rich takes it from these.
        table.add_column(justify="right", no_wrap=True)
        for number, one in rows[:room]:
            rate = f"{one.per_second:.0f} images/s" if one.per_second else ""
            cells = (str(number), one.batch.title, one.what, rate)
            table.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in cells))
        lines: list[RenderableType] = [table] if rows else []
        if len(rows) > room:
            lines.append(Text(f"and {format_count(len(rows) - room, 'more worker')}"))
        return Group(*lines, Text(self._state.describe(), no_wrap=True, overflow="ellipsis"))
