"""The live display of a run on a terminal."""

from __future__ import annotations

from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from comface_bench.cli.progress import Pace, describe_end, describe_epoch, fold_of, heading_of
from comface_bench.core.events import Event
from comface_bench.execute.plan import Plan


class LiveDisplay:
    """Two bars on stderr: units of the plan, and epochs or images of what runs now; a context manager.

    Args:
        plan: What runs; tells the number of units, and of epochs before the first one ends.
        console: Where to draw; stderr by default.
    """

    def __init__(self, plan: Plan, console: Console | None = None) -> None:
        self._epochs = {cell.protocol.name: getattr(cell.protocol, "epochs", 0) for cell in plan.cells}
        self._pace = Pace()
        self._seen = 0
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}", markup=False),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=console or Console(stderr=True),
            transient=True,
        )
        self._units_total = sum(len(cell.units) for cell in plan.cells)
        self._units_done = self._units_total - sum(len(cell.missing) for cell in plan.cells)
        self._units = self._progress.add_task(
            "units", total=self._units_total, completed=self._units_done, count="", rate=""
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
            self._print(f"{fold_of(event)}{describe_epoch(event, self._pace)}")
            self._progress.update(self._now, completed=event.epoch or 0)
        elif event.kind in ("unit", "failure", "skip", "notice"):
            self._print(describe_end(event))
        if event.kind in ("unit", "failure"):
            self._units_done += 1
        count = f"{self._units_done}/{self._units_total}"
        self._progress.update(self._units, completed=self._units_done, count=count)

    def _begin(self, event: Event) -> None:
        self._seen = 0
        heading = heading_of(event)
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
        place = f"{fold_of(event)}epochs"
        if self._progress.tasks[1].description != place:
            self._progress.reset(self._now, description=place, total=epochs, completed=event.epoch - 1)
        self._progress.update(self._now, count=f"{event.epoch}/{epochs}", rate="")

    def _advance(self, event: Event) -> None:
        self._seen += event.amount
        # The bar of an epoch moves within it; a stage without epochs counts its own images.
        share = self._seen / event.total if event.total else 0.0
        completed = self._seen if event.epoch is None else event.epoch - 1 + share
        self._progress.update(self._now, completed=completed, rate=self._pace.rate)

    def _print(self, line: str) -> None:
        self._progress.console.print(line, markup=False, highlight=False)
