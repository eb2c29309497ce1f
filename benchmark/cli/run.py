"""`comface-bench run`: the command, the plan that a dry run prints, and the summary table at the end."""

from __future__ import annotations

import json
import shlex
import sys
import traceback
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from comface_bench.cli.commands import (
    Data,
    DryRun,
    Folds,
    InterruptedRunError,
    Json,
    NoPlugins,
    StatedDevice,
    StatedPlugins,
    StatedResults,
    StatedSeeds,
    complete_method,
    complete_protocol,
    complete_task,
    make_app,
    parse_numbers,
)
from comface_bench.cli.completion import complete_option
from comface_bench.cli.output import (
    format_count,
    print_table,
    print_text,
    show_path,
    table_width,
    terminal_width,
)
from comface_bench.cli.progress import watch_run, write_event
from comface_bench.core.display import with_unit
from comface_bench.core.errors import BenchError, UsageError
from comface_bench.core.names import parse_options

if TYPE_CHECKING:
    from comface_bench.execute.plan import Plan, Request
    from comface_bench.execute.run import Finished
    from comface_bench.results.schema import Record
    from comface_bench.stats.metrics import MetricValue

app = make_app()

_SHOWN_METRICS = 2
"""Metrics of a task in the summary table: its primary one and the next."""


@app.command()
def run(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml",
            help="States these options by the keys of a sweep's file; what is typed here wins.",
            show_default=False,
        ),
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
        str | None,
        typer.Option(
            help="probe, linear, finetune, quick, or one of a plugin [default: linear].",
            autocompletion=complete_protocol,
            show_default=False,
        ),
    ] = None,
    data: Data = None,
    results: StatedResults = None,
    folds: Folds = None,
    seeds: StatedSeeds = None,
    unit: Annotated[
        list[str],
        typer.Option(
            metavar="KEY",
            help="Only the units of these keys, or leading digits; repeatable.",
            show_default=False,
        ),
    ] = [],  # noqa: B006 - typer reads the default and never changes it
    option: Annotated[
        list[str],
        typer.Option(
            "-o",
            "--option",
            metavar="KEY=VALUE",
            help="Set a value of protocol, method or task; repeatable.",
            autocompletion=complete_option,
            show_default=False,
        ),
    ] = [],  # noqa: B006
    device: StatedDevice = None,
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16 (as -o precision=…).")] = "auto",
    plugin: StatedPlugins = None,
    no_plugins: NoPlugins = False,
    again: Annotated[
        bool,
        typer.Option(
            "--again", help="Run units although they are finished; each replaces its former result when done."
        ),
    ] = False,
    save_models: Annotated[
        bool,
        typer.Option(
            "--save-models",
            help="Keep fine-tuned networks, too (heads of frozen ones always are), and make the models that "
            "finished units lack; see predict.",
        ),
    ] = False,
    dry_run: DryRun = False,
    no_leaderboard: Annotated[bool, typer.Option("--no-leaderboard", help="Write no pages.")] = False,
    as_json: Json = False,
) -> None:
    """Run methods on tasks; units that are finished already are not run again, unless --again is given.

    Exit status: 0 all done, 1 some unit failed, 2 usage or missing input.
    """
    from comface_bench.execute.plan import DEFAULT_PROTOCOL, DEFAULT_RESULTS, Request, make_plan

    options = parse_options(option)
    if precision != "auto":
        if "precision" in options:
            raise UsageError(
                "precision is given twice: --precision and -o precision=", "Leave one of them out."
            )
        options["precision"] = precision
    if protocol is not None and "," in protocol:
        raise UsageError(
            f"run takes one protocol, not {protocol}", f"Several: comface-bench sweep --protocol {protocol}"
        )
    stated: dict[str, Any] = {}
    if config is not None:
        from comface_bench.execute.grid import read_run_file

        stated = read_run_file(config)
    results = results or stated.get("results", DEFAULT_RESULTS)
    request = Request(
        methods=method or stated.get("method", ()),
        tasks=task or stated.get("task", ()),
        protocol=stated.get("protocol", [DEFAULT_PROTOCOL])[0] if protocol is None else protocol,
        options={key: value for key, (value,) in stated.get("options", {}).items()} | options,
        data=data or stated.get("data"),
        results=results,
        folds=stated.get("folds") if folds is None else parse_numbers(folds, "--folds"),
        seeds=stated.get("seeds", (0,)) if seeds is None else parse_numbers(seeds, "--seeds"),
        units=unit,
        device=stated.get("device", "auto") if device is None else device,
        plugin_files=plugin or stated.get("plugin", ()),
        use_plugins=not (no_plugins or stated.get("no_plugins", False)),
        again=again,
        save_models=save_models,
    )
    try:
        plan = make_plan(request)
        if dry_run:
            _print_plan(plan, as_json)
            return
        finished = _execute(plan, request, as_json)
    except KeyboardInterrupt:
        if again:
            raise InterruptedRunError(
                "interrupted; units that were run again are kept, the others have their former results",
                "The same command begins with all of them; name those that are left: --again --unit KEY.",
            ) from None
        raise InterruptedRunError(
            "interrupted; finished units are kept", "The same command goes on from there."
        ) from None
    if not as_json:
        print_summary_table(finished.records, results)
    if not no_leaderboard:
        boards = {(record.task.name, record.protocol.name) for record in finished.records}
        build_leaderboard(boards, results, as_json)
    if (context.obj or {}).get("debug"):
        for _, error in finished.failed:
            traceback.print_exception(error)
    if not as_json and (advice := advise_next(plan, finished)):
        typer.echo(f"next: {advice}")
    if finished.failed:
        raise typer.Exit(1)


