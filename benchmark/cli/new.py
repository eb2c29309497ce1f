"""`comface-bench new`: plugins from templates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comface_bench.cli.commands import Group, make_app
from comface_bench.cli.output import check_folder

app = make_app(Group)

Name = Annotated[str, typer.Argument(help="Small letters, digits and hyphens.", show_default=False)]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the new file.")]


@app.callback()
def _new() -> None:
    """Write the plugin file of a new method or task."""


@app.command()
def task(name: Name, out: Out = Path()) -> None:
    """Write a task's plugin that works at once on example data of its own."""
    _write("task", name, out)


@app.command()
def method(name: Name, out: Out = Path()) -> None:
    """Write a method's plugin that works at once, with a small network of its own."""
    _write("method", name, out)


def _write(kind: str, name: str, out: Path) -> None:
    from comface_bench.scaffold import write_plugin

    check_folder(out)
    path = write_plugin(kind, name, out)
    typer.echo(f"wrote {path}")
    typer.echo(f"Try it: comface-bench test {kind} {name} --plugin {path}")
