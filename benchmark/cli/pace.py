"""How fast work goes and how long it will still take: counted items, and units that a process runs.

A run and each worker of a sweep have one estimate, `RunPace`; the log of a pre-training has its `Pace` alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comface_bench.core.events import Event


class Pace:
    """Speed of counted items, and time left by the share of the work that is done.

    Args:
        clock: Gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: tuple[float, float] | None = None
        self._unit = ""
        self._count = 0
        self._stage_began = self._counted_at = clock()

    @property
    def began(self) -> bool:
        """True once the time left is being measured."""
        return self._began is not None

    def begin(self, position: float) -> None:
        """Begin to measure the time left, at a position of the work (epochs, or a share of it)."""
        self.begin_at(self._clock(), position)

    def begin_at(self, began: float, position: float) -> None:
        """Measure the time left from a time on, at which the work was at a position."""
        self._began = (began, position)

    def left(self, position: float, end: float) -> float | None:
        """Return the seconds from a position to the end, or None before any progress."""
        if self._began is None or position <= self._began[1]:
            return None
        began, first = self._began
        return (self._clock() - began) / (position - first) * (end - position)

    def begin_stage(self, unit: str) -> None:
        """Begin to count items of a unit, such as `images`."""
        self._unit, self._count = unit, 0
        self._stage_began = self._counted_at = self._clock()

    def count(self, amount: int) -> None:
        """Count further items of the stage."""
        self._count += amount
        self._counted_at = self._clock()

    @property
    def per_second(self) -> float:
        """Items a second within the stage; 0 before the first one."""
        # Up to the last item: the validation that follows an epoch's pairs isn't theirs.
        seconds = self._counted_at - self._stage_began
        return self._count / seconds if seconds > 0 else 0.0

    @property
    def rate(self) -> str:
        """Speed within the stage, such as `412 images/s`; empty before the first item."""
        return f"{self.per_second:.0f} {self._unit}/s" if self.per_second else ""


class RunPace:
    """Speed of units that one process runs, and the seconds until the last of them ends, from its events.

    What runs at the moment is a call of the protocol's function: of a single unit, or of all that share
    features. How long it still takes is told by the share that is done, in epochs and, within one, in pairs
    or images; before there is a share, by `past`. What waits takes as long as `past` says of it, else as long
    as units of this run took, else as long as those of the present call will have taken.

    Args:
        units: Keys of those that are to run.
        past: Key → seconds that it may take by what ran before; none where nothing like it did.
        clock: Gives seconds.
    """

    def __init__(
        self,
        units: Collection[str] = (),
        past: Mapping[str, float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._waiting = set(units)
        self._past = past or {}
        self._stage = Pace(clock)
        self._pairs = False
        self._heard_at = self._idle_since = clock()
        self._call: _Call | None = None
        self._seconds, self._ended = 0.0, 0

    def note(self, event: Event) -> None:
        """Take an event into account."""
        if event.kind == "stage":
            # Fine-tuning runs fold by fold and counts pairs; heads of all folds train together, on images.
            self._pairs = event.fold is not None
            self._stage.begin_stage("pairs" if self._pairs else "images")
        elif event.kind == "progress" and event.amount:
            self._stage.count(event.amount)
        if event.units and event.kind in ("stage", "progress", "epoch"):
            if self._call is None or not self._call.is_of(event):
                self._end_call()
                self._call = _Call(event, self._heard_at, self._clock)
            self._call.note(event)
        elif event.kind in ("unit", "failure"):
            self._waiting.discard(event.key or "")
            if self._call is not None:
                self._call.ended += 1
                if self._call.ended >= self._call.units:
                    self._end_call()
        self._heard_at = self._clock()

    def _end_call(self) -> None:
        if self._call is not None and self._call.ended:
            self._seconds += self._call.seconds
            self._ended += self._call.ended
        self._call, self._idle_since = None, self._clock()

    @property
    def rate(self) -> str:
        """Speed within the stage, such as `412 images/s`; empty before the first item."""
        return self._stage.rate

    @property
    def images_per_second(self) -> float:
        """Images a second within the stage; a pair has two."""
        return self._stage.per_second * (2 if self._pairs else 1)

    def left(self) -> float | None:
        """Return the seconds until the last unit ends; None as long as that can't be said."""
        call, waiting, running = self._call, self._waiting, 0
        if call is not None:
            running = call.units - call.ended
            waiting = waiting - {call.key}
        known = [self._past[key] for key in waiting if key in self._past]
        usual = self._seconds / self._ended if self._ended else None
        now: float | None = 0.0
        if call is not None:
            now = call.left()
            if now is not None and usual is None:
                usual = (call.seconds + now) / call.units
            if now is None:
                each = self._past.get(call.key, sum(known) / len(known) if known else usual)
                now = None if each is None else max(0.0, running * each - call.seconds)
        # Of a call of several units nobody says which they are.
        count = len(waiting) if call is None or call.key else max(0, len(waiting) - running)
        if now is None or not count:
            return now
        if len(known) < len(waiting):
            if usual is None and not known:
                return None
            each = sum(known) / len(known) if usual is None else usual
            known += [each] * (len(waiting) - len(known))
        left = now + count * sum(known) / len(known)
        # What begins next has begun: images are read, a network is built.
        return left if call is not None else max(0.0, left - (self._clock() - self._idle_since))


class _Call:
    """A call of a protocol's function.

    Args:
        event: Its first.
        began: When it began.
        clock: Gives seconds.

    Attributes:
        units: How many it has.
        ended: How many of them have ended.
        key: Of its unit, where it has one alone; else empty.
    """

    def __init__(self, event: Event, began: float, clock: Callable[[], float]) -> None:
        self.units, self.ended, self.key = event.units, 0, event.key or ""
        self._names = (event.method, event.task, event.protocol, event.key)
        self._clock, self._began = clock, began
        self._pace = Pace(clock)
        self._pace.begin_at(began, max(0, (event.epoch or 0) - 1))
        self._position, self._end = 0.0, 0.0
        self._seen, self._stage, self._stage_began = 0, "", began

    def is_of(self, event: Event) -> bool:
        """Return whether an event is of this call."""
        return self._names == (event.method, event.task, event.protocol, event.key)

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return self._clock() - self._began

    def note(self, event: Event) -> None:
        """Take an event of it into account."""
        if event.kind == "stage":
            self._seen, self._stage_began = 0, self._clock()
            if event.epoch is not None and not self._end:
                # What came before the first epoch comes once.
                self._pace.begin_at(self._stage_began, event.epoch - 1)
        elif event.kind == "epoch":
            self._position, self._end = event.epoch or 0, event.total
        elif event.amount and event.total:
            self._seen += event.amount
            share = self._seen / event.total
            if event.epoch is not None and event.epochs:
                self._position, self._end = event.epoch - 1 + share, event.epochs
            elif not event.epochs:
                if event.text != self._stage:
                    self._stage = event.text
                    self._pace.begin_at(self._stage_began, 0)
                self._position, self._end = share, 1

    def left(self) -> float | None:
        """Return the seconds until its end by the share that is done; None before there is one."""
        return self._pace.left(min(self._position, self._end), self._end) if self._end else None


def format_seconds(seconds: float) -> str:
    """Write a duration: `8 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
