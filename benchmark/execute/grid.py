"""Grids: what a sweep or a run is asked for, by a TOML file and the command line, and the requests meant.

A file has the keys of the command line. Tables `[[run]]` each state a grid, by what they have other than the
file's top:

    method = ["farl", "imagenet"]
    task = "disfa-*"
    seeds = [0, 1, 2]

    [[run]]
    protocol = "probe"

    [[run]]
    protocol = "linear"
    options = { learning_rate = [0.01, 0.001] }

What a file says under `study`, at its top or in a `[[run]]`, is for tables: `comface_bench.studies` reads it.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comface_bench.core.errors import UsageError
from comface_bench.core.names import did_you_mean, parse_name, split_list
from comface_bench.core.protocol import override_keys, protocol_registry
from comface_bench.execute.plan import DEFAULT_PROTOCOL, DEFAULT_RESULTS, Request


@dataclass(frozen=True)
class Grid:
    """All combinations of methods, tasks, protocols, settings, folds and seeds.

    Attributes:
        method, task, protocol: Names, comma lists or patterns.
        options: Option of protocol, method or task → its values.
        folds: Folds to run, or None for all.
        seeds: Repetitions to run.
        data, results, device: As of a `Request`.
        plugin: Files of plugins.
        no_plugins: Whether installed plugins are left out.
    """

    method: Sequence[str] = ()
    task: Sequence[str] = ()
    protocol: Sequence[str] = (DEFAULT_PROTOCOL,)
    options: Mapping[str, Sequence[str]] = field(default_factory=dict)
    folds: Sequence[int] | None = None
    seeds: Sequence[int] = (0,)
    data: Path | None = None
    results: Path = DEFAULT_RESULTS
    device: str = "auto"
    plugin: Sequence[Path] = ()
    no_plugins: bool = False


def make_requests(grids: Sequence[Grid]) -> list[Request]:
    """Return a request for each grid, protocol and combination of settings.

    An option that only some of the protocols take goes to those.

    Raises:
        UsageError: No protocol is named.
        UnknownNameError: A protocol is unknown, or a pattern matches none.
    """
    named = [(grid, name, keys) for grid in grids for name, keys in _protocols(grid)]
    if not named:
        raise UsageError("no protocol is named", "See which there are: comface-bench list protocols")
    taken = {key for _, _, keys in named for key in keys}
    requests = []
    for grid, protocol, keys in named:
        options = {key: values for key, values in grid.options.items() if key in keys or key not in taken}
        requests += expand_options(grid, protocol, options)
    return requests


def expand_options(grid: Grid, protocol: str, options: Mapping[str, Sequence[str]]) -> list[Request]:
    """Return a request of a grid under one protocol for each combination of the options' values."""
    return [
        Request(
            methods=tuple(grid.method),
            tasks=tuple(grid.task),
            protocol=protocol,
            options=dict(zip(options, values, strict=True)),
            data=grid.data,
            results=grid.results,
            folds=grid.folds,
            seeds=grid.seeds,
            device=grid.device,
            plugin_files=tuple(grid.plugin),
            use_plugins=not grid.no_plugins,
        )
        for values in itertools.product(*options.values())
    ]


def _protocols(grid: Grid) -> Iterator[tuple[str, set[str]]]:
    """Yield the names of a grid's protocols, each with the options that it takes."""
    registry = protocol_registry(grid.plugin, not grid.no_plugins)
    for name in registry.expand(split_list(grid.protocol)):
        yield name, set(override_keys(registry.get(parse_name(name)[0]).card.settings))


def read_grids(path: Path | None, given: Mapping[str, Any]) -> list[Grid]:
    """Return the grids of a file, or the one that the command line states alone.

    Args:
        path: The TOML file, if there is one.
        given: Fields of `Grid` that the command line states; they override the file's, of the options those
            of the same name.

    Raises:
        UsageError: The file can't be read, or a key or value of it is wrong; names the file, and the key or
            line.
    """
    stated = read_grid_file(path) if path is not None else GridFile({}, {}, [{}], [{}])
    return [merge_grids(stated.top, run, given) for run in stated.runs]


