"""Jobs of a sweep: which job was given which unit, in what state it is, and where its log lies.

In the results folder, `.sweep/jobs.json` is the index, and `.sweep/jobs/` has the logs beside submitit's own
files. Slurm forgets jobs a few minutes after their end unless it keeps accounts; so an end is written down as
soon as anybody asks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import subprocess
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from comface_bench.core.errors import BenchError, ResultError, StorageError, UsageError
from comface_bench.core.files import file_lock, replace_file, writing
from comface_bench.results.store import ResultStore

FOLDER = ".sweep"
"""Folder of a results folder in which the index and the logs are."""

JobState = Literal["pending", "running", "ended", "failed", "cancelled", "lost"]
UnitState = Literal["done", "pending", "running", "failed", "cancelled", "lost"]
STATES: Sequence[UnitState] = ("done", "running", "pending", "failed", "cancelled", "lost")
LIVE: Collection[JobState] = ("pending", "running")
"""States in which a job may still bring results."""

_STATES: Mapping[str, JobState] = {
    "PENDING": "pending",
    "CONFIGURING": "pending",
    "REQUEUED": "pending",
    "REQUEUE_FED": "pending",
    "REQUEUE_HOLD": "pending",
    "RESV_DEL_HOLD": "pending",
    "SPECIAL_EXIT": "pending",
    "RUNNING": "running",
    "COMPLETING": "running",
    "RESIZING": "running",
    "SIGNALING": "running",
    "STAGE_OUT": "running",
    "STOPPED": "running",
    "SUSPENDED": "running",
    "CANCELLED": "cancelled",
    "REVOKED": "cancelled",
    "COMPLETED": "ended",
    "BOOT_FAIL": "lost",
    "NODE_FAIL": "lost",
    "PREEMPTED": "lost",
}
"""Slurm's states; all others are failures."""


@dataclass(frozen=True)
class Job:
    """A job with the units that it was given.

    Attributes:
        id: Slurm's, such as `17` or, of an array, `17_4`.
        title: Its batch, for people.
        units: Labels by key.
        log: Name of its log file.
        submitted: When, in UTC.
        state: As Slurm said when it was last asked.
    """

    id: str
    title: str
    units: Mapping[str, str]
    log: str
    submitted: str
    state: JobState = "pending"


@dataclass(frozen=True)
class SubmittedUnit:
    """A unit that was submitted, with the last job that it was given to.

    Attributes:
        key, label: Its own.
        state: Done if it has a result, else as its job is.
        job: The job's id.
        log: The job's log file; it is there once the job has begun.
    """

    key: str
    label: str
    state: UnitState
    job: str
    log: Path


def submitted_units(results: Path) -> list[SubmittedUnit]:
    """Return all units that were submitted, in the order of their jobs.

    Raises:
        ResultError: The index is damaged.
        BenchError: Slurm doesn't answer.
    """
    index = JobIndex(results)
    jobs = index.look()
    # After the jobs: one that ends in between has written its results by then.
    finished = ResultStore(results).finished_keys() if jobs else frozenset()
    latest = {key: (job, label) for job in jobs for key, label in job.units.items()}
    return [
        SubmittedUnit(key, label, _unit_state(key in finished, job.state), job.id, index.logs / job.log)
        for key, (job, label) in latest.items()
    ]


def _unit_state(finished: bool, job: JobState) -> UnitState:
    if finished:
        return "done"
    return "failed" if job == "ended" else job


