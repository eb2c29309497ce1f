"""`comface-bench test`: checks of a method's or task's contract."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from comface_bench.cli.commands import (
    Data,
    Group,
    Json,
    NoPlugins,
    Plugins,
    complete_method,
    complete_task,
    make_app,
)
from comface_bench.cli.output import print_json, print_table

if TYPE_CHECKING:
    from comface_bench.contract.rules import RuleOutcome

app = make_app(Group)


@app.callback()
def _test() -> None:
    """Check that a method or task keeps its contract."""


@app.command()
def task(
    name: Annotated[str, typer.Argument(help="Task.", autocompletion=complete_task, show_default=False)],
    data: Data = None,
    as_json: Json = False,
    plugin: Plugins = [],  # noqa: B006 - typer reads the default and never changes it
    no_plugins: NoPlugins = False,
) -> None:
    """Check a task on its data; without --data, on the example data that its module can write."""
    from comface_bench.contract.task import check_task_contract
    from comface_bench.core.registry import task_registry

    _report(check_task_contract(name, data, task_registry(plugin, not no_plugins)), as_json)


@app.command()
def method(
    name: Annotated[str, typer.Argument(help="Method.", autocompletion=complete_method, show_default=False)],
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Weights file.", show_default=False)
    ] = None,
    image_size: Annotated[
        int, typer.Option(min=32, max=2048, help="Side of the test images in pixels.")
    ] = 112,
    as_json: Json = False,
    plugin: Plugins = [],  # noqa: B006 - typer reads the default and never changes it
    no_plugins: NoPlugins = False,
) -> None:
    """Build a method and check its features; the last line is a fingerprint to compare."""
    from comface_bench.contract.method import check_method_contract
    from comface_bench.core.registry import method_registry

    registry = method_registry(plugin, not no_plugins)
    _report(check_method_contract(name, registry, checkpoint, image_size), as_json)


def _report(findings: list[RuleOutcome], as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {"rule": item.rule, "holds": item.holds, "broken": item.broken, "detail": item.detail}
                for item in findings
            ]
        )
    else:
        print_table(
            ["", "rule", ""],
            [["ok" if item.holds else "BROKEN", item.rule, item.broken or item.detail] for item in findings],
        )
    if not all(item.holds for item in findings):
        raise typer.Exit(1)