def merge_grids(*layers: Mapping[str, Any]) -> Grid:
    """Unite fields of grids; later ones override earlier ones, and options each other by name."""
    merged: dict[str, Any] = {}
    for layer in layers:
        options = {**merged.get("options", {}), **layer.get("options", {})}
        merged |= {**layer, "options": options}
    return Grid(**merged)


def read_run_file(path: Path) -> dict[str, Any]:
    """Return the fields of `Grid` that a file states for a single run.

    Raises:
        UsageError: As `read_grid_file`; or it means several runs, by a table `[[run]]`, several protocols or
            several values of an option, or has a table `[study]`.
    """
    stated = read_grid_file(path)
    if stated.study or any(stated.runs) or any(stated.run_studies):
        what = "a table [study]" if stated.study else "tables [[run]]"
        raise UsageError(f"{path} has {what}; run takes a file without", _several(path))
    fields = dict(stated.top)
    if "protocol" in fields:
        fields["protocol"] = split_list(fields["protocol"])
        if len(fields["protocol"]) != 1:
            raise UsageError(f"{_place_of(path, 'protocol')}: a run has one protocol", _several(path))
    for key, values in fields.get("options", {}).items():
        if len(values) > 1:
            raise UsageError(
                f"{_place_of(path, key)}: options: {key} has {len(values)} values, and a run takes one",
                _several(path),
            )
    return fields


def _several(path: Path) -> str:
    return f"For several runs at once: comface-bench sweep {path}"


@dataclass(frozen=True)
class GridFile:
    """A file of grids.

    Attributes:
        top: Fields of `Grid` that hold for all of it.
        study: The table `[study]`, as it stands there; empty without one.
        runs: Fields of each `[[run]]`; one without any where there is none.
        run_studies: What each says under `study`.
    """

    top: Mapping[str, Any]
    study: Mapping[str, Any]
    runs: Sequence[Mapping[str, Any]]
    run_studies: Sequence[Mapping[str, Any]]


def read_grid_file(path: Path) -> GridFile:
    """Read a file of grids.

    Raises:
        UsageError: It can't be read, or a key or value of it is wrong; names the file, and the key or line.
    """
    try:
        stated = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}", _FORM) from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} isn't UTF-8 text", _FORM) from None
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}", _FORM) from None
    runs, study = stated.pop("run", []), _take_study(path, "", stated)
    if not (isinstance(runs, list) and all(isinstance(run, dict) for run in runs)):
        raise UsageError(
            f"{path}: run isn't a table", "Write [[run]] on a line of its own, and its keys below."
        )
    places = {f"[[run]] {number}": run for number, run in enumerate(runs, start=1)}
    for place, run in places.items():
        for key in run:
            if key in _ONCE:
                raise UsageError(
                    f"{path}: {place} has {key}, which is one for the whole file",
                    f"Move {key} above the first [[run]].",
                )
    run_studies = [_take_study(path, f"{place}: ", run) for place, run in places.items()]
    fields = [grid_fields(path, f"{place}: ", run) for place, run in places.items()]
    return GridFile(grid_fields(path, "", stated), study, fields or [{}], run_studies or [{}])


def _take_study(path: Path, place: str, stated: dict[str, Any]) -> dict[str, Any]:
    """Take what is said under `study` out of a table of the file."""
    study = stated.pop("study", {})
    if not isinstance(study, dict):
        raise UsageError(f"{path}: {place}study isn't a table", "Write [study] on a line, its keys below.")
    return study


_ONCE = ("results", "plugin", "no-plugins")
"""Keys that hold for the whole file."""


