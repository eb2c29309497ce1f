"""`comface-bench results`: checking, comparing, uniting and exporting result files."""

from __future__ import annotations

import dataclasses
import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from comface_bench.cli.commands import Group, Json, NoPlugins, Plugins, Results, load_metrics, make_app
from comface_bench.cli.output import (
    check_output,
    format_count,
    make_folder,
    print_json,
    print_table,
    print_text,
    table_width,
    terminal_width,
)
from comface_bench.core.display import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from comface_bench.core.card import MethodCard, TaskCard
    from comface_bench.core.findings import Finding
    from comface_bench.core.registry import Registry
    from comface_bench.results.comparison import Pairs, RecordDifference

app = make_app(Group)

Paths = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="[PATHS]...",
        help="Records (.json) or folders of results [default: the folder of --results].",
        show_default=False,
    ),
]


@app.callback()
def _results() -> None:
    """Check, compare, unite and export result files."""


@app.command()
def validate(
    paths: Paths = None,
    results: Results = Path("results"),
    plugin: Plugins = [],  # noqa: B006 - typer reads the default and never changes it
    as_json: Json = False,
) -> None:
    """Check records and the predictions beside them.

    Schema, digests and keys, plausible numbers, folds and pairs; all that is wrong is listed, and the exit
    status is then 1. Metrics are computed again by `results recompute`.
    """
    from comface_bench.results.validation import check_together, validate_record, validate_strays

    load_metrics(plugin)
    named = paths or [results]
    records = _records(named)
    found = [finding for path in records for finding in validate_record(path)]
    found += [finding for path in named if path.is_dir() for finding in validate_strays(path)]
    found += check_together(records)
    _print_findings(found, len(records), "valid", as_json)


@app.command()
def recompute(
    paths: Paths = None,
    results: Results = Path("results"),
    update: Annotated[
        bool,
        typer.Option(
            "--update",
            help="First bring records to the newest version and to their cards' facts; metrics that a task "
            "has gained are computed.",
        ),
    ] = False,
    plugin: Plugins = [],  # noqa: B006 - typer reads the default and never changes it
    no_plugins: NoPlugins = False,
    as_json: Json = False,
) -> None:
    """Compute every metric again and compare.

    From the predictions alone; only --update changes files. The exit status is 1 if any number differs.
    """
    from comface_bench.results.record import TOLERANCE
    from comface_bench.results.validation import recompute_record

    load_metrics(plugin)
    records = _records(paths or [results])
    if update:
        for path in _update(records, plugin, not no_plugins):
            if not as_json:
                typer.echo(f"{visible(str(path))}: updated")
    found = []
    for path in records:
        here = recompute_record(path)
        found += here
        if not here and not as_json:
            typer.echo(f"{visible(str(path))}: equal")
    _print_findings(found, len(records), f"equal within {TOLERANCE:g}", as_json)


@app.command()
def schema(
    version: Annotated[
        int | None, typer.Option("--version", help="Of an earlier version.", show_default=False)
    ] = None,
) -> None:
    """Print the JSON Schema of records."""
    from comface_bench.results.schema import read_schema

    typer.echo(read_schema(version), nl=False)


