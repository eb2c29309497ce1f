"""Plugins: cards from other packages (entry points) and from single files (`--plugin FILE`).

Code of a plugin runs only when one of its names is asked for, or its file is given; listing an entry
point reads its name and the package it belongs to, no more.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from comface_bench.core.errors import PluginError

METHODS_GROUP = "comface_bench.methods"
TASKS_GROUP = "comface_bench.tasks"


@dataclass(frozen=True)
class PluginName:
    """A name that an installed package offers, not loaded yet.

    Attributes:
        origin: The distribution and the object, for messages and lists.
    """

    name: str
    origin: str
    entry_point: EntryPoint


def installed_plugins(group: str) -> list[PluginName]:
    """Return the names that installed packages offer in an entry-point group, sorted."""
    found = [
        PluginName(
            point.name, f"{point.dist.name if point.dist else 'unknown package'} ({point.value})", point
        )
        for point in entry_points(group=group)
    ]
    return sorted(found, key=lambda plugin: (plugin.name, plugin.origin))


def load_plugin(plugin: PluginName) -> ModuleType:
    """Import the module that an entry point names.

    Raises:
        PluginError: The import fails, or the entry point names something else than a module.
    """
    try:
        loaded = plugin.entry_point.load()
    except Exception as error:
        raise PluginError(
            f"plugin {plugin.name!r} of {plugin.origin} can't be imported: {type(error).__name__}: {error}",
            f"Mend or remove it: pip uninstall {plugin.origin.split(' ')[0]}",
        ) from error
    if not isinstance(loaded, ModuleType):
        raise PluginError(
            f"plugin {plugin.name!r} of {plugin.origin} is no module",
            "Let the entry point name a module that declares CARD or CARDS.",
        )
    return loaded


def load_plugin_file(path: Path) -> ModuleType:
    """Import one file as a plugin module.

    Raises:
        PluginError: The file is missing, its code fails, or it declares nothing.
    """
    if not path.is_file():
        raise PluginError(f"plugin file {path} is no file")
    # Two files of one name in two folders are two modules.
    place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    name = f"comface_bench_plugin_{path.stem}_{place}"
    if loaded := sys.modules.get(name):
        return loaded
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"plugin file {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    # Registered before it runs: dataclasses and pickling look a module up by its name.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        lines = [
            frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
        ]
        place = f"{path}:{lines[-1]}" if lines else str(path)
        raise PluginError(f"plugin file {place} fails: {type(error).__name__}: {error}") from error
    if not any(hasattr(module, name) for name in ("CARD", "CARDS", "FAMILY")):
        del sys.modules[name]
        raise PluginError(f"plugin file {path} declares no CARD, CARDS or FAMILY")
    return module
