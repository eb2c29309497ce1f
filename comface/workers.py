"""A pool of processes that fill shards and stop at once: on a failure, on a signal, with their parent.

A shard may be left unfinished at any moment, so no process waits for another: the first to stop ends all.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import signal
import traceback
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from comface_bench.core.errors import UnitError
from comface_bench.core.processes import blocked, describe_end, end_with_parent, limited_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    Report = Callable[[int], None]
    Fill = Callable[[int, Report], None]


_GRACE_S = 5.0  # from SIGTERM to SIGKILL


def fill_shards_in_processes(fill: Fill, shards: Sequence[int], workers: int, report: Report) -> None:
    """Call `fill(shard, report)` for each shard, in processes.

    Args:
        fill: Picklable; each process has a copy of its own.
        shards: Numbers of the shards.
        workers: Largest number of processes.
        report: Called in this process with each number that a call reports.

    Raises:
        Exception: That of a call; the other processes have been ended.
        UnitError: A process died.
    """
    context = multiprocessing.get_context("spawn")
    team: dict[Connection, SpawnProcess] = {}
    rest = iter(shards)
    try:
        with limited_threads(1), blocked(signal.SIGINT):
            for _ in range(min(workers, len(shards))):
                pipe, far_end = context.Pipe()
                # Daemons: however this process leaves, Python ends them.
                process = context.Process(target=_run_worker, args=(far_end, fill), daemon=True)
                process.start()
                far_end.close()  # or this end would never see the other one close
                team[pipe] = process
        busy = [pipe for pipe in team if _send_shard(pipe, rest)]
        while busy:
            for pipe in _ready(busy):
                message = _receive(pipe, team[pipe])
                if isinstance(message, BaseException):
                    raise message
                if message is not None:
                    report(message)
                elif not _send_shard(pipe, rest):
                    busy.remove(pipe)
    finally:
        _terminate(list(team.values()))


def _ready(pipes: list[Connection]) -> list[Connection]:
    """Wait for a message or the end of a process; return the pipes concerned."""
    ready = set(wait(pipes))
    return [pipe for pipe in pipes if pipe in ready]


def _send_shard(pipe: Connection, rest: Iterator[int]) -> bool:
    """Send a process its next shard, or None after the last one."""
    shard = next(rest, None)
    with contextlib.suppress(OSError):  # a process that has died is noticed where its answer is waited for
        pipe.send(shard)
    return shard is not None


def _receive(pipe: Connection, process: SpawnProcess) -> int | Exception | None:
    try:
        message: int | Exception | None = pipe.recv()
    except (EOFError, OSError):
        process.join(_GRACE_S)
        return UnitError(
            f"a process that makes shards {describe_end(process)}",
            "If memory ran out, give fewer --workers; the same line goes on where it stopped.",
        )
    return message


def _terminate(processes: Sequence[SpawnProcess]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(_GRACE_S)
        if process.is_alive():
            process.kill()
            process.join()


def _run_worker(pipe: Connection, fill: Fill) -> None:
    end_with_parent()
    with contextlib.suppress(EOFError, OSError):  # the parent is gone, and so is this process in a moment
        while (shard := pipe.recv()) is not None:
            try:
                fill(shard, pipe.send)
            except Exception as error:
                pipe.send(_picklable(error))
                return
            pipe.send(None)


def _picklable(error: Exception) -> Exception:
    """Return an error in a form that can be pickled, with its traceback for `--debug`."""
    error.add_note(f"In a process of its own:\n{traceback.format_exc()}")
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (made in the same line)
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
