"""comface-bench: which backbone best estimates how a face changed.

`run`, `load_method`, `load_model` and `load_task` are imported when they are first asked for: importing the
package costs neither torch nor pandas.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from comface_bench.version import __version__

if TYPE_CHECKING:
    from comface_bench.api import load_model, run
    from comface_bench.data.task import load_task
    from comface_bench.engine.encoder import load_method

__all__ = ["__version__", "load_method", "load_model", "load_task", "run"]

_HOMES = {
    "run": "comface_bench.api",
    "load_model": "comface_bench.api",
    "load_method": "comface_bench.engine.encoder",
    "load_task": "comface_bench.data.task",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
