"""Sweeps on a cluster with Slurm: batches become the jobs of arrays, submitted through submitit.

Nothing is transferred. A job plans its batch again, runs what is missing of it, and writes into the results
folder, which all nodes share. An index in that folder (`slurm_jobs.py`) knows which job was given which unit.
Units whose job still waits or runs aren't submitted again; those whose job failed, was cancelled or lost are.
"""

from __future__ import annotations

import contextlib
import datetime
import math
import os
import re
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any

from comface_bench.core.errors import BenchError, MissingExtraError, UnitError, UsageError
from comface_bench.core.events import Event
from comface_bench.core.names import did_you_mean
from comface_bench.core.processes import LEAVING
from comface_bench.execute.slurm_jobs import LIVE, Job, JobIndex
from comface_bench.execute.sweep import Batch, BatchResult, run_batch

if TYPE_CHECKING:
    from submitit import SlurmExecutor
    from submitit.helpers import DelayedSubmission

_LONGEST_ARRAY = 1000
"""Jobs in one array: as many as Slurm takes where MaxArraySize wasn't changed."""
_WARNING_S = 120
"""Seconds before the end of its time at which a job is told, so that it can go back to the queue."""
_ROUNDS, _PAUSE_S = 7, 10
"""How often, and after which pause, a job looks again whether units that others run at the moment are free. A
job that comes back after a node was lost may find that its former self still holds them."""


@dataclass(frozen=True)
class SlurmSettings:
    """What jobs ask Slurm for, as the user's file states it.

    Attributes:
        path: The file.
        partition, account, qos: Names; Slurm's default where None.
        time: Minutes that a job may take; None for a limit by the estimate of its batch.
        memory: Of a job, such as `16G`.
        cores: Cores of a job.
        gpus: GPUs of a job.
        at_once: How many jobs of an array run at the same time; None for any number.
        requeues: How often a job may go back to the queue: out of time, preempted, or with its node lost.
        setup: Lines of shell to run before each job.
        extra: Further options of `sbatch`.
    """

    path: Path
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    time: int | None = None
    memory: str | None = None
    cores: int | None = None
    gpus: int | None = None
    at_once: int | None = None
    requeues: int = 20
    setup: Sequence[str] = ()
    extra: Mapping[str, str | int | bool] = field(default_factory=dict)

    def parameters(self, minutes: int, jobs: int) -> dict[str, Any]:
        """Return the settings in submitit's words, for an array of so many jobs of so many minutes."""
        threads = [] if self.cores is None else [f"export OMP_NUM_THREADS={self.cores}"]
        found = {
            "job_name": "comface-sweep",
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "time": minutes,
            "mem": self.memory,
            "cpus_per_task": self.cores,
            "gpus_per_node": self.gpus,
            # submitit's own default would hold back all but 256.
            "array_parallelism": self.at_once or jobs,
            "setup": [*threads, *self.setup],
            # A job whose whole time is shorter would be sent back as soon as it runs.
            "signal_delay_s": min(_WARNING_S, 30 * minutes),
            "stderr_to_stdout": True,
            # Since 22.05, srun no longer takes over what sbatch was given, and would use one core.
            "srun_args": None if self.cores is None else [f"--cpus-per-task={self.cores}"],
            "additional_parameters": dict(self.extra),
        }
        return {name: value for name, value in found.items() if value is not None}


