"""Progress of a run in Python: a bar of its units, in a notebook or on a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self

from comface_bench.core.events import Event, Report, ignore

if TYPE_CHECKING:
    from comface_bench.execute.plan import Plan

Progress = bool | Callable[[int, int], None]
"""Whether a bar is shown, or what is called with the number of units that ended and of all."""


@contextlib.contextmanager
def watch_units(plan: Plan, progress: Progress) -> Iterator[Report]:
    """Give the report function that shows how far a plan is.

    A bar is shown in a notebook or on a terminal, where somebody looks; in the log of a job there is none.

    Args:
        plan: What runs.
        progress: As `run` takes it.
    """
    missing = sum(len(cell.missing) for cell in plan.cells)
    total = sum(len(cell.units) for cell in plan.cells)
    if callable(progress):
        counted = _Count(progress, total - missing, total)
        yield counted.report
    elif progress and missing and ("ipykernel" in sys.modules or sys.stderr.isatty()):
        with UnitBar(total - missing, total) as bar:
            yield bar.report
    else:
        yield ignore


class _Count:
    def __init__(self, tell: Callable[[int, int], None], done: int, total: int) -> None:
        self._tell, self._done, self._total = tell, done, total
        tell(done, total)

    def report(self, event: Event) -> None:
        if event.kind in ("unit", "failure"):
            self._done = min(self._done + 1, self._total)
            self._tell(self._done, self._total)


class UnitBar:
    """A bar of units by tqdm, with what is being done beside it; a context manager.

    Args:
        done: Units that are finished.
        total: All units.
        file: Where to draw; by default the notebook, or stderr.
    """

    def __init__(self, done: int, total: int, file: Any = None) -> None:
        from tqdm.auto import tqdm

        # No unit may end for minutes: the text beside the bar is what moves.
        self._bar = tqdm(total=total, initial=done, unit="unit", miniters=0, mininterval=0.2, file=file)
        self._seen = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def report(self, event: Event) -> None:
        """Show an event."""
        if event.kind == "stage":
            self._seen = 0
            self._bar.set_description_str(" · ".join(filter(None, (event.method, event.task))), refresh=False)
            self._say(event.text)
        elif event.kind == "progress" and event.total:
            self._seen += event.amount
            self._say(f"{event.text} {self._seen}/{event.total}")
        elif event.kind == "epoch":
            # Heads of all folds train together: such an epoch is of no fold.
            fold = "" if event.fold is None else f"fold {event.fold}, "
            self._say(f"{fold}epoch {event.epoch}/{event.total}")
        elif event.kind in ("unit", "failure"):
            self._bar.update(1)

    def _say(self, text: str) -> None:
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(0)
