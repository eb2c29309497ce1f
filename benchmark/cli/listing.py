"""`comface-bench list`: names, where they come from, and what they need."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from comface_bench.cli.groups import make_app
from comface_bench.cli.options import Data, Json, NoPlugins, Plugins
from comface_bench.cli.presence import find_method_weights, find_task_data
from comface_bench.cli.tables import print_json, print_table

app = make_app()


class Kind(StrEnum):
    """What can be listed."""

    METHODS = "methods"
    TASKS = "tasks"
    PROTOCOLS = "protocols"


@app.command()
def list_names(
    kind: Annotated[Kind, typer.Argument(help="What to list.", show_default=False)],
    data: Data = None,
    as_json: Json = False,
    plugin: Plugins = [],  # noqa: B006 - typer reads the default and never changes it
    no_plugins: NoPlugins = False,
) -> None:
    """List methods, tasks or protocols; installed plugins are named without being loaded."""
    if kind is Kind.METHODS:
        rows, families = _methods(plugin, not no_plugins)
    elif kind is Kind.TASKS:
        rows, families = _tasks(plugin, not no_plugins, data)
    else:
        rows, families = _protocols(plugin, not no_plugins), []
    if as_json:
        print_json({kind.value: rows} | ({} if kind is Kind.PROTOCOLS else {"families": families}))
        return
    headings = list(dict.fromkeys(key for row in rows for key in row))
    print_table(headings, [[row.get(key, "") for key in headings] for row in rows])
    for family in families:
        typer.echo(
            f"\n{family['name']}  any {kind.value[:-1]} of such a name, for example {family['example']}"
            f" ({family['origin']})"
        )


def _methods(files: list[Path], plugins: bool) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    from comface_bench.core.registry import method_registry

    registry = method_registry(files, plugins)
    known = {entry.card.name: entry for entry in registry.declared()}
    rows = []
    for name, origin in registry.names().items():
        row = {"name": name}
        if entry := known.get(name):
            row |= {
                "backbone": entry.card.backbone,
                "group": entry.card.group,
                "weights": find_method_weights(entry),
                "origin": origin,
                "summary": entry.card.summary,
            }
        rows.append(row if entry else row | {"origin": origin})
    return rows, [_family(family) for family in registry.families()]


def _tasks(
    files: list[Path], plugins: bool, data: Path | None
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    from comface_bench.core.registry import task_registry

    registry = task_registry(files, plugins)
    known = {entry.card.name: entry.card for entry in registry.declared()}
    rows = []
    for name, origin in registry.names().items():
        row = {"name": name}
        if card := known.get(name):
            row |= {
                "data": card.data,
                "target": card.target,
                "unit": card.unit,
                "available": find_task_data(card, data),
                "origin": origin,
                "summary": card.summary,
            }
        rows.append(row if card else row | {"origin": origin})
    return rows, [_family(family) for family in registry.families()]


def _protocols(files: list[Path], plugins: bool) -> list[dict[str, str]]:
    from comface_bench.core.protocol import protocol_names, protocol_registry

    registry = protocol_registry(files, plugins)
    summaries = {entry.card.name: entry.card.summary for entry in registry.declared()}
    origins = registry.names()
    return [
        {"name": name, "origin": origins[name], "summary": summaries.get(name, "")}
        for name in protocol_names(registry)
    ]


def _family(family: Any) -> dict[str, str]:
    return {"name": f"{family.prefix}…", "example": family.example, "origin": family.origin}
