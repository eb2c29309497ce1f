"""`comface-bench list` and `show`: names and their origin, all declared facts, availability of files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from comface_bench.cli.commands import Data, Json, NoPlugins, Plugins, QuickCommand, complete_name, make_app
from comface_bench.cli.output import print_facts, print_json, print_table
from comface_bench.core.card import Family, MethodCard, TaskCard, card_digest, data_availability
from comface_bench.core.errors import UnknownNameError
from comface_bench.core.names import parse_name, unknown_name
from comface_bench.core.protocol import (
    ProtocolCard,
    protocol_names,
    protocol_registry,
    resolve_protocol,
)
from comface_bench.core.registry import Entry, Registry, method_registry, task_registry
from comface_bench.core.weights import weights_availability

if TYPE_CHECKING:
    from comface_bench.stats.metrics import MetricCard

app = make_app()
show_app = make_app()


class Kind(StrEnum):
    """Kinds of names that `list` takes."""

    METHODS = "methods"
    TASKS = "tasks"
    PROTOCOLS = "protocols"
    METRICS = "metrics"


@app.command(cls=QuickCommand)
def list_names(
    kind: Annotated[Kind, typer.Argument(help="What to list.", show_default=False)],
    data: Data = None,
    as_json: Json = False,
    plugin: Plugins = [],  # noqa: B006 - typer reads the default and never changes it
    no_plugins: NoPlugins = False,
) -> None:
    """List methods, tasks, protocols or metrics; installed plugins are named without being loaded."""
    if kind is Kind.METHODS:
        rows, families = _list_methods(plugin, not no_plugins)
    elif kind is Kind.TASKS:
        rows, families = _list_tasks(plugin, not no_plugins, data)
    elif kind is Kind.PROTOCOLS:
        rows, families = _list_protocols(plugin, not no_plugins), []
    else:
        rows, families = _list_metrics(plugin, not no_plugins), []
    if as_json:
        open_kind = kind in (Kind.METHODS, Kind.TASKS)
        print_json({kind.value: rows} | ({"families": families} if open_kind else {}))
        return
    headings = list(dict.fromkeys(key for row in rows for key in row))
    print_table(headings, [[row.get(key, "") for key in headings] for row in rows])
    for family in families:
        typer.echo(
            f"\n{family['name']}  any {kind.value[:-1]} of such a name, for example {family['example']}"
            f" ({family['origin']})"
        )


def _list_methods(files: list[Path], plugins: bool) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    registry = method_registry(files, plugins)
    known = {entry.card.name: entry for entry in registry.declared()}
    rows = []
    for name, origin in registry.names().items():
        row = {"name": name}
        if entry := known.get(name):
            row |= {
                "backbone": entry.card.backbone,
                "group": entry.card.group,
                "weights": weights_availability(entry),
                "origin": origin,
                "summary": entry.card.summary,
            }
        rows.append(row if entry else row | {"origin": origin})
    return rows, [_family_row(family) for family in registry.families()]


def _list_tasks(
    files: list[Path], plugins: bool, data: Path | None
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
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
                "available": data_availability(card, data),
                "origin": origin,
                "summary": card.summary,
            }
        rows.append(row if card else row | {"origin": origin})
    return rows, [_family_row(family) for family in registry.families()]


def _list_protocols(files: list[Path], plugins: bool) -> list[dict[str, str]]:
    registry = protocol_registry(files, plugins)
    summaries = {entry.card.name: entry.card.summary for entry in registry.declared()}
    origins = registry.names()
    return [
        {"name": name, "origin": origins[name], "summary": summaries.get(name, "")}
        for name in protocol_names(registry)
    ]


def _list_metrics(files: list[Path], plugins: bool) -> list[dict[str, str]]:
    from comface_bench.stats.metrics import metric_registry

    registry = metric_registry(files, plugins)
    known = {entry.card.name: entry.card for entry in registry.declared()}
    rows = []
    for name, origin in registry.names().items():
        row = {"name": name}
        if card := known.get(name):
            row |= {"title": card.title, "better": "higher" if card.higher_is_better else "lower"}
            row |= {"origin": origin, "summary": card.summary}
        rows.append(row if card else row | {"origin": origin})
    return rows


def _family_row(family: Any) -> dict[str, str]:
    return {"name": f"{family.prefix}…", "example": family.example, "origin": family.origin}


@show_app.command(cls=QuickCommand)
def show(
    name: Annotated[
        str,
        typer.Argument(
            help="A method, task, protocol or metric.", autocompletion=complete_name, show_default=False
        ),
    ],
    data: Data = None,
    as_json: Json = False,
    plugin: Plugins = [],  # noqa: B006 - typer reads the default and never changes it
    no_plugins: NoPlugins = False,
) -> None:
    """Show all facts of a method, a task, a protocol or a metric."""
    base, options = parse_name(name)
    protocols = protocol_registry(plugin, not no_plugins)
    if base in protocols.names():
        _show_protocol(protocols, base, options, as_json)
        return
    entry = _find(base, protocols, plugin, not no_plugins)
    if not isinstance(entry.card, (MethodCard, TaskCard)):
        _show_metric(entry, as_json)
        return
    kind = "task" if isinstance(entry.card, TaskCard) else "method"
    available = (
        data_availability(entry.card, data)
        if isinstance(entry.card, TaskCard)
        else weights_availability(entry)
    )
    facts = {
        "kind": kind,
        **dataclasses.asdict(entry.card),
        "origin": entry.origin,
        "digest": card_digest(entry.card),
        "available" if kind == "task" else "weights": available,
    }
    if as_json:
        print_json(facts)
    else:
        print_facts((key.replace("_", " "), _format_value(value)) for key, value in facts.items())


def _find(name: str, protocols: Registry[ProtocolCard], files: list[Path], plugins: bool) -> Entry[Any]:
    registries: list[Any] = [method_registry(files, plugins), task_registry(files, plugins)]
    for registry in registries:
        try:
            found: Entry[Any] = registry.get(name)
        except UnknownNameError:
            if any(name.startswith(family.prefix) for family in registry.families()):
                raise  # It knows the family, and which of its names come near.
            continue
        return found
    # Last: the module of metrics imports numpy.
    from comface_bench.stats.metrics import metric_registry

    metrics = metric_registry(files, plugins)
    if name in metrics.names():
        return metrics.get(name)
    known = [known for registry in registries for known in registry.names()]
    known += [*protocols.names(), *metrics.names()]
    error = unknown_name(name, known, "method, task, protocol or metric")
    raise UnknownNameError(
        error.message, "See them: comface-bench list methods, … tasks, … protocols, … metrics"
    )


def _show_metric(entry: Entry[MetricCard], as_json: bool) -> None:
    card = entry.card
    facts = {
        "kind": "metric",
        "name": card.name,
        "title": card.title,
        "better": "higher" if card.higher_is_better else "lower",
        "unit": "the target's" if card.has_unit else "percent" if card.percent else "none",
        "digits": card.digits,
        "intervals": card.resampled is not None,
        "summary": card.summary,
        "origin": entry.origin,
    }
    if as_json:
        print_json(facts)
    else:
        print_facts((key, _format_value(value)) for key, value in facts.items())


def _show_protocol(
    protocols: Registry[ProtocolCard], name: str, options: Mapping[str, str], as_json: bool
) -> None:
    families: dict[str, dict[str, Any]] = {
        family: resolve_protocol(name, family, options, registry=protocols).facts()
        for family in get_args(Family)
    }
    summary = protocols.get(name).card.summary
    if as_json:
        print_json({"kind": "protocol", "name": name, "summary": summary, "values": families})
        return
    print_facts([("kind", "protocol"), ("name", name), ("summary", summary)])
    typer.echo("")
    for values in families.values():
        if changes := values.pop("augmentation", None):
            values |= {
                "augmentation": changes.pop("name"),
                **{f"  {key}": value for key, value in changes.items()},
            }
        values["align"] = values.get("align", {}).get("name", "none")
    keys = [key for key in next(iter(families.values())) if key != "name"]
    rows = [
        [key.replace("_", " "), *(_format_value(values[key]) for values in families.values())] for key in keys
    ]
    print_table(["family of tasks", *families], rows)


def _format_value(value: Any) -> str:
    if isinstance(value, Mapping):
        lines = {key: _format_value(entry) for key, entry in value.items()}
        return "\n".join(f"{key}: {line}" for key, line in lines.items() if line)
    if isinstance(value, (tuple, list)):
        return ", ".join(_format_value(entry) for entry in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else str(value)
