"""`comface-bench list` and `show`: names and their origin, all declared facts, availability of files."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from comface_bench.cli.commands import Data, Json, NoPlugins, Plugins, QuickCommand, complete_name, make_app
from comface_bench.cli.output import print_facts, print_json, print_lines, print_table, print_text
from comface_bench.core.card import Family, MethodCard, TaskCard, card_digest, data_availability
from comface_bench.core.errors import UnknownNameError, UsageError
from comface_bench.core.names import is_pattern, parse_name, unknown_name
from comface_bench.core.protocol import (
    ProtocolCard,
    protocol_names,
    protocol_registry,
    resolve_protocol,
)
from comface_bench.core.registry import OURS, Entry, Registry, method_registry, task_registry
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


Row = dict[str, str]


@app.command(cls=QuickCommand)
def list_names(
    kind: Annotated[Kind, typer.Argument(help="What to list.", show_default=False)],
    pattern: Annotated[
        str | None,
        typer.Argument(
            help="Only these, such as 'synth-*', or 'timm/resnet*' of an open family.", show_default=False
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="A line for each task, action units too; JSON has them all.")
    ] = False,
    data: Data = None,
    as_json: Json = False,
    plugin: Plugins = [],  # noqa: B006 - typer reads the default and never changes it
    no_plugins: NoPlugins = False,
) -> None:
    """List methods, tasks, protocols or metrics, a short line each; `show NAME` has all facts.

    Installed plugins are named without being loaded.
    """
    registry = _registry(kind, plugin, not no_plugins)
    rows = _describe_all(kind, registry, data)
    families = [_family_row(family) for family in registry.families()]
    if pattern is not None:
        known, names = {row["name"] for row in rows}, registry.match(pattern)
        rows = [row for row in rows if row["name"] in names]
        rows += [{"name": name} for name in names if name not in known]
        families = []
    if as_json:
        open_kind = kind in (Kind.METHODS, Kind.TASKS)
        print_json({kind.value: rows} | ({"families": families} if open_kind else {}))
        return
    folded, numbers = (rows, {}) if every or kind is not Kind.TASKS else _fold(rows, registry)
    lines = [_shorten(kind, row) for row in folded]
    headings = list(dict.fromkeys(key for line in lines for key in line))
    print_lines(headings, [[line.get(key, "") for key in headings] for line in lines])
    if families:
        typer.echo("")
        print_facts((family["name"], f"such as {family['example']}") for family in families)
    if numbers:
        typer.echo("")
    for listed, names in numbers.items():
        print_text(f"{', '.join(names)}: {listed}; a line for each: --all")


def _registry(kind: Kind, files: list[Path], plugins: bool) -> Registry[Any]:
    if kind is Kind.METRICS:
        from comface_bench.stats.metrics import metric_registry

        return metric_registry(files, plugins)
    if kind is Kind.PROTOCOLS:
        return protocol_registry(files, plugins)
    return method_registry(files, plugins) if kind is Kind.METHODS else task_registry(files, plugins)


def _describe_all(kind: Kind, registry: Registry[Any], data: Path | None) -> list[Row]:
    """Describe all fixed names: what JSON has of each; of a plugin that isn't loaded, its name and origin."""
    known = {entry.card.name: entry for entry in registry.declared()}
    origins = registry.names()
    names = protocol_names(registry) if kind is Kind.PROTOCOLS else list(origins)
    rows = []
    for name in names:
        facts = _describe(kind, known[name], data) if name in known else {}
        summary = {"summary": known[name].card.summary} if name in known else {}
        rows.append({"name": name, **facts, "origin": origins[name], **summary})
    return rows


def _describe(kind: Kind, entry: Entry[Any], data: Path | None) -> Row:
    card = entry.card
    if kind is Kind.METHODS:
        return {"backbone": card.backbone, "group": card.group, "weights": weights_availability(entry)}
    if kind is Kind.TASKS:
        available = data_availability(card, data)
        return {"data": card.data, "target": card.target, "unit": card.unit, "available": available}
    if kind is Kind.METRICS:
        return {"title": card.title, "better": "higher" if card.higher_is_better else "lower"}
    return {}


def _family_row(family: Any) -> Row:
    return {"name": f"{family.prefix}…", "example": family.example, "origin": family.origin}


_COLUMNS: Mapping[Kind, Mapping[str, str]] = {
    Kind.METHODS: {"name": "name", "weights": "weights", "backbone": "backbone", "group": "group"},
    Kind.TASKS: {
        "name": "name",
        "available": "data",
        "data": "data set",
        "target": "target",
        "unit": "unit",
    },
    Kind.PROTOCOLS: {"name": "name", "summary": "summary"},
    Kind.METRICS: {"name": "name", "title": "title", "better": "better", "summary": "summary"},
}
"""Facts that have a column, with its heading; lines fit 80 characters."""


def _shorten(kind: Kind, row: Row) -> Row:
    """Return what the line of a name shows; its origin only where that isn't comface-bench."""
    line = {heading: row[fact] for fact, heading in _COLUMNS[kind].items() if fact in row}
    if line.get("weights") == "not needed":
        line["weights"] = "—"
    if "backbone" in line:
        line["backbone"] = re.split(r", | \(", line["backbone"])[0]
    if row.get("origin", OURS) != OURS:
        line["origin"] = row["origin"]
    return line


_FEW = 3
"""Tasks that differ by a number alone have one line from so many on."""


def _fold(rows: list[Row], registry: Registry[Any]) -> tuple[list[Row], dict[str, list[str]]]:
    """Fold tasks that differ by a number alone, such as action units, into the pattern that means them.

    Returns:
        The rows; and the numbers, as a text, with the patterns that they are of.
    """
    alike: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if match := re.fullmatch(r"(.*?)\d+", row["name"]):
            facts = (row.get(name, "") for name in ("data", "unit", "available", "origin"))
            alike.setdefault((match[1], *facts), []).append(row)
    instead: dict[str, Row] = {}
    numbers: dict[str, list[str]] = {}
    for (stem, *_), group in alike.items():
        pattern, names = f"{stem}*", [row["name"] for row in group]
        if len(group) < _FEW or set(registry.match(pattern)) != set(names):
            continue
        group = sorted(group, key=lambda row: int(row["name"].removeprefix(stem)))
        target = f"{len(group)}: {group[0].get('target', '')} … {group[-1].get('target', '')}"
        instead |= dict.fromkeys(names, group[0] | {"name": pattern, "target": target})
        listed = ", ".join(row["name"].removeprefix(stem) for row in group)
        numbers.setdefault(listed, []).append(pattern)
    folded = {one["name"]: one for one in (instead.get(row["name"], row) for row in rows)}
    return list(folded.values()), numbers


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
    if is_pattern(base):
        raise UsageError(
            f"{name!r} is a pattern, and show takes one name",
            f"See them: comface-bench list methods '{base}', … tasks",
        )
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
