"""`comface-bench study`: the paper's studies and ours, each one line, and the table that comes of it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from comface_bench.cli.commands import (
    Data,
    DryRun,
    Folds,
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
    make_app,
    take_stated,
)
from comface_bench.cli.output import check_folder, print_table
from comface_bench.cli.sweep import (
    Jobs,
    Team,
    announce,
    interruptible,
    print_plan,
    report_outcomes,
    run_sweep,
)
from comface_bench.core.errors import UsageError

if TYPE_CHECKING:
    from comface_bench.leaderboards.study import StudyTable
    from comface_bench.studies.plan import StudyPlan
    from comface_bench.studies.study import Study

FOLDER = "studies"
"""Folder of the tables in a results folder."""
LIST = "list"

app = make_app()


def _complete_study(incomplete: str) -> list[str]:
    from comface_bench.studies.study import study_names

    return [name for name in [LIST, *study_names()] if name.startswith(incomplete)]


@app.command()
def study(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE.toml|list",
            help="A study by name, a copy of one that you changed, or `list` for all of them.",
            autocompletion=_complete_study,
        ),
    ],
    shipped: Annotated[
        bool,
        typer.Option("--shipped", help="On the faces that ship, in the place of the paper's data."),
    ] = False,
    small: Annotated[
        bool,
        typer.Option("--small", help="A form for trying things: one fold, tiny images, the faces that ship."),
    ] = False,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="Methods instead of the study's: names, comma lists or patterns; repeatable.",
            autocompletion=complete_method,
            show_default=False,
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="Tasks instead of the study's: names, comma lists or patterns; repeatable.",
            autocompletion=complete_task,
            show_default=False,
        ),
    ] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            help="Protocols instead of the study's.", autocompletion=complete_protocol, show_default=False
        ),
    ] = None,
    data: Data = None,
    results: StatedResults = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder of the tables [default: studies in the results].", show_default=False
        ),
    ] = None,
    folds: Folds = None,
    seeds: StatedSeeds = None,
    option: StatedValues = None,
    device: StatedDevice = None,
    plugin: StatedPlugins = None,
    no_plugins: NoPlugins = False,
    jobs: Jobs = None,
    copy: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="Write the study's file there, to be changed; run nothing."),
    ] = None,
    dry_run: DryRun = False,
    no_figure: Annotated[bool, typer.Option("--no-figure", help="Draw none; needs no matplotlib.")] = False,
    as_json: Json = False,
) -> None:
    """Run a study and write its table as Markdown, LaTeX and JSON, with a figure; what is finished isn't run.

    Cells whose data or weights aren't here say what is missing. Exit status: 0 all that can run is done, 1
    some unit failed or is left to another sweep, 2 usage, or nothing can run.
    """
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
    if name == LIST:
        _list(given, shipped=shipped, small=small, as_json=as_json)
        return
    from comface_bench.studies.plan import plan_study
    from comface_bench.studies.study import find_study

    chosen = find_study(name)
    if copy is not None:
        _copy(chosen.path, copy)
        return

    def make_plan() -> StudyPlan:
        return plan_study(chosen, given, shipped=shipped, small=small)

    line = _line(name, given, shipped=shipped, small=small)
    # Tables of other data are other files.
    stem = chosen.name + ("-small" if small else "-shipped" if shipped else "")
    _carry_out(make_plan, line, stem, out, jobs, dry_run=dry_run, figure=not no_figure, as_json=as_json)


def _carry_out(
    make_plan: Callable[[], StudyPlan],
    line: str,
    stem: str,
    out: Path | None,
    jobs: int | None,
    *,
    dry_run: bool,
    figure: bool,
    as_json: bool,
) -> None:
    if out is not None:
        check_folder(out)
    plan = make_plan()
    team = Team.choose(plan.sweep, jobs, None)
    if dry_run:
        print_plan(plan.sweep, team.jobs, as_json)
        if not as_json:
            _print_gaps(plan)
        return
    plan.check_any()
    if figure:
        from comface_bench.leaderboards.study_figure import require_matplotlib

        require_matplotlib()
    if not as_json:
        announce(plan.sweep, team.jobs)
    with interruptible():
        outcomes = run_sweep(plan.sweep, team, None, as_json)
    made, paths = _write(make_plan() if plan.sweep.batches else plan, line, stem, out, figure)
    if as_json:
        typer.echo(json.dumps({"written": [str(path) for path in paths]}, ensure_ascii=False))
    else:
        _print(made)
        for path in paths:
            typer.echo(path)
    report_outcomes(plan.sweep, outcomes)


def _write(
    plan: StudyPlan, line: str, stem: str, out: Path | None, figure: bool
) -> tuple[StudyTable, list[Path]]:
    """Write a study's table into files of that stem; return it and its files."""
    from comface_bench.core.files import file_lock, replace_file, writing
    from comface_bench.leaderboards.study import read_intervals, study_json, study_latex, study_markdown
    from comface_bench.studies.table import make_table

    folder = out or plan.grids[0].results / FOLDER
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    facts, page, latex, drawing = (folder / f"{stem}{suffix}" for suffix in (".json", ".md", ".tex", ".svg"))
    with file_lock(folder / ".lock", remove=True):
        before = facts.read_text(encoding="utf-8", errors="replace") if facts.is_file() else ""
        made = make_table(plan, line, read_intervals(before))
        text = study_json(made)
        if not figure:
            drawing.unlink(missing_ok=True)
        elif text != before or not drawing.is_file():
            # Else the figure that is there is of this table; matplotlib takes longer to import than all else.
            from comface_bench.leaderboards.study_figure import draw_study

            replace_file(drawing, draw_study(made))
        replace_file(page, study_markdown(made, drawing.name if figure else "").encode())
        replace_file(latex, study_latex(made).encode())
        # Last, since it says that the others are of this table.
        replace_file(facts, text.encode())
    return made, [page, latex, *([drawing] if figure else []), facts]


