"""`comface-bench run`: from names to records, a closing table and leaderboard pages."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from comface_bench.cli.complete import complete_method, complete_protocol, complete_task
from comface_bench.cli.groups import InterruptedRunError, make_app
from comface_bench.cli.options import Data, Json, NoPlugins, Plugins, Results, parse_numbers
from comface_bench.core.errors import BenchError
from comface_bench.core.names import parse_options

if TYPE_CHECKING:
    from comface_bench.execute.plan import Plan, Request
    from comface_bench.execute.run import Finished

app = make_app()


@app.command()
def run(
    context: typer.Context,
    method: Annotated[
        list[str],
        typer.Option(
            help="Methods: names, comma lists or patterns; repeatable.",
            autocompletion=complete_method,
            show_default=False,
        ),
    ],
    task: Annotated[
        list[str],
        typer.Option(
            help="Tasks: names, comma lists or patterns; repeatable.",
            autocompletion=complete_task,
            show_default=False,
        ),
    ],
    protocol: Annotated[
        str, typer.Option(help="linear, finetune or quick.", autocompletion=complete_protocol)
    ] = "linear",
    data: Data = None,
    results: Results = Path("results"),
    folds: Annotated[
        str | None, typer.Option(metavar="0,1", help="Folds to run [default: all].", show_default=False)
    ] = None,
    seeds: Annotated[str, typer.Option(metavar="0,1", help="Repetitions to run.")] = "0",
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
            show_default=False,
        ),
    ] = [],  # noqa: B006
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16 (as -o precision=…).")] = "auto",
    plugin: Plugins = [],  # noqa: B006
    no_plugins: NoPlugins = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and run nothing.")] = False,
    no_leaderboard: Annotated[bool, typer.Option("--no-leaderboard", help="Write no pages.")] = False,
    as_json: Json = False,
) -> None:
    """Run methods on tasks; units that are finished already are not run again.

    Exit status: 0 all done, 1 some unit failed, 2 usage or missing input.
    """
    from comface_bench.execute.plan import Request, make_plan

    options = parse_options(option)
    if precision != "auto":
        options.setdefault("precision", precision)
    request = Request(
        methods=method,
        tasks=task,
        protocol=protocol,
        options=options,
        data=data,
        results=results,
        folds=None if folds is None else parse_numbers(folds, "--folds"),
        seeds=parse_numbers(seeds, "--seeds"),
        units=unit,
        device=device,
        plugin_files=plugin,
        use_plugins=not no_plugins,
    )
    plan = make_plan(request)
    if dry_run:
        from comface_bench.cli.planned import print_plan

        print_plan(plan, as_json)
        return
    try:
        finished = _execute(plan, request, as_json)
    except KeyboardInterrupt:
        raise InterruptedRunError(
            "interrupted; finished units are kept", "The same command goes on from there."
        ) from None
    if not as_json:
        from comface_bench.cli.closing import print_closing

        print_closing(finished.records)
    if not no_leaderboard:
        try:
            _build_leaderboard(finished, results, as_json)
        except (BenchError, OSError) as unbuilt:
            # The run is done and stored, whatever stands beside its records.
            typer.echo(f"warning: no leaderboard: {unbuilt}", err=True)
    if (context.obj or {}).get("debug"):
        for _, error in finished.failed:
            traceback.print_exception(error)
    if finished.failed:
        raise typer.Exit(1)


def _execute(plan: Plan, request: Request, as_json: bool) -> Finished:
    from comface_bench.cli.progress import watch
    from comface_bench.execute.run import run_plan

    with watch(plan, as_json) as report:
        return run_plan(plan, request, report)


def _build_leaderboard(finished: Finished, results: Path, as_json: bool) -> None:
    from comface_bench.cli.progress import write_event
    from comface_bench.core.events import Event
    from comface_bench.leaderboards.pages import refresh
    from comface_bench.results.store import LEADERBOARD, file_stem

    out = results / LEADERBOARD
    pages = refresh(results, out)
    boards = {(record.task.name, record.protocol.name) for record in finished.records}
    page = out / "README.md"
    if len(boards) == 1:
        ((task, protocol),) = boards
        page = out / file_stem(task) / f"{file_stem(protocol)}.md"
    text = f"leaderboard: {page if page in pages else out}"
    if as_json:
        write_event(Event("notice", text))
    else:
        typer.echo(text)
