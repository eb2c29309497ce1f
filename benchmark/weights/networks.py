"""Stand-ins for whole networks inside pickles, as NVIDIA's StyleGAN code writes them.

Such a file names a class of its own and brings the class's source code along, which the original reader
runs. Here both are data that nobody looks at: what is taken is the tree of arrays and tensors.

StyleGAN3 (`torch_utils.persistence`): a dictionary of modules, each of them its source and its `__dict__`.
StyleGAN (`dnnlib.tflib`): three networks, each of them variables by name and further networks inside.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from comface_bench.weights.stand_ins import Discarded, StoredArray

if TYPE_CHECKING:
    from torch import Tensor

_LONGEST = 500
"""Characters of the names that stand before an entry's own."""


class StoredNumber(StoredArray):
    """A numpy number: an array without axes."""

    def __init__(self, kind: Any = None, data: Any = b"") -> None:
        super().__init__()
        self.__setstate__(((), kind, False, data))


class StoredStorage:
    """The bytes of a tensor's memory, which are a small torch file of their own."""

    def __init__(self, data: Any) -> None:
        # Archives, whose members can unfold without end, are never what torch writes here.
        if type(data) is not bytes or data.startswith(b"PK"):
            raise ValueError("a tensor's memory is malformed")
        self.data = data


class StoredTensor:
    """A tensor: its memory, and where in it the numbers are."""

    def __init__(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> None:
        if type(storage) is not StoredStorage or type(shape) is not tuple or type(strides) is not tuple:
            raise ValueError("a tensor is malformed")
        numbers = (offset, *shape, *strides)
        if len(shape) != len(strides) or any(type(n) is not int or not 0 <= n < 1 << 48 for n in numbers):
            raise ValueError("a tensor is malformed")
        self._storage, self._offset, self._shape, self._strides = storage, offset, shape, strides

    def tensor(self) -> Tensor:
        """Return the tensor, with memory of its own.

        Raises:
            ValueError: Its memory can't be read as plain numbers, or it lies outside.
        """
        import torch

        try:
            memory = torch.load(io.BytesIO(self._storage.data), map_location="cpu", weights_only=True)
        except Exception as error:  # It fails in a dozen ways, with advice to run what is in the file.
            raise ValueError("a tensor's memory can't be read as plain numbers") from error
        if not isinstance(memory, torch.storage.TypedStorage):
            raise ValueError("a tensor's memory is something else")
        flat = torch.empty(0, dtype=memory.dtype).set_(memory)
        last = self._offset + sum(
            (n - 1) * step for n, step in zip(self._shape, self._strides, strict=True) if n
        )
        # A stride of 0 would make a few numbers fill any shape.
        count = math.prod(self._shape)
        if count and max(last + 1, count) > flat.numel():
            raise ValueError("a tensor lies outside its memory")
        view: Tensor = flat.as_strided(self._shape, self._strides, self._offset)
        return view.clone(memory_format=torch.contiguous_format)


class StoredModule:
    """A module of torch: what its `__dict__` held."""

    separator = "."

    def __init__(self, meta: Any) -> None:
        if type(meta) is not dict or type(meta.get("state")) is not dict:
            raise ValueError("a module has no state")
        self._state: dict[Any, Any] = meta["state"]

    def parts(self) -> tuple[dict[Any, Any], dict[Any, Any]]:
        """Return its own parameters and buffers by name, and the modules inside by name."""
        own: dict[Any, Any] = {}
        inside: dict[Any, Any] = {}
        for group, into in (("_parameters", own), ("_buffers", own), ("_modules", inside)):
            content = self._state.get(group, {})
            if type(content) is not dict:
                raise ValueError(f"{group} of a module is malformed")
            into.update({name: value for name, value in content.items() if value is not None})
        return own, inside


class StoredNetwork:
    """A network of TensorFlow: variables by name, and components."""

    separator = "/"

    def __init__(self, *_: Any) -> None:
        self._state: Any = None

    def __setstate__(self, state: Any) -> None:
        self._state = state

    def parts(self) -> tuple[dict[Any, Any], dict[Any, Any]]:
        """Return its own variables by name, and the components by name."""
        if type(self._state) is not dict or type(variables := self._state.get("variables")) is not list:
            raise ValueError("a network has no variables")
        components = self._state.get("components", {})
        if type(components) is not dict or any(
            type(pair) is not tuple or len(pair) != 2 for pair in variables
        ):
            raise ValueError("a network is malformed")
        if any(type(name) is not str for name, _ in variables):
            raise ValueError("a variable has no name")
        return dict(variables), components


def network_entries(content: Any) -> Mapping[str, Any] | None:
    """Return the entries of the generator that a pickle of networks holds, or None if it isn't one.

    Of `{"G": …, "D": …, "G_ema": …}` that is `G_ema`, of `(G, D, Gs)` it is `Gs`: the averaged ones, which
    make the images that are published.

    Returns:
        Arrays and tensors by name; those of inner networks after theirs, with a dot (StyleGAN3) or a slash
        (StyleGAN) between.

    Raises:
        ValueError: The network is malformed.
    """
    if isinstance(content, Mapping):
        content = content.get("G_ema")
    elif isinstance(content, tuple | list) and len(content) == 3:
        content = content[2]
    if not isinstance(content, StoredModule | StoredNetwork):
        return None
    found: dict[str, Any] = {}
    waiting: list[tuple[str, Any]] = [("", content)]
    seen: set[int] = set()
    while waiting:
        prefix, network = waiting.pop()
        # One that holds itself, or the same one many times, would have names without end.
        if type(network) is not type(content) or id(network) in seen or len(prefix) > _LONGEST:
            raise ValueError(f"{prefix[:_LONGEST]} is no network, or stands there twice")
        seen.add(id(network))
        own, inside = network.parts()
        found |= {f"{prefix}{name}": value for name, value in own.items()}
        within = [(f"{prefix}{name}{network.separator}", inner) for name, inner in inside.items()]
        waiting += reversed(within)
    return found


def _take_parameter(data: Any = None, *_: Any) -> Any:
    return data


NETWORK_STAND_INS: Mapping[str, Any] = {
    "torch_utils.persistence._reconstruct_persistent_obj": StoredModule,
    "torch._utils._rebuild_tensor_v2": StoredTensor,
    "torch._utils._rebuild_parameter": _take_parameter,
    "torch.storage._load_from_bytes": StoredStorage,
    "dnnlib.tflib.network.Network": StoredNetwork,
    # A module's set of names; protocols 2 and 3 make sets by name.
    "builtins.set": Discarded,
    "__builtin__.set": Discarded,
    "numpy.core.multiarray.scalar": StoredNumber,
    "numpy._core.multiarray.scalar": StoredNumber,
}
"""Name in a file → what is made in its place."""