def _print(made: StudyTable) -> None:
    """Print the table, and what is missing."""
    from comface_bench.leaderboards.formatting import DASH, format_value

    columns = [column.title for column in made.columns]
    rows = [
        [
            row.label,
            *(
                DASH if cell.missing else format_value(column.metric, cell.value) + cell.marks
                for column, cell in zip(made.columns, row.cells, strict=True)
            ),
        ]
        for row in made.rows
    ]
    print_table(["row", *columns], rows, columns)
    for (why, hint), names in made.missing.items():
        _print_gap(why, hint, names)


def _print_gaps(plan: StudyPlan) -> None:
    for gap, names in plan.gaps.items():
        _print_gap(gap.reason, gap.hint, names)


def _print_gap(why: str, hint: str, names: Sequence[str]) -> None:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    typer.echo(f"missing: {names[0]}{more}: {why}")
    for one in hint.splitlines():
        typer.echo(f"  {one}")


def _copy(source: Path, target: Path) -> None:
    """Write a study's file to another place.

    Raises:
        UsageError: There is a file already, or it isn't called .toml.
    """
    from comface_bench.core.files import replace_file, writing

    if target.suffix != ".toml":
        raise UsageError(f"--copy {target}: not called .toml", "Such as: --copy my-study.toml")
    if target.exists():
        raise UsageError(f"--copy {target}: there is such a file already", "Name another, or remove it.")
    with writing(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
    replace_file(target, source.read_bytes())
    typer.echo(f"{target}: change it, then: comface-bench study {target}")


def _list(given: Mapping[str, Any], *, shipped: bool, small: bool, as_json: bool) -> None:
    """Print every study with what it lacks here, and how long what is left of it may take."""
    from comface_bench.studies.study import find_study, study_names

    rows = [_describe(find_study(name), given, shipped=shipped, small=small) for name in study_names()]
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row, ensure_ascii=False))
        return
    print_table(
        ["study", "table", "what", "cells", "units", "time left", "lacks"],
        [
            [
                row["study"],
                row["table"],
                row["title"],
                f"{row['cells']}/{row['all_cells']}",
                f"{row['done']}/{row['units']}",
                _time_text(row),
                "; ".join(row["lacks"]) or "nothing",
            ]
            for row in rows
        ],
        numbers=("cells", "units"),
    )
    typer.echo("\ncells: those that can be measured here; units: those done, of what can be run")
    typer.echo("how to get what one lacks: comface-bench study NAME --dry-run")
    if not (shipped or small):
        typer.echo("on the faces that ship: comface-bench study list --shipped")


def _describe(chosen: Study, given: Mapping[str, Any], *, shipped: bool, small: bool) -> dict[str, Any]:
    from comface_bench.studies.plan import Gap, plan_study

    plan = plan_study(chosen, given, shipped=shipped, small=small)
    sweep = plan.sweep
    missing = sum(len(cell.missing) for cell in sweep.cells)
    units = sum(len(cell.units) for cell in sweep.cells)
    return {
        "study": chosen.name,
        "table": chosen.table,
        "title": chosen.title,
        "cells": sum(not isinstance(cell, Gap) for cell in plan.cells.values()),
        "all_cells": len(plan.cells),
        "units": units,
        "done": units - missing,
        "seconds": sum(sweep.estimates.values()),
        "without_estimate": missing - len(sweep.estimates),
        "lacks": list(dict.fromkeys(gap.short for gap in plan.gaps)),
    }


def _time_text(row: Mapping[str, Any]) -> str:
    from comface_bench.cli.pace import format_seconds

    if not row["units"] or row["done"] == row["units"]:
        return ""
    if not row["seconds"]:
        return "unknown"
    return f"{'more than ' if row['without_estimate'] else ''}{format_seconds(row['seconds'])}"


def _line(name: str, given: Mapping[str, Any], *, shipped: bool, small: bool) -> str:
    """Return the command that makes the table, without folders of this machine."""
    words = ["comface-bench", "study", name]
    words += ["--shipped"] if shipped and not small else []
    words += ["--small"] if small else []
    for key in ("method", "task", "protocol"):
        words += [f"--{key}", ",".join(given[key])] if key in given else []
    for key in ("folds", "seeds"):
        words += [f"--{key}", ",".join(map(str, given[key]))] if key in given else []
    for key, values in given.get("options", {}).items():
        for value in values:
            words += ["-o", f"{key}={value}"]
    return shlex.join(words)
