"""Methods: one module each, or a row in its family's, with its card and how to build its backbone."""

from typing import Any


def __getattr__(name: str) -> Any:
    # Offered here too for those who look for it beside the baselines; imported late, since the
    # encoder needs torch and listing methods must not.
    if name == "load_method":
        import importlib

        return importlib.import_module("comface_bench.engine.encoder").load_method
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
