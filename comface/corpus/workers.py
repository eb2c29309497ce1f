"""Processes that share out shards and stop at once: when one fails, when they are told to, with their parent.

A shard may be left at any moment, so nobody waits for one to be finished: whoever stops ends the others.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from comface_bench.core.errors import UnitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    Report = Callable[[int], None]
    Fill = Callable[[int, Report], None]

_GRACE_S = 5.0  # for a process that was told to end, before it is killed


def fill_in_processes(fill: Fill, shards: Sequence[int], workers: int, report: Report) -> None:
    """Call `fill(shard, report)` for each shard, in processes.

    Args:
        fill: Can be pickled; each process has a copy of its own.
        shards: Which.
        workers: Most processes.
        report: Called here with what each call reports, as it comes in.

    Raises:
        Exception: Whatever a call raised; the other processes have been ended.
        UnitError: A process died.
    """
    context = multiprocessing.get_context("spawn")
    team: dict[Connection, SpawnProcess] = {}
    rest = iter(shards)
    try:
        with _one_thread_each(), _without_interrupts():
            for _ in range(min(workers, len(shards))):
                pipe, theirs = context.Pipe()
                # Daemons: however this process leaves, Python ends them.
                process = context.Process(target=_work, args=(theirs, fill), daemon=True)
                process.start()
                theirs.close()  # or this end would never hear that the other one is gone
                team[pipe] = process
        busy = [pipe for pipe in team if _give(pipe, rest)]
        while busy:
            for pipe in _ready(busy):
                told = _hear(pipe, team[pipe])
                if isinstance(told, BaseException):
                    raise told
                if told is not None:
                    report(told)
                elif not _give(pipe, rest):
                    busy.remove(pipe)
    finally:
        _end(list(team.values()))


def _ready(pipes: list[Connection]) -> list[Connection]:
    """Wait until something has come through a pipe, or its other end is gone; return these pipes."""
    ready = set(wait(pipes))
    return [pipe for pipe in pipes if pipe in ready]


def _give(pipe: Connection, rest: Iterator[int]) -> bool:
    """Give a process its next shard, or say that there is none."""
    shard = next(rest, None)
    with contextlib.suppress(OSError):  # a process that has died is noticed where its answer is waited for
        pipe.send(shard)
    return shard is not None


def _hear(pipe: Connection, process: SpawnProcess) -> int | Exception | None:
    try:
        told: int | Exception | None = pipe.recv()
    except (EOFError, OSError):
        process.join(_GRACE_S)
        code = process.exitcode or 0
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        return UnitError(
            f"a process that makes shards {how}",
            "If memory ran out, give fewer --workers; the same line goes on where it stopped.",
        )
    return told


def _end(processes: Sequence[SpawnProcess]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(_GRACE_S)
        if process.is_alive():
            process.kill()
            process.join()


def _work(pipe: Connection, fill: Fill) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):  # the parent is gone: `_end_with_parent` is at work
        while (shard := pipe.recv()) is not None:
            try:
                fill(shard, pipe.send)
            except Exception as error:
                pipe.send(_portable(error))
                return
            pipe.send(None)


def _end_with_parent() -> None:
    """Wait for the parent's death, even by SIGKILL, and leave then, even amid a record."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _portable(error: Exception) -> Exception:
    """Return an error as it can be sent, with its traceback for `--debug`."""
    error.add_note(f"In a process of its own:\n{traceback.format_exc()}")
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (made in the same line)
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Hold SIGINT back, and from processes that start meanwhile for good: a terminal sends it to all."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Give processes that start meanwhile one thread: several in each would fight over the same cores."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
