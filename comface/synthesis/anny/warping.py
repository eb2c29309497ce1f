"""Loading warp, whose kernels do the renderer's loops in native code."""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.anny.arrays import Floats


@functools.lru_cache(maxsize=1)
def load_warp() -> Any:
    """Import warp, whose types are too dynamic to check; no banner and no word on missing GPUs."""
    warp: Any = importlib.import_module("warp")
    warp.config.log_level = getattr(warp, "LOG_ERROR", 40)
    warp.config.quiet = True  # what versions before `log_level` go by
    # No gradients: half the code to compile.
    warp.config.enable_backward = False
    return warp


def vectors(values: Floats) -> Any:
    """Wrap (N, 2), (N, 3) or (N, 4) numbers as warp vectors; float32 ones are shared, not copied."""
    warp = load_warp()
    kind = {2: warp.vec2, 3: warp.vec3, 4: warp.vec4}[values.shape[-1]]
    return _wrap(np.ascontiguousarray(values, np.float32), kind, values.shape[:-1])


def numbers(values: Any, kind: str = "float32") -> Any:
    """Wrap numbers as a warp array of the same shape; those of this kind already are shared, not copied."""
    return _wrap(np.ascontiguousarray(values, kind), getattr(load_warp(), kind), np.shape(values))


def _wrap(values: Any, kind: Any, shape: tuple[int, ...]) -> Any:
    array = load_warp().array(ptr=values.ctypes.data, dtype=kind, shape=shape, device="cpu")
    array.owner = values  # keeps the memory while warp looks at it
    return array