def grid_fields(path: Path, place: str, stated: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `Grid` that a table of a file states.

    Args:
        path: The file, for errors.
        place: The table, for errors: empty, or a text that ends in a colon and a blank.
        stated: The table.

    Raises:
        UsageError: A key or value is wrong.
    """
    found = read_keys(path, place, stated, _KEYS, _FORM, tables=("run",))
    return {key.replace("-", "_"): value for key, value in found.items()}


Keys = Mapping[str, tuple[Callable[[Any], Any], str]]
"""Known keys of a table → what reads a value, raising TypeError or ValueError, and its form in words."""


def read_keys(
    path: Path, place: str, stated: Mapping[str, Any], keys: Keys, example: str, tables: Sequence[str] = ()
) -> dict[str, Any]:
    """Read the values of a table of a file.

    Args:
        path: The file, for errors.
        place: The table, for errors, as of `grid_fields`.
        stated: The table.
        keys: Those that it may have.
        example: What a value of another form is answered with.
        tables: Names of tables that it may have beside them.

    Raises:
        UsageError: A key or value is wrong.
    """
    found = {}
    for key, value in stated.items():
        if key not in keys:
            beside = "".join(f", and tables [[{name}]] of these" for name in tables)
            raise UsageError(
                f"{_place_of(path, key)}: {place}no key is called {key!r}."
                f"{did_you_mean(key, [*keys, *tables])}",
                f"Keys are {', '.join(keys)}{beside}.",
            )
        read, form = keys[key]
        try:
            found[key] = read(value)
        except (TypeError, ValueError):
            raise UsageError(
                f"{_place_of(path, key)}: {place}{key} isn't {form}: {value!r}", example
            ) from None
    return found


def _place_of(path: Path, key: str) -> str:
    """Return the file, with the line that a key is on where there is only one such line."""
    lines = []
    with contextlib.suppress(OSError, UnicodeDecodeError):
        lines = path.read_text(encoding="utf-8").splitlines()
    begin = re.compile(rf"""(?:.*[{{,]|\[+)?\s*["']?{re.escape(key)}["']?\s*[=.\]]""")
    found = [number for number, line in enumerate(lines, start=1) if begin.match(line)]
    return f"{path}:{found[0]}" if len(found) == 1 else str(path)


def _texts(value: Any) -> list[str]:
    return [_text(one) for one in (value if isinstance(value, list) else [value])]


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError
    return value


def _numbers(value: Any) -> list[int]:
    found = value if isinstance(value, list) else [value]
    if not found or not all(type(one) is int and one >= 0 for one in found):
        raise TypeError
    return found


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _options(value: Any) -> dict[str, list[str]]:
    if not isinstance(value, dict):
        raise TypeError
    return {key: _values(given) for key, given in value.items()}


def _values(value: Any) -> list[str]:
    """Return the values of an option as the command line has them."""
    found = value if isinstance(value, list) else [value]
    if not found or not all(isinstance(one, str | int | float) and one != "" for one in found):
        raise TypeError
    return list(dict.fromkeys(str(one).lower() if isinstance(one, bool) else str(one) for one in found))


_NAMES = "a text or a list of texts"
_WHOLE = "a whole number from 0 or a list of such"
_KEYS: Keys = {
    "method": (_texts, _NAMES),
    "task": (_texts, _NAMES),
    "protocol": (_texts, _NAMES),
    "seeds": (_numbers, _WHOLE),
    "folds": (_numbers, _WHOLE),
    "options": (_options, "a table of options, each a value or a list of values"),
    "data": (lambda value: Path(_text(value)), "a text"),
    "results": (lambda value: Path(_text(value)), "a text"),
    "device": (_text, "a text"),
    "plugin": (lambda value: [Path(text) for text in _texts(value)], _NAMES),
    "no-plugins": (_flag, "true or false"),
}
"""How each key is read, and its form in words."""
_FORM = 'Such a file has lines such as method = ["farl", "imagenet"], task = "disfa-*", seeds = [0, 1, 2].'
