"""Local workers: processes that share a machine's devices or cores, and the batches of a sweep.

A worker that dies or falls silent fails the unit that it ran, or all that it ran together, and is replaced;
an error in a batch fails that batch only. Whatever ends this process ends its workers: they are told to stop
when it leaves by an exception, Ctrl-C among them, and end by themselves when it is killed. What they had
begun goes on from its last epoch when the same sweep is run again.
"""

from __future__ import annotations

import itertools
import pickle
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

from comface_bench.core.errors import BenchError, StorageError
from comface_bench.core.events import Event
from comface_bench.core.processes import blocked, divide_cores
from comface_bench.execute.sweep import Batch, BatchResult, run_batch
from comface_bench.execute.worker import GRACE_S, Message, Place, Run, Start, Worker

STALL_S = 1800.0
"""Seconds without any event after which a worker counts as hanging; longer than an honest step ever takes."""
RUN_MODULES = ("torch", "comface_bench.execute.run")
"""What running units imports: a worker imports it before its first batch."""

_START_S = 600.0  # for imports, perhaps from a slow disk, where less silence is allowed
_TURN_S = 1.0  # longest wait for messages
_STARTS = 3


@dataclass(frozen=True)
class News:
    """What a worker does; with neither event nor result, it begins a batch.

    Attributes:
        worker: Number of the worker, from 0; the one that replaces it has the same.
        batch: What it runs.
        event: What happened in it. Progress events may be united, their amounts added up.
        result: What became of it, at its end.
        rest: Those of its units that come again, at the end of a batch whose worker died in another one.
    """

    worker: int
    batch: Batch
    event: Event | None = None
    result: BatchResult | None = None
    rest: Batch | None = None


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
        pool = _Pool(batches, report, stall_s, Start(pickle.dumps(run), tuple(modules), Path(logs)))
        try:
            pool.run(_places(min(jobs, len(batches)), devices))
        finally:
            pool.dismiss()
    return [pool.results[batch.key] for batch in batches]


class _Pool:
    """The workers of a sweep, and the batches that wait; arguments as for `run_batches`.

    Attributes:
        results: Of the batches that have ended, by key.
    """

    def __init__(
        self, batches: Sequence[Batch], report: Callable[[News], None], stall_s: float, start: Start
    ) -> None:
        self._waiting = list(batches)
        self._report, self._stall_s, self._start = report, stall_s, start
        self._team: list[Worker] = []
        self._broken_starts = 0
        self._whole: dict[str, str] = {}  # key of what is left of a batch → the batch's
        self.results: dict[str, BatchResult] = {}

    def run(self, places: Sequence[Place]) -> None:
        """Run all batches."""
        for place in places:
            self._hire(place)
        while self._waiting or any(worker.batch for worker in self._team):
            self._turn()

    def _hire(self, place: Place) -> None:
        # A stop that comes now waits, or a process might be left that nobody knows of.
        with blocked(signal.SIGINT, signal.SIGTERM):
            self._team.append(Worker(place, self._start))

    def dismiss(self) -> None:
        """Stop all workers: by SIGTERM, which they take as Ctrl-C, and by SIGKILL those that don't answer."""
        try:
            for worker in self._team:
                worker.process.terminate()
            end = time.monotonic() + GRACE_S
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
                silence = f"its worker gave no sign of life for {limit / 60:.3g} min"
                self._replace(worker, f"{silence} and was ended (--timeout allows more)")
            elif worker.ready and worker.batch is None:
                self._employ(worker)

    def _listen(self, worker: Worker) -> bool:
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

    def _take(self, worker: Worker, message: Message) -> None:
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
                worker, message if isinstance(message, BatchResult) else worker.fail_batch(message)
            )

    def _employ(self, worker: Worker) -> None:
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

    def _end_batch(self, worker: Worker, result: BatchResult, rest: Batch | None = None) -> None:
        assert worker.batch is not None
        batch, worker.batch = worker.batch, None
        whole = self._whole.get(batch.key, batch.key)
        before = self.results.get(whole, BatchResult())
        self.results[whole] = BatchResult(
            before.done + result.done, before.failed + result.failed, before.busy or result.busy
        )
        if rest is not None:
            self._whole[rest.key] = whole
            self._waiting.insert(0, rest)
        self._report(News(worker.place.number, batch, result=result, rest=rest))

    def _replace(self, worker: Worker, reason: str) -> None:
        """Fail what a worker ran that has ended, and start another if there is work.

        Raises:
            BenchError: Too many in a row ended before they had started.
        """
        self._team.remove(worker)
        worker.pipe.close()
        if worker.batch is not None:
            self._end_batch(worker, *worker.fail_unit(f"{reason}; the same command runs it again"))
        elif not worker.ready and self._waiting:
            self._broken_starts += 1
            if self._broken_starts == _STARTS:
                raise BenchError(
                    f"no worker could start, {_STARTS} times in a row: {reason}",
                    "See what this installation lacks: comface-bench doctor",
                )
        if self._waiting:
            self._hire(worker.place)


def _places(jobs: int, devices: Sequence[str]) -> list[Place]:
    """Give so many workers a share of the cores each, and the devices in turn."""
    named = itertools.cycle(devices or [None])
    return [
        Place(number, share, device)
        for number, (share, device) in enumerate(zip(divide_cores(jobs), named, strict=False))
    ]
