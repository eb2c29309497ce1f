"""comface-bench: which backbone best estimates how a face changed.

Its functions are imported when they are first asked for: importing the package costs neither torch nor
pandas.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from comface_bench.version import __version__

if TYPE_CHECKING:
    from comface_bench.api.listing import list_methods, list_tasks
    from comface_bench.api.results import load_results
    from comface_bench.api.run import load_model, run
    from comface_bench.data.task import load_task
    from comface_bench.engine.encoder import load_images, load_method

__all__ = [
    "__version__",
    "list_methods",
    "list_tasks",
    "load_images",
    "load_method",
    "load_model",
    "load_results",
    "load_task",
    "run",
]

_HOMES = {
    "list_methods": "comface_bench.api.listing",
    "list_tasks": "comface_bench.api.listing",
    "load_images": "comface_bench.engine.encoder",
    "load_method": "comface_bench.engine.encoder",
    "load_model": "comface_bench.api.run",
    "load_results": "comface_bench.api.results",
    "load_task": "comface_bench.data.task",
    "run": "comface_bench.api.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
