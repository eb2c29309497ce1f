"""`comface-bench show`: everything that is declared about one name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from comface_bench.cli.complete import complete_name
from comface_bench.cli.groups import make_app
from comface_bench.cli.options import Data, Json, NoPlugins, Plugins
from comface_bench.cli.presence import find_method_weights, find_task_data
from comface_bench.cli.tables import print_facts, print_json, print_table
from comface_bench.core.card import Family, TaskCard, card_digest
from comface_bench.core.errors import UnknownNameError
from comface_bench.core.names import parse_name, unknown_name
from comface_bench.core.protocol import ProtocolCard, protocol_registry, resolve_protocol
from comface_bench.core.registry import Entry, Registry, method_registry, task_registry

app = make_app()


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(help="A method, task or protocol.", autocompletion=complete_name, show_default=False),
    ],
    data: Data = None,
    as_json: Json = False,
    plugin: Plugins = [],  # noqa: B006 - typer reads the default and never changes it
    no_plugins: NoPlugins = False,
) -> None:
    """Show all facts of a method, a task or a protocol."""
    base, options = parse_name(name)
    protocols = protocol_registry(plugin, not no_plugins)
    if base in protocols.names():
        _show_protocol(protocols, base, options, as_json)
        return
    entry = _find(base, protocols, plugin, not no_plugins)
    kind = "task" if isinstance(entry.card, TaskCard) else "method"
    there = find_task_data(entry.card, data) if kind == "task" else find_method_weights(entry)
    facts = {
        "kind": kind,
        **dataclasses.asdict(entry.card),
        "origin": entry.origin,
        "digest": card_digest(entry.card),
        "available" if kind == "task" else "weights": there,
    }
    if as_json:
        print_json(facts)
    else:
        print_facts((key.replace("_", " "), _text(value)) for key, value in facts.items())


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
    known = [known for registry in registries for known in registry.names()]
    error = unknown_name(name, [*known, *protocols.names()], "method, task or protocol")
    raise UnknownNameError(error.message, "See them: comface-bench list methods, … tasks, … protocols")


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
    keys = [key for key in next(iter(families.values())) if key != "name"]
    rows = [[key.replace("_", " "), *(_text(values[key]) for values in families.values())] for key in keys]
    print_table(["family of tasks", *families], rows)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "\n".join(f"{key}: {_text(entry)}" for key, entry in value.items() if _text(entry))
    if isinstance(value, (tuple, list)):
        return ", ".join(_text(entry) for entry in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else str(value)
