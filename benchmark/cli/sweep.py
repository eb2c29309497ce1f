"""`comface-bench sweep`: the command, its plan with reasons and estimates, and what it says at the end."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Self

import typer

from comface_bench.cli.commands import (
    Data,
    DryRun,
    Folds,
    Group,
    InterruptedRunError,
    Json,
    NoPlugins,
    StatedDevice,
    StatedPlugins,
    StatedResults,
    StatedSeeds,
    StatedValues,
    complete_method,
    complete_protocol,
    complete_task,
    parse_numbers,
    take_stated,
)
from comface_bench.cli.output import format_count, print_table
from comface_bench.cli.sweep_slurm import status, submit_sweep, wait_for_jobs
from comface_bench.core.errors import UsageError

if TYPE_CHECKING:
    from comface_bench.execute.plan import PlannedRecord
    from comface_bench.execute.sweep import BatchResult, Sweep


class _SweepGroup(Group):
    """A group that has a file where others have a command, unless the first word is a command's name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words as those of the sweep itself, or of a command."""
        commanded = bool(args) and args[0] in self.commands
        ctx.allow_interspersed_args = not commanded
        ctx.meta[_COMMANDED] = commanded
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters; a command leaves no place for the file."""
        commanded = ctx.meta.get(_COMMANDED, False)
        return [
            one for one in super().get_params(ctx) if not (commanded and one.param_type_name == "argument")
        ]


_COMMANDED = "comface_bench.sweep.commanded"
_ROWS = 100
"""Records up to which a table is printed at the end; of more, the pages give the better view."""

Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs", min=1, help="Worker processes [default: one for each GPU, else one].", show_default=False
    ),
]

app = typer.Typer(cls=_SweepGroup, add_completion=False, rich_markup_mode=None, invoke_without_command=True)


@app.callback()
def sweep(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE.toml", help="Declares a study by the same keys.", show_default=False),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="Methods: names, comma lists or patterns; repeatable.",
            autocompletion=complete_method,
            show_default=False,
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="Tasks: names, comma lists or patterns; repeatable.",
            autocompletion=complete_task,
            show_default=False,
        ),
    ] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            help="Protocols: names, comma lists or patterns; repeatable [default: linear].",
            autocompletion=complete_protocol,
            show_default=False,
        ),
    ] = None,
    data: Data = None,
    results: StatedResults = None,
    folds: Folds = None,
    seeds: StatedSeeds = None,
    option: StatedValues = None,
    device: StatedDevice = None,
    plugin: StatedPlugins = None,
    no_plugins: NoPlugins = False,
    jobs: Jobs = None,
    gpus: Annotated[
        str | None,
        typer.Option(metavar="0,1", help="GPUs of the workers, in turn [default: all].", show_default=False),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=1,
            metavar="SECONDS",
            help="A worker without any sign of life for so long is ended [default: 1800].",
            show_default=False,
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Only the I-th of N parts of the sweep.", show_default=False),
    ] = None,
    slurm: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml",
            help="Submit to Slurm, by the partition, time, memory … of this file.",
            show_default=False,
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="With --slurm: wait for the jobs.")] = False,
    dry_run: DryRun = False,
    no_leaderboard: Annotated[bool, typer.Option("--no-leaderboard", help="Write no pages.")] = False,
    as_json: Json = False,
) -> None:
    """Run all combinations of methods, tasks, protocols, settings, folds and seeds that aren't finished.

    Exit status: 0 all done, 1 some unit failed or is left to another sweep, 2 usage or missing input.
    """
    if context.invoked_subcommand is not None:
        return
    from comface_bench.execute.grid import make_requests, read_grids
    from comface_bench.execute.sweep import Shard, make_sweep

    given = take_stated(
        method=method,
        task=task,
        protocol=protocol,
        options=option,
        folds=folds,
        seeds=seeds,
        data=data,
        results=results,
        device=device,
        plugin=plugin,
        no_plugins=no_plugins,
    )
    if wait and slurm is None:
        raise UsageError("--wait is for jobs on Slurm", "Name the file of their settings: --slurm FILE.toml")
    settings = None
    if slurm is not None:
        from comface_bench.execute.slurm import read_settings

        for name, value in {"--jobs": jobs, "--gpus": gpus, "--timeout": timeout}.items():
            if value is not None:
                raise UsageError(
                    f"{name} is for workers on this machine; --slurm gives the work to others",
                    f"Leave one of them out; {slurm} says what a job has: cores, gpus, time.",
                )
        settings = read_settings(slurm)
    part = None if shard is None else Shard.parse(shard)
    requests = make_requests(read_grids(file, given))
    planned = make_sweep(requests, part)
    team = Team.choose(planned, jobs, None if gpus is None else parse_numbers(gpus, "--gpus"))
    if dry_run:
        print_plan(planned, team.jobs, as_json)
        return
    if not as_json:
        announce(planned, team.jobs)
        for skip in planned.skips:
            typer.echo(f"skipped: {skip.label}: {skip.reason}", err=True)
    results = requests[0].results
    if settings is not None and planned.batches:
        submit_sweep(planned.batches, settings, results, as_json)
        if not wait:
            return
    with interruptible():
        if settings is None or not planned.batches:
            outcomes = run_sweep(planned, team, timeout, as_json)
        else:
            outcomes = wait_for_jobs(planned.batches, results)
    _finish(planned, outcomes, results, no_leaderboard, as_json)


app.command()(status)


class Team(NamedTuple):
    """Workers: how many, and their devices in turn; without any, requests say where they run."""

    jobs: int
    devices: tuple[str, ...]

    @classmethod
    def choose(cls, planned: Sweep, jobs: int | None, gpus: Sequence[int] | None) -> Self:
        """Take what the user asked for, else all GPUs where the device is left to choose.

        Raises:
            UsageError: GPUs are named, and so is another device.
        """
        chosen = {batch.request.device for batch in planned.batches}
        left_open = chosen <= {"auto", "cuda"}
        if gpus is None:
            gpus = range(_count_gpus()) if chosen and left_open else ()
        elif not left_open:
            raise UsageError(
                f"--gpus and a device of {', '.join(sorted(chosen))} exclude each other",
                "Leave one of the two out.",
            )
        return cls(jobs or max(1, len(gpus)), tuple(f"cuda:{number}" for number in gpus))


_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""What a GPU's driver offers on Linux: NVIDIA's, that of Windows underneath, AMD's."""


