"""A worker: a process that stays and runs batch after batch, and how its parent speaks with it.

It takes batches and sends events and results. SIGTERM tells it to stop, which it does as after Ctrl-C; Ctrl-C
itself, which a terminal sends to all processes, is the parent's business. It ends when the parent has.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import math
import multiprocessing
import os
import pickle
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from comface_bench.core.errors import StorageError, describe_error
from comface_bench.core.events import Event, Report
from comface_bench.core.processes import CoreShare, describe_end, end_with_parent
from comface_bench.execute.sweep import Batch, BatchResult

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

GRACE_S = 10.0
"""Seconds from SIGTERM to SIGKILL."""

_TELL_S = 0.2  # least time between two progress events

Run = Callable[[Batch, Report], BatchResult]
Message = Event | BatchResult | StorageError | str | None
"""What a worker sends: None when it has started, a text where a batch failed as a whole."""


@dataclass(frozen=True)
class Place:
    """Where a worker computes; the place has a number, and keeps it when its worker is replaced."""

    number: int
    share: CoreShare
    device: str | None


@dataclass(frozen=True)
class Start:
    """What every worker is started with: the pickled function, modules to import, the folder of outputs."""

    run: bytes
    modules: tuple[str, ...]
    logs: Path


class Worker:
    """A worker as this process sees it; made with SIGINT and SIGTERM blocked, as its process needs them.

    Attributes:
        place: Where it computes.
        batch: What it runs, if anything.
        backbone: What it ran last.
        ready: Whether it has started.
        silent: Seconds since it last said anything; only while this process was awake itself.
    """

    def __init__(self, place: Place, start: Start) -> None:
        self.place = place
        self.batch: Batch | None = None
        self.backbone: tuple[str, ...] | None = None
        self._done: list[str] = []
        self._failed: dict[str, str] = {}
        self._unit: str | None = None
        self.ready, self.silent = False, 0.0
        self._log = start.logs / f"{place.number}.txt"
        self._log.write_bytes(b"")
        context = multiprocessing.get_context("spawn")
        self.pipe, far_end = context.Pipe()
        # No daemon: what a method does in it, such as starting processes, is what it may do in a run.
        self.process = context.Process(target=_work, args=(far_end, start, self._log))
        with place.share.held():
            self.process.start()
        far_end.close()  # or this end would never see the other one close

    def begin(self, batch: Batch) -> None:
        """Send the worker a batch."""
        self.batch, self.backbone = batch, tuple(batch.request.methods)
        self._done, self._failed, self._unit = [], {}, None
        request = batch.request
        if self.place.device is not None:
            request = dataclasses.replace(request, device=self.place.device)
        with contextlib.suppress(OSError):  # It has died, which is noticed where its answer is waited for.
            self.pipe.send(dataclasses.replace(batch, request=request))

    def note(self, event: Event) -> None:
        """Keep what an event says of units."""
        if event.key is None:
            return
        if event.kind == "unit":
            self._done.append(event.key)
        elif event.kind == "failure":
            self._failed[event.key] = event.text
        self._unit = event.key if event.kind not in ("unit", "failure") else None

    def fail_batch(self, reason: str) -> BatchResult:
        """Return what became of the batch, whose units that had no end yet fail."""
        assert self.batch is not None
        return self._fail([key for key in self.batch.units if key not in self._done], reason)

    def fail_unit(self, reason: str) -> tuple[BatchResult, Batch | None]:
        """Return what became of the batch, whose present unit fails, and those of its units that are left.

        Units that run together fail together.
        """
        assert self.batch is not None
        result = self.fail_batch(reason) if self._unit is None else self._fail([self._unit], reason)
        left = self.batch.without({*result.done, *dict(result.failed)})
        return result, left if left.units else None

    def _fail(self, keys: Iterable[str], reason: str) -> BatchResult:
        for key in keys:
            self._failed.setdefault(key, reason)
        return BatchResult(tuple(self._done), tuple(self._failed.items()))

    def end(self) -> str:
        """Make sure that the process has ended, and say how it did."""
        self.process.join(GRACE_S)  # What closes its pipe is about to end.
        if self.process.is_alive():
            self.kill()
            return "its worker fell silent for good and was ended"
        how = describe_end(self.process)
        cause = ", most often because memory ran out: fewer --jobs need less" * how.endswith("SIGKILL")
        return f"its worker {how}{cause}{self._last_line()}"

    def kill(self) -> None:
        """End the process, however it resists."""
        self.process.kill()
        self.process.join()

    def _last_line(self) -> str:
        """Return the last line that it wrote to stdout or stderr, ready to stand at the end of a sentence."""
        text = self._log.read_bytes()[-4000:].decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return f" (the last line that it wrote: {lines[-1][:300]})" if lines else ""


def _work(pipe: Connection, start: Start, log: Path) -> None:
    """Run batches, until SIGTERM; the function of a worker's process."""
    end_with_parent()
    # What libraries print would run into the parent's table, or its lines of JSON.
    with log.open("ab") as stream:
        for number in (1, 2):
            os.dup2(stream.fileno(), number)
    signal.signal(signal.SIGTERM, _interrupt)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    try:
        _serve(pipe, start)
    except KeyboardInterrupt:
        # What was under way is put in order; now the process may end as it was told to.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _serve(pipe: Connection, start: Start) -> None:
    run: Run = pickle.loads(start.run)  # noqa: S301 (made by the parent)
    for name in start.modules:
        importlib.import_module(name)
    teller = _Teller(pipe)
    warnings.showwarning = lambda message, *_, **__: teller.report(Event("notice", f"warning: {message}"))
    teller.send(None)
    while True:
        batch: Batch = pipe.recv()
        try:
            answer: object = run(batch, teller.report)
        except StorageError as error:
            answer = error
        except (Exception, SystemExit) as error:
            answer = describe_error(error)
        teller.send(answer)


class _Teller:
    """A worker's mouth: sends everything, but progress only now and then.

    Args:
        pipe: To the parent.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()
        self._held: Event | None = None
        self._told = -math.inf

    def report(self, event: Event) -> None:
        """Send an event. One of progress may wait for the next one of its stage, which counts for both."""
        with self._lock:
            held, self._held = self._held, None
            if event.kind == "progress" and held is not None and _stage(held) == _stage(event):
                event, held = dataclasses.replace(event, amount=held.amount + event.amount), None
            if held is not None:
                self._send(held)
            if event.kind == "progress" and time.monotonic() - self._told < _TELL_S:
                self._held = event
            else:
                self._send(event)

    def send(self, message: object) -> None:
        """Send what is no event."""
        with self._lock:
            self._send(message)

    def _send(self, message: object) -> None:
        try:
            self._pipe.send(message)
        except OSError:
            # The parent has gone, at this moment. As an error in a unit it would be taken for the unit's own.
            os._exit(1)
        self._told = time.monotonic()


def _stage(event: Event) -> tuple[object, ...]:
    """Return what progress events that belong together have in common."""
    return event.text, event.task, event.fold, event.seed, event.epoch, event.total