def _execute(plan: Plan, request: Request, as_json: bool) -> Finished:
    from comface_bench.execute.run import run_plan

    with watch_run(plan, as_json) as report:
        return run_plan(plan, request, report)


def build_leaderboard(boards: Collection[tuple[str, str]], results: Path, as_json: bool) -> None:
    """Bring the pages of a results folder up to date, and say where they are, or why they aren't.

    Args:
        boards: Task and protocol of those that are asked for.
        results: The folder.
        as_json: Whether to say it as an event.
    """
    from comface_bench.core.events import Event
    from comface_bench.leaderboards.pages import refresh
    from comface_bench.results.store import LEADERBOARD, file_stem

    out = results / LEADERBOARD
    try:
        pages = refresh(results, out)
    except (BenchError, OSError) as unbuilt:
        # The run is done and stored, whatever stands beside its records.
        typer.echo(f"warning: no leaderboard: {unbuilt}", err=True)
        return
    page = out / "README.md"
    if len(boards) == 1:
        ((task, protocol),) = boards
        page = out / file_stem(task) / f"{file_stem(protocol)}.md"
    text = f"leaderboard: {page if page in pages else out}"
    if as_json:
        write_event(Event("notice", text))
    else:
        typer.echo(text)


def advise_next(plan: Plan, finished: Finished) -> str:
    """Return what to type after a run, in one line; empty where that is up to the user.

    Args:
        plan: What was to run.
        finished: What came of it.
    """
    from comface_bench.results.models import ModelFiles
    from comface_bench.results.store import ResultStore

    if finished.failed:
        return "the same command runs what failed once more; with --debug it shows where"
    left = {record.task.folds - len(record.summary.folds_done) for record in finished.records}
    if any(left):
        return "the same command for all folds completes what has some"
    if not finished.records:
        return ""
    if compared := _advise_comparison(plan.cells[0].request, finished.records):
        return compared
    give = all(cell.protocol_entry.card.gives_models for cell in plan.cells)
    if not give:
        return ""
    store = ResultStore(plan.cells[0].request.results)
    cells = {(cell.method_name, cell.task.name, cell.protocol.name): cell for cell in plan.cells}
    for record in finished.records:
        path = store.record_path(record.task.name, record.protocol.name, record.method.name)
        units = [((unit.fold, unit.seed), unit) for unit in record.units]
        if not ModelFiles(path).missing(units):
            words = ["--model", show_path(path)]
            cell = cells[record.method.name, record.task.name, record.protocol.name]
            if "checkpoint" in record.method.options and cell.weights is not None:
                words += ["--checkpoint", show_path(cell.weights)]
            words += _plugin_words(cell.request)
            return f"comface-bench predict {shlex.join(words)} BEFORE.jpg AFTER.jpg"
    return "the same command with --save-models keeps the networks, which predict needs"


def _advise_comparison(request: Request, records: Iterable[Record]) -> str:
    """Return the line that compares the first two methods of a board; empty where each board has one."""
    from comface_bench.execute.plan import DEFAULT_RESULTS

    boards: dict[tuple[str, str], list[str]] = {}
    for record in records:
        boards.setdefault((record.task.name, record.protocol.name), []).append(record.method.name)
    found = next((board for board, names in boards.items() if len(names) > 1), None)
    if found is None:
        return ""
    words = [
        *boards[found][:2],
        *("--task", found[0], "--protocol", found[1]),
        *(["--results", show_path(request.results)] if request.results != DEFAULT_RESULTS else []),
    ]
    return f"comface-bench results compare {shlex.join([*words, *_plugin_words(request)])}"


def _plugin_words(request: Request) -> list[str]:
    """Return what a command needs to know the names of plugin files, too."""
    return [word for file in request.plugin_files for word in ("--plugin", show_path(file))]


_STATES = {(True, False): "done", (False, True): "missing", (True, True): "again"}
"""By whether a unit is finished, and whether it runs."""


