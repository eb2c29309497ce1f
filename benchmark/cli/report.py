"""`comface-bench report`: one file with all that stands behind results, to be attached to a paper."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from comface_bench.cli.commands import Plugins, Results, load_metrics, make_app
from comface_bench.cli.output import check_output, make_folder

app = make_app()

SUFFIXES = (".html", ".pdf")


@app.command()
def report(
    out: Annotated[
        Path,
        typer.Option("--out", metavar="FILE", help="File to write: .html, or .pdf (extra: pdf)."),
    ],
    results: Results = Path("results"),
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="Tasks: names, comma lists or patterns; repeatable [default: all].", show_default=False
        ),
    ] = None,
    protocol: Annotated[
        list[str] | None, typer.Option(help="Protocols, likewise.", show_default=False)
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="Methods, likewise. Places and differences stay those of all methods.", show_default=False
        ),
    ] = None,
    title: Annotated[str | None, typer.Option(help="Title of the report.", show_default=False)] = None,
    no_figures: Annotated[bool, typer.Option("--no-figures", help="Draw none; needs no matplotlib.")] = False,
    plugin: Plugins = [],  # noqa: B006 - typer reads the default and never changes it
) -> None:
    """Write methods, data, protocols, versions, tables and figures of results into one file.

    The same results give the same bytes. A file that is there is replaced, and only by a whole one.
    """
    from comface_bench.core.errors import UsageError
    from comface_bench.core.files import replace_file
    from comface_bench.core.names import split_list
    from comface_bench.leaderboards.report import (
        TITLE,
        make_report,
        report_html,
        report_pdf,
        require_weasyprint,
    )
    from comface_bench.results.store import require_results

    if out.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"--out {out}: neither .html nor .pdf", f"Such as: --out {out.with_suffix('.html').name}"
        )
    check_output(out)
    require_results(results)
    pdf = out.suffix.lower() == ".pdf"
    if pdf:
        # Before the work, not after it.
        require_weasyprint()
    load_metrics(plugin)
    chosen = {"task": split_list(task or ()), "protocol": split_list(protocol or ())}
    chosen["method"] = split_list(method or ())
    made = make_report(
        results,
        _line(chosen, title, figures=not no_figures),
        tasks=chosen["task"],
        protocols=chosen["protocol"],
        methods=chosen["method"],
        title=title or TITLE,
        figures=not no_figures,
    )
    page = report_html(made)
    data = report_pdf(page) if pdf else page
    make_folder(out)
    replace_file(out, data)
    typer.echo(out)


def _line(chosen: Mapping[str, Sequence[str]], title: str | None, *, figures: bool) -> str:
    """Return the command that makes the report, without folders of this machine."""
    words = ["comface-bench", "report"]
    for key, names in chosen.items():
        words += [f"--{key}", ",".join(names)] if names else []
    words += ["--title", title] if title else []
    words += [] if figures else ["--no-figures"]
    return shlex.join([*words, "--out", "FILE"])