def read_settings(path: Path) -> SlurmSettings:
    """Read the file that says what jobs ask for.

    Raises:
        UsageError: It isn't there, is no TOML, has an unknown key, or a value of another form.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it isn't UTF-8"
        raise UsageError(f"{path} can't be read: {reason}", _EXAMPLE) from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}", _EXAMPLE) from None
    values = {}
    for key, value in content.items():
        if key not in _FORMS:
            raise UsageError(
                f"{path}: no setting is called {key!r}.{did_you_mean(key, _FORMS)}",
                f"Settings are {', '.join(_FORMS)}; other options of sbatch go into [extra].",
            )
        read, form = _FORMS[key]
        values[key] = read(value)
        if values[key] is None:
            raise UsageError(f"{path}: {key} = {value!r} isn't {form}")
    return SlurmSettings(path, **values)


_EXAMPLE = (
    'Such a file has lines such as partition = "gpu", time = "4h", memory = "16G", cores = 4, gpus = 1.'
)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _positive(value: object) -> int | None:
    return value if isinstance(value, int) and value is not True and value > 0 else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _memory(value: object) -> str | None:
    return value if isinstance(value, str) and re.fullmatch(r"[1-9]\d*[MGT]", value) else None


_UNITS = {"m": 1, "h": 60, "d": 24 * 60}
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)")


def _minutes(value: object) -> int | None:
    """Read minutes, `90m`, `4h`, `2d`, or Slurm's `[days-]hours:minutes:seconds`; rounded up."""
    if isinstance(value, str):
        if found := re.fullmatch(r"(\d+)([mhd])", value):
            value = int(found[1]) * _UNITS[found[2]]
        elif found := _CLOCK.fullmatch(value):
            days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
            value = math.ceil(((days * 24 + hours) * 60 + minutes) + seconds / 60)
    return _positive(value)


def _lines(value: object) -> tuple[str, ...] | None:
    texts = isinstance(value, list) and all(isinstance(line, str) for line in value)
    return tuple(value) if texts else None  # type: ignore[arg-type]


def _options(value: object) -> dict[str, str | int | bool] | None:
    plain = isinstance(value, dict) and all(isinstance(one, str | int) for one in value.values())
    return dict(value) if plain else None  # type: ignore[call-overload]


_FORMS: Mapping[str, tuple[Callable[[object], Any], str]] = {
    "partition": (_text, 'a name, such as "gpu"'),
    "account": (_text, "a name"),
    "qos": (_text, "a name"),
    "time": (_minutes, 'a number of minutes, or such as "90m", "4h", "2d" or "1-12:00:00"'),
    "memory": (_memory, 'such as "800M" or "16G"'),
    "cores": (_positive, "a whole number from 1"),
    "gpus": (_count, "a whole number from 0"),
    "at_once": (_positive, "a whole number from 1"),
    "requeues": (_count, "a whole number from 0"),
    "setup": (_lines, 'a list of lines, such as ["module load cuda"]'),
    "extra": (_options, 'a table, such as {constraint = "a100"}'),
}
"""How each setting is read, None where it can't be, and its form in words."""
assert {*_FORMS, "path"} == {setting.name for setting in fields(SlurmSettings)}


class BatchJob:
    """A batch as a job runs it; submitit calls it on the node, and `checkpoint` when its time is over.

    Args:
        batch: What to run.
        requeues: How often the job may go back to the queue.
    """

    def __init__(self, batch: Batch, requeues: int) -> None:
        self._batch = batch
        self._requeues = requeues

    def __call__(self) -> BatchResult:
        """Run what is missing of the batch.

        Raises:
            UnitError: A unit failed, so that Slurm, too, says that the job did.
        """
        for _ in range(_ROUNDS):
            result = run_batch(self._batch, _log)
            if result.failed or not result.busy:
                break
            _log(Event("notice", "other jobs or sweeps run units of this batch; waiting for them"))
            sleep(_PAUSE_S)
        if result.failed:
            label = dict(zip(self._batch.units, self._batch.labels, strict=True))
            reasons = "; ".join(f"{label[key]}: {reason}" for key, reason in result.failed)
            raise UnitError(f"{len(result.failed)} of {len(label)} units failed: {reasons}")
        if result.busy:
            raise UnitError("units of this batch are run by another sweep on the same results")
        return result

    def checkpoint(self) -> DelayedSubmission:
        """Return what the requeued job runs: the same batch, of which finished units drop out there.

        Raises:
            SystemExit: The job was requeued often enough. An error would be taken for a unit's own.
        """
        from submitit.helpers import DelayedSubmission

        LEAVING.set()
        if int(os.environ.get("SLURM_RESTART_COUNT", "0")) >= self._requeues:
            raise SystemExit(f"out of time after {self._requeues} requeues")
        return DelayedSubmission(self)


def _log(event: Event) -> None:
    if event.text and event.kind != "progress":
        now = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
        sys.stdout.write(f"{now} {event.text}\n")
        sys.stdout.flush()


@dataclass(frozen=True)
class Submitted:
    """What a submission did.

    Attributes:
        jobs: Those that were submitted.
        live: Those from earlier that still wait or run and hold some of the units that were asked for.
    """

    jobs: tuple[Job, ...]
    live: tuple[Job, ...]


