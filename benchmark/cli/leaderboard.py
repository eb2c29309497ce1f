"""`comface-bench leaderboard`: pages from result files, and the check that they are up to date."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from comface_bench.cli.commands import Group, Json, Plugins, Results, load_metrics, make_app
from comface_bench.cli.output import check_folder, print_json

app = make_app(Group)

Out = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Folder of the pages [default: RESULTS/leaderboard].", show_default=False
    ),
]


@app.callback()
def _leaderboard() -> None:
    """Write leaderboards from result files."""


@app.command()
def build(
    results: Results = Path("results"),
    out: Out = None,
    no_html: Annotated[bool, typer.Option("--no-html", help="Without the HTML site.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace pages that were changed since a build wrote them.")
    ] = False,
    plugin: Plugins = [],  # noqa: B006 - typer reads the default and never changes it
) -> None:
    """Write pages, leaderboard.csv, leaderboard.json and the site; the same bytes for the same results.

    Files that no build wrote, or that were changed since, are never replaced.
    """
    from comface_bench.leaderboards.pages import SITE
    from comface_bench.leaderboards.pages import build as build_pages

    load_metrics(plugin)
    out = _out(results, out)
    check_folder(out)
    pages = build_pages(results, out, html=not no_html, force=force)
    plain = [page for page in pages if not page.relative_to(out).as_posix().startswith(SITE)]
    for page in plain:
        typer.echo(page)
    if len(plain) < len(pages):
        typer.echo(f"{out / SITE / 'index.html'}, and {len(pages) - len(plain) - 1} more files of the site")


@app.command()
def check(
    results: Results = Path("results"),
    out: Out = None,
    no_html: Annotated[bool, typer.Option("--no-html", help="Expect no HTML site.")] = False,
    plugin: Plugins = [],  # noqa: B006 - typer reads the default and never changes it
    as_json: Json = False,
) -> None:
    """Build again in memory and compare with the files that are there; nothing is written.

    Exit status: 0 they are what a build would write, 1 they aren't, 2 usage or missing input.
    """
    from comface_bench.leaderboards.pages import check as check_pages

    load_metrics(plugin)
    folder = _out(results, out)
    found = check_pages(results, folder, html=False if no_html else None)
    words = ["comface-bench", "leaderboard", "build", "--results", str(results)]
    words += ["--out", str(out)] if out else []
    command = shlex.join([*words, "--no-html"] if no_html else words)
    lists = {"differing": found.differing, "missing": found.missing, "left_over": found.left_over}
    if as_json:
        print_json({"ok": found.fresh, **lists, "command": None if found.fresh else command})
    elif found.fresh:
        typer.echo(f"{folder} is fresh")
    else:
        for kind, names in lists.items():
            for name in names:
                typer.echo(f"{kind.replace('_', ' ')}: {folder / name}")
        typer.echo(f"  {command}")
    if not found.fresh:
        raise typer.Exit(1)


def _out(results: Path, out: Path | None) -> Path:
    """Return the folder of the pages.

    Raises:
        DataMissingError: There is no folder of results.
    """
    from comface_bench.results.store import LEADERBOARD, require_results

    require_results(results)
    return out or results / LEADERBOARD