def _count_gpus() -> int:
    # torch takes seconds to import.
    if not any(map(os.path.exists, _DRIVERS)):
        return 0
    import torch

    return torch.cuda.device_count()


def announce(planned: Sweep, jobs: int) -> None:
    """Say on the error stream how much there is to do, and what is to be known of it."""
    typer.echo(describe_work(planned, jobs), err=True)
    for warning in warnings_of(planned):
        typer.echo(warning, err=True)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Say after Ctrl-C how to go on.

    Raises:
        InterruptedRunError: Ctrl-C was typed.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise InterruptedRunError(
            "interrupted; finished units are kept", "The same command goes on from there."
        ) from None


def run_sweep(planned: Sweep, team: Team, timeout: float | None, as_json: bool) -> list[BatchResult]:
    """Run all batches in worker processes."""
    if not planned.batches:
        return []
    from comface_bench.cli.sweep_progress import watch_sweep
    from comface_bench.execute.run import check_writable
    from comface_bench.execute.workers import STALL_S, run_batches

    check_writable(planned.batches[0].request.results)
    with watch_sweep(planned.batches, as_json) as report:
        return run_batches(
            planned.batches,
            jobs=team.jobs,
            devices=team.devices,
            report=report,
            stall_s=STALL_S if timeout is None else timeout,
        )


def _finish(
    planned: Sweep, outcomes: Sequence[BatchResult], results: Path, no_leaderboard: bool, as_json: bool
) -> None:
    """Print the summary; write the pages; print what failed and what is left.

    Raises:
        typer.Exit: Something isn't done.
    """
    from comface_bench.cli.run import build_leaderboard, print_summary_table
    from comface_bench.results.store import ResultStore

    if not as_json and len(planned.cells) <= _ROWS:
        store = ResultStore(results)
        names = [(cell.task.name, cell.protocol.name, cell.method_name) for cell in planned.cells]
        loaded = [store.load(*one) for one in names]
        if records := [record for record in loaded if record is not None]:
            print_summary_table(records, results)
    if not no_leaderboard:
        boards = {(cell.task.name, cell.protocol.name) for cell in planned.cells}
        build_leaderboard(boards, results, as_json)
    report_outcomes(planned, outcomes)


def report_outcomes(planned: Sweep, outcomes: Sequence[BatchResult]) -> None:
    """Print what failed and what is left.

    Raises:
        typer.Exit: Something isn't done.
    """
    labels = {
        key: label for batch in planned.batches for key, label in zip(batch.units, batch.labels, strict=True)
    }
    failed = [(labels[key], message) for outcome in outcomes for key, message in outcome.failed]
    ended = sum(len(outcome.done) + len(outcome.failed) for outcome in outcomes)
    left = len(labels) - ended
    if failed:
        typer.echo(f"{format_count(len(failed), 'unit')} failed:", err=True)
        for label, message in failed:
            typer.echo(f"  {label}: {message}", err=True)
    if left:
        typer.echo(
            f"{format_count(left, 'unit')} left to another sweep that runs them at the moment; "
            "the same command looks again",
            err=True,
        )
    if failed or left:
        raise typer.Exit(1)