def _print_plan(plan: Plan, as_json: bool) -> None:
    """Print each unit with its key and whether it is finished; what is outdated; what is skipped and why."""
    rows = [
        {
            "method": cell.method_name,
            "task": cell.task.name,
            "protocol": cell.protocol.name,
            "fold": unit.fold,
            "seed": unit.seed,
            "key": unit.key(),
            "done": unit in cell.finished,
            "runs": unit in cell.missing,
        }
        for cell in plan.cells
        for unit in cell.units
    ]
    warnings = [cell.warning for cell in plan.cells if cell.warning is not None]
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row))
        for skip in plan.skips:
            typer.echo(json.dumps({"skipped": skip.label, "reason": skip.reason, "hint": skip.hint}))
        for warning in warnings:
            typer.echo(json.dumps({"notice": warning}))
        return
    headings = ["method", "task", "protocol", "fold", "seed", "key", "state"]
    print_table(
        headings,
        [
            [
                *(str(row[name]) for name in headings[:5]),
                str(row["key"])[:12],
                _STATES[bool(row["done"]), bool(row["runs"])],
            ]
            for row in rows
        ],
        numbers=("fold", "seed"),
    )
    missing = sum(bool(row["runs"]) for row in rows)
    typer.echo(f"\n{format_count(len(rows), 'unit')}: {len(rows) - missing} done, {missing} to run")
    for reason in _explain(plan):
        typer.echo(reason)
    for warning in warnings:
        typer.echo(warning)
    for skip in plan.skips:
        typer.echo(f"skipped: {skip.label}: {skip.reason}")
        if skip.hint:
            typer.echo(f"  {skip.hint}")


def _explain(plan: Plan) -> Iterator[str]:
    """Say of records that are there why units of them run all the same."""
    from comface_bench.execute.sweep import explain
    from comface_bench.results.history import NEVER

    for cell in plan.cells:
        if not any(unit in cell.finished for unit in cell.missing):  # Those were asked for.
            reasons = dict.fromkeys(explain(cell).values())
            yield from (f"{cell.label}: {reason}" for reason in reasons if reason != NEVER)


def print_summary_table(records: Iterable[Record], results: Path) -> None:
    """Print a row for each record: metrics, those of the no-change baseline, folds done, seconds, its file.

    A metric that the baseline doesn't have, such as a correlation, has no such column. Protocols have one
    where there are several. A further column marks records that are undertrained, where there are any.

    Args:
        records: At least one.
        results: The folder that they are in. Files are a last column, or, where a terminal has no room for
            that, lines below; where it has none for the rest, each record has some lines of its own.
    """
    from comface_bench.results.schema import UNDERTRAINED
    from comface_bench.results.store import ResultStore
    from comface_bench.stats.metrics import METRICS

    records = list(records)
    metrics = sorted({name for record in records for name in record.task.metrics[:_SHOWN_METRICS]})
    compared = {
        name
        for record in records
        for name in metrics
        if (value := record.summary.constant.get(name)) is not None and value.value is not None
    }
    protocols = len({record.protocol.name for record in records}) > 1
    headings = ["method", "task", *(["protocol"] if protocols else [])]
    first = len(headings)
    for name in metrics:
        title = METRICS[name].short or name
        headings += [title, f"no change: {title}"] if name in compared else [title]
    headings += ["folds", "seconds"]
    rows = [_summary_row(record, metrics, compared, protocols) for record in records]
    numbers = headings[first:]
    if any(record.undertrained for record in records):
        headings = [*headings, "note"]
        rows = [
            [*row, UNDERTRAINED if record.undertrained else ""]
            for row, record in zip(rows, records, strict=True)
        ]
    store = ResultStore(results)
    places = [
        show_path(store.record_path(record.task.name, record.protocol.name, record.method.name))
        for record in records
    ]
    beside = [[*row, place] for row, place in zip(rows, places, strict=True)]
    if not sys.stdout.isatty() or table_width([*headings, "record"], beside) <= terminal_width():
        print_table([*headings, "record"], beside, numbers=numbers)
    elif table_width(headings, rows) <= terminal_width():
        print_table(headings, rows, numbers=numbers)
        for place in places:
            typer.echo(f"record: {place}")
    else:
        for row, place in zip(rows, places, strict=True):
            typer.echo(" · ".join(row[:first]))
            named = zip(headings[first:], row[first:], strict=True)
            print_text("; ".join(f"{heading} {cell}" for heading, cell in named if cell), "  ")
            typer.echo(f"  {place}")
    for record in records:
        if record.no_better_than_baseline:
            under = f" under {record.protocol.name}" if protocols else ""
            typer.echo(
                f"{record.method.name} on {record.task.name}{under} is no better than always answering 0"
            )


def _summary_row(record: Record, metrics: Iterable[str], compared: set[str], protocol: bool) -> list[str]:
    from comface_bench.stats.metrics import METRICS

    task, summary = record.task, record.summary
    cells = [record.method.name, task.name, *([record.protocol.name] if protocol else [])]
    for name in metrics:
        unit = task.unit if METRICS[name].has_unit else ""
        cells.append(_format_metric(record.primary.get(name), unit))
        if name in compared:
            cells.append(_format_metric(summary.constant.get(name), unit))
    failed = f" ({len(record.failures)} failed)" if record.failures else ""
    cells.append(f"{len(summary.folds_done)}/{task.folds}{failed}")
    cells.append(f"{sum(unit.seconds for unit in record.units):.1f}")
    return cells


def _format_metric(value: MetricValue | None, unit: str) -> str:
    return "—" if value is None or value.value is None else with_unit(f"{value.value:.3f}", unit)
