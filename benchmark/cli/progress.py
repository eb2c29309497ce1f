"""Watching a run: a live display on a terminal, plain lines elsewhere, JSON events for programs."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator

import typer

from comface_bench.core.events import Event, Report
from comface_bench.execute.plan import Plan


@contextlib.contextmanager
def watch(plan: Plan, as_json: bool) -> Iterator[Report]:
    """Give the report function that suits where the output goes."""
    if as_json:
        yield write_event
    elif sys.stderr.isatty() and any(cell.missing for cell in plan.cells):
        from comface_bench.cli.live import LiveDisplay

        with LiveDisplay(plan) as display:
            yield display.report
    else:
        yield Lines().report


def write_event(event: Event) -> None:
    """Print an event as one line of JSON to stdout."""
    typer.echo(json.dumps(dataclasses.asdict(event), ensure_ascii=False))
    sys.stdout.flush()


class Pace:
    """How fast a run goes: items a second within a stage, and seconds left by its epochs.

    Args:
        clock: Gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._place: tuple[object, ...] | None = None
        self._epochs_began = self._stage_began = self._counted_at = clock()
        self._first = 1
        self._count = 0
        self._unit = "images"

    def note(self, event: Event) -> None:
        """Take an event into account."""
        if event.kind == "stage":
            self._stage_began, self._count = self._clock(), 0
            self._counted_at = self._stage_began
            # Fine-tuning runs fold by fold and counts pairs; heads of all folds train together, on images.
            self._unit = "images" if event.fold is None else "pairs"
            place = (event.method, event.task, event.protocol, event.fold, event.seed)
            if event.epoch is not None and place != self._place:
                self._place, self._first, self._epochs_began = place, event.epoch, self._clock()
        elif event.kind == "progress":
            self._count += event.amount
            self._counted_at = self._clock()

    @property
    def rate(self) -> str:
        """Speed within the stage, such as `412 images/s`; empty before the first item."""
        # Up to the last item: the validation that follows an epoch's pairs isn't theirs.
        seconds = self._counted_at - self._stage_began
        return f"{self._count / seconds:.0f} {self._unit}/s" if self._count and seconds > 0 else ""

    def left(self, event: Event) -> float:
        """Return the seconds that the epochs after an `epoch` event will take."""
        done = (event.epoch or 0) - self._first + 1
        if done < 1:
            return 0.0
        return (self._clock() - self._epochs_began) / done * (event.total - (event.epoch or 0))


class Lines:
    """Plain lines on stderr: one for each stage, epoch and unit, none for each batch.

    Args:
        write: Prints one line.
    """

    def __init__(self, write: Callable[[str], None] = lambda line: typer.echo(line, err=True)) -> None:
        self._write = write
        self._pace = Pace()
        self._heading = ""

    def report(self, event: Event) -> None:
        """Print a line, if the event is worth one."""
        self._pace.note(event)
        if event.kind == "stage" and heading_of(event) != self._heading:
            self._heading = heading_of(event)
            self._write(self._heading)
        if event.kind == "epoch":
            self._write(f"  {fold_of(event)}{describe_epoch(event, self._pace)}")
        elif event.kind == "stage":
            if event.epoch is None:
                self._write(f"  {event.text}")
        elif event.kind in ("unit", "failure", "skip", "notice"):
            self._write(describe_end(event))
        elif event.kind == "plan":
            self._write(event.text)


def heading_of(event: Event) -> str:
    """Name what a stage belongs to: method, task and protocol."""
    return " · ".join(word for word in (event.method, event.task, event.protocol) if word)


def fold_of(event: Event) -> str:
    """Name the fold and seed of an event of one unit, ready to stand before more words; else nothing."""
    return "" if event.fold is None else f"fold {event.fold} · seed {event.seed} · "


def describe_epoch(event: Event, pace: Pace) -> str:
    """Describe an `epoch` event: its number, validation loss, speed and time left."""
    words = [f"epoch {event.epoch}/{event.total}"]
    if event.value is not None:
        words.append(f"validation loss {event.value:.4g}")
    if pace.rate:
        words.append(pace.rate)
    words.append(f"{describe_seconds(pace.left(event))} left")
    return ", ".join(words)


def describe_end(event: Event) -> str:
    """Describe what ended: a unit, a failure, something skipped, or a notice."""
    prefix = {"failure": "failed: ", "skip": "skipped: "}.get(event.kind, "")
    return prefix + event.text


def describe_seconds(seconds: float) -> str:
    """Write a duration: `8 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