def print_plan(planned: Sweep, jobs: int, as_json: bool) -> None:
    """Print each cell with what is done, why the rest runs, and how long it may take; units with JSON."""
    from comface_bench.execute.sweep import explain

    reasons = {key: reason for cell in planned.cells for key, reason in explain(cell).items()}
    if as_json:
        _print_units(planned, reasons)
        return
    print_table(
        ["method", "task", "protocol", "done", "to run", "time"],
        [
            [
                cell.method_name,
                cell.task.name,
                cell.protocol.name,
                f"{len(cell.units) - len(cell.missing)}/{len(cell.units)}",
                _describe_reasons(cell, reasons),
                _describe_seconds(*_sum_known(cell, planned.estimates)),
            ]
            for cell in planned.cells
        ],
        numbers=("done",),
    )
    typer.echo(f"\n{describe_work(planned, jobs)}")
    for warning in warnings_of(planned):
        typer.echo(warning)
    for skip in planned.skips:
        typer.echo(f"skipped: {skip.label}: {skip.reason}")
        if skip.hint:
            typer.echo(f"  {skip.hint}")


def _print_units(planned: Sweep, reasons: Mapping[str, str]) -> None:
    batch_of = {key: batch.key for batch in planned.batches for key in batch.units}
    for cell in planned.cells:
        for unit in cell.units:
            key = unit.key()
            facts = {
                "method": cell.method_name,
                "task": cell.task.name,
                "protocol": cell.protocol.name,
                "fold": unit.fold,
                "seed": unit.seed,
                "key": key,
                "done": key not in batch_of,
                "reason": reasons.get(key),
                "seconds": planned.estimates.get(key),
                "batch": batch_of.get(key),
            }
            typer.echo(json.dumps(facts, ensure_ascii=False))
    for skip in planned.skips:
        typer.echo(json.dumps({"skipped": skip.label, "reason": skip.reason, "hint": skip.hint}))
    for warning in warnings_of(planned):
        typer.echo(json.dumps({"notice": warning}))


def warnings_of(planned: Sweep) -> list[str]:
    """Return what is to be said of finished units whose plugin has changed since."""
    return [cell.warning for cell in planned.cells if cell.warning is not None]


def _describe_reasons(cell: PlannedRecord, reasons: Mapping[str, str]) -> str:
    """Say why units run, with their number where there are several reasons."""
    counts = Counter(reasons[unit.key()] for unit in cell.missing)
    if len(counts) == 1:
        return next(iter(counts))
    return "; ".join(f"{count} {reason}" for reason, count in counts.most_common())


def _sum_known(cell: PlannedRecord, estimates: Mapping[str, float]) -> tuple[float, int]:
    """Return the estimated seconds of a cell's missing units, and how many have no estimate."""
    known = [estimates[unit.key()] for unit in cell.missing if unit.key() in estimates]
    return sum(known), len(cell.missing) - len(known)


def _describe_seconds(seconds: float, unknown: int) -> str:
    from comface_bench.cli.pace import format_seconds

    if unknown:
        return "unknown" if not seconds else f"more than {format_seconds(seconds)}"
    return format_seconds(seconds) if seconds else ""


def describe_work(planned: Sweep, jobs: int) -> str:
    """Say how much is done, how much is to run, and how long that may take."""
    total = sum(len(cell.units) for cell in planned.cells)
    missing = sum(len(cell.missing) for cell in planned.cells)
    text = f"{format_count(total, 'unit')}: {total - missing:,} done, {missing:,} to run"
    if not missing:
        return text
    batches = len(planned.batches)
    text += f" in {batches:,} batch{'' if batches == 1 else 'es'}"
    unknown = missing - len(planned.estimates)
    workers = min(jobs, batches)
    # No worker is done before its longest batch.
    longest = max((batch.seconds or 0.0 for batch in planned.batches), default=0.0)
    seconds = max(sum(planned.estimates.values()) / workers, longest)
    if not planned.estimates:
        return f"{text}; time unknown: nothing like them ran before"
    with_workers = f" with {workers} workers" if workers > 1 else ""
    time = _describe_seconds(seconds, 0)
    if unknown:
        return f"{text}; more than {time}{with_workers}: nothing like {unknown:,} of them ran before"
    return f"{text}; about {time}{with_workers}"
