"""`comface-bench submission`: packages that add a row to the board by a pull request."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comface_bench.cli.commands import Group, Json, Results, make_app
from comface_bench.cli.output import check_output, make_folder, print_json

app = make_app(Group)

Private = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", help="Data root, to look at data that don't ship, too.", show_default=False
    ),
]
Package = Annotated[Path, typer.Argument(metavar="FILE.zip", help="The package.", show_default=False)]


@app.callback()
def _submission() -> None:
    """Pack results for a board, check and accept what others have packed."""


@app.command()
def pack(
    method: Annotated[
        str, typer.Option("--method", help="Name of the method, options included.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE.zip", help="File to write.", show_default=False)
    ],
    description: Annotated[
        str,
        typer.Option("--description", help="What the method is, in a sentence or two.", show_default=False),
    ],
    licence: Annotated[
        str,
        typer.Option(
            "--licence", help="Of the weights; of the code where there are none.", show_default=False
        ),
    ],
    training_data: Annotated[
        str,
        typer.Option(
            "--training-data",
            help="Data sets seen in pre-training, commas between them; none if it saw none.",
            show_default=False,
        ),
    ],
    code: Annotated[str, typer.Option("--code", metavar="URL", help="https address of the code.")] = "",
    weights: Annotated[
        str, typer.Option("--weights", metavar="URL", help="https address of the weights.")
    ] = "",
    results: Results = Path("results"),
    task: Annotated[
        list[str],
        typer.Option("--task", help="Names, comma lists or patterns [default: all].", show_default=False),
    ] = [],  # noqa: B006 - typer copies it
    protocol: Annotated[
        list[str],
        typer.Option("--protocol", help="Names, comma lists or patterns [default: all].", show_default=False),
    ] = [],  # noqa: B006 - typer copies it
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="Take records with missing or failed folds, too.")
    ] = False,
    data: Private = None,
) -> None:
    """Pack a method's records with their predictions into one zip file.

    The environment is reduced to versions, hardware, precision and commit. The package is checked as the
    board's maintainers will check it.
    """
    from comface_bench.core.files import replace_file
    from comface_bench.core.names import split_list
    from comface_bench.results.store import require_results
    from comface_bench.submission.pack import pack as pack_records
    from comface_bench.submission.package import SubmissionNote

    check_output(out)
    require_results(results)
    note = SubmissionNote(method, description, code, weights, licence, tuple(split_list([training_data])))
    package, report = pack_records(
        results,
        note,
        tasks=split_list(task),
        protocols=split_list(protocol),
        incomplete=incomplete,
        data=data,
    )
    make_folder(out)
    replace_file(out, package)
    for line in report.lines():
        typer.echo(line)
    typer.echo(f"{out}: {len(package)} bytes, SHA-256 {report.sha256}")


@app.command()
def check(
    package: Package,
    results: Annotated[
        Path | None,
        typer.Option(
            "--results", metavar="DIR", help="The board's records, to compare with.", show_default=False
        ),
    ] = None,
    data: Private = None,
    as_json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a summary for a pull request.")] = False,
) -> None:
    """Check a package that a stranger made; nothing in it is executed.

    All that is wrong is listed with file and place, and the exit status is then 1.
    """
    from comface_bench.core.errors import UsageError
    from comface_bench.submission.check import check_package

    if as_json and markdown:
        raise UsageError("--json and --markdown are two forms of one output", "Leave one of them out.")
    report = check_package(package, results, data)
    if as_json:
        print_json(report.facts())
    elif markdown:
        typer.echo(report.markdown(), nl=False)
    else:
        for line in report.lines():
            typer.echo(line)
    if not report.ok:
        raise typer.Exit(1)


@app.command()
def accept(
    package: Package,
    results: Results = Path("leaderboards/results"),
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace earlier submissions of the same rows.")
    ] = False,
    data: Private = None,
) -> None:
    """Check a package and put its records into a board's folder.

    Rows that the board's maintainers have measured are never replaced.
    """
    from comface_bench.submission.accept import accept as accept_package

    for path in accept_package(package, results, replace=replace, data=data):
        typer.echo(path)
    typer.echo(f"Now build the pages: comface-bench leaderboard build --results {results}")