@app.command()
def diff(
    a: Annotated[Path, typer.Argument(help="A record or a folder of results.", show_default=False)],
    b: Annotated[Path, typer.Argument(help="Another.", show_default=False)],
    measured: Annotated[
        bool, typer.Option("--measured", help="Compare seconds, memory, environment and provenance, too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what differs between two results.

    Names, digests, options, metrics and predictions, unit by unit. The exit status is 1 if anything does.
    """
    from comface_bench.results.comparison import compare_results

    for path in (a, b):
        _must_exist(path)
    _print_differences(compare_results(a, b, measured=measured), as_json)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="A method.", show_default=False)],
    b: Annotated[str, typer.Argument(help="Another.", show_default=False)],
    results: Results = Path("results"),
    task: Annotated[
        str | None,
        typer.Option(
            "--task", help="Names and patterns with commas between them [default: all].", show_default=False
        ),
    ] = None,
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="Likewise [default: all].", show_default=False)
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option("--metric", help="A metric [default: each task's first].", show_default=False),
    ] = None,
    plugin: Plugins = [],  # noqa: B006 - typer reads the default and never changes it
    as_json: Json = False,
) -> None:
    """Compare two methods, task by task.

    The difference is that of A minus that of B, on the same pairs, with its 95 % interval by people, as on
    the pages. p is of this one comparison; corrected, of all that the page makes with B.
    """
    from comface_bench.leaderboards.comparison import compare_methods

    load_metrics(plugin)
    _records([results])
    made = compare_methods(results, a, b, task=task, protocol=protocol, metric=metric)
    if as_json:
        print_json({"comparisons": [{**one.facts, "says": one.sentence} for one in made]})
        return
    named = [{name: visible(text) for name, text in one.cells.items()} for one in made]
    headings, rows = list(named[0]), [list(row.values()) for row in named]
    room = not sys.stdout.isatty() or table_width(headings, rows) <= terminal_width()
    if room:
        print_table(headings, rows, numbers=headings[4:])
        typer.echo("")
    for one, row in zip(made, named, strict=True):
        print_text(visible(one.sentence))
        if not room:
            values = ", ".join(f"{visible(name)} {row[name]}" for name in (one.a, one.b))
            print_text(f"{row['metric']}: {values} {row['unit']}".rstrip(), "  ")
        if one.corrected.reason and one.difference.value is not None:
            print_text(visible(f"not compared on its page: {one.corrected.reason}"), "  ")
    notes: dict[str, list[str]] = {}
    for one in made:
        for note in one.notes:
            notes.setdefault(note, []).append(f"{one.task} under {one.protocol}")
    for note, boards in notes.items():
        where = f" on {', '.join(boards)}" if len(made) > 1 else ""
        print_text(visible(f"note{where}: {note}"))


@app.command()
def merge(
    folders: Annotated[list[Path], typer.Argument(help="Folders of results.", show_default=False)],
    into: Annotated[
        Path, typer.Option("--into", metavar="DIR", help="Folder of the union; what it holds counts first.")
    ],
    prefer: Annotated[
        Literal["first", "last"] | None,
        typer.Option("--prefer", help="Whose word counts in a conflict.", show_default=False),
    ] = None,
) -> None:
    """Unite folders of results.

    Where two contradict each other, both are named, nothing is written and the exit status is 1.
    """
    from comface_bench.core.errors import UsageError
    from comface_bench.results.comparison import merge_results as unite

    for folder in folders:
        if folder.is_file():
            raise UsageError(
                f"{folder} is a file", "Name folders of results, which hold TASK/PROTOCOL/METHOD.json."
            )
    _records(folders)
    merged = unite(folders, into, prefer)
    for conflict in merged.conflicts:
        one, other = conflict.files
        typer.echo(visible(f"conflict: {conflict.record}: {conflict.what}: {one} and {other}"))
    if merged.conflicts and prefer is None:
        typer.echo("nothing was written; say whose word counts: --prefer first or --prefer last", err=True)
        raise typer.Exit(1)
    counts = f"{format_count(merged.records, 'record')} with {format_count(merged.units, 'unit')}"
    typer.echo(f"{into}: {counts}; {format_count(len(merged.written), 'record')} written")


@app.command()
def export(
    results: Results = Path("results"),
    form: Annotated[
        Literal["csv", "latex"], typer.Option("--format", help="csv: all records; latex: a table.")
    ] = "csv",
    task: Annotated[
        str | None,
        typer.Option("--task", help="Names and patterns with commas between them.", show_default=False),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option("--protocol", help="Likewise; a LaTeX table is of one.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="File to write [default: stdout].")
    ] = None,
) -> None:
    """Write results as CSV or LaTeX.

    CSV has a line for each record. LaTeX is a table of one protocol, methods in groups, the best in bold.
    """
    from comface_bench.core.errors import UsageError
    from comface_bench.core.names import choose_names, is_pattern
    from comface_bench.leaderboards.export import records_csv, records_latex
    from comface_bench.leaderboards.pages import read_entries

    if out is not None:
        check_output(out)
    _records([results])
    entries = read_entries(results)
    tasks = choose_names(task, (entry.task for entry in entries), "task")
    protocols = choose_names(protocol, (entry.protocol for entry in entries), "protocol")
    if form == "latex" and len(protocols) > 1:
        raise UsageError(
            "a LaTeX table is of one protocol", f"Name it: --protocol {' or --protocol '.join(protocols)}"
        )
    chosen = [entry for entry in entries if entry.task in tasks and entry.protocol in protocols]
    if form == "latex" and (task is None or is_pattern(task)):
        # Of tasks that nobody named, those that have a column.
        tasks = [name for name in tasks if any(entry.task == name for entry in chosen)]
    text = records_csv(chosen) if form == "csv" else records_latex(chosen, tasks, protocols[0])
    if out is None:
        typer.echo(text, nl=False)
    else:
        from comface_bench.core.files import replace_file

        make_folder(out)
        replace_file(out, text.encode())
        typer.echo(out)


def _update(records: Iterable[Path], files: list[Path], plugins: bool) -> Iterator[Path]:
    """Bring records to the newest version and to their cards; yield those that changed."""
    from comface_bench.core.errors import ResultError
    from comface_bench.core.registry import method_registry, task_registry
    from comface_bench.results.record import load_record
    from comface_bench.results.store import update_record

    tasks, methods = task_registry(files, plugins), method_registry(files, plugins)
    for path in records:
        try:
            record = load_record(path)
            cards = _task_card(record.task.name, tasks), _method_card(record.method.name, methods)
            if update_record(path, *cards):
                yield path
        except ResultError:
            continue  # The check that follows says what is wrong.


def _task_card(name: str, tasks: Registry[TaskCard]) -> TaskCard | None:
    """Return the card that a task's name stands for here; None if it isn't here, or names a file."""
    from comface_bench.core.errors import BenchError
    from comface_bench.core.names import parse_name
    from comface_bench.data.task import configure

    base, options = parse_name(name)
    try:
        return configure(tasks.get(base), options)[0] if base in tasks.names() else None
    except BenchError:
        return None


def _method_card(name: str, methods: Registry[MethodCard]) -> MethodCard | None:
    """Return the card that a method's name stands for here; None for one that isn't here."""
    from comface_bench.core.errors import BenchError
    from comface_bench.core.names import parse_name

    try:
        return methods.get(parse_name(name)[0]).card
    except (BenchError, ImportError):  # A family's library may lack the model, or not be installed.
        return None


def _records(paths: Iterable[Path]) -> list[Path]:
    """List the records that paths name.

    Raises:
        DataMissingError: There is no such path, or no record in it.
    """
    from comface_bench.results.store import ResultStore, no_record_in

    found: list[Path] = []
    for path in paths:
        _must_exist(path)
        here = ResultStore(path).paths() if path.is_dir() else [path]
        if not here:
            raise no_record_in(path)
        found += here
    return list(dict.fromkeys(found))


def _must_exist(path: Path) -> None:
    from comface_bench.core.errors import DataMissingError
    from comface_bench.results.store import MAKE_ONE

    if not path.exists():
        raise DataMissingError(
            f"there is no record or folder of results {path}", f"Name another, or {MAKE_ONE}"
        )


def _print_findings(found: Sequence[Finding], records: int, good: str, as_json: bool) -> None:
    """Print findings, each hint once, and how many there are; exit with status 1 if there are any.

    Args:
        found: Of all records.
        records: Number of records that were checked.
        good: The verdict if nothing was found.
        as_json: Print one JSON document instead.

    Raises:
        typer.Exit: Something was found.
    """
    if as_json:
        facts = [dataclasses.asdict(finding) for finding in found]
        print_json({"ok": not found, "records": records, "findings": facts})
    else:
        for finding in found:
            typer.echo(visible(str(finding)))
        for hint in dict.fromkeys(finding.hint for finding in found if finding.hint):
            typer.echo(f"  {visible(hint)}")
        wrong = "1 thing is wrong" if len(found) == 1 else f"{len(found)} things are wrong"
        typer.echo(f"{format_count(records, 'record')}: {wrong if found else good}")
    if found:
        raise typer.Exit(1)


def _print_differences(found: Sequence[RecordDifference], as_json: bool) -> None:
    """Print differences under the record that they are of; exit with status 1 if there are any.

    Raises:
        typer.Exit: There are differences.
    """
    if as_json:
        print_json({"equal": not found, "differences": [dataclasses.asdict(item) for item in found]})
    else:
        for record, items in groupby(found, key=lambda item: item.record):
            typer.echo(visible(f"{record}:"))
            for item in items:
                typer.echo(visible(f"  {_describe_difference(item)}"))
        typer.echo(format_count(len(found), "difference") if found else "equal")
    if found:
        raise typer.Exit(1)


def _describe_difference(item: RecordDifference) -> str:
    if not item.field:
        side = "only in the first" if item.b is None else "only in the second"
        return f"{item.unit}: {side}" if item.unit else side
    place = f"{item.unit}: {item.field}" if item.unit else item.field
    if item.pairs is not None:
        return f"{place}: {_describe_pairs(item.pairs)}"
    size = f" (differs by {item.size:.6g})" if item.size is not None else ""
    return f"{place}: {item.a!r} and {item.b!r}{size}"


def _describe_pairs(pairs: Pairs) -> str:
    parts = [f"{format_count(pairs.shared, 'pair')} in both"]
    parts += [f"{pairs.only_a} only in the first"] if pairs.only_a else []
    parts += [f"{pairs.only_b} only in the second"] if pairs.only_b else []
    parts += [f"{pairs.other_y} with another true change"] if pairs.other_y else []
    return ", ".join([*parts, f"{pairs.other_yhat} answered otherwise, by up to {pairs.largest:.6g}"])
