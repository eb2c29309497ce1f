"""`comface-bench doctor`: report of what is installed, what is there and what is broken."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, NamedTuple

import typer

from comface_bench.cli.commands import Data, Json, Results, make_app
from comface_bench.cli.output import print_facts, print_json
from comface_bench.core.card import data_availability, data_root
from comface_bench.core.errors import BenchError
from comface_bench.core.protocol import PROTOCOLS_GROUP, protocol_registry
from comface_bench.core.registry import (
    METHODS_GROUP,
    TASKS_GROUP,
    Registry,
    installed_plugins,
    method_registry,
    task_registry,
)
from comface_bench.core.weights import cache_folder, weights_availability, weights_folder
from comface_bench.version import __version__

app = make_app()

_PACKAGES = ("torch", "torchvision", "timm", "open-clip-torch", "numpy", "scipy", "pandas", "pillow")
_EXTRAS = {
    "synth": "anny",
    "prepare": "dlib",
    "slurm": "submitit",
    "plots": "matplotlib",
    "pdf": "weasyprint",
    "onnx": "onnxruntime",
    "train": "tensorboard",
}


class Diagnosis(NamedTuple):
    """One line of the report; `broken` makes the command fail."""

    name: str
    text: str
    broken: bool = False


@app.command()
def doctor(data: Data = None, results: Results = Path("results"), as_json: Json = False) -> None:
    """Say what this installation has and lacks; exit status 1 if something is broken. No plugin is run."""
    sections = {
        "versions": list(_versions()),
        "device": list(_device()),
        "folders": list(_folders(data, results)),
        "data sets": list(_data_sets(data)),
        "weights": list(_weights()),
        "extras": list(_extras()),
        "plugins": list(_plugins()),
    }
    broken = [line.name for lines in sections.values() for line in lines if line.broken]
    if as_json:
        facts = {title: [line._asdict() for line in lines] for title, lines in sections.items()}
        print_json({**facts, "broken": broken})
    else:
        for title, lines in sections.items():
            typer.echo(title)
            print_facts(
                (f"  {line.name}", f"{'BROKEN: ' if line.broken else ''}{line.text}") for line in lines
            )
        typer.echo(f"\nbroken: {', '.join(broken)}" if broken else "\nnothing is broken")
    if broken:
        raise typer.Exit(1)


def _versions() -> Iterator[Diagnosis]:
    yield Diagnosis("comface-bench", __version__)
    yield Diagnosis("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for package in _PACKAGES:
        try:
            yield Diagnosis(package, importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            yield Diagnosis(package, "not installed", broken=True)


def _device() -> Iterator[Diagnosis]:
    try:
        import torch

        from comface_bench.engine.precision import choose_machine

        machine = choose_machine()
    except Exception as error:  # A damaged torch fails in many ways; each is reported.
        yield Diagnosis("torch", f"{type(error).__name__}: {error}", broken=True)
        return
    name = torch.cuda.get_device_name(machine.device) if machine.device.type == "cuda" else ""
    yield Diagnosis("device", f"{machine.device}{f' ({name})' if name else ''}")
    yield Diagnosis("precision", f"{machine.precision} to train a backbone, float32 for a frozen one")
    yield Diagnosis("threads", f"{torch.get_num_threads()} of {os.cpu_count()} cores")


def _folders(data: Path | None, results: Path) -> Iterator[Diagnosis]:
    folders = {
        "data root": data_root(data),
        "weights": weights_folder(),
        "cache": cache_folder(),
        "results": results,
    }
    for name, folder in folders.items():
        there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
        space = f"{shutil.disk_usage(there).free / 2**30:.1f} GiB free"
        writable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
        state = "exists" if there == folder.absolute() else "doesn't exist yet"
        state += ", writable" if writable else ", not writable"
        # The suite writes nothing but results and what can be made again.
        yield Diagnosis(
            name, f"{folder}: {state}, {space}", broken=not writable and name in ("cache", "results")
        )


def _data_sets(data: Path | None) -> Iterator[Diagnosis]:
    cards = {entry.card.data: entry.card for entry in task_registry(plugins=False).declared()}
    for name, card in sorted(cards.items()):
        state = data_availability(card, data)
        # Only what should have come with the package can be broken.
        yield Diagnosis(name, state, broken=card.ships and state == "missing")


def _weights() -> Iterator[Diagnosis]:
    for entry in method_registry(plugins=False).declared():
        yield Diagnosis(entry.card.name, weights_availability(entry))


def _extras() -> Iterator[Diagnosis]:
    for extra, module in _EXTRAS.items():
        there = importlib.util.find_spec(module) is not None
        yield Diagnosis(
            extra, "installed" if there else f"not installed: pip install 'comface-bench[{extra}]'"
        )


def _plugins() -> Iterator[Diagnosis]:
    from comface_bench.stats.metrics import METRICS_GROUP, metric_registry

    groups: dict[str, Registry[Any]] = {
        METHODS_GROUP: method_registry(),
        TASKS_GROUP: task_registry(),
        PROTOCOLS_GROUP: protocol_registry(),
        METRICS_GROUP: metric_registry(),
    }
    found = False
    for group, registry in groups.items():
        for plugin in installed_plugins(group):
            found = True
            text = f"a {registry.kind} of {plugin.origin}"
            if _is_installed(plugin.entry_point.module):
                yield Diagnosis(plugin.name, f"{text}, not loaded; see it: comface-bench show {plugin.name}")
            else:
                yield Diagnosis(plugin.name, f"{text}, whose module isn't there", broken=True)
        try:
            registry.names()
        except BenchError as error:
            yield Diagnosis(group, error.message, broken=True)
    if not found:
        yield Diagnosis("none", "no installed package offers a method, task, protocol or metric")


def _is_installed(module: str) -> bool:
    """Return whether a module's file is there; nothing of it is run, nor of the packages that hold it."""
    name, _, below = module.partition(".")
    spec = importlib.util.find_spec(name)
    for part in below.split(".") if below else ():
        if spec is None or spec.submodule_search_locations is None:
            return False
        name = f"{name}.{part}"
        spec = PathFinder.find_spec(name, list(spec.submodule_search_locations))
    return spec is not None