class JobIndex:
    """The index of the jobs of a results folder.

    Args:
        results: The folder of records.

    Attributes:
        logs: Folder of the logs.
    """

    def __init__(self, results: Path) -> None:
        self._folder = results / FOLDER
        self._path = self._folder / "jobs.json"
        self.logs = self._folder / "jobs"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep others from submitting, or waiting for who does.

        Raises:
            OSError: The results folder can't be written to.
        """
        with writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        with file_lock(self._folder / "jobs.lock"):
            yield

    def read(self) -> list[Job]:
        """Read all jobs, those submitted first in front; none if nothing was ever submitted.

        Raises:
            ResultError: The file is damaged.
        """
        try:
            return [Job(**facts) for facts in json.loads(self._path.read_bytes())["jobs"]]
        except FileNotFoundError:
            return []
        except (ValueError, LookupError, TypeError) as error:
            raise ResultError(
                f"{self._path} is damaged: {error}",
                "Remove it once none of its jobs is in the queue (squeue --me); results don't depend on it.",
            ) from error

    def add(self, jobs: Iterable[Job]) -> None:
        """Add jobs that were just submitted; call it under the lock."""
        self._write([*self.read(), *jobs])

    def update(self) -> list[Job]:
        """Bring the states up to date and write them down; return all jobs. Call it under the lock.

        Raises:
            ResultError: The file is damaged.
            BenchError: Slurm doesn't answer.
        """
        jobs = self.read()
        fresh = self._ask(jobs)
        if fresh != jobs:
            self._write(fresh)
        return fresh

    def look(self) -> list[Job]:
        """Return all jobs with their states of now, written down where the results may be changed.

        Raises:
            ResultError: The file is damaged.
            BenchError: Slurm doesn't answer.
        """
        if not self._path.exists():
            return []
        try:
            with self.lock():
                return self.update()
        except StorageError:
            raise
        except OSError:  # Somebody else's results.
            return self._ask(self.read())

    def _ask(self, jobs: Iterable[Job]) -> list[Job]:
        """Return jobs with the states that Slurm says, of those that may still change."""
        jobs = list(jobs)
        states = ask_states([job.id for job in jobs if job.state in LIVE])
        return [
            dataclasses.replace(job, state=states.get(job.id) or self._guess(job))
            if job.state in LIVE
            else job
            for job in jobs
        ]

    def _guess(self, job: Job) -> JobState:
        """Tell the state of a job that Slurm has forgotten: one that came to its end left submitit's file."""
        return "ended" if (self.logs / f"{job.id}_0_result.pkl").exists() else "lost"

    def _write(self, jobs: Sequence[Job]) -> None:
        """Replace the file; a job of whose units all were submitted again is left out."""
        latest = {key: job.id for job in jobs for key in job.units}
        kept = [dataclasses.asdict(job) for job in jobs if job.id in latest.values()]
        replace_file(self._path, json.dumps({"jobs": kept}, ensure_ascii=False, indent=1).encode())


def ask_states(ids: Iterable[str]) -> dict[str, JobState]:
    """Ask Slurm for the states of jobs; those that it has forgotten are left out.

    Raises:
        BenchError: Slurm isn't here, or doesn't answer.
    """
    ids = set(ids)
    # An array is asked for as a whole: thousands of numbers would be more than a command line takes.
    jobs = ",".join(sorted({number.partition("_")[0] for number in ids}, key=int))
    if not jobs:
        return {}
    shown = _run("squeue", "--noheader", "--array", "--states=all", "--format=%i|%T", f"--jobs={jobs}")
    if shown.returncode and "Invalid job id" not in shown.stderr:
        raise BenchError(f"Slurm doesn't answer: {' '.join(shown.stderr.split())}", _LATER)
    found = _parse_states(shown.stdout)
    if not ids <= found.keys() and shutil.which("sacct") is not None:
        # Where no accounts are kept, this fails and says nothing.
        kept = _run(
            "sacct", "--noheader", "--parsable2", "--allocations", "--format=JobID,State", f"--jobs={jobs}"
        )
        found = _parse_states(kept.stdout) | found
    return {number: state for number, state in found.items() if number in ids}


_LATER = "Type the same command again when it does: until then nobody knows which units have a job."
_PATIENCE_S = 100
"""Seconds to wait for an answer of Slurm, whose own programs give up after some."""


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S)  # noqa: S603
    except FileNotFoundError:
        raise UsageError(
            f"Slurm isn't here: there is no program {command[0]}",
            "Type the command where jobs were submitted.",
        ) from None
    except subprocess.TimeoutExpired:
        raise BenchError(f"Slurm doesn't answer: {command[0]} took {_PATIENCE_S} s", _LATER) from None


def _parse_states(text: str) -> dict[str, JobState]:
    """Parse lines such as `17_4|CANCELLED by 1000`."""
    pairs = (line.strip().split("|", 1) for line in text.splitlines() if "|" in line)
    return {number: _STATES.get(state.split(" ", 1)[0], "failed") for number, state in pairs}
