"""Local workers: real processes that run small functions, die, hang, and are stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from comface_bench.core.errors import BenchError, StorageError
from comface_bench.core.processes import CoreShare, divide_cores
from comface_bench.execute import workers
from comface_bench.execute.plan import Request, make_plan
from comface_bench.execute.run import run_plan
from comface_bench.execute.sweep import Batch, BatchResult, make_sweep
from comface_bench.execute.workers import News, run_batches
from comface_bench.results.store import ResultStore

RUNS = '''
import os, signal, sys, time, warnings
from pathlib import Path

from comface_bench.core.errors import StorageError, UsageError
from comface_bench.core.events import Event
from comface_bench.execute.sweep import BatchResult


def run(batch, report):
    """Do what the batch's title says, after its first unit."""
    folder, what = batch.request.results, batch.title
    (folder / f"{batch.key}.pid").write_text(str(os.getpid()))
    report(Event("stage", batch.request.device, total=100))
    if len(batch.units) > 1:
        report(Event("unit", "first", key=batch.units[0]))
        if what == "one" and batch.units[0].endswith("0"):
            report(Event("epoch", key=batch.units[1]))
            os._exit(4)
    if what == "exit":
        print("out of luck", file=sys.stderr)
        os._exit(3)
    elif what == "leave":
        sys.exit("no more")
    elif what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif what == "fail":
        raise UsageError("it can't be done")
    elif what == "term":
        os.kill(os.getpid(), signal.SIGTERM)
    elif what == "full":
        while not list(folder.glob("*.stuck")):
            time.sleep(0.01)
        raise StorageError("the disk is full", "make room")
    elif what == "noise":
        print("on stdout")
        warnings.warn("so dark")
    elif what == "progress":
        for _ in range(1000):
            report(Event("progress", "p", amount=1))
        report(Event("epoch", epoch=1))
    elif what == "cores":
        cores = sorted(os.sched_getaffinity(0))
        report(Event("notice", f"{cores} {os.environ['OMP_NUM_THREADS']}"))
        while len(list(folder.glob("batch*.pid"))) < 2:
            time.sleep(0.01)
    elif what.startswith("meet"):  # Until so many batches have begun.
        while len(list(folder.glob("batch*.pid"))) < int(what.split()[1]):
            time.sleep(0.01)
    elif what == "quiet":
        time.sleep(1.5)
    elif what == "slow":
        for _ in range(4):
            time.sleep(0.3)
            report(Event("progress", "p", amount=1))
    elif what in ("stuck", "deaf"):
        try:
            (folder / f"{batch.key}.stuck").touch()
            while True:  # A signal that comes just before one long sleep would wait for its end.
                time.sleep(0.05)
        except KeyboardInterrupt:
            (folder / f"{batch.key}.interrupted").touch()
            if what == "deaf":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                time.sleep(600)
            raise
    return BatchResult(batch.units)