def submit(batches: Sequence[Batch], settings: SlurmSettings, results: Path) -> Submitted:
    """Submit batches as array jobs, but for units that a waiting or running job has already.

    Raises:
        MissingExtraError: submitit isn't installed.
        UsageError: There is no Slurm, or a time limit can't be estimated.
        BenchError: Slurm refuses, or doesn't answer. What was submitted before is in the index.
    """
    if shutil.which("sbatch") is None:
        raise UsageError(
            "Slurm isn't here: there is no program sbatch",
            "Type the command where jobs are submitted, or sweep on this machine: leave --slurm out.",
        )
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "Slurm needs submitit, which isn't installed", "pip install 'comface-bench[slurm]'"
        ) from error
    index = JobIndex(results)
    with index.lock():
        known = index.update()
        asked = {key for batch in batches for key in batch.units}
        live = tuple(job for job in known if job.state in LIVE and not asked.isdisjoint(job.units))
        taken = {key for job in live for key in job.units}
        narrowed = [batch.without(taken) for batch in batches]
        new: list[Job] = []
        for minutes, array in _arrays([batch for batch in narrowed if batch.units], settings):
            jobs = _submit_array(array, minutes, settings, index)
            index.add(jobs)
            new += jobs
    return Submitted(tuple(new), live)


def _arrays(batches: Sequence[Batch], settings: SlurmSettings) -> Iterator[tuple[int, Sequence[Batch]]]:
    """Divide batches into arrays of one time limit; yield minutes and batches, the longest first.

    Raises:
        UsageError: No limit is given, and nothing tells how long a batch takes.
    """
    groups: dict[int, list[Batch]] = {}
    for batch in batches:
        if settings.time is not None:
            limit = settings.time
        elif batch.seconds is not None:
            limit = _time_limit(batch.seconds)
        else:
            raise UsageError(
                f"{settings.path} has no time, and no earlier unit tells how long {batch.title} takes",
                'Add a line such as time = "4h"; a job that needs longer is requeued and goes on.',
            )
        groups.setdefault(limit, []).append(batch)
    for limit in sorted(groups, reverse=True):
        for start in range(0, len(groups[limit]), _LONGEST_ARRAY):
            yield limit, groups[limit][start : start + _LONGEST_ARRAY]


def _time_limit(seconds: float) -> int:
    """Return minutes for an estimate: the first of 30, 120, 480 … that are three times as long."""
    limit = 30
    while limit * 60 < 3 * seconds:
        limit *= 4
    return limit


def _submit_array(
    batches: Sequence[Batch], minutes: int, settings: SlurmSettings, index: JobIndex
) -> list[Job]:
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    index.logs.mkdir(parents=True, exist_ok=True)
    executor: SlurmExecutor = submitit.SlurmExecutor(index.logs, max_num_timeout=settings.requeues)
    executor.update_parameters(**settings.parameters(minutes, len(batches)))
    try:
        # submitit prints what Slurm says, too, and in more words.
        with _outside_jobs(), open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):  # noqa: PTH123
            submitted = executor.submit_array([BatchJob(batch, settings.requeues) for batch in batches])
    except (FailedJobError, FailedSubmissionError) as error:
        said = " ".join(str(error).split()) or "no reason given"
        raise BenchError(f"Slurm took no job: {said}", f"Correct {settings.path}.") from error
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return [
        Job(
            id=str(job.job_id),
            title=batch.title,
            units=dict(zip(batch.units, batch.labels, strict=True)),
            log=job.paths.stdout.name,
            submitted=now,
        )
        for job, batch in zip(submitted, batches, strict=True)
    ]


@contextlib.contextmanager
def _outside_jobs() -> Iterator[None]:
    """Hide the job in which the command itself runs, if it does: new jobs would take its limits over.

    submitit's `clean_env` would hide SLURM_CONF, too, and defaults that people set for themselves.
    """
    inside = "SLURM_JOB_ID" in os.environ
    names = [name for name in os.environ if inside and name.startswith("SLURM_") and name not in _KEPT]
    hidden = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(hidden)


_KEPT = ("SLURM_CONF", "SLURM_CLUSTERS")
