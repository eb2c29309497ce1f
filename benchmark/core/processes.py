"""Processes that this one starts: on a share of the cores, deaf to Ctrl-C, never outliving it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path

LEAVING = threading.Event()
"""Set by who makes this process leave by SystemExit, as Slurm does on preemption: no plugin's doing."""


@contextlib.contextmanager
def blocked(*signals: signal.Signals) -> Iterator[None]:
    """Block signals, for processes that start meanwhile for good: a terminal sends Ctrl-C to all of them."""
    # Else it starts with the first process, and in doing so unblocks SIGINT and SIGTERM.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def limited_threads(count: int) -> Iterator[None]:
    """Limit processes that start meanwhile to so many threads each: more would compete for the same cores."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(count)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@dataclass(frozen=True)
class CoreShare:
    """A part of the cores.

    Attributes:
        cores: Numbers of the logical cores; none where a process can't choose.
        threads: Number of threads that suits them, at least 1.
    """

    cores: frozenset[int]
    threads: int

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Restrict this thread to the share, and for good the processes that it starts meanwhile."""
        with limited_threads(self.threads):
            if not self.cores:
                yield
                return
            before = os.sched_getaffinity(0)
            os.sched_setaffinity(0, self.cores)
            try:
                yield
            finally:
                os.sched_setaffinity(0, before)


def divide_cores(count: int) -> list[CoreShare]:
    """Divide the cores that this process may use; several get the same one if there are too few.

    Args:
        count: Number of shares.
    """
    if not hasattr(os, "sched_getaffinity"):  # macOS doesn't let processes choose.
        each = _threads((os.cpu_count() or 1) // max(1, count))
        return [CoreShare(frozenset(), each)] * count
    # The two threads of a physical core stand together: in two shares they would slow each other down.
    cores = sorted(os.sched_getaffinity(0), key=_physical_core)
    shares = []
    for number in range(count):
        share = cores[number * len(cores) // count : (number + 1) * len(cores) // count]
        share = share or [cores[number % len(cores)]]
        shares.append(CoreShare(frozenset(share), _threads(len({*map(_physical_core, share)}))))
    return shares


def _physical_core(logical: int) -> tuple[int, int]:
    """Return what tells a physical core from others: its package's number, and its own there."""
    folder = Path(f"/sys/devices/system/cpu/cpu{logical}/topology")
    try:
        package, core = ((folder / name).read_text() for name in ("physical_package_id", "core_id"))
        return int(package), int(core)
    except (OSError, ValueError):  # Some virtual machines don't say.
        return 0, logical


def _threads(cores: int) -> int:
    """Return a number of threads for physical cores, or fewer if the user has asked for that."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cores, int(asked)) if asked.isdecimal() and int(asked) else cores)


def end_with_parent() -> None:
    """Have this process exit at once when the one that started it has ended, be it by SIGKILL."""
    threading.Thread(target=_exit_after_parent, daemon=True).start()


def _exit_after_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def describe_end(process: BaseProcess) -> str:
    """Say how a process ended: `was ended by SIGKILL`, `ended with status 3`."""
    code = process.exitcode or 0
    if code >= 0:
        return f"ended with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # A real-time signal has no name.
        name = f"signal {-code}"
    return f"was ended by {name}"
