"""Sweeps on Slurm: `sweep --slurm`, waiting for its jobs, and `sweep status`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Annotated

import typer

from comface_bench.cli.commands import InterruptedRunError, Json, Results
from comface_bench.cli.output import format_count, print_json, print_table
from comface_bench.core.errors import UsageError

if TYPE_CHECKING:
    from comface_bench.execute.slurm import SlurmSettings
    from comface_bench.execute.slurm_jobs import SubmittedUnit
    from comface_bench.execute.sweep import Batch, BatchResult

_POLL_S = 10.0
_RESUBMIT = "The same sweep command submits units again that have no result and no job."


def status(
    results: Results = Path("results"),
    unit: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="Print only where the log of this unit lies; leading digits of its key will do.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show each unit that was submitted to Slurm: its state, its job and the job's log."""
    from comface_bench.execute.slurm_jobs import submitted_units

    units = submitted_units(results)
    if not units:
        raise UsageError(
            f"nothing was submitted for {results}", "Submit with: comface-bench sweep … --slurm FILE.toml"
        )
    if unit is not None:
        units = _find(units, unit, results)
    if as_json:
        print_json([_facts(one) for one in units])
    elif unit is not None:
        _print_log(units[0])
    else:
        rows = [[one.state, one.label, one.key[:12], one.job, str(one.log)] for one in units]
        print_table(["state", "unit", "key", "job", "log"], rows)
        typer.echo(f"\n{_count_states(units)}")
        if any(one.state in ("failed", "cancelled", "lost") for one in units):
            typer.echo(_RESUBMIT)


def _find(units: Sequence[SubmittedUnit], key: str, results: Path) -> list[SubmittedUnit]:
    found = [one for one in units if one.key.startswith(key)]
    if len(found) != 1:
        count = "no unit" if not found else f"{len(found)} units"
        raise UsageError(
            f"{count} of what was submitted has the key {key}", f"See them: {_status_command(results)}"
        )
    return found


def _print_log(unit: SubmittedUnit) -> None:
    typer.echo(unit.log)
    if not unit.log.exists():
        typer.echo(f"It isn't there yet: job {unit.job} is {unit.state}.", err=True)


def _facts(unit: SubmittedUnit) -> dict[str, str]:
    facts = {"unit": unit.label, "key": unit.key, "state": unit.state}
    return {**facts, "job": unit.job, "log": str(unit.log)}


def submit_sweep(batches: Sequence[Batch], settings: SlurmSettings, results: Path, as_json: bool) -> None:
    """Submit batches to Slurm, and say what was submitted and what to type next; a JSON line a job."""
    from comface_bench.execute.slurm import submit
    from comface_bench.execute.slurm_jobs import JobIndex

    submitted = submit(batches, settings, results)
    if as_json:
        logs = JobIndex(results).logs
        for job in submitted.jobs:
            facts = {"job": job.id, "title": job.title, "units": list(job.units), "log": str(logs / job.log)}
            typer.echo(json.dumps(facts, ensure_ascii=False))
        return
    if submitted.jobs:
        units = sum(len(job.units) for job in submitted.jobs)
        numbers = ", ".join(dict.fromkeys(job.id.partition("_")[0] for job in submitted.jobs))
        jobs = format_count(len(submitted.jobs), "job")
        typer.echo(f"submitted {format_count(units, 'unit')} as {jobs}: {numbers}")
    if submitted.live:
        asked = {key for batch in batches for key in batch.units}
        held = sum(key in asked for job in submitted.live for key in job.units)
        typer.echo(f"not submitted again, for their jobs wait or run: {format_count(held, 'unit')}")
    typer.echo(f"See what becomes of them: {_status_command(results)}")


def _status_command(results: Path) -> str:
    place = "" if results == Path("results") else f" --results {results}"
    return f"comface-bench sweep status{place}"


def wait_for_jobs(batches: Sequence[Batch], results: Path) -> list[BatchResult]:
    """Wait until no job holds any unit of these batches; print a line whenever states change.

    Raises:
        InterruptedRunError: The user pressed Ctrl-C; the jobs go on.

    Returns:
        What became of the batches; of a unit without a result, the state of its job and where its log lies.
    """
    from comface_bench.execute.slurm_jobs import LIVE, submitted_units
    from comface_bench.execute.sweep import BatchResult

    keys, said = {key for batch in batches for key in batch.units}, ""
    while True:
        units = [unit for unit in submitted_units(results) if unit.key in keys]
        if (line := _count_states(units)) != said:
            said = line
            typer.echo(line, err=True)
        if not any(unit.state in LIVE for unit in units):
            break
        try:
            sleep(_POLL_S)
        except KeyboardInterrupt:
            raise InterruptedRunError(
                "the waiting was interrupted; the jobs go on",
                f"The same command waits again; see how they do: {_status_command(results)}; "
                "cancel them: scancel NUMBER",
            ) from None
    done = tuple(unit.key for unit in units if unit.state == "done")
    failed = tuple(
        (unit.key, f"job {unit.job} {_ENDED[unit.state]}; its log: {unit.log}")
        for unit in units
        if unit.state != "done"
    )
    return [BatchResult(done, failed)]


_ENDED = {"failed": "has failed", "cancelled": "was cancelled", "lost": "was lost"}


def _count_states(units: Sequence[SubmittedUnit]) -> str:
    """Return one line: how many units there are, and how many in each state that occurs."""
    from comface_bench.execute.slurm_jobs import STATES

    counts = Counter(unit.state for unit in units)
    parts = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    return f"{format_count(len(units), 'unit')}: {parts}"
