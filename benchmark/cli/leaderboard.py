"""`comface-bench leaderboard`: pages from result files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comface_bench.cli.groups import Group, make_app
from comface_bench.cli.options import Results

app = make_app(Group)


@app.callback()
def _leaderboard() -> None:
    """Write leaderboards from result files."""


@app.command()
def build(
    results: Results = Path("results"),
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder of the pages [default: RESULTS/leaderboard].", show_default=False
        ),
    ] = None,
) -> None:
    """Write one page for each task and protocol, and an index; the same bytes for the same results."""
    from comface_bench.core.errors import DataMissingError
    from comface_bench.leaderboards.pages import build as build_pages
    from comface_bench.results.store import LEADERBOARD

    if not results.is_dir():
        raise DataMissingError(
            f"there is no folder of results {results}",
            "Name another with --results, or make one: comface-bench run --method M --task T",
        )
    for page in build_pages(results, out or results / LEADERBOARD):
        typer.echo(page)
