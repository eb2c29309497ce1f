"""Warp runtime: loading it, devices, arrays, structures.

Warp's kernels run the renderer's loops in native code. No postponed annotations here: warp reads the
functions' annotations as they are.
"""

import functools
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, no_type_check

import numpy as np

from comface_bench.core.errors import MissingExtraError, UsageError

_BATCH_PIXELS = 32 * 128**2  # in a batch on a GPU: enough to fill it, and less than a gigabyte


@functools.lru_cache(maxsize=1)
def load_warp() -> Any:
    """Import warp without its banner and its messages on missing GPUs; its types are too dynamic to check."""
    warp: Any = importlib.import_module("warp")
    warp.config.log_level = getattr(warp, "LOG_ERROR", 40)
    warp.config.quiet = True  # what versions before `log_level` go by
    # No gradients: half the code to compile.
    warp.config.enable_backward = False
    return warp


@dataclass(frozen=True)
class Device:
    """A device: kernels run there, and their arrays lie there.

    Attributes:
        name: As warp has it: `cpu`, `cuda:0`, ...
        shares_memory: Whether kernels read numpy's memory in place; if not, arrays are copied.
        batch_pixels: Pixels of the images that are rendered at once; one image at least.
    """

    name: str = "cpu"
    shares_memory: bool = True
    batch_pixels: int = 0

    @property
    def kind(self) -> str:
        """`cpu` or `cuda`."""
        return self.name.partition(":")[0]

    def batch(self, size: int) -> int:
        """Return the number of images of this height and width that are rendered at once."""
        return max(self.batch_pixels // size**2, 1)

    def array(self, values: Any, kind: Any) -> Any:
        """Return numbers as a warp array.

        Args:
            values: Vectors (..., 3), or as many numbers as they have; plain numbers (...); structures (...).
            kind: Name of warp's type, such as `vec3` or `float32`, or a structure.
        """
        warp = load_warp()
        if isinstance(kind, str):
            vector = kind.startswith("vec")
            values = np.ascontiguousarray(values, np.float32 if vector else kind)
            shape, kind = values.shape[:-1] if vector else values.shape, getattr(warp, kind)
        else:
            shape = values.shape
        if not self.shares_memory:
            return warp.array(values, dtype=kind, shape=shape, device=self.name)
        array = warp.array(ptr=values.ctypes.data, dtype=kind, shape=shape, device=self.name)
        array.owner = values  # keeps the memory while warp looks at it
        return array

    def stack(self, parts: Sequence[Any], kind: str) -> Any:
        """Return the arrays (N, ...) of K images as one (K, N, ...), the shorter ones filled up with zeros.

        An array that is one and the same for all images is stored once.
        """
        first, count = parts[0], len(parts)
        if all(part is first for part in parts):
            array = self.array(first[None], kind)
            return array if count == 1 else _repeat(array, count)
        stacked = np.zeros((count, max(len(part) for part in parts), *first.shape[1:]), first.dtype)
        for row, part in zip(stacked, parts, strict=True):
            row[: len(part)] = part
        return self.array(stacked, kind)

    def structures(self, kind: Any, values: Sequence[Any]) -> Any:
        """Return structures of this kind as a warp array."""
        # Their own memory: warp's way to numpy goes field by field.
        memory = b"".join(bytes(value.__ctype__()) for value in values)
        return self.array(np.frombuffer(memory, struct_dtype(kind)), kind)

    def empty(self, shape: tuple[int, ...], kind: str) -> Any:
        """Return an array whose values are undefined."""
        warp = load_warp()
        return warp.empty(shape, dtype=getattr(warp, kind), device=self.name)

    def launch(self, kernel: Any, items: int, inputs: list[Any]) -> None:
        """Run a kernel over a number of items, of all images together; see `image_index`."""
        load_warp().launch(kernel, dim=items, inputs=inputs, device=self.name)


CPU = Device()
"""The processor: one image at a time, which stays in the caches."""


def find_device(name: str) -> Device:
    """Return the device `cpu`, `cuda` or `cuda:N`, or, for `auto`, a GPU if there is one.

    Raises:
        UsageError: It isn't there.
        MissingExtraError: warp, which finds GPUs, isn't installed.
    """
    if name == "cpu":
        return CPU
    try:
        found = [str(device.alias) for device in load_warp().get_cuda_devices()]
    except ImportError as error:
        raise MissingExtraError(
            f"device={name} needs the package warp-lang", "pip install 'comface-bench[synth]'"
        ) from error
    if name == "auto" and not found:
        return CPU
    wanted = "cuda:0" if name in ("auto", "cuda") else name
    if wanted not in found:
        raise UsageError(f"device={name} isn't there", f"There is {', '.join(['cpu', *found])}.")
    return Device(wanted, shares_memory=False, batch_pixels=_BATCH_PIXELS)


def warp_struct(name: str, module: str, fields: dict[str, tuple[str, ...]]) -> Any:
    """Return a warp structure of fields by type; written as a class, type checkers look for warp's types."""
    warp = load_warp()
    hints = {field: getattr(warp, kind) for kind, names in fields.items() for field in names}
    return warp.struct(type(name, (), {"__annotations__": hints, "__module__": module}))


@functools.lru_cache(maxsize=8)
def struct_dtype(kind: Any) -> Any:
    """Return numpy's type of a warp structure; warp derives it anew at each call."""
    return np.dtype(kind.numpy_dtype())


@functools.lru_cache(maxsize=1)
def image_index() -> Any:
    """Return warp's function from an item to the number of its image, where each image has `items` of them.

    Warp's own launches over two dimensions divide for each item, which costs a processor 3 % of its time.
    """
    wp = load_warp()

    @wp.func
    @no_type_check
    def image_of(item: wp.int32, items: wp.int32):
        if item < items:
            return 0
        return item // items

    return image_of


def flatten_rows(array: Any) -> tuple[Any, int]:
    """Return an array (K, N) in one dimension, and the distance of its rows there: 0 if they are the same.

    Kernels that only have arrays of one dimension are the fastest on a processor: strides drop out.
    """
    count, length = array.shape
    apart = array.strides[0] // array.strides[1]
    return _view(array, ((count - 1) * apart + length,)), apart


def _repeat(array: Any, count: int) -> Any:
    """Return an array (1, ...) as one (count, ...), each row of which is the same memory."""
    return _view(array, (count, *array.shape[1:]), strides=(0, *array.strides[1:]))


def _view(array: Any, shape: tuple[int, ...], **strides: Any) -> Any:
    view = load_warp().array(ptr=array.ptr, dtype=array.dtype, shape=shape, device=array.device, **strides)
    view.owner = array  # keeps the memory
    return view
