"""Templates of plugins: `method.py` and `task.py` work as they stand, and are copied under another name."""

from __future__ import annotations

import importlib.resources
import re
from pathlib import Path

from comface_bench.core.card import MethodCard, TaskCard
from comface_bench.core.errors import UsageError
from comface_bench.core.files import writing
from comface_bench.core.registry import Registry, method_registry, task_registry

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def write_plugin(kind: str, name: str, folder: Path) -> Path:
    """Copy the template of a task or method under a name; nothing is ever written over.

    Args:
        kind: "task" or "method".
        name: Small letters, digits and single hyphens.
        folder: Where the file goes; it is made where it isn't there.

    Returns:
        The file, named as the plugin with underscores.

    Raises:
        UsageError: The name isn't of that form, is another's, or the file is there already.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} can't name a {kind}",
            f"Use small letters, digits and hyphens: comface-bench new {kind} my-{kind}",
        )
    registry: Registry[TaskCard] | Registry[MethodCard]
    registry = task_registry() if kind == "task" else method_registry()
    if (origin := registry.names().get(name)) is not None:
        raise UsageError(f"a {kind} of {origin} is called {name}", f"Choose another name, such as my-{name}.")
    text = (importlib.resources.files(__name__) / f"{kind}.py").read_text(encoding="utf-8")
    path = folder / f"{name.replace('-', '_')}.py"
    text = text.replace(f"my-{kind}", name).replace(f"my_{kind}", path.stem)
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with writing(path), path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise UsageError(f"{path} is there already", "Choose another name, or --out DIR.") from None
    return path
