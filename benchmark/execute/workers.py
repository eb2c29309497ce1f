"""Local workers: processes that each stay and run batch after batch, on a device or a share of the cores.

A worker that dies or falls silent fails the units of its batch that weren't done, and is replaced; an error
in a batch fails that batch only. Whatever ends this process ends its workers: they are told to stop when it
leaves by an exception, Ctrl-C among them, and end by themselves when it is killed. What they had begun goes
on from its last epoch when the same sweep is run again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import itertools
import math
import multiprocessing
import os
import pickle
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from comface_bench.core.errors import BenchError, StorageError
from comface_bench.core.events import Event, Report
from comface_bench.core.processes import CoreShare, blocked, describe_end, divide_cores, end_with_parent
from comface_bench.execute.sweep import Batch, BatchResult, run_batch

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

STALL_S = 1800.0
"""Seconds without any event after which a worker counts as hanging; longer than an honest step ever takes."""
RUN_MODULES = ("torch", "comface_bench.execute.run")
"""What running units imports: a worker imports it before its first batch."""

_START_S = 600.0  # for imports, perhaps from a slow disk, where less silence is allowed
_GRACE_S = 10.0  # from SIGTERM to SIGKILL
_TURN_S = 1.0  # longest wait for messages
_TELL_S = 0.2  # least time between two progress events of a worker
_STARTS = 3

Run = Callable[[Batch, Report], BatchResult]


@dataclass(frozen=True)
class News:
    """What a worker does; with neither event nor result, it begins a batch.

    Attributes:
        worker: Number of the worker, from 0; the one that replaces it has the same.
        batch: What it runs.
        event: What happened in it. Progress events may be united, their amounts added up.
        result: What became of it, at its end.
    """

    worker: int
    batch: Batch
    event: Event | None = None
    result: BatchResult | None = None


def run_batches(
    batches: Sequence[Batch],
    *,
    jobs: int,
    devices: Sequence[str] = (),
    report: Callable[[News], None],
    stall_s: float = STALL_S,
    run: Run = run_batch,
    modules: Sequence[str] = RUN_MODULES,
) -> list[BatchResult]:
    """Run batches in worker processes.

    Args:
        batches: In the order in which they should be begun; one of the backbone that a worker has just run is
            preferred, one that another worker runs is put off.
        jobs: Number of workers, at least 1. They share the cores that this process may use.
        devices: Devices of the workers in turn, such as `cuda:0`; without any, batches run where their
            request says.
        report: Called in this process with everything that happens.
        stall_s: Seconds without an event after which a worker is killed.
        run: Runs a batch in a worker; a function of a module, or picklable.
        modules: Modules that a worker imports before its first batch.

    Returns:
        A result for each batch, in their order.

    Raises:
        StorageError: There is no room for results; the other workers were stopped.
        BenchError: Three workers in a row couldn't start.
        KeyboardInterrupt: Ctrl-C; the workers were stopped.
    """
    with tempfile.TemporaryDirectory(prefix="comface-workers-") as logs:
        pool = _Pool(batches, report, stall_s, _Start(pickle.dumps(run), tuple(modules), Path(logs)))
        try:
            pool.run(_places(min(jobs, len(batches)), devices))
        finally:
            pool.dismiss()
    return [pool.results[batch.key] for batch in batches]


@dataclass(frozen=True)
class _Place:
    """Where a worker computes; the place has a number, and keeps it when its worker is replaced."""

    number: int
    share: CoreShare
    device: str | None


@dataclass(frozen=True)
class _Start:
    """What every worker is started with: the pickled function, modules to import, the folder of outputs."""

    run: bytes
    modules: tuple[str, ...]
    logs: Path


class _Worker:
    """A worker as this process sees it.

    Attributes:
        place: Where it computes.
        batch: What it runs, if anything.
        backbone: What it ran last.
        ready: Whether it has started.
        silent: Seconds since it last said anything; only while this process was awake itself.
    """

    def __init__(self, place: _Place, start: _Start) -> None:
        self.place = place
        self.batch: Batch | None = None
        self.backbone: tuple[str, ...] | None = None
        self._done: list[str] = []
        self._failed: dict[str, str] = {}
        self.ready, self.silent = False, 0.0
        self._log = start.logs / f"{place.number}.txt"
        self._log.write_bytes(b"")
        context = multiprocessing.get_context("spawn")
        self.pipe, far_end = context.Pipe()
        # No daemon: what a method does in it, such as starting processes, is what it may do in a run.
        self.process = context.Process(target=_work, args=(far_end, start, self._log))
        # A stop that comes now waits, or a process might be left that nobody knows of.
        with blocked(signal.SIGINT, signal.SIGTERM), place.share.held():
            self.process.start()
        far_end.close()  # or this end would never see the other one close

    def begin(self, batch: Batch) -> None:
        """Send the worker a batch."""
        self.batch, self.backbone = batch, tuple(batch.request.methods)
        self._done, self._failed = [], {}
        request = batch.request
        if self.place.device is not None:
            request = dataclasses.replace(request, device=self.place.device)
        with contextlib.suppress(OSError):  # It has died, which is noticed where its answer is waited for.
            self.pipe.send(dataclasses.replace(batch, request=request))

    def note(self, event: Event) -> None:
        """Keep what an event says of the end of a unit."""
        if event.key is not None and event.kind == "unit":
            self._done.append(event.key)
        elif event.key is not None and event.kind == "failure":
            self._failed[event.key] = event.text

    def broken_batch(self, reason: str) -> BatchResult:
        """Return what became of the batch, whose units that had no end yet fail."""
        assert self.batch is not None
        for key in self.batch.units:
            if key not in self._done:
                self._failed.setdefault(key, reason)
        return BatchResult(tuple(self._done), tuple(self._failed.items()))

    def end(self) -> str:
        """Make sure that the process has ended, and say how it did."""
        self.process.join(_GRACE_S)  # What closes its pipe is about to end.
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


class _Pool:
    """The workers of a sweep, and the batches that wait; arguments as for `run_batches`.

    Attributes:
        results: Of the batches that have ended, by key.
    """

    def __init__(
        self, batches: Sequence[Batch], report: Callable[[News], None], stall_s: float, start: _Start
    ) -> None:
        self._waiting = list(batches)
        self._report, self._stall_s, self._start = report, stall_s, start
        self._team: list[_Worker] = []
        self._broken_starts = 0
        self.results: dict[str, BatchResult] = {}

    def run(self, places: Sequence[_Place]) -> None:
        """Run all batches."""
        for place in places:
            self._team.append(_Worker(place, self._start))
        while self._waiting or any(worker.batch for worker in self._team):
            self._turn()

    def dismiss(self) -> None:
        """Stop all workers: by SIGTERM, which they take as Ctrl-C, and by SIGKILL those that don't answer."""
        try:
            for worker in self._team:
                worker.process.terminate()
            end = time.monotonic() + _GRACE_S
            for worker in self._team:
                worker.process.join(max(0.0, end - time.monotonic()))
        finally:  # A second Ctrl-C doesn't wait.
            for worker in self._team:
                worker.kill()

    def _turn(self) -> None:
        """Wait for messages and ends of processes, and answer them."""
        began = time.monotonic()
        wait([handle for worker in self._team for handle in (worker.pipe, worker.process.sentinel)], _TURN_S)
        # Where this process stood still itself, as all do on a laptop that sleeps, nobody fell silent.
        waited = min(time.monotonic() - began, 2 * _TURN_S)
        for worker in list(self._team):
            worker.silent += waited
            limit = self._stall_s if worker.ready else max(self._stall_s, _START_S)
            if not self._listen(worker):
                self._replace(worker, worker.end())
            elif worker.silent > limit:
                worker.kill()
                silence = f"gave no sign of life for {limit / 60:.3g} min"
                self._replace(worker, f"its worker {silence} and was ended")
            elif worker.ready and worker.batch is None:
                self._employ(worker)

    def _listen(self, worker: _Worker) -> bool:
        """Take all that a worker has said; return whether it lives."""
        # Asked first: what it said before its end is heard. A process that it started may hold its pipe open.
        lives = worker.process.is_alive()
        while True:
            try:
                if not worker.pipe.poll():
                    return lives
                message = worker.pipe.recv()
            except (EOFError, OSError):
                return False
            worker.silent = 0.0
            self._take(worker, message)

    def _take(self, worker: _Worker, message: Event | BatchResult | StorageError | str | None) -> None:
        """Take a message; None says that the worker has started, a text why its batch failed."""
        if isinstance(message, StorageError):
            raise message  # Other batches wouldn't find room either.
        if message is None:
            worker.ready, self._broken_starts = True, 0
        elif worker.batch is None:
            pass  # A thread that a batch left behind gives a warning.
        elif isinstance(message, Event):
            worker.note(message)
            self._report(News(worker.place.number, worker.batch, event=message))
        else:
            self._end_batch(
                worker, message if isinstance(message, BatchResult) else worker.broken_batch(message)
            )

    def _employ(self, worker: _Worker) -> None:
        """Give an idle worker its next batch, or let it go: it holds memory."""
        if not self._waiting:
            worker.process.terminate()
            return
        busy = {other.backbone for other in self._team if other.batch is not None}

        def rank(batch: Batch) -> int:
            backbone = tuple(batch.request.methods)
            # Two workers on one backbone would wait for each other's features.
            return 0 if backbone == worker.backbone else 2 if backbone in busy else 1

        batch = min(self._waiting, key=rank)
        self._waiting.remove(batch)
        worker.begin(batch)
        self._report(News(worker.place.number, batch))

    def _end_batch(self, worker: _Worker, result: BatchResult) -> None:
        assert worker.batch is not None
        batch, worker.batch = worker.batch, None
        self.results[batch.key] = result
        self._report(News(worker.place.number, batch, result=result))

    def _replace(self, worker: _Worker, reason: str) -> None:
        """Fail the batch of a worker that has ended, and start another if there is work.

        Raises:
            BenchError: Too many in a row ended before they had started.
        """
        self._team.remove(worker)
        worker.pipe.close()
        if worker.batch is not None:
            self._end_batch(worker, worker.broken_batch(f"{reason}; the same command runs it again"))
        elif not worker.ready and self._waiting:
            self._broken_starts += 1
            if self._broken_starts == _STARTS:
                raise BenchError(
                    f"no worker could start, {_STARTS} times in a row: {reason}",
                    "See what this installation lacks: comface-bench doctor",
                )
        if self._waiting:
            self._team.append(_Worker(worker.place, self._start))


def _places(jobs: int, devices: Sequence[str]) -> list[_Place]:
    """Give so many workers a share of the cores each, and the devices in turn."""
    named = itertools.cycle(devices or [None])
    return [
        _Place(number, share, device)
        for number, (share, device) in enumerate(zip(divide_cores(jobs), named, strict=False))
    ]


def _work(pipe: Connection, start: _Start, log: Path) -> None:
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


def _serve(pipe: Connection, start: _Start) -> None:
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
            answer = error.message if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
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