'''

PARENT = """
import pathlib, sys
from comface_bench.execute import workers
import tiny_runs, make_batches

def sweep():
    workers.run_batches(make_batches.batches(pathlib.Path(sys.argv[1])), jobs=2, report=lambda news: None,
                        run=tiny_runs.run, modules=())

if __name__ == "__main__":
    sweep()
"""

BATCHES = """
from comface_bench.execute.plan import Request
from comface_bench.execute.sweep import Batch

def batches(folder, titles=("stuck",) * 3):
    return [
        Batch(Request(("m",), ("t",), results=folder), (f"k{n}",), (f"unit {n}",), title, None, f"b{n}")
        for n, title in enumerate(titles)
    ]
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of modules that spawned processes can import, too."""
    folder = tmp_path / "modules"
    folder.mkdir()
    for name, text in (("tiny_runs", RUNS), ("make_batches", BATCHES), ("parent", PARENT)):
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    for name in ("tiny_runs", "make_batches"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return folder


@pytest.fixture
def sweep(modules: Path, tmp_path: Path) -> Callable[..., Any]:
    """Run batches that do what their titles say, with `news`, where what is reported comes."""

    def run(*titles: str, units: int = 1, method: Callable[[int], str] = lambda n: "m", **facts: Any) -> Any:
        import tiny_runs  # type: ignore[import-not-found]

        batches = [
            Batch(
                request=Request((method(number),), ("t",), results=tmp_path),
                units=tuple(f"{number}.{unit}" for unit in range(units)),
                labels=tuple(f"unit {number}.{unit}" for unit in range(units)),
                title=title,
                seconds=None,
                key=f"batch{number}",
            )
            for number, title in enumerate(titles)
        ]
        wanted = {"jobs": 1, "modules": (), "report": run.news.append, **facts}
        return run_batches(batches, run=tiny_runs.run, **wanted)

    run.news: list[News] = []  # type: ignore[attr-defined]
    return run


def process_of(folder: Path, number: int) -> int:
    return int((folder / f"batch{number}.pid").read_text())


def alive(process: int) -> bool:
    """Return True for a process that runs; one that nobody has reaped doesn't."""
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, 0)
        return not Path("/proc/self").exists()
    return False


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_one_worker_stays_and_results_come_in_order(sweep: Any, tmp_path: Path) -> None:
    assert sweep("x", "y", "z") == [BatchResult((f"{number}.0",)) for number in range(3)]
    assert len({process_of(tmp_path, number) for number in range(3)}) == 1
    ends = [(news.batch.title, news.event is None, news.result is None) for news in sweep.news]
    assert ends == [(title, *end) for title in "xyz" for end in ((True, True), (False, True), (True, False))]
    assert not alive(process_of(tmp_path, 0))


def test_nothing_to_do_starts_nothing(sweep: Any) -> None:
    assert sweep() == []


def test_a_worker_that_dies_fails_what_it_ran_and_is_replaced(sweep: Any, tmp_path: Path) -> None:
    before, *died, after = sweep("x", "exit", "kill", "crash", "term", "y", units=2)
    assert before.failed == after.failed == ()
    reasons = (
        "its worker ended with status 3 (the last line that it wrote: out of luck)",
        "its worker was ended by SIGKILL, most often because memory ran out: fewer --jobs need less",
        "its worker was ended by SIGSEGV",
        "its worker was ended by SIGTERM",
    )
    for number, (result, reason) in enumerate(zip(died, reasons, strict=True), 1):
        assert result.done == (f"{number}.0",)
        assert result.failed == ((f"{number}.1", f"{reason}; the same command runs it again"),)
    first, *others = (process_of(tmp_path, number) for number in range(6))
    assert first == others[0] and len(set(others)) == 5


def test_units_after_the_one_that_a_worker_died_in_run_again(sweep: Any) -> None:
    (result,) = sweep("one", units=4)
    assert result.done == ("0.0", "0.2", "0.3")
    assert [key for key, _ in result.failed] == ["0.1"]
    assert "status 4" in result.failed[0][1]
    (end, last) = [news for news in sweep.news if news.result]
    assert end.rest is last.batch
    assert last.batch.units == last.batch.request.units == ("0.2", "0.3")
    assert last.batch.labels == ("unit 0.2", "unit 0.3")


def test_an_error_fails_its_batch_and_the_worker_stays(sweep: Any, tmp_path: Path) -> None:
    failed, left, after = sweep("fail", "leave", "x", units=2)
    assert failed == BatchResult(("0.0",), (("0.1", "it can't be done"),))
    assert left == BatchResult(("1.0",), (("1.1", "SystemExit: no more"),))
    assert after.failed == ()
    assert process_of(tmp_path, 0) == process_of(tmp_path, 2)


def test_a_silent_worker_is_killed_and_one_that_speaks_is_not(sweep: Any, tmp_path: Path) -> None:
    silent, slow = sweep("stuck", "slow", stall_s=0.9)
    assert "no sign of life for 0.015 min" in silent.failed[0][1]
    assert slow.failed == ()
    assert not alive(process_of(tmp_path, 0))


def test_time_in_which_this_process_stood_still_is_nobodys_silence(
    sweep: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As after Ctrl-Z and `fg`, or on a laptop that slept: each wait seems to have taken a thousand seconds.
    clock = SimpleNamespace(monotonic=itertools.count(0, 1000).__next__)
    monkeypatch.setattr(workers, "time", clock)
    (result,) = sweep("quiet", stall_s=10)
    assert result.failed == ()


@pytest.mark.parametrize("other", ["stuck", "deaf"])
def test_a_full_disk_stops_all_workers(
    sweep: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    if other == "deaf":
        monkeypatch.setattr(workers, "GRACE_S", 1.0)
    with pytest.raises(StorageError, match="the disk is full") as caught:
        sweep(other, "full", "x", jobs=2)
    assert caught.value.hint == "make room"
    assert not (tmp_path / "batch2.pid").exists()
    assert (tmp_path / "batch0.interrupted").exists()
    assert not alive(process_of(tmp_path, 0))


def test_workers_that_cannot_start_end_the_sweep(sweep: Any) -> None:
    message = "no worker could start, 3 times in a row: .*status 1 .*No module named 'no_such_module'"
    with pytest.raises(BenchError, match=message) as caught:
        sweep("x", modules=["no_such_module"])
    assert "doctor" in caught.value.hint
    assert not sweep.news


def test_a_stop_while_a_worker_starts_leaves_none(sweep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int | None] = []

    class Interrupted(workers.Worker):
        def __init__(self, *words: Any) -> None:
            super().__init__(*words)
            started.append(self.process.pid)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(workers, "Worker", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        sweep("x")
    (process,) = started
    assert process is not None
    wait_until(lambda: not alive(process))


def test_what_a_worker_prints_is_kept_off_and_warnings_are_notices(
    sweep: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings():
        sweep("noise")
    assert capfd.readouterr() == ("", "")
    texts = [news.event.text for news in sweep.news if news.event and news.event.kind == "notice"]
    assert texts == ["warning: so dark"]


def test_progress_is_thinned_without_losing_any(sweep: Any) -> None:
    sweep("progress")
    events = [news.event for news in sweep.news if news.event is not None]
    progress = [event.amount for event in events if event.kind == "progress"]
    assert sum(progress) == 1000
    assert len(progress) < 50
    assert events[-1].kind == "epoch"  # After all progress that came before it.


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes can't choose their cores")
def test_workers_share_the_cores(sweep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = sorted(os.sched_getaffinity(0))
    sweep("cores", "cores", jobs=2)
    shares = sorted(n.event.text for n in sweep.news if n.event and n.event.kind == "notice")
    assert "OMP_NUM_THREADS" not in os.environ
    assert sorted(os.sched_getaffinity(0)) == cores
    if len(cores) == 2:
        assert shares == [f"[{core}] 1" for core in cores]
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(9)))
    monkeypatch.setattr("comface_bench.core.processes._physical_core", lambda core: (0, core % 6))
    assert divide_cores(2) == [
        CoreShare(frozenset({0, 6, 1, 7}), 2),
        CoreShare(frozenset({2, 8, 3, 4, 5}), 4),
    ]
    assert [len(share.cores) for share in divide_cores(20)] == [1] * 20
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert divide_cores(1) == [CoreShare(frozenset(range(9)), 1)]


def test_devices_are_dealt_to_workers(sweep: Any) -> None:
    sweep(*["meet 3"] * 3, jobs=3, devices=("cuda:0", "cuda:1"))
    named = {news.worker: news.event.text for news in sweep.news if news.event and news.event.total == 100}
    assert named == {0: "cuda:0", 1: "cuda:1", 2: "cuda:0"}


def test_a_worker_keeps_its_backbone(sweep: Any, tmp_path: Path) -> None:
    sweep("meet 2", "meet 4", "meet 3", "x", jobs=2, method=lambda number: "ab"[number // 2])
    first, second, third, fourth = (process_of(tmp_path, number) for number in range(4))
    assert first == second != third == fourth


@pytest.mark.parametrize(
    ("number", "whom", "interrupted"),
    [
        (signal.SIGINT, "group", {2}),  # Ctrl-C in a terminal
        (signal.SIGKILL, "parent", {0}),
        # A scheduler's stop. The parent dies of it at once, and workers with it, whatever they are at.
        (signal.SIGTERM, "group", {0, 1, 2}),
    ],
)
def test_no_worker_outlives_its_parent(
    modules: Path, tmp_path: Path, number: signal.Signals, whom: str, interrupted: set[int]
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(modules)}
    parent = subprocess.Popen(
        [sys.executable, modules / "parent.py", tmp_path],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: len(list(tmp_path.glob("*.stuck"))) == 2)
    started = [int(path.read_text()) for path in tmp_path.glob("*.pid")]
    (os.killpg if whom == "group" else os.kill)(parent.pid, number)
    _, err = parent.communicate(timeout=60)
    assert parent.returncode == -number
    wait_until(lambda: not any(map(alive, started)))
    assert len(list(tmp_path.glob("*.interrupted"))) in interrupted
    assert len(list(tmp_path.glob("*.pid"))) == 2
    assert err.count("KeyboardInterrupt") == (number == signal.SIGINT)  # The parent's; workers are silent.


def test_workers_leave_the_records_of_a_run(make_request: Callable[..., Request], tmp_path: Path) -> None:
    request = make_request(methods=["tiny"], protocol="finetune", folds=(0, 1))
    expected = run_plan(make_plan(request), request).records
    again = dataclasses.replace(request, results=tmp_path / "swept")
    batches = make_sweep([again]).batches
    assert len(batches) == 2
    news: list[News] = []
    results = run_batches(batches, jobs=1, devices=("cpu",), report=news.append)
    assert [result.done for result in results] == [batch.units for batch in batches]
    assert {event.kind for one in news if (event := one.event)} >= {"stage", "progress", "epoch", "unit"}
    (swept,) = ResultStore(again.results).records()
    (alone,) = expected
    assert [unit.metrics for unit in swept.units] == [unit.metrics for unit in alone.units]
    assert run_batches(make_sweep([again]).batches, jobs=2, report=news.append) == []
