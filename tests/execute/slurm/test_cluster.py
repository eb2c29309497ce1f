"""A sweep on a real Slurm that the test starts and stops: a cancelled job, a lost node, a job out of time."""

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comface_bench.execute.plan import Request
from comface_bench.execute.slurm import Submitted, read_settings, submit
from comface_bench.execute.slurm_jobs import LIVE, SubmittedUnit, submitted_units
from comface_bench.execute.sweep import make_sweep

RATES = ("0.01", "0.02", "0.03", "0.04", "0.05")
GATE = """

built = []


def build(options, weights, seed):
    import pathlib
    import time

    while built and pathlib.Path({path!r}).exists():
        time.sleep(0.1)
    built.append(seed)
    return build_now(options, weights, seed)
"""


@pytest.fixture
def gate(plugin: Path) -> Path:
    """A file: while it is there, a job waits before its second repetition, for which it builds once more."""
    path = plugin.with_name("closed")
    path.touch()
    text = plugin.read_text().replace("def build(", "def build_now(")
    plugin.write_text(text + GATE.format(path=str(path)))
    return path


@pytest.mark.slurm
@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("COMFACE_TEST_SLURM"), reason="COMFACE_TEST_SLURM isn't set: it starts Slurm's daemons"
)
def test_a_sweep_ends_complete_whatever_becomes_of_its_jobs(
    cluster: Any, make_request: Callable[..., Request], gate: Path, tmp_path: Path
) -> None:
    """Five jobs of four units, two folds of two repetitions each, on a node of two cores."""
    pytest.importorskip("submitit", reason="needs the extra `slurm`")
    requests = [
        make_request(folds=[0, 1], seeds=[0, 1], options={"learning_rate": rate, "epochs": "1"})
        for rate in RATES
    ]
    results = requests[0].results
    file = tmp_path / "slurm.toml"
    file.write_text('time = "10m"\ncores = 1\n')

    def sweep() -> Submitted:
        return submit(make_sweep(requests).batches, read_settings(file), results)

    first = sweep()
    jobs = [job.id for job in first.jobs]
    assert (len(jobs), first.live) == (5, ())
    units = wait_until(results, lambda states: states["done"] == 4)
    assert count(units) == {"done": 4, "running": 4, "pending": 12}
    again = sweep()
    assert (again.jobs, [job.id for job in again.live]) == ((), jobs)

    run("scancel", jobs[0])
    wait_until(results, lambda states: states["cancelled"] == 2)
    cluster.fail_node()
    units = submitted_units(results)
    assert {unit.job for unit in units if unit.state == "pending"} >= {jobs[1], *jobs[3:]}
    cluster.start_node()
    # The third job may have come to its first two units, too, before its node was lost.
    units = wait_until(results, lambda states: states["done"] in (8, 10) and states["running"] == 4)
    assert {unit.state for unit in units if unit.job in jobs[3:]} == {"done", "running"}
    # As at the end of a job's time.
    run("scancel", "--signal=USR2", jobs[3])
    wait_until(results, lambda states: states["running"] == 2)

    gate.unlink()
    wait_until(results, lambda states: not any(states[state] for state in LIVE), hurry=jobs)
    units = submitted_units(results)
    # The third job may just have been starting when its node was lost, and has failed then.
    left = {unit.key for unit in units if unit.state != "done"}
    assert {unit.job for unit in units if unit.state == "cancelled"} == {jobs[0]}
    assert {unit.job for unit in units if unit.key in left} <= {jobs[0], jobs[2]}
    assert "Requeued job" in log_of(units, jobs[3]) and "CANCELLED" in log_of(units, jobs[0])

    last = sweep()
    assert {key for job in last.jobs for key in job.units} == left
    wait_until(results, lambda states: states["done"] == 20)
    assert not make_sweep(requests).batches
    journal = [json.loads(line) for line in (results / "journal.jsonl").read_text().splitlines()]
    ends = Counter(line["key"] for line in journal if line["event"] == "end")
    assert (len(ends), set(ends.values())) == (20, {1}), journal


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def log_of(units: list[SubmittedUnit], job: str) -> str:
    return next(unit.log for unit in units if unit.job == job).read_text()


def count(units: list[SubmittedUnit]) -> Counter[str]:
    return Counter(unit.state for unit in units)


def wait_until(
    results: Path, reached: Callable[[Counter[str]], bool], hurry: list[str] | None = None
) -> list[SubmittedUnit]:
    """Wait for a count of states; jobs to hurry don't wait the two minutes after a requeue."""
    end = time.monotonic() + 300
    while not reached(count(units := submitted_units(results))):
        logs = {unit.log: unit.log.read_text() for unit in units if unit.log.exists()}
        said = "\n".join(f"{path}\n{text}" for path, text in logs.items())
        assert time.monotonic() < end, f"{count(units)}\n{said}"
        for job in {unit.job for unit in units if unit.state == "pending" and unit.job in (hurry or ())}:
            subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], capture_output=True)
        time.sleep(0.5)
    return units
